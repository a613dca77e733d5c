import { describe, expect, test } from '@jest/globals';
import { Hub } from '../../../lib/core/hub.js';
import type { Delivery } from '../../../lib/core/delivery.js';
import { Deferred } from '../../../lib/core/deferred.js';
import type { Listener } from '../../../lib/core/listener.js';
import type { ListenOptions } from '../../../lib/core/listen-options.js';
import { Messenger } from '../../../lib/core/messenger.js';
import { Replay, type PastSource } from '../../../lib/core/replay.js';
import { Revocations } from '../../../lib/core/revocations.js';
import type { Session } from '../../../lib/core/session.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { ConfigurationError, TransportUnavailableError } from '../../../lib/protocol/errors.js';
import type { Position } from '../../../lib/protocol/position.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { Queue } from '../../support/queue.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

const history = { maxMessages: 1_000, ttlMs: 60_000 };
const Orders = defineChannel<number>('replay/orders', undefined, { history });
const Many = defineChannel<number>('replay/many', undefined, { history: { ...history, maxMessages: 100_000 } });
const Few = defineChannel<number>('replay/few', undefined, { history: { maxMessages: 4, ttlMs: 60_000 } });
const Rooms = defineChannel<number, 'replay/rooms/:id'>('replay/rooms/:id', undefined, { history });
const Plain = defineChannel<number>('replay/plain');

class Messages extends Messenger {
  constructor(
    hub: Hub,
    private readonly session: Session = hub.root,
  ) {
    super(hub, new Revocations(hub));
  }

  protected override sessionFor(): Session {
    return this.session;
  }
}

/** A node of a broker, or the only node. */
async function node(broker?: MemoryBroker) {
  const transport = broker && new MemoryTransport(broker);
  const reporter = new RecordingReporter();
  const hub = new Hub({ reporter, transport });
  await hub.start();
  const messages = new Messages(hub);
  /** The messages of a listener: `n` live, `(n)` from the history. */
  const listen = (options?: ListenOptions, channel: typeof Orders = Orders) => {
    const heard = new Queue<string>();
    const onGap: ListenOptions['onGap'] = ({ reason, position }) => heard.push(`gap ${reason} ${position?.offset}`);
    const listener = messages.addListener(
      channel,
      (message, { replayed }) => heard.push(replayed ? `(${message})` : `${message}`),
      { onGap, ...options },
    );
    return { heard, listener };
  };
  return { hub, messages, listen, transport, reporter };
}

async function post({ hub }: { hub: Hub }, ...numbers: number[]) {
  for (const number of numbers) expect(await hub.post(Orders, number)).toBe(true);
}

test('A listener that has read further than its server reads again if the server goes on beyond that, and misses nothing', async () => {
  const heard: string[] = [];
  const epoch = 'e';
  const deliveryOf = (offset: number) =>
    ({ message: offset, channel: 'orders', position: { epoch, offset } }) as Delivery;
  let end = 3;
  const source: PastSource = {
    reporter: new RecordingReporter(),
    readHistory: async (_channel, after) => {
      const from = after as Position;
      const deliveries = Array.from({ length: end - from.offset }, (_, index) => deliveryOf(from.offset + index + 1));
      const next = { epoch, offset: end };
      return { gap: undefined, from, deliveries, next, end: next };
    },
    hasHeard: () => false,
    deliver: ({ message }) => heard.push(`(${message as number})`),
  };
  const ready = new Deferred();
  const listener = {
    channel: 'orders',
    call: (message: number) => heard.push(`${message}`),
    tap: undefined,
    interest: Promise.resolve(),
    closed: false,
    delayReady: () => () => ready.resolve(),
    setTap: (tap: Listener['tap']) => (listener.tap = tap),
  } as unknown as Listener;
  new Replay(source, listener, { epoch, offset: 0 }).begin();
  await ready.promise;
  // The listener was told of neither 4 nor 5.
  end = 6;
  listener.tap!(deliveryOf(6));
  while (heard.length < 6) await new Promise(setImmediate);
  expect(heard).toEqual(['(1)', '(2)', '(3)', '(4)', '(5)', '(6)']);
  listener.tap!(deliveryOf(6));
  expect([heard.length, listener.tap]).toEqual([6, undefined]);
});

