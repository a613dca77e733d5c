import { describe, expect, jest, test } from '@jest/globals';
import type { HistoryEntry, HistoryStore } from '../../../lib/core/history-store.js';
import { OrderedChannel } from '../../../lib/core/ordered-channel.js';
import type { Position } from '../../../lib/protocol/position.js';
import { keptBytes } from '../../support/kept-memory.js';

function setup() {
  const heard: string[] = [];
  const store = { read: () => Promise.reject(new Error('not needed')) } as unknown as HistoryStore;
  const channel = new OrderedChannel('orders', 'orders', store, {
    message: (payload, _subscription, _channel, { offset }) => heard.push(`${offset}: ${payload}`) > 0,
    gap: () => heard.push('gap'),
    failed: () => heard.push('failed'),
  });
  const receive = (offset: number) => channel.receive(`m${offset}`, { epoch: 'e', offset });
  return { channel, heard, receive };
}

describe('An ordered channel', () => {
  test('does not keep the last batch in memory once it is quiet', () => {
    const COUNT = 500;
    const bytes = keptBytes(() =>
      Array.from({ length: COUNT }, () => {
        const output = { message: () => true, gap: () => {}, failed: () => {} };
        const channel = new OrderedChannel('orders', 'orders', {} as HistoryStore, output);
        const position = { epoch: 'e', offset: 2 };
        channel.beginAt({ epoch: 'e', offset: 1 });
        // As from Redis: 64 KB, of which a payload is a part.
        const [, payload = ''] = Buffer.from(`${'x'.repeat(65_000)}\n${'y'.repeat(300)}`)
          .toString()
          .split('\n');
        channel.receive(payload, position);
        channel.compare(position, Infinity);
        expect(channel.position).toEqual(position);
        return channel;
      }),
    );
    expect(bytes / COUNT).toBeLessThan(10_000);
  });

  test('reaches the position reported by the store only when it has heard a message: more may be on its way', () => {
    const { channel, receive } = setup();
    channel.beginAt({ epoch: 'e', offset: 5 });
    expect(channel.isAt({ epoch: 'e', offset: 5 })).toBe(false);
    receive(5);
    expect(channel.isAt({ epoch: 'e', offset: 5 })).toBe(true);
  });

  test('delivers messages that were on their way when the store was asked for the position', () => {
    const { channel, heard, receive } = setup();
    // Answers of the store use another connection, so they may overtake its publications.
    channel.beginAt({ epoch: 'e', offset: 5 });
    for (const offset of [4, 5, 5, 6, 4]) receive(offset);
    expect(heard).toEqual(['4: m4', '5: m5', '6: m6']);
  });

  test('reads the entry in place of a rejected message, seldom enough, and reports its kind once', async () => {
    jest.useFakeTimers();
    try {
      const entries: HistoryEntry[] = [];
      const told: string[] = [];
      let reads = 0;
      const read = (_: string, { offset }: Position) => {
        reads++;
        const next = { epoch: 'e', offset: 5 + entries.length };
        return Promise.resolve({ gap: undefined, entries: entries.slice(offset - 5), next, end: next });
      };
      const channel = new OrderedChannel('orders', 'orders', { read } as unknown as HistoryStore, {
        message: (payload, _subscription, _channel, { offset }) => {
          told.push(`${offset}: ${payload}`);
          return !payload.startsWith('bad');
        },
        gap: () => told.push('gap'),
        failed: () => told.push('failed'),
      });
      const receive = (payload: string, offset: number): void => channel.receive(payload, { epoch: 'e', offset });
      channel.beginAt({ epoch: 'e', offset: 5 });
      for (let count = 0; count < 20; count++) receive('bad', 6);
      await jest.advanceTimersByTimeAsync(99);
      expect(reads).toBe(1);
      expect(channel.position).toEqual({ epoch: 'e', offset: 5 });
      await jest.advanceTimersByTimeAsync(1);
      expect(reads).toBe(2);
      // Messages meanwhile wait, and are in the history.
      entries.push({ offset: 6, payload: '6' });
      receive('6', 6);
      await jest.advanceTimersByTimeAsync(2_000);
      expect(told.filter((each) => each !== '6: bad')).toEqual(['6: 6']);
      entries.push({ offset: 7, payload: 'bad too' });
      receive('bad too', 7);
      await jest.advanceTimersByTimeAsync(0);
      receive('8', 8);
      expect(told.slice(-3)).toEqual(['6: 6', '7: bad too', '8: 8']);
      expect(reads).toBeLessThan(25);
    } finally {
      jest.useRealTimers();
    }
  });

  test('reads seldom for positions without entries', async () => {
    jest.useFakeTimers();
    try {
      const end = { epoch: 'e', offset: 5 };
      const read = jest.fn(() => Promise.resolve({ gap: undefined, entries: [], next: end, end }));
      const channel = new OrderedChannel('orders', 'orders', { read } as unknown as HistoryStore, {
        message: () => true,
        gap: () => undefined,
        failed: () => undefined,
      });
      channel.beginAt(end);
      for (let ms = 0; ms < 1_000; ms++) {
        channel.receive('forged', { epoch: ms % 2 === 0 ? 'e' : 'another', offset: 1_000 + ms });
        await jest.advanceTimersByTimeAsync(1);
      }
      expect(read.mock.calls.length).toBeLessThanOrEqual(2 * 10 + 1);
      expect(channel.position).toEqual(end);
    } finally {
      jest.useRealTimers();
    }
  });
});
