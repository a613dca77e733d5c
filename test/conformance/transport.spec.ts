import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { firstValueFrom, filter } from 'rxjs';
import type { Transport, TransportStatus } from '../../lib/core/transport.js';
import { MemoryBroker } from '../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../lib/transport/memory-transport.js';
import { Cluster } from 'ioredis';
import { RedisTransport } from '../../lib/transport/redis-transport.js';
import { Queue } from '../support/queue.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { RedisServer } from '../support/redis-server.js';

type Received = [payload: string, subscription: string, channel: string, position?: object | undefined];

interface Broker {
  connect(): Transport;
  cut(): Promise<void>;
  heal(): Promise<void>;
  close(): Promise<void>;
}

class Redis implements Broker {
  private constructor(private readonly server: RedisServer) {}

  static async start(): Promise<Redis> {
    return new Redis(await RedisServer.start());
  }

  connect(): Transport {
    return new RedisTransport({ url: this.server.url, publishTimeoutMs: 300 });
  }

  cut(): Promise<void> {
    return this.server.kill();
  }

  heal(): Promise<void> {
    return this.server.restart();
  }

  close(): Promise<void> {
    return this.server.kill();
  }
}

/** A Cluster of three masters, each of which carries its own channels. */
class Sharded implements Broker {
  private constructor(private readonly cluster: RedisCluster) {}

  static async start(): Promise<Sharded> {
    return new Sharded(await RedisCluster.start(3));
  }

  connect(): Transport {
    const { nodes } = this.cluster;
    return new RedisTransport({
      client: () => new Cluster(nodes, { lazyConnect: true }),
      sharded: true,
      publishTimeoutMs: 300,
    });
  }

  async cut(): Promise<void> {
    await Promise.all(this.cluster.servers.map((server) => server.kill()));
  }

  async heal(): Promise<void> {
    await Promise.all(this.cluster.servers.map((server) => server.restart()));
    await this.cluster.isWhole();
  }

  close(): Promise<void> {
    return this.cluster[Symbol.asyncDispose]();
  }
}

class Memory implements Broker {
  private readonly broker = new MemoryBroker();

  connect(): Transport {
    return new MemoryTransport(this.broker);
  }

  async cut(): Promise<void> {
    this.broker.cut();
  }

  async heal(): Promise<void> {
    this.broker.heal();
  }

  async close(): Promise<void> {}
}

const brokers: [string, () => Promise<Broker>][] = [
  ['memory', async () => new Memory()],
  ['Redis', () => Redis.start()],
  ['a sharded Redis Cluster', () => Sharded.start()],
];

function reached(transport: Transport, state: TransportStatus['state']): Promise<TransportStatus> {
  return firstValueFrom(transport.status.pipe(filter((status) => status.state === state)));
}

const isEnd = ([payload]: Received): boolean => payload === 'end';

function lostNames(losses: Received[]): string[] {
  expect(losses.every(([payload, , reason]) => payload === 'LOST' && reason === 'broker')).toBe(true);
  return losses.map(([, name]) => name).toSorted();
}

