import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { ClientProxyFactory, ServerRedis, Transport as Stock, type ClientProxy } from '@nestjs/microservices';
import { filter, firstValueFrom } from 'rxjs';
import { RedisTransport, type RedisTransportSettings } from '../../lib/transport/redis-transport.js';
import type { RedisTransportOptions } from '../../lib/transport/redis-options.js';
import { Queue } from '../support/queue.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';

type Received = [payload: string, subscription: string, channel: string, position?: object | undefined];

let redis: RedisServer;
const open: { close(): unknown }[] = [];

beforeAll(async () => {
  Logger.overrideLogger(false);
  redis = await RedisServer.start();
});
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each.close();
});
afterAll(() => redis.kill());

async function node(
  options: RedisTransportOptions,
  settings?: RedisTransportSettings,
): Promise<[RedisTransport, Queue<Received>]> {
  const transport = new RedisTransport({ url: redis.url, ...options }, settings);
  open.push(transport);
  const received = new Queue<Received>();
  await transport.start((...args) => received.push(args));
  await firstValueFrom(transport.status.pipe(filter(({ state }) => state === 'ready')));
  return [transport, received];
}

function stockClient(): ClientProxy {
  const client = ClientProxyFactory.create({
    transport: Stock.REDIS,
    options: { host: '127.0.0.1', port: redis.port },
  });
  open.push(client);
  return client;
}

async function stockServer(pattern: string): Promise<Queue<unknown>> {
  const server = new ServerRedis({ host: '127.0.0.1', port: redis.port });
  open.push(server);
  const received = new Queue<unknown>();
  server.addHandler(pattern, async (data: unknown) => received.push(data), true);
  await new Promise<unknown>((resolve) => void server.listen(resolve));
  return received;
}

const packet = (data: unknown): string => JSON.stringify({ metadata: { v: 1 }, pattern: 'news', data });

test('messages of a stock client are heard, by name and by template', async () => {
  const [transport, received] = await node({ interop: true });
  await Promise.all([transport.subscribe('news'), transport.subscribe('rooms/:id')]);
  const client = stockClient();
  await firstValueFrom(client.emit('news', { id: 1 }), { defaultValue: undefined });
  await firstValueFrom(client.emit('rooms/7', 'hello'), { defaultValue: undefined });
  const got = await received.take(2);
  expect(got.map(([payload, ...rest]) => [JSON.parse(payload) as unknown, ...rest])).toEqual([
    [{ pattern: 'news', data: { id: 1 } }, 'news', 'news'],
    [{ pattern: 'rooms/7', data: 'hello' }, 'rooms/:id', 'rooms/7'],
  ]);
});

test('messages of a stock client are heard on the only channel that has interop', async () => {
  const [transport, received] = await node({});
  await Promise.all([
    transport.subscribe('news'),
    transport.subscribe('open', { interop: true }),
    transport.subscribe('later'),
  ]);
  await transport.subscribe('later', { interop: true });
  const client = stockClient();
  for (const name of ['news', 'open', 'later']) {
    await firstValueFrom(client.emit(name, 1), { defaultValue: undefined });
  }
  expect((await received.take(2)).map(([, , channel]) => channel)).toEqual(['open', 'later']);
});

test('posts with interop reach a stock handler, and every node, once', async () => {
  const handled = await stockServer('news');
  const [a, atA] = await node({ interop: true });
  const [b, atB] = await node({});
  await Promise.all([a.subscribe('news'), b.subscribe('news')]);
  const accepted = [
    a.publish('news', packet(1)),
    b.publish('news', packet(2), { interop: true }),
    // Only for nodes of this library.
    b.publish('news', packet(3)),
    b.publish('news', packet(4), { interop: true }),
  ];
  expect(await Promise.all(accepted)).toEqual([true, true, true, true]);
  expect(new Set(await handled.take(3))).toEqual(new Set([1, 2, 4]));
  for (const received of [atA, atB]) {
    const payloads = (await received.take(4)).map(([payload]) => payload);
    // The payloads as published: those for stock parts alone do not reach a node of the application.
    expect(new Set(payloads)).toEqual(new Set([1, 2, 3, 4].map(packet)));
  }
  await a.publish('news', packet(5));
  for (const received of [atA, atB]) expect((await received.next())[0]).toBe(packet(5));
});

