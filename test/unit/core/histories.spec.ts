import { describe, expect, jest, test } from '@jest/globals';
import { Histories, type HistoriesOutput } from '../../../lib/core/histories.js';
import type { HistoryChanges, HistoryRead, HistoryStore, HistoryTime } from '../../../lib/core/history-store.js';
import { Hub } from '../../../lib/core/hub.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { ConfigurationError, RedisNotEnabledError, TransportUnavailableError } from '../../../lib/protocol/errors.js';
import type { Position } from '../../../lib/protocol/position.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { Queue } from '../../support/queue.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

const Orders = defineChannel<number>('histories/orders', undefined, { history: { maxMessages: 100, ttlMs: 60_000 } });
const Plain = defineChannel<number>('histories/plain');

/** A node of a broker, or the only node, with its messages. */
async function node(broker?: MemoryBroker) {
  const transport = broker && new MemoryTransport(broker);
  const reporter = new RecordingReporter();
  const hub = new Hub({ reporter, transport });
  await hub.start();
  const heard = new Queue<string>();
  const listen = async () => {
    const listener = hub.listen(
      Orders,
      (message, { position }) => heard.push(`${position!.offset}: ${String(message)}`),
      hub.root,
      undefined,
      ({ reason, position }) => heard.push(`gap ${reason} ${position?.offset}`),
    );
    await listener.ready;
  };
  return { hub, heard, listen, transport, reporter };
}

describe('A channel with history in one process', () => {
  test('delivers at once, with the position', async () => {
    const { hub, heard, listen } = await node();
    await listen();
    expect(hub.post(Orders, 7)).toBeInstanceOf(Promise);
    expect(heard.pending).toEqual(['1: 7']);
  });

  test('keeps posts made before anybody listened', async () => {
    const { hub } = await node();
    for (const number of [1, 2, 3]) expect(await hub.post(Orders, number)).toBe(true);
    const { deliveries, gap, end } = await hub.readHistory(Orders.name, 2);
    expect(deliveries.map(({ message }) => message)).toEqual([2, 3]);
    expect(gap).toBeUndefined();
    expect(end).toEqual(await hub.positionOf(Orders.name));
  });

  test('accepts a post with an id once', async () => {
    const { hub, heard, listen } = await node();
    await listen();
    expect(await hub.post(Orders, 1, { id: 'a' })).toBe(true);
    expect(await hub.post(Orders, 1, { id: 'a' })).toBe(true);
    expect(() => hub.post(Orders, 2, { id: 'a' })).toThrow(ConfigurationError);
    expect(heard.pending).toEqual(['1: 1']);
  });

  test('refuses posts that could not be the same everywhere, and ids without a history', async () => {
    const { hub } = await node();
    expect(() => hub.post(Orders, 1, { scope: 'local' })).toThrow('has a history');
    expect(() => hub.post(Orders, 1, { global: true })).toThrow(RedisNotEnabledError);
    expect(() => hub.post(Plain, 1, { id: 'a' })).toThrow('needs a channel with history');
  });
});

