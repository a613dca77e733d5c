import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { ClientProxyFactory, ServerRedis, Transport as Stock, type ClientProxy } from '@nestjs/microservices';
import { filter, firstValueFrom } from 'rxjs';
import { RedisTransport, type RedisTransportSettings } from '../../lib/transport/redis-transport.js';
import type { RedisTransportOptions } from '../../lib/transport/redis-options.js';
import { Queue } from '../support/queue.js';
import { RedisServer } from '../support/redis-server.js';

type Received = [payload: string, subscription: string, channel: string];

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

test('what a stock client emits is heard, by name and by template', async () => {
  const [transport, received] = await node({});
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

test('what is published with interop reaches a stock handler, and every node once', async () => {
  const handled = await stockServer('news');
  const [a, atA] = await node({ interop: true });
  const [b, atB] = await node({});
  await Promise.all([a.subscribe('news'), b.subscribe('news')]);
  await a.publish('news', packet(1));
  await b.publish('news', packet(2), { interop: true });
  // Only for nodes of this library.
  await b.publish('news', packet(3));
  await b.publish('news', packet(4), { interop: true });
  expect(await handled.take(3)).toEqual([1, 2, 4]);
  for (const received of [atA, atB]) {
    const data = (await received.take(4)).map(([payload]) => (JSON.parse(payload) as { data: number }).data);
    expect(data.toSorted((x, y) => x - y)).toEqual([1, 2, 3, 4]);
    expect(received.pending).toEqual([]);
  }
});

test('with interop: false stock parts are neither heard nor told', async () => {
  const handled = await stockServer('news');
  const [a, atA] = await node({ interop: false });
  await a.subscribe('news');
  await firstValueFrom(stockClient().emit('news', 'unheard'), { defaultValue: undefined });
  await a.publish('news', packet('untold'), { interop: true });
  expect(JSON.parse((await atA.next())[0])).toMatchObject({ data: 'untold' });
  const [b] = await node({ interop: true });
  await b.publish('news', packet('end'));
  expect(await handled.take(2)).toEqual(['unheard', 'end']);
});

test('the library’s own channels are out of the reach of stock parts', async () => {
  const [a, atA] = await node({ interop: true });
  await a.subscribe('messaging:own');
  const client = stockClient();
  await firstValueFrom(client.emit('messaging:own', 'forged'), { defaultValue: undefined });
  await a.publish('messaging:own', 'end');
  expect((await atA.next())[0]).toBe('end');
});

test('applications with different prefixes do not meet', async () => {
  const [a, atA] = await node({}, { prefix: 'a:' });
  const [b, atB] = await node({}, { prefix: 'b:' });
  await Promise.all([a.subscribe('news'), b.subscribe('news')]);
  await a.publish('news', 'a');
  await b.publish('news', 'b');
  await a.publish('news', 'both', { interop: true });
  expect((await atA.take(2)).map(([payload]) => payload)).toEqual(['a', 'both']);
  expect((await atB.take(2)).map(([payload]) => payload)).toEqual(['b', 'both']);
});
