import { describe, expect, jest, test } from '@jest/globals';
import { Hub } from '../../../lib/core/hub.js';
import { ChannelStream } from '../../../lib/core/stream.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import type { Position } from '../../../lib/protocol/position.js';
import { Flusher } from '../../../lib/sse/flusher.js';
import type { Frame } from '../../../lib/sse/frame.js';
import { HistoryPages } from '../../../lib/sse/history-pages.js';
import { StreamFeeds } from '../../../lib/sse/stream-feeds.js';
import { WorkQueue } from '../../../lib/sse/work-queue.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

const Orders = defineChannel<number>('history-feed/orders', undefined, {
  history: { maxMessages: 100, ttlMs: 60_000 },
});

function setup() {
  const reporter = new RecordingReporter();
  const hub = new Hub({ reporter });
  const flusher = new Flusher();
  const feeds = new StreamFeeds({ hub, flusher, queue: new WorkQueue(reporter) });
  const asked: string[] = [];
  const [follow, readHistory] = [hub.follow.bind(hub), hub.readHistory.bind(hub)];
  hub.follow = (channel) => {
    asked.push('position');
    return follow(channel);
  };
  hub.readHistory = (...from) => {
    asked.push('read');
    return readHistory(...from);
  };
  const open = (resumesAfter?: Position) => {
    const sent: Frame[] = [];
    const reading = feeds.read(new ChannelStream(hub, hub.heard(Orders), hub.root), {
      sendAll: (batch) => sent.push(...batch.frames),
      complete: () => {},
      next: (frame) => sent.push(frame) > 0,
      drained: () => Promise.resolve(),
      resumesAfter,
    });
    /** The sent events: the name, if there is one, and the offset. */
    const told = async () => {
      for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
      flusher.settle();
      return sent.map(({ bytes }) => {
        const [, name] = /^event: messaging:(.*)$/m.exec(bytes.toString()) ?? [];
        const [, offset] = /^id: messaging:.*:(\d+)$/m.exec(bytes.toString()) ?? [];
        return [name, offset].filter((part) => part !== undefined).join(' ');
      });
    };
    return { sent, told, leave: () => reading.unsubscribe() };
  };
  const post = (number: number) => void hub.post(Orders, number);
  return { hub, open, post, asked };
}

describe('Pages of a history', () => {
  test('are kept for other readers of the same page for a moment, and no longer', () => {
    jest.useFakeTimers();
    try {
      const { hub, asked } = setup();
      const pages = new HistoryPages(hub, Orders.name);
      for (let offset = 0; offset < 300; offset++) void pages.read({ epoch: 'e', offset });
      void pages.read({ epoch: 'e', offset: 299 });
      expect(asked).toHaveLength(300);
      // Too many to keep all of them.
      void pages.read({ epoch: 'e', offset: 0 });
      expect(asked).toHaveLength(301);
      expect(pages['pages'].size).toBe(256);
      jest.advanceTimersByTime(1_000);
      expect(pages['pages'].size).toBe(0);
      expect(jest.getTimerCount()).toBe(0);
    } finally {
      jest.useRealTimers();
    }
  });
});

describe('A page of a history', () => {
  test('is no page for others if its reader claims to be further than the history', async () => {
    const { hub, post } = setup();
    post(1);
    const { epoch } = await hub.positionOf(Orders.name);
    const pages = new HistoryPages(hub, Orders.name);
    const [claimed, other] = [pages.read({ epoch, offset: 2 }), pages.read({ epoch, offset: 2 })];
    expect((await claimed).gap).toBe('future');
    // Another server has posted it, and this one has not heard it yet.
    post(2);
    for (const page of [other, pages.read({ epoch, offset: 2 })]) {
      expect(await page).toMatchObject({ gap: undefined, deliveries: [], next: { epoch, offset: 2 } });
    }
  });
});

describe('A feed of a channel with history', () => {
  test('asks once for its position for all early readers, and sends it to each; later readers get it at once', async () => {
    const { open, post, asked } = setup();
    const [first, second, leaving] = [open(), open(), open()];
    leaving.leave();
    expect(await first.told()).toEqual(['position 0']);
    expect(await second.told()).toEqual(['position 0']);
    expect(leaving.sent).toEqual([]);
    post(1);
    const late = open();
    expect(late.sent).toHaveLength(1);
    post(2);
    expect(await late.told()).toEqual(['position 1', '2']);
    expect(await first.told()).toEqual(['position 0', '1', '2']);
    expect(asked).toEqual(['position']);
  });

  test('continues for readers that are still catching up when the last of the others leaves', async () => {
    const { hub, open, post } = setup();
    post(1);
    const position = await hub.positionOf(Orders.name);
    const other = open();
    const comer = open(position);
    expect(await comer.told()).toEqual(['position 1']);
    other.leave();
    post(2);
    expect(await comer.told()).toEqual(['position 1', '2']);
    comer.leave();
    expect(hub['audience']['channels'].get(Orders.name)).toBeUndefined();
  });

  test('ends for a reader that leaves while catching up', async () => {
    const { hub, open, post } = setup();
    post(1);
    const position = await hub.positionOf(Orders.name);
    const other = open();
    const comer = open(position);
    await comer.told();
    comer.leave();
    post(2);
    post(3);
    expect(await comer.told()).toEqual(['position 1']);
    expect(await other.told()).toEqual(['position 1', '2', '3']);
  });

  test('ends for a reader that leaves during a read', async () => {
    const { hub, open, post } = setup();
    post(1);
    const comer = open({ epoch: '', offset: 0 });
    comer.leave();
    expect(hub['audience']['channels'].get(Orders.name)).toBeUndefined();
    open();
    const another = open({ epoch: '', offset: 0 });
    another.leave();
    expect(await another.told()).toEqual([]);
    expect(await comer.told()).toEqual([]);
  });

  test('reports a gap to the joined readers, and lets the others read on', async () => {
    const { hub, open, post } = setup();
    post(1);
    const position = await hub.positionOf(Orders.name);
    const [there, comer] = [open(), open(position)];
    expect(await comer.told()).toEqual(['position 1']);
    // Appended by another server, and not heard by this one.
    const { store } = hub['histories']!;
    const { entries } = await store.read(Orders.name, 1);
    await store.append(Orders.name, entries[0]!, { maxMessages: 100, ttlMs: 60_000 });
    hub['audience'].tellGap(Orders.name, 'trimmed', { ...position, offset: 2 });
    expect(await comer.told()).toEqual(['position 1', '2']);
    expect(await there.told()).toEqual(['position 1', 'gap 2']);
    post(3);
    expect(await comer.told()).toEqual(['position 1', '2', '3']);
  });

  test('reads and encodes each page once for all its readers, and again when there is more', async () => {
    const { hub, open, post, asked } = setup();
    for (const number of [1, 2, 3]) post(number);
    const { epoch } = await hub.positionOf(Orders.name);
    const comers = [1, 2, 3].map(() => open({ epoch, offset: 1 }));
    for (const comer of comers) expect(await comer.told()).toEqual(['2', '3', 'position 3']);
    expect(asked).toEqual(['read']);
    expect(new Set(comers.map(({ sent }) => sent[0])).size).toBe(1);
    const there = open({ epoch, offset: 3 });
    expect(await there.told()).toEqual(['position 3']);
    post(4);
    expect(await open({ epoch, offset: 3 }).told()).toEqual(['4', 'position 4']);
    expect(await there.told()).toEqual(['position 3', '4']);
  });
});