describe('A channel with history on several nodes', () => {
  test('delivers in the order of offsets on each node, including the poster', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await node(broker), await node(broker)];
    await Promise.all([a.listen(), b.listen()]);
    void a.hub.post(Orders, 1);
    void b.hub.post('histories/orders', 2);
    void a.hub.post(Orders, 3);
    for (const { heard } of [a, b]) expect(await heard.take(3)).toEqual(['1: 1', '2: 2', '3: 3']);
  });

  test('gives each listener the origin of the post, though all get it from the broker', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await node(broker), await node(broker)];
    const origins = new Queue<string>();
    for (const [name, { hub }] of Object.entries({ a, b })) {
      const { ready } = hub.listen(Orders, (_, { origin }) => origins.push(`${name}: ${origin}`), hub.root);
      await ready;
    }
    await a.hub.post(Orders, 1);
    expect((await origins.take(2)).toSorted()).toEqual(['a: local', 'b: global']);
  });

  test('reads messages that a node missed while the broker was away, and reports no gap', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await node(broker), await node(broker)];
    await b.listen();
    expect(await a.hub.post(Orders, 1)).toBe(true);
    expect(await b.heard.take(1)).toEqual(['1: 1']);
    broker.cut(b.transport);
    for (const number of [2, 3]) expect(await a.hub.post(Orders, number)).toBe(true);
    broker.heal();
    expect(await a.hub.post(Orders, 4)).toBe(true);
    expect(await b.heard.take(3)).toEqual(['2: 2', '3: 3', '4: 4']);
  });

  test('reads missed messages before the first live one', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await node(broker), await node(broker)];
    await b.listen();
    broker.cut(b.transport);
    expect(await a.hub.post(Orders, 1)).toBe(true);
    broker.heal();
    expect(await b.heard.take(1)).toEqual(['1: 1']);
  });

  test('that is quiet for days reports no gap, and continues its offsets', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    try {
      const broker = new MemoryBroker();
      const [a, b] = [await node(broker), await node(broker)];
      await b.listen();
      expect(await a.hub.post(Orders, 1)).toBe(true);
      for (let minute = 0; minute < 3 * 24 * 60; minute += 5) {
        await jest.advanceTimersByTimeAsync(300_000);
        await broker.turn();
      }
      expect(await a.hub.post(Orders, 2)).toBe(true);
      await broker.turn();
      expect(b.heard.pending).toEqual(['1: 1', '2: 2']);
    } finally {
      jest.useRealTimers();
    }
  });

  test('reports one gap if missed messages are no longer kept', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await node(broker), await node(broker)];
    await b.listen();
    expect(await a.hub.post(Orders, 1)).toBe(true);
    expect(await b.heard.take(1)).toEqual(['1: 1']);
    broker.cut(b.transport);
    expect(await a.hub.post(Orders, 2)).toBe(true);
    broker.wipe();
    expect(await a.hub.post(Orders, 3)).toBe(true);
    broker.heal();
    expect(await b.heard.take(2)).toEqual(['gap epoch 0', '1: 3']);
    expect(await a.hub.post(Orders, 4)).toBe(true);
    expect(await b.heard.take(1)).toEqual(['2: 4']);
  });

  test('is not accepted while the broker is away, and reaches no listener', async () => {
    const broker = new MemoryBroker();
    const a = await node(broker);
    await a.listen();
    broker.cut();
    expect(await a.hub.post(Orders, 1)).toBe(false);
    broker.heal();
    expect(await a.hub.post(Orders, 2)).toBe(true);
    expect(await a.heard.take(1)).toEqual(['1: 2']);
  });
});

const Rooms = defineChannel<number, 'histories/rooms/:id'>('histories/rooms/:id', undefined, {
  history: { maxMessages: 100, ttlMs: 60_000 },
});

