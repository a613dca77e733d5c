import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Cluster, Redis } from 'ioredis';
import { createConnections } from '../../lib/transport/redis-connections.js';
import { normalizeRedisOption, type RedisOption } from '../../lib/transport/redis-options.js';
import { BOUNDS } from '../support/history-posts.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { RedisNodes, reached } from '../support/redis-nodes.js';
import { RedisSentinel } from '../support/redis-sentinel.js';

let nodes: RedisNodes;
beforeEach(() => {
  nodes = new RedisNodes();
});
afterEach(() => nodes[Symbol.asyncDispose]());

const failing = (): never => {
  throw new Error('broken');
};
const rejecting = async (): Promise<never> => {
  await Promise.resolve();
  throw new Error('broken');
};

/** A ready transport, and what it warned of. */
async function start(redis: RedisOption) {
  const warnings: string[] = [];
  const transport = nodes.create(redis);
  await transport.start(() => undefined, { warned: (text) => warnings.push(text) });
  await reached(transport, 'ready');
  return { transport, warnings };
}

interface Options {
  port: number;
  username?: string;
  password?: string;
  retryStrategy?: () => number;
  reconnectOnError?: () => boolean;
}

/** The ways to give ioredis these options. */
const ways: [string, (options: Options) => RedisOption][] = [
  ['options', (options) => options],
  ['an instance', (options) => new Redis({ ...options, lazyConnect: true })],
  ['a function', (options) => () => new Redis({ ...options, lazyConnect: true })],
];

describe('A function of the application that ioredis calls,', () => {
  test.each(ways)('%s: for the wait, may throw: the connection comes back all the same', async (_way, redis) => {
    const server = await nodes.server();
    const { transport, warnings } = await start(redis({ port: server.port, retryStrategy: failing }));
    await server.kill();
    await reached(transport, 'waiting');
    await server.restart();
    await reached(transport, 'ready');
    expect(await transport.publish('news', 'again')).toBe(true);
    expect(warnings).toEqual(['Option "redis.retryStrategy" failed: broken; the library goes on without it']);
  });

  test.each<[string, () => unknown, string]>([
    ['a promise that rejects', rejecting, 'an instance of Promise'],
    ['NaN', () => NaN, 'NaN'],
    ['less than nothing', () => -5, '-5'],
    ['more than a timer holds', () => 1e12, '1000000000000'],
    ['text', () => '5', '"5"'],
  ])('for the wait, may return %s: the library waits by its own rule', async (_what, strategy, described) => {
    const server = await nodes.server();
    let calls = 0;
    const retryStrategy = (): number => {
      calls++;
      return strategy() as number;
    };
    const { transport, warnings } = await start({ port: server.port, retryStrategy });
    await server.kill();
    await reached(transport, 'waiting', 'ECONNREFUSED');
    await server.restart();
    await reached(transport, 'ready');
    const text = 'must return a number of milliseconds up to 2147483647, or nothing to give up';
    expect(warnings).toEqual([
      `Option "redis.retryStrategy" ${text}, not ${described}; the library goes on without it`,
    ]);
    // Timers take what they do not hold for 1 ms: hundreds of attempts in the time of a restart.
    expect(calls).toBeLessThan(40);
  });

  test.each(ways)('%s: for refused commands, may throw: the connection stays', async (_way, redis) => {
    const server = await nodes.server();
    const looker = nodes.probe(server);
    await looker.redis.acl('SETUSER', 'app', 'on', '>secret', '+@all', '-publish', 'allchannels', 'allkeys');
    const options = { port: server.port, username: 'app', password: 'secret', reconnectOnError: failing };
    const { transport, warnings } = await start(redis(options));
    expect(await transport.publish('news', 'refused')).toBe(false);
    await looker.redis.acl('SETUSER', 'app', '+publish');
    expect(await transport.publish('news', 'taken')).toBe(true);
    expect(warnings).toEqual(['Option "redis.reconnectOnError" failed: broken; the library goes on without it']);
  });

  test('for addresses, may throw: they are taken as they are', async () => {
    const sentinel = nodes.use(await RedisSentinel.start());
    const sentinels = [{ host: '127.0.0.1', port: sentinel.port }];
    const { transport, warnings } = await start({ sentinels, name: 'main', natMap: failing });
    expect(await transport.publish('news', 'hello')).toBe(true);
    expect(warnings).toEqual(['Option "redis.natMap" failed: broken; the library goes on without it']);
  });

  test.each<[string, () => RedisOption]>([
    ['an instance', () => failingCluster()],
    ['a function', () => failingCluster],
  ])('%s: of a Cluster and of its members, may throw', async (_way, redis) => {
    const warnings: string[] = [];
    const warn = (text: string): unknown => warnings.push(text);
    const { commands } = await createConnections(normalizeRedisOption(redis()), undefined, warn);
    const options = commands.client.options as ReturnType<typeof clusterFunctions>;
    expect(options.clusterRetryStrategy()).toBeGreaterThan(0);
    expect(options.natMap()).toBeNull();
    expect([options.redisOptions.reconnectOnError(), options.redisOptions.reconnectOnError()]).toEqual([false, false]);
    expect(warnings).toEqual(
      ['clusterRetryStrategy', 'natMap', 'reconnectOnError'].map(
        (name) => `Option "redis.${name}" failed: broken; the library goes on without it`,
      ),
    );
    commands.client.disconnect();
  });

  test.each<[string, (make: (options: object) => Cluster) => RedisOption | Promise<RedisOption>]>([
    ['an instance', (make) => make({ lazyConnect: true })],
    ['a function', (make) => () => make({})],
    [
      'a function that gives a connected one',
      async (make) => {
        const connected = make({});
        await once(connected, 'ready');
        return () => connected;
      },
    ],
  ])('%s: for commands that a member of a Cluster refuses, may throw', async (_way, redis) => {
    const cluster = nodes.use(await RedisCluster.start(3));
    const redisOptions = { reconnectOnError: failing };
    const { transport, warnings } = await start(
      await redis((options) => new Cluster(cluster.nodes, { ...options, redisOptions })),
    );
    // A Redis refuses a script that it does not know.
    const appended = await transport.history.append('news', { payload: 'hello' }, BOUNDS);
    expect(appended.kind).toBe('appended');
    expect(warnings).toEqual(['Option "redis.reconnectOnError" failed: broken; the library goes on without it']);
    // Other clients of the application may have them too.
    expect(redisOptions).toEqual({ reconnectOnError: failing });
  });
});

const clusterFunctions = () => ({
  clusterRetryStrategy: failing as () => unknown,
  natMap: failing as () => unknown,
  redisOptions: { reconnectOnError: failing as () => unknown },
});

function failingCluster() {
  return new Cluster([{ host: 'a.test' }], { lazyConnect: true, ...(clusterFunctions() as object) });
}