describe.each([
  ['in one process', () => undefined],
  ['over a broker', () => new MemoryBroker()],
])('A listener with replay, %s', (_kind, broker) => {
  test('gets the last messages, then new ones', async () => {
    const a = await node(broker());
    await post(a, 1, 2, 3);
    const { heard, listener } = a.listen({ replay: 2 });
    await listener.ready;
    expect(heard.pending).toEqual(['(2)', '(3)']);
    await post(a, 4);
    expect(await heard.take(3)).toEqual(['(2)', '(3)', '4']);
  });

  test('gets the latest message', async () => {
    const a = await node(broker());
    await post(a, 1, 2);
    const { heard } = a.listen({ replay: 'latest' });
    expect(await heard.take(1)).toEqual(['(2)']);
  });

  test('gets the posts after a position', async () => {
    const a = await node(broker());
    await post(a, 1, 2);
    const position = await a.messages.position(Orders);
    await post(a, 3, 4);
    const { heard } = a.listen({ replay: position });
    expect(await heard.take(2)).toEqual(['(3)', '(4)']);
    await post(a, 5);
    expect(await heard.take(1)).toEqual(['5']);
  });

  test('gets all messages after the position of an empty channel', async () => {
    const a = await node(broker());
    const position = await a.messages.position('replay/orders');
    expect(position).toEqual({ epoch: '', offset: 0 });
    await post(a, 1);
    const { heard } = a.listen({ replay: position });
    expect(await heard.take(1)).toEqual(['(1)']);
  });

  test('gets earlier messages of several pages, and posts made meanwhile', async () => {
    const a = await node(broker());
    const numbers = Array.from({ length: 900 }, (_, index) => index + 1);
    await post(a, ...numbers);
    const { heard, listener } = a.listen({ replay: 900 });
    const state = { isReady: false };
    void listener.ready.then(() => (state.isReady = true));
    let posted = 900;
    while (!state.isReady) {
      await post(a, ++posted);
      await new Promise((resolve) => void setImmediate(resolve));
    }
    expect(posted).toBeGreaterThan(900);
    const taken = await heard.take(posted);
    expect(taken.map((text) => Number(text.replace(/[()]/g, '')))).toEqual(
      Array.from({ length: posted }, (_, index) => index + 1),
    );
    expect(heard.pending).toEqual([]);
  });

  test('gets one gap if its position is of another channel, and all available messages', async () => {
    const a = await node(broker());
    await post(a, 1, 2);
    const { heard } = a.listen({ replay: { epoch: 'other', offset: 1 } });
    expect(await heard.take(3)).toEqual(['gap epoch 0', '(1)', '(2)']);
  });

  test('gets one gap if messages after its position are no longer kept', async () => {
    const a = await node(broker());
    await a.hub.post(Few, 1);
    const position = await a.messages.position(Few);
    for (let number = 2; number <= 100; number++) await a.hub.post(Few, number);
    const { heard } = a.listen({ replay: position }, Few);
    const gap = /^gap trimmed (\d+)$/.exec(await heard.next())!;
    const first = Number(gap[1]) + 1;
    expect(first).toBeGreaterThan(2);
    for (let number = first; number <= 100; number++) expect(await heard.next()).toBe(`(${number})`);
  });

  test('may post to its own channel while it gets earlier messages', async () => {
    const a = await node(broker());
    await post(a, 1, 2, 3);
    const heard = new Queue<number>();
    a.messages.addListener(
      Orders,
      (message) => {
        heard.push(message);
        if (message < 10) void a.messages.postMessage(Orders, message + 10);
      },
      { replay: 3 },
    );
    expect(await heard.take(6)).toEqual([1, 2, 3, 11, 12, 13]);
  });

  test('gets nothing more after it has unsubscribed in the middle', async () => {
    const a = await node(broker());
    await post(a, 1, 2, 3);
    const heard: number[] = [];
    const listener = a.messages.addListener(
      Orders,
      (message) => {
        heard.push(message);
        if (message === 2) listener.unsubscribe();
      },
      { replay: 3 },
    );
    await listener.ready;
    expect(heard).toEqual([1, 2]);
    await post(a, 4);
    expect(heard).toEqual([1, 2]);
  });

  test('gets nothing more after its session has closed in the middle', async () => {
    const a = await node(broker());
    await post(a, 1, 2, 3);
    const session = a.hub.sessions.open();
    const heard: number[] = [];
    const hear = (message: number) => {
      heard.push(message);
      if (message === 2) session.close();
    };
    await new Messages(a.hub, session).addListener(Orders, hear, { replay: 3 }).ready;
    expect(heard).toEqual([1, 2]);
  });

  test('that throws is reported, and gets the other messages', async () => {
    const a = await node(broker());
    await post(a, 1, 2);
    const heard = new Queue<number>();
    const listener = a.messages.addListener(
      Orders,
      function picky(message) {
        heard.push(message);
        throw new Error(`not ${message}`);
      },
      { replay: 2 },
    );
    await listener.ready;
    await post(a, 3);
    expect(await heard.take(3)).toEqual([1, 2, 3]);
    const failures = a.reporter.listenerFailures.map(({ error, listener: name }) => `${name}: ${String(error)}`);
    expect(failures).toEqual(['picky: Error: not 1', 'picky: Error: not 2', 'picky: Error: not 3']);
  });

  test('is removed by its function', async () => {
    const a = await node(broker());
    await post(a, 1);
    const heard: number[] = [];
    const hear = (message: number) => heard.push(message);
    await a.messages.addListener(Orders, hear, { replay: 1 }).ready;
    a.messages.removeListener(Orders, hear);
    await post(a, 2);
    expect(heard).toEqual([1]);
  });

  test('gives each subscriber of a stream the earlier messages', async () => {
    const a = await node(broker());
    await post(a, 1, 2);
    const stream = a.messages.createStream(Orders, { replay: 2 });
    for (let round = 0; round < 2; round++) {
      const heard = new Queue<number>();
      const subscription = stream.subscribe(heard.push);
      expect(await heard.take(2)).toEqual([1, 2]);
      subscription.unsubscribe();
    }
  });
});

