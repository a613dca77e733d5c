import { once } from 'node:events';
import { describe, expect, test } from '@jest/globals';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import { ConfigurationError, TransportUnavailableError } from '../../../lib/protocol/errors.js';
import { addressOf } from '../../../lib/transport/redis-client.js';
import { createConnections, loadIoredis } from '../../../lib/transport/redis-connections.js';
import { MAX_PUBLISH_TIMEOUT_MS, similarOption } from '../../../lib/transport/redis-connection-options.js';
import { REMEMBER_MS } from '../../../lib/transport/redis-history-append-script.js';
import { normalizeRedisOption, validateRedisOption, type RedisOption } from '../../../lib/transport/redis-options.js';
import { RedisTransport } from '../../../lib/transport/redis-transport.js';

const client = new Redis({ lazyConnect: true });
const cluster = new Cluster([{ host: 'a.test', port: 7000 }], { lazyConnect: true });

function failure(option: unknown): string {
  try {
    validateRedisOption(option);
  } catch (error) {
    if (error instanceof ConfigurationError) return error.message;
    throw error;
  }
  return 'it was accepted';
}

async function made(option: RedisOption): Promise<Redis[]> {
  const { commands, subscriber } = await createConnections(normalizeRedisOption(option));
  return [commands, subscriber].flatMap((each) => (each ? [each.client as unknown as Redis] : []));
}

const ownStrategy = (): number => 1;
const missing = (): Promise<object> => Promise.reject(new Error("Cannot find package 'ioredis'"));

describe('The option redis accepts', () => {
  // Typed: values to and from ioredis fit without a cast.
  const options: RedisOptions = { host: 'a.test', port: 6380, db: 2 };
  const accepted: [string, RedisOption][] = [
    ['a URL', 'redis://user:secret@a.test:6380/2'],
    ['a URL with TLS', 'rediss://a.test'],
    ['the path of a socket', '/run/redis.sock'],
    ['nothing but defaults', {}],
    ['options of ioredis', options],
    ['a port from the environment', { port: '6380', host: '::1' }],
    ['TLS', { tls: {}, host: 'a.test' }],
    ['Sentinels', { sentinels: [{ host: 'a.test', port: 26379 }], name: 'main', sentinelPassword: 'secret' }],
    ['its own options', { url: 'redis://a.test', interop: true, publishTimeoutMs: 50 }],
    ['undefined options', { url: undefined, password: undefined, interop: undefined, tls: undefined }],
    ['a connection', client],
    ['a cluster', cluster],
    ['a function', () => client],
    ['a connection with its own options', { client, interop: false }],
    ['options with their fixed values', { lazyConnect: false, maxRetriesPerRequest: null, role: 'master' }],
    ['options of a later ioredis', { clientTracking: true } as object],
    ['the longest times', { publishTimeoutMs: 100_000, connectTimeout: 2 ** 31 - 1, commandTimeout: 2 ** 31 - 1 }],
  ];

  test.each(accepted)('%s', (_, option) => {
    expect(() => validateRedisOption(option)).not.toThrow();
  });

  // Read from ioredis itself, so that a new version of it is covered.
  test.each(Object.keys(new Redis({ lazyConnect: true }).options))('the name of an option of ioredis: %s', (name) => {
    expect(similarOption(name)).toBeUndefined();
  });

  test('a time for posts in which Redis does not forget what it has appended', () => {
    expect(MAX_PUBLISH_TIMEOUT_MS).toBeLessThan(REMEMBER_MS * 0.75);
  });

  test('a time for posts as given, or two seconds', () => {
    expect(normalizeRedisOption('redis://a.test').publishTimeoutMs).toBe(2_000);
    expect(normalizeRedisOption({ client, publishTimeoutMs: 7 }).publishTimeoutMs).toBe(7);
  });
});

