import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Delivery } from '../../../lib/core/delivery.js';
import { Hub } from '../../../lib/core/hub.js';
import type { DeliveriesRead, ReplayStart } from '../../../lib/core/replay.js';
import { TransportUnavailableError } from '../../../lib/protocol/errors.js';
import type { Position } from '../../../lib/protocol/position.js';
import type { Frame } from '../../../lib/sse/frame.js';
import type { HistoryPages } from '../../../lib/sse/history-pages.js';
import { PastReading, type Present } from '../../../lib/sse/past-reading.js';
import { WorkQueue } from '../../../lib/sse/work-queue.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask', 'performance'] });
});
afterEach(() => {
  jest.useRealTimers();
});

const place = (offset: number, epoch = 'e'): Position => ({ epoch, offset });

/** A reader on its way to the present, with a history under the test's control. */
function setup(start: ReplayStart, last?: Position) {
  const reporter = new RecordingReporter();
  const hub = new Hub({ reporter });
  const history = { epoch: 'e', first: 1, end: 0, isAway: false, isBroken: false, reads: [] as ReplayStart[] };
  const pages: Pick<HistoryPages, 'read'> = {
    read: async (at): Promise<DeliveriesRead> => {
      history.reads.push(at);
      if (history.isAway) throw new TransportUnavailableError('away');
      if (history.isBroken) throw new Error('broken');
      const { epoch, first, end } = history;
      const isKnown = typeof at === 'number' || at.epoch === epoch;
      const wanted = typeof at === 'number' ? Math.max(first - 1, end - at) : isKnown ? at.offset : first - 1;
      const from = Math.max(wanted, first - 1);
      const gap = !isKnown ? 'epoch' : from > wanted ? 'trimmed' : undefined;
      const offsets = Array.from({ length: Math.min(2, end - from) }, (_, index) => from + 1 + index);
      const deliveries = offsets.map(
        (offset) =>
          new Delivery(
            offset,
            'orders',
            { origin: 'global', node: '', codec: hub.codec, position: place(offset, epoch) },
            0,
            0,
          ),
      );
      return {
        gap,
        from: place(from, epoch),
        deliveries,
        next: place(from + offsets.length, epoch),
        end: place(end, epoch),
      };
    },
  };
  const sent: string[] = [];
  const present = {
    hub,
    queue: new WorkQueue(reporter),
    channel: 'orders',
    pages: pages as HistoryPages,
    last,
    ready: Promise.resolve(),
  } satisfies Present;
  const reader = {
    next: ({ bytes }: Frame) => {
      const text = bytes.toString();
      const [, id] = /^id: messaging:(.*)$/m.exec(text) ?? [];
      sent.push(`${/^event: messaging:(.*)$/m.exec(text)?.[1] ?? 'message'} ${id}`);
      return true;
    },
    drained: () => Promise.resolve(),
  };
  const begin = () => {
    const reading = new PastReading(present, reader, start, () => sent.push('joined'));
    /** The live stream reaches a message. */
    const hear = (position: Position) => {
      reading.heard(position);
      present.last = position;
    };
    return { reading, hear };
  };
  return { begin, history, present, sent, reporter, reader };
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

describe('A reader of earlier messages', () => {
  test('is led page by page to the other readers, and joins them there', async () => {
    const { begin, history, sent } = setup(place(0), place(3));
    history.end = 3;
    begin();
    await settle();
    expect(sent).toEqual(['message e:1', 'message e:2', 'message e:3', 'position e:3', 'joined']);
    expect(history.reads).toEqual([place(0), place(2)]);
  });

  test('waits for the others if they are behind, and joins them before the next message', async () => {
    const { begin, history, sent } = setup(place(0), place(1));
    history.end = 2;
    const { hear } = begin();
    await settle();
    hear(place(2));
    expect(sent).toEqual(['message e:1', 'message e:2', 'position e:2']);
    hear(place(3));
    expect(sent.at(-1)).toBe('joined');
  });

  test('reads on if the others are ahead', async () => {
    const { begin, history, sent, present } = setup(place(0));
    history.end = 1;
    present.last = place(2);
    begin();
    await settle();
    expect(sent).not.toContain('joined');
    history.end = 2;
    await settle();
    expect(sent).toEqual(['message e:1', 'message e:2', 'position e:2', 'joined']);
  });

  test('reads again messages that the others have not heard either', async () => {
    const { begin, history, sent } = setup(place(0));
    history.end = 1;
    const { hear } = begin();
    await settle();
    history.end = 3;
    hear(place(3));
    await settle();
    expect(sent).toEqual(['message e:1', 'position e:1', 'message e:2', 'message e:3', 'joined']);
  });

  test('reads again if the others have a gap', async () => {
    const { begin, history, sent } = setup(place(0));
    history.end = 1;
    const { reading } = begin();
    await settle();
    history.end = 2;
    reading.lost();
    await settle();
    expect(sent).toEqual(['message e:1', 'position e:1', 'message e:2']);
  });

  test('reads once more after a while if the others seem to be in another epoch, then waits for them', async () => {
    const { begin, history, sent } = setup(place(0), place(9, 'other'));
    history.end = 1;
    const { hear } = begin();
    await settle();
    expect(history.reads).toHaveLength(1);
    history.end = 2;
    for (let times = 0; times < 3; times++) {
      jest.advanceTimersByTime(500);
      await settle();
    }
    expect(history.reads).toHaveLength(2);
    expect(sent).toEqual(['message e:1', 'position e:1', 'message e:2']);
    hear(place(3));
    expect(sent.at(-1)).toBe('joined');
  });

  test('tries again while the history cannot be read, until it ends', async () => {
    const { begin, history, sent } = setup(place(0));
    history.isAway = true;
    history.end = 1;
    const { reading } = begin();
    await settle();
    jest.advanceTimersByTime(499);
    await settle();
    expect(history.reads).toHaveLength(1);
    jest.advanceTimersByTime(1);
    await settle();
    expect(history.reads).toHaveLength(2);
    history.isAway = false;
    jest.advanceTimersByTime(500);
    await settle();
    expect(sent).toEqual(['message e:1', 'position e:1']);
    reading.close();
    expect(jest.getTimerCount()).toBe(0);
  });

  test('reports a broken history once, and tries again', async () => {
    const { begin, history, sent, reporter } = setup(place(0));
    history.isBroken = true;
    history.end = 1;
    begin();
    await settle();
    jest.advanceTimersByTime(500);
    await settle();
    expect(reporter.callbackFailures).toMatchObject([{ callback: 'Reading the history', channel: 'orders' }]);
    history.isBroken = false;
    jest.advanceTimersByTime(500);
    await settle();
    expect(sent).toEqual(['message e:1', 'position e:1']);
  });

  test('ends in the middle of a page', async () => {
    const { begin, history, sent, reader } = setup(place(0));
    history.end = 2;
    const { next } = reader;
    const { reading } = begin();
    reader.next = (frame) => {
      reading.close();
      return next(frame);
    };
    await settle();
    expect(sent).toEqual(['message e:1']);
  });

  test('ends while it waits to try again', async () => {
    const { begin, history, sent } = setup(place(0));
    history.isAway = true;
    const { reading } = begin();
    await settle();
    reading.close();
    history.isAway = false;
    jest.advanceTimersByTime(500);
    await settle();
    expect(history.reads).toHaveLength(1);
    expect(sent).toEqual([]);
  });

  test('counts the last messages from its beginning, even if more come meanwhile', async () => {
    const { begin, history, sent } = setup(2, place(5));
    history.end = 8;
    begin();
    await settle();
    expect(sent.slice(0, 5)).toEqual([4, 5, 6, 7, 8].map((offset) => `message e:${offset}`));
  });

  test('counts from the first message that it hears if none was heard before, and misses none', async () => {
    const { begin, history, sent } = setup(5);
    Object.assign(history, { first: 4, end: 9 });
    begin().hear(place(7));
    await settle();
    expect(sent.slice(0, 6)).toEqual([4, 5, 6, 7, 8, 9].map((offset) => `message e:${offset}`));
  });
});
