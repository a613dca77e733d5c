import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { Deferred } from '../../../lib/core/deferred.js';
import { NodeSilentError } from '../../../lib/core/node-failure.js';
import { HistoryFeed } from '../../../lib/gateway/history-feed.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import type { Position } from '../../../lib/protocol/position.js';
import type { FeedPlace } from '../../../lib/sse/feed.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { GatewayNode, type StreamReader } from '../../support/gateway-node.js';
import { turns } from '../../support/turns.js';

afterEach(() => GatewayNode.closeAll());

const history = { maxMessages: 10, ttlMs: 60_000 };
const Orders = defineChannel<number>('gateway-history/orders', undefined, { history });
const { name } = Orders;

async function twoNodes(broker = new MemoryBroker()) {
  return { broker, a: await GatewayNode.start(broker), b: await GatewayNode.start(broker) };
}

async function post(node: GatewayNode, ...messages: readonly number[]): Promise<void> {
  for (const message of messages) expect(await node.hub.post(Orders, message)).toBe(true);
}

/** The next `count` messages, `ready` and gaps; skips positions that report no loss. */
async function next(reader: StreamReader, count: number): Promise<unknown[]> {
  const found: unknown[] = [];
  while (found.length < count) {
    const { event, data } = (await reader.events.take(1))[0]!;
    const told = JSON.parse(data) as {
      channels?: { reason?: string; position?: { offset: number } }[];
      data?: unknown;
    };
    if (event === 'messaging:position') {
      for (const { reason, position } of told.channels!) if (reason) found.push(`gap ${reason} ${position!.offset}`);
    } else found.push(event === 'messaging:ready' ? 'ready' : told.data);
  }
  return found;
}

/** The position of a client that has read everything up to now. */
const reached = (reader: StreamReader) => reader.wanted(name);