describe.each(brokers)('A transport over %s', (_, start) => {
  let broker: Broker;
  const open: Transport[] = [];

  beforeAll(async () => {
    broker = await start();
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((transport) => transport.close()));
  });
  afterAll(() => broker.close());

  function create(): Transport {
    const transport = broker.connect();
    open.push(transport);
    return transport;
  }

  async function node(...names: string[]): Promise<[Transport, Queue<Received>]> {
    const transport = create();
    const received = new Queue<Received>();
    await transport.start((...args) => received.push(args), {
      lost: (name, reason) => received.push(['LOST', name, reason]),
    });
    await reached(transport, 'ready');
    await Promise.all(names.map((name) => transport.subscribe(name)));
    return [transport, received];
  }

  test('carries a payload to every node that is subscribed, and to no other', async () => {
    const [a, atA] = await node('news');
    const [, atB] = await node('news');
    const [, atC] = await node('other');
    expect(await a.publish('news', 'hello')).toBe(true);
    expect(await atA.next()).toEqual(['hello', 'news', 'news']);
    expect(await atB.next()).toEqual(['hello', 'news', 'news']);
    await a.publish('other', 'end');
    expect(await atC.next()).toEqual(['end', 'other', 'other']);
    expect(atB.pending).toEqual([]);
  });

  test('never delivers inside publish', async () => {
    const [a, atA] = await node('news');
    const published = a.publish('news', 'hello');
    expect(atA.pending).toEqual([]);
    await published;
    await atA.next();
  });

  test('keeps the order of what one publisher publishes on a channel', async () => {
    const [a] = await node();
    const [, atB] = await node('news');
    const payloads = Array.from({ length: 500 }, (__, index) => String(index));
    const accepted = await Promise.all(payloads.map((payload) => a.publish('news', payload)));
    expect(accepted.every(Boolean)).toBe(true);
    expect((await atB.take(500)).map(([payload]) => payload)).toEqual(payloads);
  });

  test('keeps payloads as they are, whatever is in them', async () => {
    const [a, atA] = await node('news');
    const payloads = ['', '\0\r\n', 'żółć 🦊', 'x'.repeat(100_000)];
    for (const payload of payloads) await a.publish('news', payload);
    expect((await atA.take(4)).map(([payload]) => payload)).toEqual(payloads);
  });

  test('takes channel names with any permitted character', async () => {
    const names = ['a b', 'żółć 🦊', '[x]', 'a?b', 'back\\slash', '__proto__', 'constructor', 'x'.repeat(255)];
    const [a, atA] = await node(...names);
    for (const name of names) await a.publish(name, 'payload');
    expect((await atA.take(names.length)).map(([, , channel]) => channel)).toEqual(names);
  });

  test('hands over a payload once for each subscription that it matches', async () => {
    const [a, atA] = await node('rooms/:roomId', 'rooms/:id', 'rooms/42', ':kind/42', 'rooms/:roomId/users');
    await a.publish('rooms/42', 'hello');
    const subscriptions = (await atA.take(4)).map(([, subscription, channel]) => `${subscription} <- ${channel}`);
    expect(subscriptions.toSorted()).toEqual([
      ':kind/42 <- rooms/42',
      'rooms/42 <- rooms/42',
      'rooms/:id <- rooms/42',
      'rooms/:roomId <- rooms/42',
    ]);
  });

  test('matches a template segment by segment and literally', async () => {
    const [a, atA] = await node('rooms/:roomId', 'odd[ab]?\\/:x', 'end');
    for (const name of ['rooms/1/2', 'rooms/', 'Rooms/1', 'oddax/1', 'oddb?\\/1']) await a.publish(name, 'no');
    await a.publish('odd[ab]?\\/1', 'yes');
    await a.publish('rooms/:odd', 'yes');
    await a.publish('end', 'end');
    expect(await atA.take(3)).toEqual([
      ['yes', 'odd[ab]?\\/:x', 'odd[ab]?\\/1'],
      ['yes', 'rooms/:roomId', 'rooms/:odd'],
      ['end', 'end', 'end'],
    ]);
  });

  test('gives the library’s own channels to no template of the application', async () => {
    const [a, atA] = await node(':a/:b', 'messaging:own/:x', 'messaging:own/1');
    await a.publish('messaging:own/1', 'own');
    await a.publish('x/y', 'theirs');
    const received = await atA.take(3);
    expect(received.map(([, subscription]) => subscription).toSorted()).toEqual([
      ':a/:b',
      'messaging:own/1',
      'messaging:own/:x',
    ]);
    expect(received.find(([, subscription]) => subscription === ':a/:b')?.[2]).toBe('x/y');
  });

  test('hands over once what is subscribed to twice, until it is dropped', async () => {
    const [a, atA] = await node('news', 'news');
    await a.publish('news', '1');
    await a.subscribe('news');
    await a.publish('news', '2');
    expect((await atA.take(2)).map(([payload]) => payload)).toEqual(['1', '2']);
  });

  test('keeps an interest that is dropped and taken up again at once', async () => {
    const [a, atA] = await node('news');
    a.unsubscribe('news');
    await a.subscribe('news');
    await a.publish('news', 'hello');
    expect(await atA.next()).toEqual(['hello', 'news', 'news']);
  });

  test('takes interests and payloads before the start', async () => {
    const a = create();
    const received = new Queue<Received>();
    const subscribed = a.subscribe('news');
    const [, atB] = await node('news');
    const published = a.publish('news', 'early');
    await a.start((...args) => received.push(args));
    await subscribed;
    expect(await published).toBe(true);
    expect((await atB.next())[0]).toBe('early');
  });

  test('resolves a subscription that is dropped before it is registered', async () => {
    const a = create();
    const subscribed = a.subscribe('news');
    a.unsubscribe('news');
    expect(await subscribed).toBeUndefined();
  });

  test('ignores the end of an interest that never was', async () => {
    const [a] = await node();
    expect(() => a.unsubscribe('unknown')).not.toThrow();
  });

  test('tells its status from connecting to closed, and the last one to whoever comes late', async () => {
    const a = create();
    const states: string[] = [];
    const completed = new Promise<void>((resolve) => {
      a.status.subscribe({ next: ({ state }) => states.push(state), complete: resolve });
    });
    await a.start(() => undefined);
    await reached(a, 'ready');
    await a.close();
    await completed;
    expect(states).toEqual(['connecting', 'ready', 'closed']);
    expect((await firstValueFrom(a.status)).state).toBe('closed');
  });

  test('is silent once closed: nothing is accepted, nothing stays pending', async () => {
    const [a, atA] = await node('news');
    const [b] = await node();
    const pending = a.subscribe('later');
    await a.close();
    await a.close();
    await pending;
    await a.subscribe('news');
    a.unsubscribe('news');
    expect(await a.publish('news', 'no')).toBe(false);
    expect(await b.publish('news', 'no')).toBe(true);
    expect(atA.pending).toEqual([]);
  });

  test('can be closed before the start, and during it', async () => {
    const early = create();
    const published = early.publish('news', 'no');
    await early.close();
    expect(await published).toBe(false);
    await early.start(() => undefined);
    const during = create();
    const started = during.start(() => undefined);
    await during.close();
    await started;
    expect((await firstValueFrom(during.status)).state).toBe('closed');
  });

  test('says that the broker is lost, accepts nothing, and is as before when the broker is back', async () => {
    const [a, atA] = await node('news', 'rooms/:roomId');
    const [b] = await node();
    await broker.cut();
    const { error } = await reached(a, 'waiting');
    expect(error).toBeInstanceOf(Error);
    expect(await a.publish('news', 'lost')).toBe(false);
    const subscribed = a.subscribe('late');
    await broker.heal();
    await Promise.all([reached(a, 'ready'), reached(b, 'ready')]);
    await subscribed;
    for (const channel of ['news', 'rooms/1', 'late']) expect(await b.publish(channel, 'back')).toBe(true);
    await atA.take(2);
    const received = await atA.take(3);
    expect(received.map(([payload, , channel]) => `${channel}: ${payload}`).toSorted()).toEqual([
      'late: back',
      'news: back',
      'rooms/1: back',
    ]);
  });

  test('starts without a broker, says so, and comes up with it', async () => {
    await broker.cut();
    const a = create();
    const received = new Queue<Received>();
    await a.start((...args) => received.push(args));
    const subscribed = a.subscribe('news');
    expect((await firstValueFrom(a.status)).state).toBe('waiting');
    await broker.heal();
    await reached(a, 'ready');
    await subscribed;
    await a.publish('news', 'hello');
    expect((await received.next())[0]).toBe('hello');
  });

  async function outage(during: () => void = () => undefined): Promise<void> {
    await broker.cut();
    await Promise.all(open.map((transport) => reached(transport, 'waiting')));
    during();
    await broker.heal();
    await Promise.all(open.map((transport) => reached(transport, 'ready')));
  }

  test('tells a loss of each name that was registered when the broker was lost, once, and of no other', async () => {
    const [a, atA] = await node('news', 'rooms/:roomId', 'dropped');
    await outage(() => {
      a.unsubscribe('dropped');
      void a.subscribe('new');
    });
    await a.publish('new', 'end');
    expect(lostNames(await atA.takeUntil(isEnd))).toEqual(['news', 'rooms/:roomId']);
    await outage();
    await a.publish('new', 'end');
    expect(lostNames(await atA.takeUntil(isEnd))).toEqual(['new', 'news', 'rooms/:roomId']);
  });

  test('tells a loss after what came before it and before what comes after it', async () => {
    const [a, atA] = await node('news');
    await Promise.all([1, 2, 3].map((count) => a.publish('news', `before ${count}`)));
    await outage();
    await a.publish('news', 'after');
    const payloads = (await atA.take(5)).map(([payload]) => payload);
    expect(payloads).toEqual(['before 1', 'before 2', 'before 3', 'LOST', 'after']);
  });

  test('tells no loss at the first start, however late the broker comes', async () => {
    await broker.cut();
    const [a, received] = [create(), new Queue<string>()];
    const subscribed = a.subscribe('news');
    await a.start((payload) => received.push(payload), { lost: (name) => received.push(`LOST ${name}`) });
    await broker.heal();
    await subscribed;
    await reached(a, 'ready');
    await a.publish('news', 'first');
    expect(await received.next()).toBe('first');
  });

  test('knows how many nodes hear a name', async () => {
    const [a] = await node();
    const [b] = await node('news', 'rooms/:roomId');
    const [c] = await node('news', 'rooms/:roomId', 'other/:id');
    for (const each of [a, b, c]) expect(await each.hearers!('news')).toBe(2);
    expect(await a.hearers!('other')).toBe(0);
    await c.close();
    while ((await a.hearers!('news')) !== 1);
    await b.close();
    while ((await a.hearers!('news')) !== 0);
    await broker.cut();
    expect(await a.hearers!('news')).toBeUndefined();
    await broker.heal();
    await a.close();
    expect(await a.hearers!('news')).toBeUndefined();
  });
});