describe('A listener with replay in one process', () => {
  test('misses no post made before its first message', async () => {
    const a = await node();
    await post(a, 1, 2);
    const { heard, listener } = a.listen({ replay: 'latest' });
    void a.hub.post(Orders, 3);
    void a.hub.post(Orders, 4);
    await listener.ready;
    expect(heard.pending).toEqual(['(2)', '(3)', '(4)']);
  });

  test('costs no more than any other after the earlier messages', async () => {
    const a = await node();
    await post(a, 1);
    const { listener } = a.listen({ replay: 1 });
    await listener.ready;
    expect(listener).toMatchObject({ tap: undefined });
  });
});

describe('A listener with replay over a broker', () => {
  test('gets earlier messages when the broker is back', async () => {
    const broker = new MemoryBroker();
    const a = await node(broker);
    const b = await node(broker);
    await post(a, 1, 2);
    broker.cut(b.transport);
    const { heard } = b.listen({ replay: 2 });
    await post(a, 3);
    broker.heal();
    expect(await heard.take(2)).toEqual(['(2)', '(3)']);
  });

  test('is ready and closed if the application closes before the broker is back', async () => {
    const broker = new MemoryBroker();
    const a = await node(broker);
    broker.cut(a.transport);
    const { listener } = a.listen({ replay: 2 });
    expect(listener.closed).toBe(false);
    await a.hub.close();
    await listener.ready;
    expect(listener.closed).toBe(true);
  });

  test('gets each message once if the node is behind the history', async () => {
    const broker = new MemoryBroker();
    const a = await node(broker);
    const b = await node(broker);
    const first = b.listen();
    await first.listener.ready;
    await post(a, 1);
    expect(await first.heard.take(1)).toEqual(['1']);
    broker.cut(b.transport);
    await post(a, 2, 3);
    const second = b.listen({ replay: 10 });
    broker.heal();
    expect(await second.heard.take(3)).toEqual(['(1)', '(2)', '(3)']);
    await post(a, 4);
    expect(await first.heard.take(3)).toEqual(['2', '3', '4']);
    expect(await second.heard.take(1)).toEqual(['4']);
    expect(second.heard.pending).toEqual([]);
  });
});

describe('A listener with replay, however many messages come while it reads', () => {
  test('misses nothing if more come than it can hold', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await node(broker), await node(broker)];
    const store = b.transport!.history as { read: (...asked: unknown[]) => Promise<unknown> };
    const { read } = store;
    store.read = async (...asked) => {
      store.read = read;
      const page = await read(...asked);
      await Promise.all(Array.from({ length: 1_500 }, (_, index) => a.hub.post(Many, index + 1)));
      return page;
    };
    const { heard, listener } = b.listen({ replay: { epoch: '', offset: 0 } }, Many);
    await listener.ready;
    const numbers = heard.pending.map((text) => Number(text.replace(/[()]/g, '')));
    expect(numbers).toEqual(Array.from({ length: 1_500 }, (_, index) => index + 1));
  });

  test('gets no gap for messages that it has read', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await node(broker), await node(broker)];
    const plain = b.listen();
    await plain.listener.ready;
    await post(a, 1);
    expect(await plain.heard.take(1)).toEqual(['1']);
    broker.cut(b.transport);
    broker.wipe();
    await post(a, 1, 2, 3);
    // The node tries again later, once the listener has read everything.
    const store = b.transport!.history as { read: unknown };
    const { read } = store;
    const asked = new Queue<void>();
    store.read = () => {
      store.read = read;
      asked.push();
      return Promise.reject(new TransportUnavailableError('away'));
    };
    broker.heal();
    await asked.next();
    const { heard } = b.listen({ replay: 10 });
    expect(await heard.take(3)).toEqual(['(1)', '(2)', '(3)']);
    expect(plain.heard.pending).toEqual([]);
    expect(await plain.heard.take(4)).toEqual(['gap epoch 0', '1', '2', '3']);
    await post(a, 4);
    expect(await heard.take(1)).toEqual(['4']);
    expect(await plain.heard.take(1)).toEqual(['4']);
  });
});

