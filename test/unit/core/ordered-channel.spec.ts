import { describe, expect, jest, test } from '@jest/globals';
import { BEGINNING, type HistoryEntry, type HistoryStore } from '../../../lib/core/history-store.js';
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

/** A channel that has delivered two messages of a history that is gone. */
function gone() {
  const told: string[] = [];
  let end: Position = BEGINNING;
  const read = jest.fn((_: string, after: Position) => {
    const gap = after.epoch === '' || after.epoch === end.epoch ? undefined : ('epoch' as const);
    const from = gap === undefined ? after.offset : 0;
    const entries = Array.from({ length: end.offset - from }, (_each, index) => {
      const offset = from + 1 + index;
      return { offset, payload: `${end.epoch}${offset}` };
    });
    return Promise.resolve({ gap, entries, next: end, end });
  });
  const channel = new OrderedChannel(
    'orders',
    'orders',
    { read },
    {
      message: (payload) => told.push(payload) > 0,
      gap: (_subscription, _channel, failure, { epoch, offset }) => told.push(`gap ${failure} ${epoch}${offset}`),
      failed: () => told.push('failed'),
    },
  );
  const post = (epoch: string, offset: number): void => {
    end = { epoch, offset };
    channel.receive(`${epoch}${offset}`, end);
  };
  channel.beginAt(BEGINNING);
  for (const offset of [1, 2]) post('a', offset);
  told.length = 0;
  end = BEGINNING;
  return { channel, told, read, post };
}

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

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
      const channel = new OrderedChannel(
        'orders',
        'orders',
        { read },
        {
          message: (payload, _subscription, _channel, { offset }) => {
            told.push(`${offset}: ${payload}`);
            return !payload.startsWith('bad');
          },
          gap: () => told.push('gap'),
          failed: () => told.push('failed'),
        },
      );
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
      const channel = new OrderedChannel(
        'orders',
        'orders',
        { read },
        {
          message: () => true,
          gap: () => undefined,
          failed: () => undefined,
        },
      );
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

  describe('whose history is gone', () => {
    test.each([
      ['when it was quiet', (channel: OrderedChannel) => channel.compare(BEGINNING, Infinity)],
      ['after an outage', (channel: OrderedChannel) => channel.checkUntil(BEGINNING)],
    ])(
      'reports that once if it is checked %s, without a post, and delivers the next history from its start',
      async (_when, check) => {
        const { channel, told, read, post } = gone();
        for (let count = 0; count < 3; count++) {
          check(channel);
          await turn();
        }
        expect(told.splice(0)).toEqual(['gap epoch 0']);
        expect(read).toHaveBeenCalledTimes(1);
        for (const offset of [1, 2]) post('b', offset);
        expect(told).toEqual(['b1', 'b2']);
      },
    );

    test('does not begin the next one with a late message of the lost one', async () => {
      const { channel, told, post } = gone();
      channel.checkUntil(BEGINNING);
      await turn();
      channel.receive('a1', { epoch: 'a', offset: 1 });
      await turn();
      expect(told).toEqual(['gap epoch 0']);
      post('b', 1);
      expect(told).toEqual(['gap epoch 0', 'b1']);
    });

    test('has no gap if its first message came while the store was asked', async () => {
      const { told, read } = gone();
      const store = { read };
      const channel = new OrderedChannel('orders', 'orders', store, {
        message: (payload) => told.push(payload) > 0,
        gap: () => told.push('gap'),
        failed: () => told.push('failed'),
      });
      channel.beginAt(BEGINNING);
      channel.checkUntil(BEGINNING);
      channel.compare(BEGINNING, Infinity);
      expect(read).not.toHaveBeenCalled();
      const first = { epoch: 'c', offset: 1 };
      channel.receive('c1', first);
      read.mockResolvedValueOnce({ gap: undefined, entries: [], next: first, end: first });
      channel.checkUntil(BEGINNING);
      await turn();
      expect(told).toEqual(['c1']);
    });
  });
});