describe('Listeners of channels with history', () => {
  test('of a template, and of one of its channels, get each message once', async () => {
    for (const broker of [undefined, new MemoryBroker()]) {
      const { hub } = await node(broker);
      const heard = new Queue<string>();
      const hear = (name: string) => (message: number) => heard.push(`${name}: ${message}`);
      await hub.listen(Rooms.for({ id: '1' }), hear('room'), hub.root).ready;
      await hub.listen(Rooms, hear('template'), hub.root).ready;
      for (const number of [1, 2]) await hub.post(Rooms.for({ id: '1' }), number);
      expect((await heard.take(4)).toSorted()).toEqual(['room: 1', 'room: 2', 'template: 1', 'template: 2']);
      await hub.readHistory('histories/rooms/1', 1);
      expect(heard.pending).toEqual([]);
    }
  });

  test('that are not ready at the start get the posts of this node from that time once, by name and by template', async () => {
    const { hub } = await node(new MemoryBroker());
    hub.holdPosts();
    const heard = new Queue<string>();
    const hear = (name: string) => (message: number) => heard.push(`${name}: ${message}`);
    const room = Rooms.for({ id: '2' });
    const prepared = [hub.prepare(room, hear('room'), hub.root), hub.prepare(Rooms, hear('template'), hub.root)];
    // Another listener is subscribed already, so the broker delivers some of the messages.
    await hub.post(room, 1);
    await hub.listen(room, () => {}, hub.root).ready;
    await hub.post(room, 2);
    const posted = hub.post(room, 3);
    hub.release(prepared);
    await posted;
    await hub.post(room, 4);
    const all = await heard.take(8);
    for (const name of ['room', 'template']) {
      expect(all.filter((text) => text.startsWith(name))).toEqual([1, 2, 3, 4].map((number) => `${name}: ${number}`));
    }
    await hub.readHistory(room.name, 1);
    expect(heard.pending).toEqual([]);
  });

  test('are ready when they can miss nothing any more, even if the link breaks before the first message', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await node(broker), await node(broker)];
    const listening = b.listen();
    let isReady = false;
    void listening.then(() => (isReady = true));
    // The subscription is registered, but the position of the channel is not known yet.
    await broker.turn();
    broker.cut(b.transport);
    expect(await a.hub.post(Orders, 1)).toBe(true);
    broker.heal();
    expect(isReady).toBe(false);
    await listening;
    expect(await a.hub.post(Orders, 2)).toBe(true);
    // Neither a gap nor a hole.
    const heard = await b.heard.takeUntil((text) => text === '2: 2');
    expect(heard.filter((text) => text !== '1: 1')).toEqual([]);
  });

  test('that come back start again, without the posts made while nobody listened', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await node(broker), await node(broker)];
    const heard = new Queue<number>();
    const first = b.hub.listen(Orders, heard.push, b.hub.root);
    await first.ready;
    // On its way when the listener leaves.
    const posted = a.hub.post(Orders, 1);
    first.unsubscribe();
    await posted;
    for (const number of [2, 3]) await a.hub.post(Orders, number);
    await b.hub.listen(Orders, heard.push, b.hub.root).ready;
    await a.hub.post(Orders, 4);
    expect(await heard.next()).toBe(4);
  });

  test('by name are ordered as soon as the channel is defined', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await node(broker), await node(broker)];
    const heard = new Queue<unknown>();
    await b.hub.listen('histories/later', heard.push, b.hub.root).ready;
    const Later = defineChannel<number>('histories/later', undefined, { history: { maxMessages: 10, ttlMs: 60_000 } });
    await a.hub.post(Later, 1);
    expect(await heard.next()).toBe(1);
    await b.hub.listen(Later, () => {}, b.hub.root).ready;
    broker.cut(b.transport);
    await a.hub.post(Later, 2);
    broker.heal();
    expect(await heard.next()).toBe(2);
  });

  test('that fail at a message from the history are reported, and get the other messages', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await node(broker), await node(broker)];
    const heard = new Queue<number>();
    const hear = (message: number) => {
      heard.push(message);
      throw new Error(`not ${message}`);
    };
    await b.hub.listen(Orders, hear, b.hub.root).ready;
    broker.cut(b.transport);
    for (const number of [1, 2]) await a.hub.post(Orders, number);
    broker.heal();
    expect(await heard.take(2)).toEqual([1, 2]);
    expect(b.reporter.listenerFailures).toHaveLength(2);
  });

  test('get their own posts to their channel after the messages of the history', async () => {
    for (const broker of [undefined, new MemoryBroker()]) {
      const { hub } = await node(broker);
      const heard = new Queue<number>();
      await hub.listen(
        Orders,
        (message) => {
          heard.push(message);
          if (message < 100) void hub.post(Orders, message + 100);
        },
        hub.root,
      ).ready;
      for (const number of [1, 2]) void hub.post(Orders, number);
      expect((await heard.take(4)).toSorted((one, other) => one - other)).toEqual([1, 2, 101, 102]);
    }
  });

  test('that post without end do not block the process', async () => {
    const { hub, reporter } = await node();
    hub.listen(Orders, (message) => void hub.post(Orders, message + 1), hub.root);
    void hub.post(Orders, 0);
    expect(reporter.listenerFailures.map(({ error }) => String(error))).toEqual([
      expect.stringContaining('this chain of listeners does not end'),
    ]);
  });
});

/** Two nodes; the second one listens to the template. */
async function templateNodes(broker = new MemoryBroker()) {
  const [a, b] = [await node(broker), await node(broker)];
  const { heard } = b;
  const listener = b.hub.listen(
    Rooms,
    (message: number, { channel, position }) =>
      heard.push(`${channel.split('/').at(-1)} ${position!.offset}: ${message}`),
    b.hub.root,
    undefined,
    ({ reason }) => heard.push(`gap ${reason}`),
  );
  await listener.ready;
  const post = async (id: string, message: number): Promise<void> => {
    expect(await a.hub.post(Rooms.for({ id }), message)).toBe(true);
  };
  /** Everything up to a message of a channel outside of the test. */
  const rest = async (): Promise<string[]> => {
    expect(await b.hub.whenWhole(Rooms.name, 5_000)).toBe(true);
    await post('end', 0);
    return heard.takeUntil((text) => text.startsWith('end'));
  };
  return { broker, a, b, heard, post, rest };
}

