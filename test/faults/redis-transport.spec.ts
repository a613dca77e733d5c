import { createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { filter, firstValueFrom } from 'rxjs';
import type { TransportStatus } from '../../lib/core/transport.js';
import { ConfigurationError, TransportUnavailableError } from '../../lib/protocol/errors.js';
import { MAX_PENDING_BYTES } from '../../lib/transport/redis-publisher.js';
import type { RedisOption, RedisTransportOptions } from '../../lib/transport/redis-options.js';
import { RedisTransport, type RedisTransportSettings } from '../../lib/transport/redis-transport.js';
import { Queue } from '../support/queue.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer, type RedisServerOptions } from '../support/redis-server.js';

type Received = [payload: string, subscription: string, channel: string, position?: object | undefined];

const noise: unknown[][] = [];
const cleanUp: (() => unknown)[] = [];
const onUnhandled = (error: unknown): void => void noise.push(['unhandled rejection', error]);

beforeEach(() => {
  for (const method of ['log', 'warn', 'error'] as const) {
    jest.spyOn(console, method).mockImplementation((...args) => void noise.push(args));
  }
  process.on('unhandledRejection', onUnhandled);
});

afterEach(async () => {
  for (const action of cleanUp.splice(0).toReversed()) await action();
  // Unhandled rejections are reported after the microtasks.
  await new Promise(setImmediate);
  process.off('unhandledRejection', onUnhandled);
  jest.restoreAllMocks();
  if (noise.length > 0) throw new Error(`noise: ${inspect(noise.splice(0))}`);
});

async function startServer(options?: RedisServerOptions): Promise<RedisServer> {
  const server = await RedisServer.start(options);
  cleanUp.push(() => server.kill());
  return server;
}

function probe(server: RedisServer): RedisProbe {
  const created = new RedisProbe(server.url);
  cleanUp.push(() => created[Symbol.dispose]());
  return created;
}

function create(redis: RedisOption, settings?: RedisTransportSettings): RedisTransport {
  const transport = new RedisTransport(redis, settings);
  cleanUp.push(() => transport.close());
  return transport;
}

async function node(
  redis: RedisOption,
  names: string[] = [],
  settings?: RedisTransportSettings,
): Promise<[RedisTransport, Queue<Received>]> {
  const transport = create(redis, settings);
  const received = new Queue<Received>();
  await transport.start((...args) => received.push(args));
  await reached(transport, 'ready');
  await Promise.all(names.map((name) => transport.subscribe(name)));
  return [transport, received];
}

function statusOf(transport: RedisTransport): Promise<TransportStatus> {
  return firstValueFrom(transport.status);
}

function reached(transport: RedisTransport, state: TransportStatus['state'], text = ''): Promise<TransportStatus> {
  const fits = (status: TransportStatus): boolean =>
    status.state === state && (status.error?.message ?? '').includes(text);
  return firstValueFrom(transport.status.pipe(filter(fits)));
}

/** A server that accepts connections and never answers. */
async function silentServer(): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => void sockets.add(socket.on('error', () => undefined)));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  cleanUp.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function within<T>(milliseconds: number, action: () => Promise<T>): Promise<T> {
  const before = performance.now();
  const result = await action();
  expect(performance.now() - before).toBeLessThan(milliseconds);
  return result;
}