describe('A client of a channel with history', () => {
  test('gets messages with their offsets, and a position that every node knows', async () => {
    const { a, b } = await twoNodes();
    await post(a, 1, 2);
    const [one, other] = [await a.open(name), await b.open(name)];
    expect(one.positions.get(name)).toEqual(other.positions.get(name));
    expect(one.positions.get(name)).toEqual({ epoch: expect.stringMatching(/^h\../), offset: 2 });
    await post(b, 3);
    for (const reader of [one, other]) {
      expect(await next(reader, 1)).toEqual([3]);
      expect(reader.positions.get(name)!.offset).toBe(3);
    }
  });

  test.each(['the same node', 'another node'])(
    'that comes back to %s gets missed messages, once and in order',
    async (where) => {
      const { a, b } = await twoNodes();
      const before = await a.open(name);
      await post(a, 1);
      expect(await next(before, 1)).toEqual([1]);
      before.close();
      await post(b, 2, 3);
      const node = where === 'the same node' ? a : b;
      const after = node.connect(reached(before));
      expect(await next(after, 3)).toEqual([2, 3, 'ready']);
      await post(a, 4);
      expect(await next(after, 1)).toEqual([4]);
    },
  );

  test('does not get a message again that was on its way when the store was asked for the position', async () => {
    const { a } = await twoNodes();
    await post(a, 1);
    const reader = await a.open(name);
    const { entries, next: position } = await a.transport!.history.read(name, 1);
    a.hub['inbound'].deliver(entries[0]!.payload, name, name, position);
    await post(a, 2);
    expect(await next(reader, 1)).toEqual([2]);
  });

  test('that is new gets the position before messages that come while it enters', async () => {
    const { a } = await twoNodes();
    await a.open(name);
    await post(a, 1);
    const find = Object.getOwnPropertyDescriptor(HistoryFeed.prototype, 'find')!.value as HistoryFeed['find'];
    jest.spyOn(HistoryFeed.prototype, 'find').mockImplementationOnce(async function (this: HistoryFeed, start) {
      const page = await find.call(this, start);
      await post(a, 2);
      return page;
    });
    const reader = a.connect([name]);
    const [told] = await reader.events.take(1);
    expect(JSON.parse(told!.data)).toEqual({
      channels: [{ channel: name, position: { epoch: expect.any(String), offset: 1 } }],
    });
    expect(await next(reader, 2)).toEqual([2, 'ready']);
    expect(reader.positions.get(name)!.offset).toBe(2);
  });

  test('that is ahead of its server reads again if the server goes on beyond that, and misses nothing', async () => {
    const join = jest.spyOn(HistoryFeed.prototype, 'join');
    const { a } = await twoNodes();
    await a.open(name);
    await post(a, 1);
    const feed = join.mock.contexts[0] as HistoryFeed;
    const { epoch } = await a.hub.follow(name);
    const again = jest.fn();
    const place = {} as FeedPlace;
    feed.join(place, { epoch, offset: 3 }, again);
    feed['goTo']({ epoch, offset: 3 });
    expect(again).not.toHaveBeenCalled();
    // Nobody delivered 4 and 5.
    feed['goTo']({ epoch, offset: 6 });
    expect(again).toHaveBeenCalledTimes(1);
    join.mockRestore();
  });

  test('learns that all messages have come', async () => {
    const { a, b } = await twoNodes();
    const before = await a.open(name);
    await post(a, 1);
    before.close();
    const { channels } = await b.connect(reached(before)).ready();
    expect(channels).toEqual([{ channel: name, position: { epoch: expect.any(String), offset: 1 }, recovered: true }]);
  });

  test('comes back to a new node when its former one is gone', async () => {
    const broker = new MemoryBroker();
    const a = await GatewayNode.start(broker);
    const before = await a.open(name);
    await post(a, 1);
    expect(await next(before, 1)).toEqual([1]);
    await a.hub.close();
    const b = await GatewayNode.start(broker);
    await post(b, 2);
    expect(await next(b.connect(reached(before)), 2)).toEqual([2, 'ready']);
  });

  test('that missed trimmed messages has one gap, then all available messages', async () => {
    const { a } = await twoNodes();
    const before = await a.open(name);
    before.close();
    const numbers = Array.from({ length: 40 }, (_, index) => index + 1);
    await post(a, ...numbers);
    const { deliveries } = await a.hub.readHistory(name, 100);
    const b = await GatewayNode.start(a.transport!['broker']);
    const after = b.connect(reached(before));
    const [told] = await after.events.take(1);
    expect(JSON.parse(told!.data)).toEqual({
      channels: [
        {
          channel: name,
          position: { epoch: expect.stringMatching(/^h\../), offset: 40 - deliveries.length },
          recovered: false,
          reason: 'trimmed',
        },
      ],
    });
    expect(await next(after, deliveries.length + 1)).toEqual([...deliveries.map(({ message }) => message), 'ready']);
  });

  test('whose history was wiped has one gap, then all available messages', async () => {
    const { broker, a, b } = await twoNodes();
    const before = await a.open(name);
    await post(a, 1, 2);
    await next(before, 2);
    before.close();
    await a.hub.close();
    broker.wipe();
    await post(b, 3);
    const after = b.connect(reached(before));
    expect(await after.position()).toMatchObject({
      channels: [{ recovered: false, reason: 'epoch', position: { offset: 0 } }],
    });
    expect(await next(after, 2)).toEqual([3, 'ready']);
  });
});

/** How often a node reads histories. */
function countReads({ hub }: GatewayNode): () => number {
  const read = jest.spyOn(hub, 'readHistory');
  return () => read.mock.calls.length;
}