/** Lets enough time pass for two checks of quiet channels, which first must be quiet for a while. Requires fake timers. */
async function passQuietChecks(broker: MemoryBroker): Promise<void> {
  for (let second = 0; second < 30; second++) {
    await jest.advanceTimersByTimeAsync(1_000);
    await broker.turn();
  }
}

describe('A listener of a template, after an outage', () => {
  test('gets the first messages of channels from that time, in order, before later ones, and has no gap', async () => {
    const { broker, b, post, rest } = await templateNodes();
    await post('known', 1);
    broker.cut(b.transport);
    for (const message of [1, 2]) await post('new', message);
    await post('known', 2);
    broker.heal();
    await post('new', 3);
    const all = await rest();
    expect(all.filter((text) => text.startsWith('new'))).toEqual(['new 1: 1', 'new 2: 2', 'new 3: 3']);
    expect(all.filter((text) => text.startsWith('known'))).toEqual(['known 1: 1', 'known 2: 2']);
    expect(all).toHaveLength(5);
  });

  test('gets no posts from before it listened', async () => {
    const broker = new MemoryBroker();
    const early = await node(broker);
    expect(await early.hub.post(Rooms.for({ id: 'old' }), 1)).toBe(true);
    expect(await early.hub.post(Rooms.for({ id: 'quiet' }), 1)).toBe(true);
    const { b, post, rest } = await templateNodes(broker);
    broker.cut(b.transport);
    await post('old', 2);
    broker.heal();
    expect(await rest()).toEqual(['old 2: 2']);
  });

  test('gets the messages of all channels once, even if the record has room for only the latest one', async () => {
    const { broker, b, post, rest } = await templateNodes();
    for (const message of [1, 2, 3]) {
      broker.cut(b.transport);
      await post(`new-${message}`, message);
      broker.heal();
      await broker.turn();
    }
    expect((await rest()).toSorted()).toEqual(['new-1 1: 1', 'new-2 1: 2', 'new-3 1: 3']);
  });

  test('has one gap if the broker has lost its record of changes', async () => {
    const { broker, b, post, rest } = await templateNodes();
    broker.cut(b.transport);
    await post('new', 1);
    broker.wipe();
    await post('other', 1);
    broker.heal();
    await post('new', 2);
    expect(await rest()).toEqual(['gap broker', 'other 1: 1', 'new 1: 2']);
  });

  test.each([
    ['the search after an outage', true],
    ['a check without an outage', false],
  ])('has one gap if it began while %s found that the broker had lost its record of changes', async (_look, isAway) => {
    const { broker, b, post, rest } = await templateNodes();
    const store = b.transport!.history as { changes(since?: HistoryTime): Promise<HistoryChanges> };
    const changes = store.changes.bind(store);
    jest.spyOn(store, 'changes').mockImplementationOnce(async (since) => {
      const found = await changes(since);
      b.hub['inbound'].lose(Rooms.name, 'broker', 0);
      return found;
    });
    broker.wipe();
    if (isAway) b.hub['inbound'].lose(Rooms.name, 'broker', 0);
    else await (b.hub['histories'] as Histories)['missed'].noteMoment();
    await post('new', 1);
    expect(await rest()).toEqual(['gap broker', 'new 1: 1']);
  });

  test.each([
    ['the next message showed', ['gap epoch', 'known 1: 2']],
    ['a quiet channel showed', ['gap epoch']],
  ])('has no gap for an earlier loss that %s', async (_how, told) => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    try {
      const { broker, b, post, heard, rest } = await templateNodes();
      await post('known', 1);
      expect(await heard.next()).toBe('known 1: 1');
      broker.wipe();
      if (told.length > 1) await post('known', 2);
      else await passQuietChecks(broker);
      expect(await heard.take(told.length)).toEqual(told);
      await passQuietChecks(broker);
      broker.cut(b.transport);
      await post('new', 1);
      broker.heal();
      await broker.turn();
      expect(await rest()).toEqual(['new 1: 1']);
    } finally {
      jest.useRealTimers();
    }
  });

  test('has no gap if the broker lost its record before anybody listened', async () => {
    const broker = new MemoryBroker();
    const first = await templateNodes(broker);
    first.b.hub.root.end('ended');
    broker.wipe();
    const { b } = first;
    const session = b.hub.sessions.open();
    const told = new Queue<string>();
    const onGap = ({ reason }: { reason: string }) => told.push(`gap ${reason}`);
    await b.hub.listen(Rooms, (message: number) => told.push(`${message}`), session, undefined, onGap).ready;
    broker.cut(b.transport);
    await first.post('new', 1);
    broker.heal();
    await first.post('new', 2);
    expect(await told.take(2)).toEqual(['1', '2']);
  });

  test('has a gap in a channel whose messages are gone, and gets the rest', async () => {
    const { broker, b, post, rest } = await templateNodes();
    broker.cut(b.transport);
    for (let message = 1; message <= 300; message++) await post('busy', message);
    broker.heal();
    const all = await rest();
    expect(all[0]).toBe('gap trimmed');
    expect(all.length).toBeGreaterThan(100);
    expect(all.at(-1)).toBe('busy 300: 300');
  });

  test('has a gap if the transport does not know how long it heard nothing, or cannot report changes', async () => {
    const { broker, b, post, rest } = await templateNodes();
    b.hub['inbound'].lose(Rooms.name, 'broker');
    expect(await rest()).toEqual(['gap broker']);
    const transport = new MemoryTransport(broker);
    const plain = Object.assign(transport, { history: { ...transport.history, changes: undefined } });
    const hub = new Hub({ reporter: new RecordingReporter(), transport: plain });
    await hub.start();
    const heard = new Queue<string>();
    const onGap = ({ reason }: { reason: string }) => heard.push(`gap ${reason}`);
    await hub.listen(Rooms, (message: number) => heard.push(`${message}`), hub.root, undefined, onGap).ready;
    broker.cut(plain);
    broker.heal();
    expect(await heard.next()).toBe('gap broker');
    await post('new', 5);
    expect(await heard.next()).toBe('5');
  });

  test('waits for missed messages while the store cannot be read, except in channels that it knows', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask', 'performance'] });
    const { broker, b, post, heard } = await templateNodes();
    await post('known', 1);
    expect(await heard.next()).toBe('known 1: 1');
    const store = b.transport!.history as HistoryStore & { changes: NonNullable<HistoryStore['changes']> };
    jest.spyOn(store, 'changes').mockRejectedValueOnce(new TransportUnavailableError('not now'));
    broker.cut(b.transport);
    await post('new', 1);
    broker.heal();
    await post('new', 2);
    await post('known', 2);
    expect(await heard.next()).toBe('known 2: 2');
    expect(heard.pending).toEqual([]);
    await jest.advanceTimersByTimeAsync(600);
    expect(await heard.take(2)).toEqual(['new 1: 1', 'new 2: 2']);
    jest.useRealTimers();
  });
});