describe('At the start', () => {
  test('a wrong password is an error with the text of Redis, and no connection is left', async () => {
    const server = await startServer({ password: 'right' });
    const transport = create({ host: '127.0.0.1', port: server.port, password: 'wrong' });
    const failure = await transport.start(() => undefined).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ConfigurationError);
    expect((failure as Error).message).toContain(`Redis at ${server.address} refuses the connection: WRONGPASS`);
    expect((await statusOf(transport)).state).toBe('closed');
    expect(await transport.publish('news', 'no')).toBe(false);
    expect(await probe(server).clients()).toEqual([]);
  });

  test('a missing password is an error with the text of Redis', async () => {
    const server = await startServer({ password: 'right' });
    const transport = create(`redis://${server.address}`);
    await expect(transport.start(() => undefined)).rejects.toThrow(/refuses the connection: NOAUTH/);
  });

  test('a missing or wrong password is noticed with the older protocol, too', async () => {
    const server = await startServer({ password: 'right' });
    for (const [password, text] of [
      [undefined, /NOAUTH/],
      ['wrong', /WRONGPASS/],
    ] as const) {
      const transport = create({ port: server.port, host: '127.0.0.1', password, protocol: 2 });
      await expect(transport.start(() => undefined)).rejects.toThrow(text);
    }
  });

  test('an unknown user is an error with the text of Redis', async () => {
    const server = await startServer();
    const transport = create({ port: server.port, host: '127.0.0.1', username: 'nobody', password: 'secret' });
    await expect(transport.start(() => undefined)).rejects.toThrow(/WRONGPASS/);
  });

  test('a database that does not exist is an error', async () => {
    const server = await startServer();
    await expect(create(`${server.url}/99`).start(() => undefined)).rejects.toThrow(/DB index is out of range/);
  });

  test('an unnecessary password is no error', async () => {
    const server = await startServer();
    const [a] = await node(`redis://:needless@${server.address}`);
    expect(await a.publish('news', 'x')).toBe(true);
    // ioredis 5 writes a hint of its own, for each connection.
    const others = noise.splice(0).filter(([text]) => !String(text).includes('does not require a password'));
    noise.push(...others);
  });

  test('a missing Redis does not delay the application, and is named', async () => {
    const server = await startServer();
    await server.kill();
    const transport = create(server.url);
    await within(1_000, () => transport.start(() => undefined));
    const { state, error } = await statusOf(transport);
    expect(state).toBe('waiting');
    expect(error).toBeInstanceOf(TransportUnavailableError);
    expect(error?.message).toBe(`Redis at ${server.address} cannot be reached: connect ECONNREFUSED ${server.address}`);
    await server.restart();
    await reached(transport, 'ready');
  });

  test('a failure at several addresses of one host has a text as well', async () => {
    const server = await startServer();
    await server.kill();
    const transport = create({ host: 'localhost', port: server.port });
    await transport.start(() => undefined);
    expect((await statusOf(transport)).error?.message).toMatch(/cannot be reached: .*ECONNREFUSED/);
  });

  test('a host without an address is named', async () => {
    const transport = create({ host: 'redis.invalid' });
    await transport.start(() => undefined);
    const { error } = await reached(transport, 'waiting');
    expect(error?.message).toMatch(/^Redis at redis.invalid:6379 cannot be reached: getaddrinfo/);
  });

  test('a Redis that does not answer delays the start by at most two seconds, and is reported', async () => {
    const port = await silentServer();
    const transport = create({ host: '127.0.0.1', port });
    await within(3_000, () => transport.start(() => undefined));
    const { state, error } = await statusOf(transport);
    expect(state).toBe('waiting');
    expect(error?.message).toBe(`Redis at 127.0.0.1:${port} has not answered for 2 s`);
    await within(800, () => transport.close());
  });

  test('the error of a missing Redis does not contain its password', async () => {
    const server = await startServer();
    await server.kill();
    const transport = create(`redis://user:hunter2@${server.address}`);
    await transport.start(() => undefined);
    expect(JSON.stringify(await statusOf(transport), Object.getOwnPropertyNames(Error.prototype))).not.toContain(
      'hunter2',
    );
    expect((await statusOf(transport)).error?.message).not.toContain('hunter2');
  });
});