describe('Clients with the same request to a history at once', () => {
  test('cost one read and one encoding, whether they come back or request the last messages', async () => {
    const { a, b } = await twoNodes();
    const before = await a.open(name);
    before.close();
    await post(a, 1, 2, 3, 4, 5);
    const reads = countReads(b);
    const last = { channel: name, position: { epoch: 'last', offset: 3 } };
    for (const [wanted, count] of [
      [reached(before), 5],
      [[last], 3],
    ] as const) {
      const earlier = reads();
      const readers = Array.from({ length: 100 }, () => b.connect(wanted));
      for (const reader of readers) expect((await next(reader, count + 1)).at(-1)).toBe('ready');
      expect(reads() - earlier).toBe(1);
      const frames = new Set(readers.map(({ frames: sent }) => sent.find(({ bytes }) => bytes.includes('"data":5'))));
      expect(frames.size).toBe(1);
    }
  });

  test('cost one read and one encoding within a second, even one after the other', async () => {
    const { a, b } = await twoNodes();
    const before = await a.open(name);
    before.close();
    await post(a, 1, 2, 3);
    const reads = countReads(b);
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask', 'performance'] });
    try {
      const comeBack = async () => {
        const reader = b.connect(reached(before));
        expect(await next(reader, 4)).toEqual([1, 2, 3, 'ready']);
        await turns(5);
        return reader.frames.find(({ bytes }) => bytes.includes('"data":3'));
      };
      const first = await comeBack();
      expect(await comeBack()).toBe(first);
      expect(reads()).toBe(1);
      jest.advanceTimersByTime(1_000);
      expect(await comeBack()).not.toBe(first);
      expect(reads()).toBe(2);
    } finally {
      jest.useRealTimers();
    }
  });

  test('get messages that the node has just sent without a read', async () => {
    const { a } = await twoNodes();
    await post(a, 0);
    const [before, other] = [await a.open(name), await a.open(name)];
    before.close();
    await post(a, 1, 2, 3);
    await next(other, 3);
    const reads = countReads(a);
    expect(await next(a.connect(reached(before)), 4)).toEqual([1, 2, 3, 'ready']);
    expect(reads()).toBe(0);
  });
});

describe('A history that begins again while clients have it', () => {
  test('gives each client one gap, and the position where it continues', async () => {
    const { broker, a, b } = await twoNodes();
    const reader = await a.open(name);
    await post(b, 1);
    expect(await next(reader, 1)).toEqual([1]);
    broker.cut(a.transport);
    await post(b, 2);
    broker.wipe();
    await post(b, 3);
    broker.heal();
    expect(await next(reader, 2)).toEqual(['gap epoch 0', 3]);
    expect(reader.positions.get(name)!.offset).toBe(1);
  });

  test('loses nothing if its messages continue: clients get the new name of the position', async () => {
    const { a } = await twoNodes();
    const reader = await a.open(name);
    await post(a, 1);
    expect(await next(reader, 1)).toEqual([1]);
    const { epoch } = reader.positions.get(name)!;
    const payload = (await a.transport!.history.read(name, 1)).entries[0]!.payload;
    // As over a Redis that was replaced by another one, with all of its data.
    a.hub['inbound'].deliver(payload, name, name, { epoch: 'new', offset: 2 });
    expect(await next(reader, 1)).toEqual([1]);
    expect(epoch).not.toBe('h.new');
    expect(reader.positions.get(name)).toEqual({ epoch: 'h.new', offset: 2 });
  });
});

describe('A node that has not yet heard the latest messages of a history', () => {
  test('gives a listener live messages only when the stream has reached the earlier messages that the listener got', async () => {
    const { a, b } = await twoNodes();
    await post(a, 1);
    const reader = await b.open(name);
    jest.spyOn(b.transport!, 'deliver').mockImplementationOnce(() => {});
    await post(a, 2);
    // Like a reloaded page that had the message from another node.
    const { next: start } = await a.transport!.history.read(name, 2);
    await reader.connection.subscribe([], undefined, [{ channel: name, listener: 'one', start }]);
    const told = async (count: number) => {
      const events = await reader.events.take(count);
      return events.map(({ event, id, data }) => {
        const { position, done } = JSON.parse(data) as { position?: Position; done?: boolean };
        return event === 'messaging:replay' ? `${done ?? 'from'} ${position!.offset}` : (id ?? event);
      });
    };
    expect(await told(3)).toEqual(['messaging:position', 'from 2', 'false 2']);
    await post(a, 3);
    // The first belongs to the stream, not to the listener; the rest is for the listener alone.
    expect(await told(5)).toEqual(['2', '3', 'from 2', '3', 'true 3']);
  });
});