describe('A loss of several channels of a template', () => {
  const ids = ['a', 'b', 'c'];

  /** Like {@link templateNodes}, with channels already heard, and a listener of the first one by name. */
  async function heardNodes() {
    const nodes = await templateNodes();
    const { b, heard, post } = nodes;
    const named = new Queue<string>();
    await b.hub.listen(
      Rooms.for({ id: 'a' }),
      (message: number) => named.push(`${message}`),
      b.hub.root,
      undefined,
      ({ reason, position }) => named.push(`gap ${reason} ${position?.offset}`),
    ).ready;
    const postAll = async (message: number): Promise<void> => {
      for (const id of ids) await post(id, message);
    };
    await postAll(1);
    await heard.take(3);
    await named.next();
    return { ...nodes, postAll, named };
  }

  test('is one gap for its listeners, and one for listeners of a channel by its name', async () => {
    const { broker, postAll, named, rest } = await heardNodes();
    broker.wipe();
    await postAll(2);
    expect(await rest()).toEqual(['gap epoch', 'a 1: 2', 'b 1: 2', 'c 1: 2']);
    expect(await named.take(2)).toEqual(['gap epoch 0', '2']);
  });

  test('is one gap at once, without a post, if the channels were quiet, and none at the next posts', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    try {
      const { broker, heard, postAll, named, rest } = await heardNodes();
      broker.wipe();
      await passQuietChecks(broker);
      expect(heard.pending).toEqual(['gap epoch']);
      expect(named.pending).toEqual(['gap epoch 0']);
      await passQuietChecks(broker);
      await postAll(2);
      expect(await rest()).toEqual(['gap epoch', 'a 1: 2', 'b 1: 2', 'c 1: 2']);
      expect(await named.take(2)).toEqual(['gap epoch 0', '2']);
    } finally {
      jest.useRealTimers();
    }
  });

  test('is one gap at once, without a post, if it came with an outage, and none at the next posts', async () => {
    const { broker, b, heard, postAll, named, rest } = await heardNodes();
    broker.cut(b.transport);
    await postAll(2);
    broker.wipe();
    broker.heal();
    expect(await named.next()).toBe('gap epoch 0');
    expect(await heard.next()).toBe('gap broker');
    await postAll(3);
    expect(await rest()).toEqual(['a 1: 3', 'b 1: 3', 'c 1: 3']);
    expect(named.pending).toEqual(['3']);
  });

  test('is one gap if it came with an outage, whether channels get posts before its end or after it', async () => {
    const { broker, b, post, named, rest } = await heardNodes();
    broker.cut(b.transport);
    broker.wipe();
    for (const id of ['a', 'b']) await post(id, 2);
    broker.heal();
    await broker.turn();
    await post('c', 2);
    const all = await rest();
    expect(all[0]).toBe('gap broker');
    expect(all.slice(1).toSorted()).toEqual(['a 1: 2', 'b 1: 2', 'c 1: 2']);
    expect(await named.take(2)).toEqual(['gap epoch 0', '2']);
  });

  test('is one gap if it came with an outage, even if later messages of the outage are no longer kept', async () => {
    const { broker, b, post, rest } = await heardNodes();
    broker.cut(b.transport);
    broker.wipe();
    for (let message = 1; message <= 300; message++) for (const id of ids) await post(id, message);
    broker.heal();
    const all = await rest();
    expect(all.filter((text) => text.startsWith('gap'))).toEqual(['gap broker']);
    expect(all[0]).toBe('gap broker');
    expect(all.filter((text) => text.endsWith(': 300'))).toHaveLength(3);
  });

  test('is another gap in a channel that no longer keeps messages since then', async () => {
    const { broker, post, heard } = await heardNodes();
    broker.wipe();
    await post('a', 2);
    expect(await heard.take(2)).toEqual(['gap epoch', 'a 1: 2']);
    broker['histories']['open'](Rooms.for({ id: 'b' }).name, { maxMessages: 100, ttlMs: 60_000 }).floor = 5;
    await post('b', 2);
    await post('c', 2);
    expect(await heard.take(3)).toEqual(['gap epoch', 'b 6: 2', 'c 1: 2']);
  });

  test('is one gap if a channel shows it before the search for missed channels', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask', 'performance'] });
    try {
      const { broker, b, post, heard, rest } = await heardNodes();
      const store = b.transport!.history as HistoryStore & { changes: NonNullable<HistoryStore['changes']> };
      jest.spyOn(store, 'changes').mockRejectedValueOnce(new TransportUnavailableError('not now'));
      const told: string[] = [];
      const onGap = ({ reason }: { reason: string }) => told.push(reason);
      const events = { onGap, carries: (channel: string) => !channel.endsWith('/a') };
      b.hub.tap(b.hub['audience'].heard(Rooms), () => undefined, b.hub.root, 'others', events);
      broker.cut(b.transport);
      broker.wipe();
      broker.heal();
      await post('a', 2);
      expect(await heard.take(2)).toEqual(['gap broker', 'a 1: 2']);
      expect(told).toEqual([]);
      await jest.advanceTimersByTimeAsync(600);
      await post('b', 2);
      expect(await rest()).toEqual(['b 1: 2']);
      expect(told).toEqual(['broker']);
    } finally {
      jest.useRealTimers();
    }
  });

  test('is one gap if the store cannot report changes', async () => {
    const { broker, b, postAll, rest } = await heardNodes();
    broker.wipe();
    b.hub['inbound'].lose(Rooms.name, 'broker');
    await postAll(2);
    expect(await rest()).toEqual(['gap broker', 'a 1: 2', 'b 1: 2', 'c 1: 2']);
  });

  test('is another gap if it comes after messages that followed the first one', async () => {
    const { broker, post, postAll, rest } = await heardNodes();
    broker.wipe();
    await post('a', 2);
    broker.wipe();
    await postAll(3);
    const told = ['gap epoch', 'a 1: 2', 'gap epoch', 'a 1: 3', 'b 1: 3', 'c 1: 3'];
    expect(await rest()).toEqual(told);
  });

  test('is another gap if an outage lies between the two', async () => {
    const { broker, b, post, rest } = await heardNodes();
    broker.wipe();
    await post('a', 2);
    await broker.turn();
    broker.cut(b.transport);
    broker.heal();
    await b.hub.whenWhole(Rooms.name, 5_000);
    await post('b', 2);
    await post('c', 2);
    const all = await rest();
    expect(all.filter((text) => text.startsWith('gap'))).toHaveLength(2);
    expect(all.slice(-3)).toEqual([expect.stringMatching(/^gap/), 'b 1: 2', 'c 1: 2']);
  });

  test('is another gap if a channel was seen whole after the first one', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    try {
      const { broker, post, heard } = await heardNodes();
      broker['histories']['histories'].delete('histories/rooms/a');
      await post('a', 2);
      expect(await heard.take(2)).toEqual(['gap epoch', 'a 1: 2']);
      await passQuietChecks(broker);
      broker.wipe();
      await post('b', 2);
      await post('c', 2);
      expect(await heard.take(3)).toEqual(['gap epoch', 'b 1: 2', 'c 1: 2']);
    } finally {
      jest.useRealTimers();
    }
  });

  test('is one gap if an epoch of all of them is lost, and each goes on where that began', async () => {
    let epoch = 'a';
    const store = {
      read: async (_channel: string, after: Position): Promise<HistoryRead> => {
        const end = { epoch, offset: 2 };
        const gap = epoch === 'c' && after.epoch === 'b' ? 'epoch' : undefined;
        return { gap, entries: [{ offset: 2, payload: epoch }], next: end, end, former: [{ epoch: 'a', offset: 1 }] };
      },
    } as unknown as HistoryStore;
    const heard = new Queue<string>();
    const told: unknown[] = [];
    const output = {
      message: (payload: string, _template: string, channel: string) => {
        heard.push(`${channel} ${payload}`);
        return true;
      },
      gap: (...[, channel, reason, { offset }, listeners]: Parameters<HistoriesOutput['gap']>) => {
        told.push(`${channel} ${reason} ${offset}`, listeners);
      },
    } as unknown as HistoriesOutput;
    const histories = new Histories(store, output);
    try {
      for (epoch of ['a', 'b', 'c']) {
        const offset = epoch === 'a' ? 1 : 2;
        for (const name of ['rooms/1', 'rooms/2']) histories.receive(epoch, Rooms.name, name, { epoch, offset });
        await heard.takeUntil((text) => text === `rooms/2 ${epoch}`);
        await histories.whenWhole(Rooms.name, 5_000);
      }
      expect(told).toEqual(['rooms/1 epoch 1', expect.any(WeakSet), 'rooms/2 epoch 1', expect.any(WeakSet)]);
      // They are the same listeners, so they are told once.
      expect(told[3]).toBe(told[1]);
    } finally {
      histories.close();
    }
  });

  test('is one gap for each listener that gets only some of the channels', async () => {
    const { broker, b, postAll, rest } = await heardNodes();
    const told = new Queue<string>();
    for (const some of ['a', 'bc', 'x']) {
      const carries = (channel: string) => some.includes(channel.at(-1)!);
      const onGap = ({ reason }: { reason: string }) => told.push(`${some} ${reason}`);
      b.hub.tap(b.hub['audience'].heard(Rooms), () => undefined, b.hub.root, some, { onGap, carries });
    }
    broker.wipe();
    await postAll(2);
    await rest();
    expect(told.pending).toEqual(['a epoch', 'bc epoch']);
  });
});