test('payloads that are not packets are published only for nodes of this library', async () => {
  const [a, atA] = await node({ interop: true });
  await a.subscribe('news');
  await a.publish('news', 'no packet');
  await a.publish('news', packet('end'));
  expect((await atA.take(2)).map(([payload]) => payload)).toEqual(['no packet', packet('end')]);
});

test('a packet of a stock client is never taken for a batch', async () => {
  const [a, atA] = await node({ interop: true });
  await a.subscribe('news');
  using probe = new RedisProbe(redis.url);
  await probe.redis.publish('news', '\n{\n"pattern": "news", "data": 1\n}');
  expect((await atA.next())[0]).toBe('\n{\n"pattern": "news", "data": 1\n}');
});

test.each([{}, { interop: false }])(
  'with %p stock parts are not heard and get nothing, and nothing is subscribed for them',
  async (options) => {
    const handled = await stockServer('news');
    const [a, atA] = await node(options);
    await Promise.all([a.subscribe('news'), a.subscribe(':a/:b')]);
    using probe = new RedisProbe(redis.url);
    expect((await probe.channels()).filter((channel) => channel !== 'news')).toEqual(['messaging:|news']);
    expect(await probe.redis.pubsub('NUMPAT')).toBe(1);
    await firstValueFrom(stockClient().emit('news', 'unheard'), { defaultValue: undefined });
    await a.publish('news', packet('untold'));
    expect(JSON.parse((await atA.next())[0])).toMatchObject({ data: 'untold' });
    const [b] = await node({ interop: true });
    await b.publish('news', packet('end'));
    expect(await handled.take(2)).toEqual(['unheard', 'end']);
  },
);

test('with interop: false the interop option of a channel has no effect', async () => {
  const handled = await stockServer('news');
  const [a] = await node({ interop: false });
  await a.subscribe('news', { interop: true });
  await a.publish('news', packet('untold'), { interop: true });
  const [b] = await node({ interop: true });
  await b.publish('news', packet('end'));
  expect(await handled.next()).toBe('end');
});

test.each(['messaging:own', 'a/messaging:own'])(
  'stock parts cannot reach %p, with the library’s prefix in it',
  async (name) => {
    const [a, atA] = await node({ interop: true });
    await Promise.all([a.subscribe(name), a.subscribe(':a/:b')]);
    const client = stockClient();
    await firstValueFrom(client.emit(name, 'forged'), { defaultValue: undefined });
    await a.publish(name, 'end');
    expect((await atA.next())[0]).toBe('end');
  },
);

async function until(received: Queue<Received>, end: string): Promise<Received[]> {
  const all: Received[] = [];
  for (;;) {
    const next = await received.next();
    if (next[0] === end) return all;
    all.push(next);
  }
}

test('applications with different prefixes never hear each other, even if one prefix begins with the other', async () => {
  const [a, atA] = await node({}, { prefix: 'app:' });
  const [b, atB] = await node({}, { prefix: 'app:b:' });
  const [bare, atBare] = await node({}, { prefix: '' });
  for (const transport of [a, b, bare]) {
    await Promise.all(['news', 'b:news', ':x', ':x/:y', 'end'].map((name) => transport.subscribe(name)));
  }
  for (const transport of [a, b, bare]) {
    for (const name of ['news', 'b:news', 'rooms/1']) await transport.publish(name, transport === a ? 'a' : 'other');
  }
  await b.publish('end', 'end of b');
  await a.publish('end', 'end of a');
  expect((await until(atA, 'end of a')).map(([payload]) => payload)).toEqual(Array.from({ length: 5 }, () => 'a'));
  expect((await until(atB, 'end of b')).map(([payload]) => payload)).toEqual(Array.from({ length: 5 }, () => 'other'));
  expect(atBare.pending).toHaveLength(5);
});

test('applications that both have interop hear each other’s interop posts, and nothing else', async () => {
  const [a, atA] = await node({ interop: true }, { prefix: 'a:' });
  const [b, atB] = await node({ interop: true }, { prefix: 'b:' });
  await Promise.all([a.subscribe('news'), b.subscribe('news'), b.subscribe(':x/:y')]);
  await a.publish('rooms/1', packet('internal'), { interop: false });
  await a.publish('messaging:own/1', packet('internal'));
  await a.publish('news', packet('both'));
  expect(await atA.next()).toEqual([packet('both'), 'news', 'news']);
  const [payload, subscription] = await atB.next();
  expect([JSON.parse(payload), subscription]).toEqual([
    { metadata: { app: 'a:', v: 1 }, pattern: 'news', data: 'both' },
    'news',
  ]);
});