describe('A client whose history was read just before it began again', () => {
  test('learns of that, even if nothing more is posted', async () => {
    const { broker, a } = await twoNodes();
    const before = await a.open(name);
    await post(a, 1);
    before.close();
    const find = Object.getOwnPropertyDescriptor(HistoryFeed.prototype, 'find')!.value as HistoryFeed['find'];
    jest.spyOn(HistoryFeed.prototype, 'find').mockImplementationOnce(async function (this: HistoryFeed, start) {
      const page = await find.call(this, start);
      broker.wipe();
      await post(a, 2);
      await turns(5);
      return page;
    });
    expect(await next(a.connect(reached(before)), 3)).toEqual(['ready', 'gap epoch 0', 2]);
  });
});

describe('A client that comes while the history cannot be read', () => {
  test('gets missed messages afterwards', async () => {
    const { broker, a, b } = await twoNodes();
    const before = await a.open(name);
    before.close();
    await post(a, 1, 2);
    broker.cut(b.transport);
    const after = b.connect(reached(before));
    expect(await next(after, 1)).toEqual(['ready']);
    broker.heal();
    expect(await next(after, 2)).toEqual([1, 2]);
    await post(a, 3);
    expect(await next(after, 1)).toEqual([3]);
  });

  test('that is new gets a gap when the position of the channel is known', async () => {
    const { broker, a, b } = await twoNodes();
    await post(a, 1);
    broker.cut(b.transport);
    const reader = b.connect([name]);
    expect(await next(reader, 1)).toEqual(['ready']);
    broker.heal();
    expect(await next(reader, 1)).toEqual(['gap broker 1']);
    await post(a, 2);
    expect(await next(reader, 1)).toEqual([2]);
  });
});

describe('A native EventSource of channels with and without history', () => {
  test('comes back to any node with its Last-Event-ID, which nobody without the channel can forge', async () => {
    const { a, b } = await twoNodes();
    const names = [name, 'gateway-history/plain'];
    const before = a.get(names);
    await before.ready();
    await post(a, 1);
    await a.post('gateway-history/plain', 'plain 1');
    expect(await before.next(2)).toEqual([1, 'plain 1']);
    before.close();
    await post(a, 2, 3);
    await a.post('gateway-history/plain', 'plain 2');
    const after = b.get(names, before.lastEventId);
    const told = await after.next(4);
    expect(told.filter((each) => typeof each === 'number')).toEqual([2, 3]);
    expect(told).toEqual(expect.arrayContaining(['plain 2', 'messaging:ready']));
  });

  test('comes back with its position when its former node is gone', async () => {
    const broker = new MemoryBroker();
    const a = await GatewayNode.start(broker);
    const before = a.get([name]);
    await before.ready();
    await post(a, 1);
    expect(await before.next(1)).toEqual([1]);
    await a.hub.close();
    const b = await GatewayNode.start(broker);
    await post(b, 2);
    expect(await b.get([name], before.lastEventId).next(2)).toEqual([2, 'messaging:ready']);
  });

  test.each(['nonsense', '-', `${'0'.repeat(8)}~~~5!e`])(
    'has a gap or begins again with %s, and nothing fails',
    async (id) => {
      const { a } = await twoNodes();
      await post(a, 1);
      const reader = a.get([name], id);
      await reader.ready();
      await post(a, 2);
      await reader.events.until(({ data }) => data === '2');
      expect([a.reporter.rejections, a.reporter.callbackFailures]).toEqual([[], []]);
    },
  );
});