describe('While running', () => {
  test('there are exactly two connections, and few SUBSCRIBEs, however many channels', async () => {
    const server = await startServer();
    const { clients, calls } = bound(probe(server));
    const [transport] = await node(server.url);
    const before = await calls('subscribe');
    const names = Array.from({ length: 1_000 }, (_, index) => `channel/${index}`);
    await Promise.all(names.map((name) => transport.subscribe(name)));
    await Promise.all(names.map((name) => transport.publish(name, 'x')));
    expect((await clients()).map(({ name = '' }) => name).toSorted((x, y) => x.localeCompare(y))).toEqual([
      'nestjs-messaging:commands',
      'nestjs-messaging:subscriber',
    ]);
    // 512 per command.
    expect((await calls('subscribe')) - before).toBe(2);
  });

  test('an interest that soon returns costs nothing, and one that does not leaves Redis', async () => {
    const server = await startServer();
    const looker = probe(server);
    const [transport] = await node(server.url, ['news', 'rooms/:id', 'kept']);
    const monitor = await looker.redis.monitor();
    cleanUp.push(() => monitor.disconnect());
    const commands = new Queue<string>();
    monitor.on('monitor', (_: string, args: string[]) => commands.push(args.join(' ')));
    transport.unsubscribe('news');
    for (let round = 0; round < 20; round++) await looker.redis.ping();
    await transport.subscribe('news');
    transport.unsubscribe('news');
    transport.unsubscribe('rooms/:id');
    expect(await commands.until((command) => !command.startsWith('ping'))).toBe('unsubscribe messaging:|news');
    expect(await commands.until((command) => !command.startsWith('ping'))).toBe('punsubscribe messaging:|rooms/*');
    expect(await looker.channels()).toEqual(['messaging:|kept']);
  });

  test('templates with one pattern share it until the last one ends', async () => {
    const server = await startServer();
    const looker = probe(server);
    const [a, atA] = await node(server.url, ['rooms/:id', 'rooms/:roomId', 'end']);
    expect(await looker.redis.pubsub('NUMPAT')).toBe(1);
    a.unsubscribe('rooms/:id');
    const monitor = await looker.redis.monitor();
    cleanUp.push(() => monitor.disconnect());
    // The linger of another interest ends after the first one's.
    await a.subscribe('marker');
    a.unsubscribe('marker');
    await new Promise<void>((resolve) => {
      monitor.on('monitor', (_: string, [command]: string[]) => command === 'unsubscribe' && resolve());
    });
    await a.publish('rooms/1', 'x');
    await a.publish('end', 'end');
    expect((await atA.take(2)).map(([, subscription]) => subscription)).toEqual(['rooms/:roomId', 'end']);
  });

  test('broken connections come back, with every interest once and without dropped ones', async () => {
    const server = await startServer();
    const looker = probe(server);
    const [a, atA] = await node(server.url, ['news', 'rooms/:id', 'dropped']);
    a.unsubscribe('dropped');
    const lost = reached(a, 'waiting', 'closed the connection');
    await looker.cutClients();
    expect((await lost).error?.message).toBe(`Redis at ${server.address} closed the connection`);
    await reached(a, 'ready');
    expect(await looker.channels()).toEqual(['messaging:|news']);
    expect(await looker.redis.pubsub('NUMPAT')).toBe(1);
    await a.publish('rooms/1', 'room');
    await a.publish('news', 'end');
    expect(await atA.take(2)).toEqual([
      ['room', 'rooms/:id', 'rooms/1'],
      ['end', 'news', 'news'],
    ]);
    expect(await looker.clients()).toHaveLength(2);
  });

  test('statuses do not repeat themselves during an outage', async () => {
    const server = await startServer();
    const attempts = new Queue<number>();
    const retryStrategy = (attempt: number): number => {
      attempts.push(attempt);
      return 1;
    };
    const [a] = await node({ url: server.url, retryStrategy });
    const statuses: string[] = [];
    a.status.subscribe(({ state, error }) => statuses.push(`${state} ${error?.message ?? ''}`));
    await server.kill();
    await attempts.take(40);
    // Closed or reset, by either connection, then refused.
    expect(statuses.length).toBeLessThan(7);
    expect(statuses.at(-1)).toMatch(/ECONNREFUSED/);
  });

  test('a changed password is reported, and tried again until it is right', async () => {
    const server = await startServer({ password: 'first' });
    const looker = probe(server);
    const [a] = await node({ url: server.url, publishTimeoutMs: 50 }, ['news']);
    await looker.redis.config('SET', 'requirepass', 'second');
    await looker.cutClients();
    const { error } = await reached(a, 'waiting', 'WRONGPASS');
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(await a.publish('news', 'no')).toBe(false);
    await looker.redis.config('SET', 'requirepass', 'first');
    await reached(a, 'ready');
    expect(await a.publish('news', 'yes')).toBe(true);
  });

  test('a retryStrategy of the application is used, and attempts continue even if it gives up', async () => {
    const server = await startServer();
    const times: number[] = [];
    const gaveUp = new Queue<void>();
    const retryStrategy = (attempt: number): number | null => {
      times.push(attempt);
      if (attempt < 3) return 1;
      gaveUp.push();
      return null;
    };
    const [a] = await node({ url: server.url, retryStrategy });
    await server.kill();
    await reached(a, 'waiting', 'ECONNREFUSED');
    await gaveUp.next();
    await server.restart();
    await reached(a, 'ready');
    expect(times.filter((attempt) => attempt === 3).length).toBeGreaterThan(0);
  });

  test('a link whose other end is silent is cut, and comes back', async () => {
    const server = await startServer();
    const [a, atA] = await node(server.url, ['news'], { heartbeatMs: 60 });
    server.pause();
    await reached(a, 'waiting', 'it does not answer');
    server.resume();
    await reached(a, 'ready');
    expect(await a.publish('news', 'hello')).toBe(true);
    expect((await atA.next())[0]).toBe('hello');
  });

  test('a quiet link is not cut by the heartbeat', async () => {
    const server = await startServer();
    const looker = probe(server);
    const [a] = await node(server.url, [], { heartbeatMs: 100 });
    const states: string[] = [];
    a.status.subscribe(({ state }) => states.push(state));
    const before = await looker.calls('role');
    while ((await looker.calls('role')) < before + 10);
    expect(states).toEqual(['ready']);
  });
});