describe('The option redis is refused with an error that names the fault', () => {
  const refused: [unknown, RegExp][] = [
    [undefined, /^Option "redis" must be a URL, options of ioredis, .* not undefined$/],
    [null, /^Option "redis" must be .* not null$/],
    [6379, /^Option "redis" must be .* not 6379$/],
    [[], /^Option "redis" must be .* not an array$/],
    ['', /^Option "redis" is an empty string: leave it out \(`undefined`\) for one process, or give a URL as redis:/],
    [{ url: '' }, /^Option "redis.url" must be a URL as redis:\/\/host:port/],
    ['localhost:6379', /^Option "redis.url" must be a URL/],
    ['http://localhost', /^Option "redis.url" must be a URL/],
    [{ hots: 'a.test' }, /^Unknown option "redis.hots"; is "redis.host" meant\?$/],
    [{ pasword: 'secret' }, /^Unknown option "redis.pasword"; is "redis.password" meant\?$/],
    [{ sentinel: [] }, /^Unknown option "redis.sentinel"; is "redis.sentinels" meant\?$/],
    [{ Host: 'a.test' }, /^Unknown option "redis.Host"; is "redis.host" meant\?$/],
    [{ publishTimeout: 5_000 }, /^Unknown option "redis.publishTimeout"; is "redis.publishTimeoutMs" meant\?$/],
    [{ PUBLISHTIMEOUT: 5_000 }, /is "redis.publishTimeoutMs" meant\?$/],
    [{ connectTimeoutMs: 5_000 }, /is "redis.connectTimeout" meant\?$/],
    [{ connectionTimeout: 5_000 }, /is "redis.connectTimeout" meant\?$/],
    [{ keepAliveMs: 5_000 }, /is "redis.keepAlive" meant\?$/],
    [{ keyprefix: 'app:' }, /is "redis.keyPrefix" meant\?$/],
    [{ commandTimeoutMs: 5_000 }, /is "redis.commandTimeout" meant\?$/],
    [{ role: 'slave' }, /^Option "redis.role" cannot be "slave": a replica accepts posts .*; leave it out$/],
    [{ role: 'replica' }, /^Option "redis.role" cannot be "replica"/],
    [{ readOnly: true }, /^Option "redis.readOnly" cannot be true/],
    [{ preferredSlaves: [{ ip: '1.2.3.4' }] }, /^Option "redis.preferredSlaves" cannot be an array/],
    [{ scaleReads: 'slave' }, /^Option "redis.scaleReads" cannot be "slave"/],
    [{ monitor: true }, /^Option "redis.monitor" cannot be true/],
    [
      { autoResendUnfulfilledCommands: true },
      /^Option "redis.autoResendUnfulfilledCommands" cannot be true: a post .* twice/,
    ],
    [{ enableOfflineQueue: true }, /^Option "redis.enableOfflineQueue" cannot be true: .*publishTimeoutMs/],
    [{ maxRetriesPerRequest: 3 }, /^Option "redis.maxRetriesPerRequest" cannot be 3: .*publishTimeoutMs/],
    [{ disconnectTimeout: 5_000 }, /^Option "redis.disconnectTimeout" cannot be 5000/],
    [{ failoverDetector: 'yes' }, /^Option "redis.failoverDetector" must be true or false/],
    [{ client: new Redis({ lazyConnect: true }), interop: 1 }, /^Option "redis.interop" must be true or false/],
    [{ host: 1 }, /^Option "redis.host" must be a host name or an address, not 1$/],
    [{ host: '' }, /^Option "redis.host" must be/],
    [{ port: 65_536 }, /^Option "redis.port" must be a port number from 0 to 65535, not 65536$/],
    [{ port: 'six' }, /^Option "redis.port" must be .* not "six"$/],
    [{ port: -1 }, /^Option "redis.port"/],
    [{ db: 1.5 }, /^Option "redis.db" must be a whole number/],
    [{ tls: 1 }, /^Option "redis.tls" must be/],
    [{ sentinels: [] }, /^Option "redis.sentinels" must be an array of at least one/],
    [{ sentinels: [null], name: 'main' }, /^Option "redis.sentinels" must be/],
    [{ sentinels: [{ host: 'a.test' }] }, /^Option "redis.name" is missing/],
    [{ interop: 'yes' }, /^Option "redis.interop" must be true or false, not "yes"$/],
    [
      { publishTimeoutMs: 0 },
      /^Option "redis.publishTimeoutMs" must be a whole number of milliseconds from 1 to 100000 /,
    ],
    [{ publishTimeoutMs: 100_001 }, /from 1 to 100000 \(after 2 minutes .* append the post twice\), not 100001$/],
    [{ publishTimeoutMs: Symbol('2 s') }, /^Option "redis.publishTimeoutMs" must be .* not Symbol\(2 s\)$/],
    [
      { connectTimeout: 2 ** 31 },
      /^Option "redis.connectTimeout" must be a whole number of .* from 0 to 2147483647, not/,
    ],
    [{ sentinelCommandTimeout: 1e15 }, /^Option "redis.sentinelCommandTimeout" must be/],
    [{ keepAlive: 1e15 }, /^Option "redis.keepAlive" must be/],
    [{ commandTimeout: 1e15 }, /^Option "redis.commandTimeout" must be/],
    [{ socketTimeout: 1e15 }, /^Option "redis.socketTimeout" must be/],
    [{ blockingTimeout: 1e15 }, /^Option "redis.blockingTimeout" must be/],
    [{ blockingTimeoutGrace: 1e15 }, /^Option "redis.blockingTimeoutGrace" must be/],
    [{ maxLoadingRetryTime: 1e15 }, /^Option "redis.maxLoadingRetryTime" must be/],
    [
      { keyPrefix: 'app:' },
      /^Option "redis.keyPrefix" cannot be "app:": the option "prefix" of the module .*; leave it out$/,
    ],
    [{ connectionName: 'my app' }, /^Option "redis.connectionName" must be a string without spaces/],
    [{ retryStrategy: 100 }, /^Option "redis.retryStrategy" must be a function/],
    [{ client: {} }, /^Option "redis.client" must be an ioredis Redis or Cluster, or a function/],
    [{ client, host: 'a.test' }, /^Option "redis.host" has no meaning beside "redis.client"/],
    [{ client, url: 'redis://a.test' }, /^Option "redis.url" has no meaning beside "redis.client"/],
    [{ publish: () => 0, duplicate: () => 0, isOpen: true }, /a client of another library; give one of ioredis$/],
  ];

  test.each(refused)('%p', (option, text) => {
    expect(failure(option)).toMatch(text);
  });

  test('and never contains a password', () => {
    expect(failure({ url: 'redis:/user:hunter2@a.test' })).not.toContain('hunter2');
    expect(failure({ password: ['hunter2'] })).not.toContain('hunter2');
    expect(failure('http://user:hunter2@a.test')).not.toContain('hunter2');
  });

  test('when the transport is made, before anything connects', () => {
    expect(() => new RedisTransport({ port: 0.5 })).toThrow(/redis\.port/);
    expect(() => new RedisTransport({}, { prefix: 1 as never })).toThrow(/Option "prefix" must be a string .*, not 1/);
  });

  test('in a client of the application as well, before it is used', async () => {
    for (const options of [{ role: 'slave' }, { readOnly: true }] as const) {
      const slave = new Redis({ ...options, lazyConnect: true, sentinels: [{ host: 'a.test' }], name: 'main' });
      const [name] = Object.keys(options);
      await expect(made(slave)).rejects.toThrow(new RegExp(`^Option "redis": the client’s option "${name}" cannot be`));
      await expect(made(() => slave)).rejects.toThrow(ConfigurationError);
    }
  });
});

