import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Cluster } from 'ioredis';
import { filter, firstValueFrom } from 'rxjs';
import { RedisTransport } from '../../lib/transport/redis-transport.js';
import { Queue } from '../support/queue.js';
import { RedisCluster } from '../support/redis-cluster.js';

type Received = [payload: string, subscription: string, channel: string];

let redis: RedisCluster;
const open: { close(): unknown }[] = [];

beforeAll(async () => {
  redis = await RedisCluster.start(3);
});
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each.close();
});
afterAll(() => redis[Symbol.asyncDispose]());

function connect(): Cluster {
  const cluster = new Cluster(redis.nodes, { lazyConnect: true });
  open.push({ close: () => cluster.disconnect() });
  return cluster;
}

async function node(cluster: Cluster, ...names: string[]): Promise<[RedisTransport, Queue<Received>]> {
  const transport = new RedisTransport(cluster);
  open.push({ close: () => transport.close() });
  const received = new Queue<Received>();
  await transport.start((...args) => received.push(args));
  await firstValueFrom(transport.status.pipe(filter(({ state }) => state === 'ready')));
  await Promise.all(names.map((name) => transport.subscribe(name)));
  return [transport, received];
}

test('payloads reach every node of the application, whichever nodes of the cluster they are connected to', async () => {
  const [a] = await node(connect());
  for (let round = 0; round < 5; round++) {
    const [, atB] = await node(connect(), 'news', 'rooms/:id');
    expect(await a.publish('news', 'hello')).toBe(true);
    expect(await a.publish('rooms/1', 'room')).toBe(true);
    // Order is promised within a channel, not between two.
    const received = await atB.take(2);
    expect(received).toContainEqual(['hello', 'news', 'news']);
    expect(received).toContainEqual(['room', 'rooms/:id', 'rooms/1']);
  }
});

test('payloads of one publisher stay in order', async () => {
  const [a] = await node(connect());
  const [, atB] = await node(connect(), 'news');
  const payloads = Array.from({ length: 1_000 }, (_, index) => String(index));
  const accepted = await Promise.all(payloads.map((payload) => a.publish('news', payload)));
  expect(accepted.every(Boolean)).toBe(true);
  expect((await atB.take(1_000)).map(([payload]) => payload)).toEqual(payloads);
});

test('a cluster of the application is neither used nor ended', async () => {
  const own = connect();
  const [a] = await node(own, 'news');
  expect(own.status).toBe('wait');
  await a.close();
  expect(await own.set('key', 'value')).toBe('OK');
});

test('closing ends all connections', async () => {
  const [a] = await node(connect(), 'news');
  const states: string[] = [];
  a.status.subscribe(({ state }) => states.push(state));
  const before = performance.now();
  await a.close();
  expect(performance.now() - before).toBeLessThan(800);
  expect(states).toEqual(['ready', 'closed']);
});