describe('A post', () => {
  test('waits for Redis in order, and is sent when Redis is back in time', async () => {
    const server = await startServer();
    const [a, atA] = await node({ url: server.url, publishTimeoutMs: 10_000 }, ['news']);
    await server.kill();
    await reached(a, 'waiting');
    const payloads = Array.from({ length: 200 }, (_, index) => String(index));
    const accepted = Promise.all(payloads.map((payload) => a.publish('news', payload)));
    await server.restart();
    expect((await accepted).every(Boolean)).toBe(true);
    // The subscriber may return after the posts have gone; everything that it received is in order.
    await reached(a, 'ready');
    await a.publish('news', 'end');
    const got: string[] = [];
    for (let [payload] = await atA.next(); payload !== 'end'; [payload] = await atA.next()) got.push(payload);
    expect(got).toEqual(payloads.slice(payloads.length - got.length));
  });

  test('that waited too long is not accepted and is never sent', async () => {
    const server = await startServer();
    const [a, atA] = await node({ url: server.url, publishTimeoutMs: 100 }, ['news']);
    await server.kill();
    await reached(a, 'waiting');
    const accepted = await within(1_000, () => Promise.all([a.publish('news', 'late'), a.publish('news', 'late')]));
    expect(accepted).toEqual([false, false]);
    await server.restart();
    await reached(a, 'ready');
    await a.publish('news', 'end');
    expect((await atA.next())[0]).toBe('end');
  });

  test('before the start waits, but no longer than its time', async () => {
    const transport = create({ port: 1, host: '127.0.0.1', publishTimeoutMs: 50 });
    expect(await within(1_000, () => transport.publish('news', 'no'))).toBe(false);
  });

  test('that is in flight when the link breaks is not accepted, and not sent again', async () => {
    const server = await startServer();
    const [a, atA] = await node({ url: server.url, publishTimeoutMs: 10_000 }, ['news']);
    server.pause();
    const pending = [a.publish('news', 'lost'), a.publish('news', 'lost')];
    await new Promise(setImmediate);
    await within(2_000, async () => {
      await server.kill();
      expect(await Promise.all(pending)).toEqual([false, false]);
    });
    await server.restart();
    await reached(a, 'ready');
    await a.publish('news', 'end');
    expect((await atA.next())[0]).toBe('end');
  });

  test('that Redis does not answer in time is not accepted', async () => {
    const server = await startServer();
    const [a] = await node({ url: server.url, publishTimeoutMs: 100 });
    server.pause();
    expect(await within(1_000, () => a.publish('news', 'no'))).toBe(false);
    server.resume();
    while (!(await a.publish('news', 'yes'))) await new Promise(setImmediate);
    expect((await statusOf(a)).state).toBe('ready');
  });

  test('is never doubled nor out of order if the link breaks in the middle of many', async () => {
    const server = await startServer();
    const looker = probe(server);
    const [a] = await node(server.url);
    const [, atB] = await node(server.url, ['news']);
    const accepted: number[] = [];
    const isAccepted = async (index: number): Promise<void> => {
      if (await a.publish('news', String(index))) accepted.push(index);
    };
    const all: Promise<void>[] = [];
    const { id } = (await looker.clients()).find(({ name }) => name === 'nestjs-messaging:commands')!;
    for (let index = 0; index < 3_000; index++) {
      all.push(isAccepted(index));
      if (index === 1_000) void looker.redis.client('KILL', 'ID', id!);
      if (index % 100 === 0) await new Promise(setImmediate);
    }
    await Promise.all(all);
    await a.publish('news', 'end');
    const got: number[] = [];
    for (let [payload] = await atB.next(); payload !== 'end'; [payload] = await atB.next()) got.push(Number(payload));
    expect(got).toEqual([...new Set(got)].toSorted((x, y) => x - y));
    expect(accepted.filter((index) => !got.includes(index))).toEqual([]);
    // At least those sent before.
    expect(accepted.length).toBeGreaterThan(100);
  });

  test('is not accepted if too much is waiting already', async () => {
    const transport = create({ port: 1, host: '127.0.0.1', publishTimeoutMs: 60_000 });
    const half = 'x'.repeat(MAX_PENDING_BYTES / 2);
    const waiting = [transport.publish('news', half), transport.publish('news', half)];
    expect(await transport.publish('news', 'x')).toBe(false);
    await transport.close();
    expect(await Promise.all(waiting)).toEqual([false, false]);
  });

  test('frees its bytes when it is accepted, and when the link breaks, but not while Redis may still accept it', async () => {
    const server = await startServer();
    const [a] = await node({ url: server.url, publishTimeoutMs: 300, retryStrategy: () => 20 });
    const all = 'x'.repeat(MAX_PENDING_BYTES);
    while (!(await a.publish('news', all))) await new Promise(setImmediate);
    server.pause();
    expect(await a.publish('news', all)).toBe(false);
    expect(await within(200, () => a.publish('news', 'x'))).toBe(false);
    await server.kill();
    await server.restart();
    // Immediately `false`, until the link is known to be broken.
    while (!(await a.publish('news', all))) await new Promise(setImmediate);
    expect(await a.publish('news', 'x')).toBe(true);
  });

  test('frees its bytes when it has waited too long to be sent', async () => {
    const transport = create({ port: 1, host: '127.0.0.1', publishTimeoutMs: 50 });
    const all = 'x'.repeat(MAX_PENDING_BYTES);
    expect(await transport.publish('news', all)).toBe(false);
    const before = performance.now();
    await transport.publish('news', all);
    // Refused for lack of room, it would not have waited.
    expect(performance.now() - before).toBeGreaterThan(40);
  });

  test('that Redis refuses is not accepted, and the status names the reason', async () => {
    const server = await startServer();
    const looker = probe(server);
    await looker.redis.acl('SETUSER', 'app', 'on', '>secret', '+@all', 'resetchannels', '&messaging:*');
    const [a] = await node({
      port: server.port,
      host: '127.0.0.1',
      username: 'app',
      password: 'secret',
      interop: false,
    });
    expect(await a.publish('news', 'yes')).toBe(true);
    await looker.redis.acl('SETUSER', 'app', 'resetchannels');
    // Redis ends connections whose channels are withdrawn; reconnected ones may go without those channels.
    await looker.redis.acl('SETUSER', 'app', '-publish');
    await reached(a, 'ready');
    expect(await a.publish('news', 'no')).toBe(false);
    expect((await reached(a, 'ready', 'refuses PUBLISH: NOPERM')).state).toBe('ready');
  });
});

