import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Cluster, Redis } from 'ioredis';
import { filter, firstValueFrom } from 'rxjs';
import type { RedisOption } from '../../lib/transport/redis-options.js';
import { RedisTransport, type RedisTransportSettings } from '../../lib/transport/redis-transport.js';
import { Queue } from '../support/queue.js';
import { RedisProbe } from '../support/redis-probe.js';
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

async function node(
  cluster: RedisOption,
  names: string[] = [],
  settings: RedisTransportSettings = {},
): Promise<[RedisTransport, Queue<Received>]> {
  const transport = new RedisTransport(cluster, settings);
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
    const [, atB] = await node(connect(), ['news', 'rooms/:id']);
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
  const [, atB] = await node(connect(), ['news']);
  const payloads = Array.from({ length: 1_000 }, (_, index) => String(index));
  const accepted = await Promise.all(payloads.map((payload) => a.publish('news', payload)));
  expect(accepted.every(Boolean)).toBe(true);
  expect((await atB.take(1_000)).map(([payload]) => payload)).toEqual(payloads);
});

test('a cluster of the application is neither used nor ended', async () => {
  const own = connect();
  const [a] = await node(own, ['news']);
  expect(own.status).toBe('wait');
  await a.close();
  expect(await own.set('key', 'value')).toBe('OK');
});

test('closing ends all connections', async () => {
  const [a] = await node(connect(), ['news']);
  const states: string[] = [];
  a.status.subscribe(({ state }) => states.push(state));
  const before = performance.now();
  await a.close();
  expect(performance.now() - before).toBeLessThan(800);
  expect(states).toEqual(['ready', 'closed']);
});

/** The member that a transport posts through, and another one, as heard by somebody who is subscribed there. */
async function postedThrough(transport: RedisTransport) {
  const probes = redis.servers.map(({ url }) => new RedisProbe(url));
  open.push({ close: () => probes.forEach((each) => each[Symbol.dispose]()) });
  const counts = await Promise.all(probes.map((each) => each.calls('publish')));
  await transport.publish('other', 'x');
  const after = await Promise.all(probes.map((each) => each.calls('publish')));
  const index = after.findIndex((count, each) => count > counts[each]!);
  const elsewhere = new Redis(redis.servers[(index + 1) % 3]!.url);
  open.push({ close: () => elsewhere.disconnect() });
  const heard = new Queue<string>();
  elsewhere.on('message', (_: string, text: string) => {
    for (const payload of text.split('\n')) if (payload !== '') heard.push(payload);
  });
  await elsewhere.subscribe('messaging:|news');
  return { member: redis.servers[index]!, heard };
}

/** Posts numbers until one is accepted again, then ten more. */
async function postUntilAccepted(transport: RedisTransport): Promise<{ refused: number; accepted: string[] }> {
  let count = 0;
  while (!(await transport.publish('news', String(count)))) count++;
  const refused = count;
  const more = Array.from({ length: 10 }, () => String(++count));
  const results = await Promise.all(more.map((payload) => transport.publish('news', payload)));
  expect(results.every(Boolean)).toBe(true);
  return { refused, accepted: [String(refused), ...more] };
}

test('posts go through another member at once when the connection to theirs ends', async () => {
  const [a] = await node(connect());
  const { member, heard } = await postedThrough(a);
  await member.kill();
  try {
    const { refused, accepted } = await postUntilAccepted(a);
    expect(refused).toBeLessThan(3);
    expect(await heard.take(11)).toEqual(accepted);
  } finally {
    await member.restart();
  }
});

test('posts go through another member when theirs does not answer, in order', async () => {
  const [a] = await node(connect(), [], { heartbeatMs: 50 });
  const { member, heard } = await postedThrough(a);
  member.pause();
  try {
    const before = performance.now();
    const { accepted } = await postUntilAccepted(a);
    expect(performance.now() - before).toBeLessThan(2_000);
    expect(await heard.take(11)).toEqual(accepted);
  } finally {
    member.resume();
  }
});

test('posts that are left unanswered send those after them through another member, whatever the heartbeat', async () => {
  const [a] = await node({ client: connect(), publishTimeoutMs: 100 }, [], { heartbeatMs: 60_000 });
  const { member } = await postedThrough(a);
  member.pause();
  try {
    expect((await postUntilAccepted(a)).refused).toBe(1);
  } finally {
    member.resume();
  }
});

test('a node whose subscriptions hang on a member that does not answer hears by another one', async () => {
  const [a] = await node(connect(), [], { heartbeatMs: 50 });
  const [, atB] = await node(connect(), ['news'], { heartbeatMs: 50 });
  const probes = redis.servers.map(({ url }) => new RedisProbe(url));
  open.push({ close: () => probes.forEach((each) => each[Symbol.dispose]()) });
  const listening = await Promise.all(probes.map(async (each) => (await each.channels()).includes('messaging:|news')));
  const member = redis.servers[listening.indexOf(true)]!;
  member.pause();
  const posting = setInterval(() => void a.publish('news', 'hello'), 20);
  try {
    expect((await atB.next())[0]).toBe('hello');
  } finally {
    clearInterval(posting);
    member.resume();
  }
});