describe('A loop over a channel with replay', () => {
  test('reads a page when it has taken the previous one, and limits only live messages', async () => {
    for (const broker of [undefined, new MemoryBroker()]) {
      const a = await node(broker);
      const numbers = Array.from({ length: 600 }, (_, index) => index + 1);
      await post(a, ...numbers);
      const reads: number[] = [];
      const readHistory = a.hub.readHistory.bind(a.hub);
      let taken = 0;
      const open = new Set<object>();
      a.hub.readHistory = (...read) => {
        reads.push(taken);
        const one = {};
        open.add(one);
        return readHistory(...read).finally(() => open.delete(one));
      };
      const loop = a.messages.iterate(Orders, { replay: 600, maxBuffered: 2 });
      for (const number of numbers) {
        expect(await loop.next()).toEqual({ value: number, done: false });
        taken++;
        // Posts during its reading of the past do not count.
        if (number < 10) void a.hub.post(Orders, 600 + number);
      }
      for (let number = 601; number < 610; number++) {
        expect(await loop.next()).toEqual({ value: number, done: false });
        taken++;
      }
      expect(reads.slice(0, 4)).toEqual([0, 256, 512, 609].slice(0, reads.length));
      const next = loop.next();
      // With nothing more to read, it listens like any other listener.
      while (reads.at(-1)! < 609 || open.size > 0) await new Promise((resolve) => void setImmediate(resolve));
      await post(a, 610);
      expect(await next).toEqual({ value: 610, done: false });
      for (let number = 611; number < 614; number++) await post(a, number);
      await a.hub.positionOf(Orders.name);
      expect(await loop.next()).toEqual({ value: 611, done: false });
      expect(await loop.next()).toEqual({ value: 612, done: false });
      await expect(loop.next()).rejects.toThrow('more than maxBuffered (2)');
    }
  });

  test('gets a gap in its place, and ends with its session', async () => {
    const a = await node();
    await post(a, 1, 2);
    const session = a.hub.sessions.open();
    const seen: unknown[] = [];
    const onGap: ListenOptions['onGap'] = ({ reason }) => seen.push(reason);
    const loop = new Messages(a.hub, session).iterate(Orders, { replay: { epoch: 'other', offset: 1 }, onGap });
    seen.push((await loop.next()).value, (await loop.next()).value);
    const last = loop.next();
    session.close();
    expect(await last).toEqual({ value: undefined, done: true });
    expect(seen).toEqual(['epoch', 1, 2]);
  });
});

describe('The option "replay"', () => {
  test.each<[unknown, string]>([
    [0, `'latest' or a position`],
    [1.5, `'latest' or a position`],
    ['first', `'latest' or a position`],
    [{ epoch: 'a' }, `'latest' or a position`],
    [{ epoch: '', offset: 3 }, `'latest' or a position`],
    [null, `'latest' or a position`],
    [1_001, `"replay/orders" must be at most 1000, the channel's history.maxMessages`],
  ])('refuses %p', async (replay, text) => {
    const { messages } = await node();
    const options = { replay } as ListenOptions;
    for (const listen of [
      () => messages.addListener(Orders, () => {}, options),
      () => messages.createStream(Orders, options),
      () => messages.iterate(Orders, options),
    ]) {
      expect(listen).toThrow(ConfigurationError);
      expect(listen).toThrow(text);
    }
  });

  test('needs a channel with history, and one channel', async () => {
    const { messages } = await node();
    const options = { replay: 1 };
    expect(() => messages.addListener(Plain, () => {}, options)).toThrow(
      `addListener: option "replay" needs a channel with history, and "replay/plain" keeps none; define it with history: { maxMessages, ttlMs }`,
    );
    expect(() => messages.createStream(Rooms, options)).toThrow(
      'needs one channel, and template "replay/rooms/:id" has',
    );
    expect(() => messages.createStream('replay/rooms/:id', options)).toThrow('needs one channel');
    expect(() => messages.addListener(Rooms.for({ id: '7' }), () => {}, options)).not.toThrow();
    expect(() => messages.iterate('replay/rooms/8', options)).not.toThrow();
  });
});

describe('The position of a channel', () => {
  test('is refused without a history, and unknown while the broker is away', async () => {
    const broker = new MemoryBroker();
    const { messages } = await node(broker);
    await expect(messages.position(Plain)).rejects.toThrow('position() needs a channel with history');
    await expect(messages.position(Rooms as never)).rejects.toThrow('needs one channel');
    broker.cut();
    await expect(messages.position(Orders)).rejects.toThrow(TransportUnavailableError);
  });
});