describe('A subscription', () => {
  test('that Redis refuses does not affect the others, is reported, and is tried again', async () => {
    const server = await startServer();
    const looker = probe(server);
    await looker.redis.acl('SETUSER', 'app', 'on', '>secret', '+@all', 'resetchannels', '&messaging:|good*');
    const [a, atA] = await node({
      port: server.port,
      host: '127.0.0.1',
      username: 'app',
      password: 'secret',
      interop: false,
    });
    const [b] = await node({ url: server.url, interop: false });
    const good = Array.from({ length: 20 }, (_, index) => `good/${index}`);
    const bad = a.subscribe('bad');
    await Promise.all(good.map((name) => a.subscribe(name)));
    const { error } = await reached(a, 'waiting', 'refuses SUBSCRIBE "messaging:|bad": NOPERM');
    expect(error).toBeInstanceOf(TransportUnavailableError);
    for (const name of good) await b.publish(name, name);
    expect((await atA.take(20)).map(([, , channel]) => channel)).toEqual(good);
    await looker.redis.acl('SETUSER', 'app', '&messaging:|bad');
    await bad;
    await reached(a, 'ready');
    await b.publish('bad', 'hello');
    expect(await atA.next()).toEqual(['hello', 'bad', 'bad']);
  });

  test('that Redis refuses and nobody needs any more does not keep the status from being ready', async () => {
    const server = await startServer();
    await probe(server).redis.acl('SETUSER', 'app', 'on', '>secret', '+@all', 'resetchannels', '&messaging:*');
    const user = { port: server.port, host: '127.0.0.1', username: 'app', password: 'secret' };
    const [a] = await node({ ...user, interop: true });
    const refused = a.subscribe('news');
    const { error } = await reached(a, 'waiting', 'refuses SUBSCRIBE "news"');
    expect(error?.message).toContain('for stock parts of Nest, because of "interop: true"');
    a.unsubscribe('news');
    await refused;
    await reached(a, 'ready');
  });

  test('requested during an outage is registered before the status is ready', async () => {
    const server = await startServer();
    const looker = probe(server);
    const [a] = await node(server.url, ['news']);
    await server.kill();
    await reached(a, 'waiting');
    const later = [a.subscribe('later'), a.subscribe('rooms/:id')];
    const dropped = a.subscribe('dropped');
    a.unsubscribe('dropped');
    await dropped;
    let isRegistered = false;
    const registered = Promise.all(later).then(() => (isRegistered = true));
    await server.restart();
    await reached(a, 'ready');
    // After immediate tasks, before Redis can have sent anything more.
    await new Promise<void>((resolve) => process.nextTick(resolve));
    expect(isRegistered).toBe(true);
    await registered;
    expect(await looker.channels()).toEqual(['messaging:|later', 'messaging:|news']);
  });
});