function clusterStrategy(options: object): (times: number) => unknown {
  return (options as { clusterRetryStrategy: (times: number) => unknown }).clusterRetryStrategy;
}

describe('The connections', () => {
  test('are not connected yet, and do not resend, resubscribe or queue on their own', async () => {
    for (const option of ['redis://a.test', { host: 'a.test', autoResubscribe: true }, client] as RedisOption[]) {
      for (const { status, options } of await made(option)) {
        expect(status).toBe('wait');
        expect(options).toMatchObject({
          autoResubscribe: false,
          autoResendUnfulfilledCommands: false,
          enableOfflineQueue: false,
          enableReadyCheck: false,
        });
      }
    }
  });

  test('use the URL, with the other options', async () => {
    const [commands, subscriber] = await made({
      url: 'rediss://me:secret@a.test:6380/3',
      connectTimeout: 5,
      host: undefined,
    });
    expect(commands!.options).toMatchObject({
      host: 'a.test',
      port: 6380,
      username: 'me',
      password: 'secret',
      db: 3,
      tls: true,
      connectTimeout: 5,
      connectionName: 'nestjs-messaging:commands',
    });
    expect(subscriber!.options.connectionName).toBe('nestjs-messaging:subscriber');
  });

  test('wait for the next attempt by the rules of this library, unless the application sets others', async () => {
    const usual = await made('redis://a.test');
    const duplicated = await made(client);
    for (const { options } of [...usual, ...duplicated]) {
      for (let attempt = 1; attempt < 20; attempt++) options.retryStrategy!(1);
      // It counts for itself, and goes up to 10 s.
      expect(options.retryStrategy!(1)).toBeGreaterThanOrEqual(5_000);
    }
    const [given] = await made({ host: 'a.test', retryStrategy: ownStrategy });
    const [kept] = await made(new Redis({ lazyConnect: true, retryStrategy: ownStrategy }));
    for (const { options } of [given!, kept!]) expect(options.retryStrategy!(1)).toBe(ownStrategy());
  });

  test('wait by these rules with Sentinels and of a Cluster as well, unless the application sets others', async () => {
    const sentinels = { sentinels: [{ host: 'a.test' }], name: 'main' };
    for (const { options } of [
      ...(await made(sentinels)),
      ...(await made(new Redis({ ...sentinels, lazyConnect: true }))),
    ]) {
      // One round through all of them is one attempt.
      expect(options.sentinelRetryStrategy!(1)).toBeNull();
    }
    for (const option of [cluster, () => new Cluster([{ host: 'a.test' }], { lazyConnect: true })]) {
      for (const { options } of await made(option)) {
        for (let attempt = 1; attempt < 20; attempt++) clusterStrategy(options)(1);
        expect(clusterStrategy(options)(1)).toBeGreaterThanOrEqual(5_000);
      }
    }
    const own = new Cluster([{ host: 'a.test' }], { lazyConnect: true, clusterRetryStrategy: ownStrategy });
    expect(clusterStrategy((await made(own))[0]!.options)(1)).toBe(ownStrategy());
  });

  test('notice a failover reported by the Sentinels', async () => {
    const sentinels = { sentinels: [{ host: 'a.test' }], name: 'main', lazyConnect: true };
    const options: RedisOption[] = [sentinels, new Redis(sentinels), () => new Redis(sentinels)];
    for (const option of options) {
      for (const each of await made(option)) {
        expect(each.options).toMatchObject({ failoverDetector: true, sentinelCommandTimeout: 3_000 });
      }
    }
    expect((await made({ ...sentinels, failoverDetector: false }))[0]!.options.failoverDetector).toBe(false);
  });

  test('of a cluster are clusters', async () => {
    for (const duplicate of await made(cluster)) {
      expect(duplicate).toBeInstanceOf(Cluster);
      expect(duplicate.status).toBe('wait');
      expect(addressOf(duplicate)).toBe('the Redis Cluster at a.test:7000');
    }
  });

  test('check with Sentinels that they have reached the master', async () => {
    const [commands] = await made({ sentinels: [{ host: 'a.test' }], name: 'main' });
    expect(commands!.options.enableReadyCheck).toBe(true);
    expect(addressOf(commands!)).toBe('Redis, the master "main" of the Sentinels,');
  });

  const second: [string, () => unknown, string][] = [
    [
      'throws',
      () => {
        throw new Error('no more');
      },
      'Option "redis": the function failed: no more',
    ],
    ['returns null', () => null, 'Option "redis": the function must give an ioredis Redis or Cluster, not null'],
    [
      'returns a replica',
      () => new Redis({ lazyConnect: true, readOnly: true }),
      'Option "redis": the client’s option "readOnly" cannot be true',
    ],
  ];

  test.each(second)('of a function are closed if it %s when called again', async (_, again, text) => {
    const first = new Redis({ lazyConnect: true });
    const given: unknown[] = [first];
    const failed = made(() => (given.shift() ?? again()) as Redis);
    await expect(failed).rejects.toThrow(ConfigurationError);
    await expect(failed).rejects.toThrow(text);
    expect(first.status).toBe('end');
  });

  test('of a function that returns the same one twice are closed', async () => {
    const only = new Redis({ lazyConnect: true });
    await expect(made(() => only)).rejects.toThrow('it gave the same one twice');
    expect(only.status).toBe('end');
  });

  test('of an asynchronous function are closed once they come, and its rejection is handled', async () => {
    const late = new Redis({ lazyConnect: true });
    const ended = once(late, 'end');
    const text = 'Option "redis": the function must give an ioredis Redis or Cluster, not an instance of Promise';
    await expect(made((() => Promise.resolve(late)) as never)).rejects.toThrow(text);
    await ended;

    const unhandled: unknown[] = [];
    const note = (reason: unknown): void => void unhandled.push(reason);
    process.on('unhandledRejection', note);
    await expect(made((() => Promise.reject(new Error('late'))) as never)).rejects.toThrow(text);
    await new Promise(setImmediate);
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
  });

  test('need ioredis, and report it if it is missing', async () => {
    const error: unknown = await loadIoredis(missing).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConfigurationError);
    expect((error as Error).message).toMatch(/needs the package ioredis.*npm install ioredis/);
    const transport = new RedisTransport('redis://a.test', { load: () => loadIoredis(missing) });
    await expect(transport.start(() => undefined)).rejects.toThrow(/npm install ioredis/);
    await transport.close();
  });

  test('need a recent ioredis, and refuse one whose `Redis` has no name', async () => {
    const old = Promise.resolve({ default: class {} });
    await expect(loadIoredis(() => old)).rejects.toThrow(ConfigurationError);
    await expect(loadIoredis(() => old)).rejects.toThrow('needs ioredis 5.3.0 or later; npm install ioredis@latest');
  });
});

test('A history that is asked after the application has closed names that as the reason', async () => {
  const transport = new RedisTransport('redis://a.test');
  await transport.close();
  await expect(transport.history.positions(['news'])).rejects.toThrow('The application is closed');
  await expect(transport.history.positions(['news'])).rejects.toThrow(TransportUnavailableError);
});