describe('A client of a whole template', () => {
  const Halls = defineChannel<number, 'gateway-history/halls/:id'>('gateway-history/halls/:id', undefined, { history });

  async function heardHalls() {
    const { broker, a, b } = await twoNodes();
    const reader = await b.open(Halls.name);
    const say = async (message: number, ...ids: string[]): Promise<void> => {
      for (const id of ids) expect(await a.hub.post(Halls.for({ id }), message)).toBe(true);
    };
    await say(1, '1', '2', '3');
    expect(await next(reader, 3)).toEqual([1, 1, 1]);
    /** Reasons of gaps, and messages up to the next one of each channel. Messages of different channels may be in any order. */
    const rest = async (): Promise<unknown[]> => {
      await say(3, '1', '2', '3', 'end');
      const found: unknown[] = [];
      for (let left = 4; left > 0;) {
        const { data } = (await reader.events.take(1))[0]!;
        const told = JSON.parse(data) as { reason?: string; data?: number };
        found.push(told.reason ?? told.data);
        if (told.data === 3) left--;
      }
      const first = found.findIndex((each) => typeof each === 'number');
      return [...found.slice(0, first), ...found.slice(first).toSorted((one, other) => Number(one) - Number(other))];
    };
    return { broker, b, say, rest };
  }

  test('has one gap if several channels lost their histories', async () => {
    const { broker, say, rest } = await heardHalls();
    broker.wipe();
    await say(2, '1', '2');
    expect(await rest()).toEqual(['epoch', 2, 2, 3, 3, 3, 3]);
  });

  test('has one gap if several channels lost their histories in an outage', async () => {
    const { broker, b, say, rest } = await heardHalls();
    broker.cut(b.transport);
    broker.wipe();
    await say(2, '1', '2');
    broker.heal();
    await b.hub.whenWhole(Halls.name, 5_000);
    expect(await rest()).toEqual(['broker', 2, 2, 3, 3, 3, 3]);
  });
});

describe('A client of a whole template that moves', () => {
  const Rooms = defineChannel<number, 'gateway-history/rooms/:id'>('gateway-history/rooms/:id', undefined, { history });
  const template = Rooms.name;

  async function say(from: GatewayNode, message: number): Promise<void> {
    expect(await from.hub.post(Rooms.for({ id: '1' }), message)).toBe(true);
  }

  /** Two nodes that have heard the first message; the named one misses the next ones and cannot read them yet. */
  async function afterOutage(which: 'a' | 'b', ...missed: readonly number[]) {
    const { broker, a, b } = await twoNodes();
    const first = await a.open(template);
    const other = await b.open(template);
    await say(a, 1);
    for (const reader of [first, other]) expect(await reader.next(1)).toEqual([1]);
    const [cut, poster] = which === 'a' ? [a, b] : [b, a];
    broker.cut(cut.transport);
    for (const message of missed) await say(poster, message);
    const { history: store } = cut.transport!;
    const read = store.read.bind(store);
    const { promise: held, resolve: goOn } = new Deferred();
    const asked = new Promise<void>((resolve) => {
      jest.spyOn(store, 'read').mockImplementation(async (...from) => {
        resolve();
        await held;
        return read(...from);
      });
    });
    broker.heal();
    await asked;
    return { a, b, first, goOn };
  }

  test('to a server that still reads missed messages of a history gets nothing twice', async () => {
    const { a, b, first, goOn } = await afterOutage('b', 2, 3);
    expect(await first.next(2)).toEqual([2, 3]);
    first.close();
    await say(a, 4);
    const back = b.connect(first.wanted(template));
    // A client without anything to wait for would be ready by then.
    await turns(50);
    expect(back.pending).toEqual([]);
    goOn();
    expect(await back.next(2)).toEqual([4, 'messaging:ready']);
    await say(a, 5);
    expect(await back.next(1)).toEqual([5]);
  });

  test('from a server that still reads missed messages of a history misses nothing', async () => {
    const { a, b, first, goOn } = await afterOutage('a', 2, 3);
    first.close();
    const back = b.connect(first.wanted(template));
    await turns(50);
    goOn();
    await say(a, 4);
    const got = await back.next(4);
    expect(got.filter((each) => typeof each === 'number')).toEqual([2, 3, 4]);
  });

  test('from a lost server to one that still reads gets no message again after its gap', async () => {
    const { a, b, first, goOn } = await afterOutage('b', 2);
    expect(await first.next(1)).toEqual([2]);
    await a.hub.close();
    // Otherwise the node looks for it for a while.
    jest.spyOn(b.gateway['nodes'], 'askIfThere').mockRejectedValue(new NodeSilentError('it is gone'));
    const back = b.connect(first.wanted(template));
    await turns(50);
    goOn();
    const ready = await back.ready();
    expect(ready.channels).toMatchObject([{ channel: template, recovered: false, reason: 'node' }]);
    await say(b, 3);
    expect(await back.next(1)).toEqual([3]);
  });
});