async function hostile(names: string[]) {
  const server = await startServer();
  const transport = create({ url: server.url, interop: true });
  const received = new Queue<Received>();
  const rejections = new Queue<[channel: string, text: string]>();
  await transport.start((...args) => received.push(args), {
    rejected: (channel, error) => rejections.push([channel, error.message]),
  });
  await reached(transport, 'ready');
  await Promise.all(names.map((name) => transport.subscribe(name)));
  const { redis: publisher } = probe(server);
  return { publisher, received, rejections };
}

describe('A foreign payload', () => {
  test('in the form of a batch of a million line breaks costs next to nothing, and is reported once', async () => {
    const { publisher, received, rejections } = await hostile(['news']);
    let handedOver = 0;
    await within(2_000, async () => {
      await publisher.publish('messaging:|news', '\n'.repeat(1_000_000));
      await publisher.publish('messaging:|news', 'end');
      while ((await received.next())[0] !== 'end') handedOver++;
    });
    expect(handedOver).toBe(1_024);
    expect(rejections.pending).toEqual([
      ['news', expect.stringMatching(/^a batch of 1000000 characters is longer than/)],
    ]);
  });

  test('in the form of a batch beyond its limit is read up to the limit, and reported once', async () => {
    const { publisher, received, rejections } = await hostile(['news']);
    await publisher.publish('messaging:|news', `\nfirst\nsecond\n${'x'.repeat(2_000_000)}\nthird`);
    await publisher.publish('messaging:|news', 'end');
    expect((await received.take(3)).map(([payload]) => payload)).toEqual(['first', 'second', 'end']);
    expect(rejections.pending).toHaveLength(1);
  });

  test('under invalid names, or to other channels, is dropped at once', async () => {
    const { publisher, received, rejections } = await hostile([':a/:b', 'end']);
    await within(4_000, async () => {
      for (const prefix of ['messaging:|', '']) {
        const names = [
          'a/b\n',
          'a/\0',
          '/',
          'a/b/c',
          'a//',
          'a/*',
          'messaging:x/y',
          `a/${'x'.repeat(1_000_000)}`,
          '/'.repeat(1_000_000),
        ];
        for (const name of names) await publisher.publish(prefix + name, 'no');
        await publisher.publish(
          Buffer.concat([Buffer.from(`${prefix}a/`), Buffer.from([0xff, 0xfe])]),
          Buffer.from([0xff]),
        );
      }
      await publisher.publish('messaging:|end', 'end');
      // Invalid UTF-8 becomes replacement characters, as in other Redis clients.
      expect((await received.take(3)).map(([payload, , channel]) => [payload, channel])).toEqual([
        ['\ufffd', 'a/\ufffd\ufffd'],
        ['\ufffd', 'a/\ufffd\ufffd'],
        ['end', 'end'],
      ]);
    });
    expect(rejections.pending).toEqual([]);
  });
});

