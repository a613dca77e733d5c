import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Cluster } from 'ioredis';
import { BEGINNING, type AppendOutcome } from '../../lib/core/history-store.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { BOUNDS, heard, keys, offsetOf, post } from '../support/history-posts.js';
import { RedisNodes } from '../support/redis-nodes.js';
import { RedisSentinel } from '../support/redis-sentinel.js';

let nodes: RedisNodes;
beforeEach(() => {
  nodes = new RedisNodes();
});
afterEach(() => nodes[Symbol.asyncDispose]());

describe('A history in a Cluster', () => {
  let redis: RedisCluster;
  beforeEach(async () => {
    redis = nodes.use(await RedisCluster.start(3));
  });

  function connect(): { client: Cluster; publishTimeoutMs: number } {
    const client = new Cluster(redis.nodes, { lazyConnect: true });
    nodes.use({ [Symbol.dispose]: () => client.disconnect() });
    return { client, publishTimeoutMs: 15_000 };
  }

  test('is kept by one member for each channel, and is heard by nodes at any member', async () => {
    const names = Array.from({ length: 30 }, (_, index) => `rooms/{${index}`);
    const [{ history }] = await nodes.node(connect());
    const [, received] = await nodes.node(connect(), ['rooms/:id']);
    const outcomes = await Promise.all(
      names.flatMap((name) =>
        [1, 2].map((count) => history.append(name, { payload: `${name} ${count}`, id: `${count}` }, BOUNDS)),
      ),
    );
    expect(outcomes.map(offsetOf)).toEqual(names.flatMap(() => [1, 2]));
    const payloads = new Set((await received.take(60)).map(([payload]) => payload));
    expect(payloads.size).toBe(60);
    expect((await history.positions(names)).map(({ offset }) => offset)).toEqual(names.map(() => 2));
    for (const name of names) expect((await history.read(name, BEGINNING)).entries).toHaveLength(2);
    for (const server of redis.servers) expect(await nodes.probe(server).redis.dbsize()).toBeGreaterThan(0);
  });

  test('lists the channels with posts since a moment, on any master, with their positions', async () => {
    const names = Array.from({ length: 30 }, (_, index) => `rooms/${index}`);
    const [{ history }] = await nodes.node(connect());
    const [{ history: other }] = await nodes.node(connect());
    for (const name of names) await history.append(name, { payload: 'before' }, BOUNDS);
    const { now: moment } = await other.changes();
    // Redis distinguishes moments and posts by the millisecond: the clock itself must advance, and no event reports that.
    await new Promise((resolve) => setTimeout(resolve, 5));
    for (const name of names.slice(0, 20)) await history.append(name, { payload: 'after' }, BOUNDS);
    const since = { moment, laterMs: 0 };
    const { channels, isWhole } = await other.changes(since);
    expect(isWhole).toBe(true);
    // They may include some from shortly before the moment.
    expect(channels).toEqual(expect.arrayContaining(names.slice(0, 20)));
    expect(await other.positions(names, since)).toEqual(names.map(() => expect.objectContaining({ offset: 1 })));
    const { now: later } = await other.changes();
    expect((await other.changes({ moment: later, laterMs: 20_000 })).channels).toEqual([]);
    await nodes.probe(redis.servers[0]!).redis.flushall();
    expect((await other.changes(since)).isWhole).toBe(false);
  });

  test('loses and doubles nothing while its slot moves to another member', async () => {
    const [{ history }] = await nodes.node(connect());
    const [{ history: other }, received] = await nodes.node(connect(), ['news']);
    expect(offsetOf(await post(history, '1', 'an id'))).toBe(1);
    const from = await redis.ownerOf(keys.stream);
    const outcomes: Promise<AppendOutcome>[] = [];
    await redis.moveSlot(keys.stream, from, (from + 1) % 3, async () => {
      outcomes.push(post(history, '2'), post(history, '1', 'an id'), post(history, '3'));
    });
    outcomes.push(post(history, '4'));
    expect((await Promise.all(outcomes)).map(offsetOf)).toEqual([2, 1, 3, 4]);
    expect(offsetOf(await post(other, '5'))).toBe(5);
    expect(heard(await received.take(5))).toEqual(['1 1', '2 2', '3 3', '4 4', '5 5']);
    const read = await other.read('news', BEGINNING);
    expect(read.entries.map(({ offset }) => offset)).toEqual([1, 2, 3, 4, 5]);
    expect(await nodes.probe(redis.servers[from]!).redis.dbsize()).toBe(0);
  });

  test('begins another epoch at a replica that takes over, even without the tail: no gap', async () => {
    const owner = await redis.ownerOf(keys.stream);
    const replica = await redis.addReplica(owner);
    const [{ history }] = await nodes.node(connect());
    for (const payload of ['1', '2', '3']) expect(offsetOf(await post(history, payload))).toBe(Number(payload));
    const master = nodes.probe(redis.servers[owner]!);
    await master.redis.wait(1, 5_000);
    replica.pause();
    await master.redis.call('CLIENT', 'KILL', 'TYPE', 'replica');
    expect(offsetOf(await post(history, 'lost'))).toBe(4);
    const [before] = await history.positions(['news']);
    await redis.servers[owner]!.kill();
    replica.resume();
    const outcome = post(history, '4');
    await nodes.probe(replica).redis.call('CLUSTER', 'FAILOVER', 'TAKEOVER');
    expect(offsetOf(await outcome)).toBe(4);
    const [after] = await history.positions(['news']);
    expect(after).toEqual({ epoch: expect.any(String), offset: 4 });
    expect(after!.epoch).not.toBe(before!.epoch);
    const read = await history.read('news', before!);
    const former = [{ epoch: before!.epoch, offset: 3 }];
    expect(read).toEqual({ gap: undefined, entries: [{ offset: 4, payload: '4' }], next: after, end: after, former });
  }, 40_000);
});

test('A history continues after a failover by Sentinels, without a gap, and has the posts of that time once', async () => {
  const sentinel = nodes.use(await RedisSentinel.start());
  const redis = { sentinels: [{ host: '127.0.0.1', port: sentinel.port }], name: 'main', publishTimeoutMs: 15_000 };
  const [{ history }] = await nodes.node(redis);
  const outcomes = [await post(history, '1'), await post(history, '2', 'an id')];
  const [before] = await history.positions(['news']);
  await nodes.probe(sentinel.servers[0]).redis.wait(1, 5_000);
  let count = 2;
  const posting = setInterval(() => void post(history, String(++count)).then((outcome) => outcomes.push(outcome)), 10);
  await sentinel.failover();
  const second = nodes.probe(sentinel.servers[1]);
  const runAt = async (): Promise<string | null> => second.redis.hget(keys.state, 'run');
  while (!(await second.redis.info('replication')).includes(`master_replid:${await runAt()}`));
  clearInterval(posting);
  expect(offsetOf(await post(history, '2', 'an id'))).toBe(2);
  await post(history, 'end');
  const { gap, entries, end } = await history.read('news', before!);
  expect(gap).toBeUndefined();
  expect(end.epoch).not.toBe(before!.epoch);
  expect(entries.map(({ offset }) => offset)).toEqual(entries.map((_, index) => index + 3));
  const payloads = entries.map(({ payload }) => payload);
  expect(new Set(payloads).size).toBe(payloads.length);
  expect(payloads.at(-1)).toBe('end');
  const numbers = payloads.slice(0, -1).map(Number);
  expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
  expect(outcomes.every(({ kind }) => kind === 'appended')).toBe(true);
}, 30_000);