describe('A user of Redis', () => {
  // As in docs/redis.md.
  const COMMANDS = ['-@all', '+publish', '+subscribe', '+psubscribe', '+unsubscribe', '+punsubscribe', '+ping'];

  async function restricted(...rules: string[]): Promise<{ looker: RedisProbe; redis: RedisTransportOptions }> {
    const server = await startServer();
    const looker = probe(server);
    await looker.redis.acl('SETUSER', 'app', 'on', '>secret', 'resetchannels', ...COMMANDS, ...rules);
    return { looker, redis: { port: server.port, host: '127.0.0.1', username: 'app', password: 'secret' } };
  }

  test('needs no more than a few commands and the channels of the prefix', async () => {
    const { redis } = await restricted('&messaging:*');
    const [a, atA] = await node(redis, ['news', 'rooms/:id']);
    const states: unknown[] = [];
    a.status.subscribe(({ state, error }) => states.push([state, error]));
    expect(await a.publish('news', '1')).toBe(true);
    expect(await a.publish('rooms/7', '2')).toBe(true);
    expect((await atA.take(2)).map(([, subscription, channel]) => [subscription, channel])).toEqual([
      ['news', 'news'],
      ['rooms/:id', 'rooms/7'],
    ]);
    expect(states).toEqual([['ready', undefined]]);
  });

  test('without permission for the pattern of a template hears by the pattern of the prefix, even after an outage of Redis', async () => {
    const { looker, redis } = await restricted('&messaging:*');
    const [a, atA] = await node(redis, ['rooms/:id', 'rooms/:id/users', 'end']);
    expect(await statusOf(a)).toEqual({ state: 'ready', error: undefined });
    expect(await looker.redis.pubsub('NUMPAT')).toBe(1);
    await looker.cutClients();
    await reached(a, 'waiting');
    await reached(a, 'ready');
    for (const channel of ['other', 'rooms/1', 'rooms/1/users', 'end']) await a.publish(channel, 'x');
    expect((await atA.take(3)).map(([, subscription]) => subscription)).toEqual([
      'rooms/:id',
      'rooms/:id/users',
      'end',
    ]);
    a.unsubscribe('rooms/:id');
    a.unsubscribe('rooms/:id/users');
    while (Number(await looker.redis.pubsub('NUMPAT')) !== 0);
  });

  test('with permission for the pattern of a template hears by that pattern', async () => {
    const { looker, redis } = await restricted('&messaging:*', '&messaging:|rooms/*');
    const [a] = await node(redis, ['rooms/:id']);
    expect(await statusOf(a)).toEqual({ state: 'ready', error: undefined });
    expect(await looker.redis.pubsub('NUMPAT')).toBe(1);
    expect(await looker.redis.publish('messaging:|other', 'x')).toBe(0);
  });

  test('without permission for either pattern gets an error that names the pattern of the prefix', async () => {
    const { redis } = await restricted('&messaging:|*');
    const [a] = await node(redis);
    void a.subscribe('rooms/:id');
    const { error } = await reached(a, 'waiting', 'refuses PSUBSCRIBE');
    expect(error?.message).toContain('"messaging:*": NOPERM');
  });
});

describe('Closing', () => {
  test('takes well under a second with a Redis that hangs, and leaves nothing pending', async () => {
    const server = await startServer();
    const [a] = await node({ url: server.url, publishTimeoutMs: 60_000 });
    server.pause();
    const pending = [a.publish('news', 'no'), a.subscribe('news')];
    await new Promise(setImmediate);
    await within(800, () => a.close());
    expect(await Promise.all(pending)).toEqual([false, undefined]);
    expect((await statusOf(a)).state).toBe('closed');
    server.resume();
    const looker = probe(server);
    while ((await looker.clients()).length > 0);
  });

  test('takes well under a second even if the application configured the connection to take longer', async () => {
    const server = await startServer();
    const [a] = await node(() => new Redis(server.url, { disconnectTimeout: 5_000 }));
    server.pause();
    await within(800, () => a.close());
    expect((await statusOf(a)).state).toBe('closed');
  });

  test('takes well under a second between two attempts', async () => {
    const server = await startServer();
    const [a] = await node({ url: server.url, retryStrategy: () => 60_000 });
    await server.kill();
    await reached(a, 'waiting');
    await within(800, () => a.close());
    expect((await statusOf(a)).state).toBe('closed');
  });

  test('sends the latest posts', async () => {
    const server = await startServer();
    const [, atB] = await node(server.url, ['news']);
    const [a] = await node(server.url);
    void a.publish('news', 'goodbye');
    await a.close();
    expect((await atB.next())[0]).toBe('goodbye');
  });
});

describe('Connections of the application', () => {
  test('are duplicated, and neither used nor ended', async () => {
    const server = await startServer();
    const looker = probe(server);
    const own = new Redis(server.url, { connectionName: 'own', keyPrefix: 'app:' });
    cleanUp.push(() => own.disconnect());
    await once(own, 'ready');
    const options = { ...own.options };
    const [a, atA] = await node(own, ['news']);
    expect(await looker.clients()).toHaveLength(3);
    await a.publish('news', 'hello');
    expect(await atA.next()).toEqual(['hello', 'news', 'news']);
    expect(await looker.channels()).toEqual(['messaging:|news']);
    await looker.cutClients();
    await reached(a, 'ready');
    await a.close();
    expect({ ...own.options }).toEqual(options);
    expect(await own.ping()).toBe('PONG');
    expect((await looker.clients()).map(({ name }) => name)).toEqual(['own']);
  });

  test('made by a factory are two, and end with the transport', async () => {
    const server = await startServer();
    const looker = probe(server);
    const made: Redis[] = [];
    const factory = (): Redis => {
      const redis = new Redis(server.url);
      made.push(redis);
      return redis;
    };
    const [a, atA] = await node(factory, ['news']);
    expect(made).toHaveLength(2);
    await looker.cutClients();
    await reached(a, 'waiting');
    await reached(a, 'ready');
    await a.publish('news', 'hello');
    expect(await atA.next()).toEqual(['hello', 'news', 'news']);
    server.pause();
    const pending = a.publish('news', 'lost');
    await server.kill();
    expect(await pending).toBe(false);
    await server.restart();
    await reached(a, 'ready');
    await a.publish('news', 'end');
    expect((await atA.next())[0]).toBe('end');
    await a.close();
    expect(made.map(({ status }) => status)).toEqual(['end', 'end']);
  });

  test('must be new ones each time', async () => {
    const own = new Redis({ lazyConnect: true });
    await expect(create(() => own).start(() => undefined)).rejects.toThrow(/gave the same one twice/);
    await expect(create(() => 'redis' as never).start(() => undefined)).rejects.toThrow(
      /must give an ioredis Redis or Cluster, not "redis"/,
    );
  });

  test('need no ioredis of the library', async () => {
    const server = await startServer();
    const [a] = await node(() => new Redis(server.url), [], { load: notInstalled });
    expect(await a.publish('news', 'x')).toBe(true);
  });
});

function notInstalled(): Promise<never> {
  return Promise.reject(new Error('not installed'));
}

function bound(looker: RedisProbe): Pick<RedisProbe, 'clients' | 'calls'> {
  return { clients: () => looker.clients(), calls: (command) => looker.calls(command) };
}
