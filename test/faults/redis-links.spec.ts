import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Cluster, Redis } from 'ioredis';
import { filter, firstValueFrom } from 'rxjs';
import { TransportUnavailableError } from '../../lib/protocol/errors.js';
import type { RedisOption } from '../../lib/transport/redis-options.js';
import { offsetOf, post } from '../support/history-posts.js';
import { RedisNodes, reached, recordStatuses } from '../support/redis-nodes.js';
import { RedisSentinel } from '../support/redis-sentinel.js';
import type { RedisServer } from '../support/redis-server.js';
import { TcpProxy } from 'nestjs-messaging/testing';

const FAST = { heartbeatMs: 40 };

let nodes: RedisNodes;
beforeEach(() => {
  nodes = new RedisNodes();
});
afterEach(() => nodes[Symbol.asyncDispose]());

/** Two servers, the second of which is not a replica yet, and a function that makes the first a replica of the second. */
async function pair() {
  const [first, second] = [await nodes.server(), await nodes.server()];
  const demote = (): Promise<unknown> => nodes.probe(first).redis.replicaof('127.0.0.1', second.port);
  const promote = (): Promise<unknown> => nodes.probe(first).redis.replicaof('NO', 'ONE');
  return { first, second, demote, promote };
}

describe('A Redis that is a replica', () => {
  test('is not accepted at the start, which is reported, until it is a master', async () => {
    const { first, second, demote, promote } = await pair();
    await demote();
    const a = nodes.create({ url: first.url, publishTimeoutMs: 50, retryStrategy: () => 20 });
    await a.start(() => undefined);
    const { error } = await reached(a, 'waiting');
    expect(error).toBeInstanceOf(TransportUnavailableError);
    expect(error?.message).toBe(
      `Redis at ${first.address} is a replica of 127.0.0.1:${second.port}: posts there do not reach the servers at the master`,
    );
    expect(await a.publish('news', 'no')).toBe(false);
    await promote();
    await reached(a, 'ready');
    expect(await a.publish('news', 'yes')).toBe(true);
  });

  test.each([2, 3] as const)('is left by both connections when it becomes one, with protocol %p', async (protocol) => {
    const { first, demote, promote } = await pair();
    const [a, atA] = await nodes.node({ url: first.url, protocol, publishTimeoutMs: 50 }, ['news'], FAST);
    const looker = nodes.probe(first);
    const before = new Set((await looker.clients()).map(({ id }) => id));
    await demote();
    await reached(a, 'waiting', 'is a replica of');
    expect(await a.publish('news', 'no')).toBe(false);
    await promote();
    await reached(a, 'ready');
    expect(await a.publish('news', 'yes')).toBe(true);
    expect((await atA.next())[0]).toBe('yes');
    const names = (await looker.clients()).filter(({ id, name }) => name?.startsWith('nestjs') && !before.has(id));
    expect(names).toHaveLength(2);
  });

  test('is not noticed if an ACL forbids the question, and nothing false is reported', async () => {
    const { first, demote } = await pair();
    const looker = nodes.probe(first);
    await looker.redis.acl('SETUSER', 'app', 'on', '>secret', '+@all', '-role', 'allchannels');
    const url = `redis://app:secret@${first.address}`;
    const [a] = await nodes.node(url, ['news'], FAST);
    const statuses = recordStatuses(a);
    await demote();
    const before = await looker.calls('ping');
    while ((await looker.calls('ping')) < before + 10);
    expect(statuses).toEqual(['ready']);
    expect(await a.publish('news', 'x')).toBe(true);
  });
});

/** The connections of this library at a server, without ioredis' subscriptions to Sentinels. */
async function ownClients(server: RedisServer): Promise<string[]> {
  const clients = await nodes.probe(server).clients();
  return clients.map(({ name = '' }) => name).filter((name) => /^nestjs-messaging:\w+$/.test(name));
}

describe('With Sentinels', () => {
  test('a failover moves both connections to the new master at once', async () => {
    const sentinel = nodes.use(await RedisSentinel.start());
    const redis = { sentinels: [{ host: '127.0.0.1', port: sentinel.port }], name: 'main' };
    // Without checks of the role, so that the word of the Sentinel counts.
    const [a, atA] = await nodes.node(redis, ['news'], { heartbeatMs: 60_000 });
    await sentinel.failover();
    const before = performance.now();
    const [b, atB] = await nodes.node(redis, ['news']);
    const posting = setInterval(() => {
      void a.publish('news', 'of a');
      void b.publish('news', 'of b');
    }, 20);
    await Promise.all([atA.until(([payload]) => payload === 'of b'), atB.until(([payload]) => payload === 'of a')]);
    clearInterval(posting);
    expect(performance.now() - before).toBeLessThan(4_000);
    expect(await ownClients(sentinel.servers[0])).toEqual([]);
    expect(await ownClients(sentinel.servers[1])).toHaveLength(4);
  });

  test('a master that is demoted without a notice by the Sentinels is left', async () => {
    const { first, second, demote } = await pair();
    const sentinel = nodes.use(await TcpProxy.start(first.port));
    // Behind one moving address, such as a virtual one.
    const [a] = await nodes.node({ host: '127.0.0.1', port: sentinel.port, publishTimeoutMs: 50 }, [], FAST);
    await demote();
    await reached(a, 'waiting', 'is a replica');
    sentinel.retarget(second.port);
    await reached(a, 'ready');
    const before = await nodes.probe(second).calls('publish');
    expect(await a.publish('news', 'x')).toBe(true);
    expect(await nodes.probe(second).calls('publish')).toBeGreaterThan(before);
  });
});

/** Every kind of connection, to one port. */
const KINDS: [string, (port: number) => RedisOption][] = [
  ['options', (port) => ({ host: '127.0.0.1', port })],
  ['Sentinels', (port) => ({ sentinels: [{ host: '127.0.0.1', port }], name: 'main' })],
  ['a client', (port) => new Redis({ host: '127.0.0.1', port, lazyConnect: true })],
  [
    'a client with Sentinels',
    (port) => new Redis({ sentinels: [{ host: '127.0.0.1', port }], name: 'main', lazyConnect: true }),
  ],
  ['a factory', (port) => () => quiet(new Redis({ host: '127.0.0.1', port }))],
  [
    'a factory with Sentinels',
    (port) => () => quiet(new Redis({ sentinels: [{ host: '127.0.0.1', port }], name: 'main' })),
  ],
  ['a Cluster', (port) => new Cluster([{ host: '127.0.0.1', port }], { lazyConnect: true })],
  ['a factory of Clusters', (port) => () => quiet(new Cluster([{ host: '127.0.0.1', port }]))],
];

function quiet<T extends Redis | Cluster>(client: T): T {
  client.on('error', () => undefined);
  return client;
}

// A port to which these proxies connect no client.
const NOWHERE = 1;

describe('While Redis is away', () => {
  test.each(KINDS)('attempts are spaced, and one or two statuses report it, with %s', async (name, option) => {
    const proxy = nodes.use(await TcpProxy.start(NOWHERE, 'refuse'));
    const a = nodes.create(option(proxy.port));
    const statuses = recordStatuses(a);
    await a.start(() => undefined);
    // Two connections, or one while no member of a Cluster is known. The first waits are at least 50, 100, 200 and 250 ms.
    const times = await proxy.connections.take(name.includes('Cluster') ? 5 : 10);
    expect(times.at(-1)! - times[0]!).toBeGreaterThan(590);
    expect(statuses.length).toBeLessThan(4);
    expect(statuses.at(-1)).toMatch(/^waiting /);
  });

  test('and returns repeatedly, attempts are spaced as in one long outage', async () => {
    const server = await nodes.server();
    const proxy = nodes.use(await TcpProxy.start(server.port));
    const [a] = await nodes.node({ host: '127.0.0.1', port: proxy.port });
    const before = performance.now();
    for (let round = 0; round < 5; round++) {
      proxy.cut();
      await reached(a, 'waiting');
      await reached(a, 'ready');
    }
    // At least 50 + 100 + 200 + 250 + 250 ms.
    expect(performance.now() - before).toBeGreaterThan(840);
  });

  test.each(KINDS.filter(([name]) => name === 'options' || name === 'Sentinels' || name === 'a Cluster'))(
    'and accepts connections without an answer, the start reports that, with %s',
    async (_, option) => {
      const proxy = nodes.use(await TcpProxy.start(NOWHERE, 'swallow'));
      const a = nodes.create(option(proxy.port));
      const before = performance.now();
      await a.start(() => undefined);
      const { error } = await reached(a, 'waiting');
      expect(performance.now() - before).toBeLessThan(3_000);
      expect(error?.message).toMatch(/has not answered for 2 s$|cannot be reached/);
    },
  );
});

describe('Posts that Redis leaves unanswered', () => {
  test('are reported once, and the next answer is, too', async () => {
    const server: RedisServer = await nodes.server();
    const [a] = await nodes.node({ url: server.url, publishTimeoutMs: 50 });
    const statuses = recordStatuses(a);
    server.pause();
    for (let count = 0; count < 5; count++) expect(await a.publish('news', 'no')).toBe(false);
    server.resume();
    while (!(await a.publish('news', 'yes')));
    expect(statuses).toEqual([
      'ready',
      `ready Redis at ${server.address} has left posts unanswered for 50 ms and has accepted none in time since`,
      'ready',
    ]);
  });

  test('are reported once for plain posts and those to histories together, and so is the next answer', async () => {
    const server = await nodes.server();
    const [a] = await nodes.node({ url: server.url, publishTimeoutMs: 200 });
    await post(a.history, 'known');
    const statuses = recordStatuses(a);
    server.pause();
    expect(await Promise.all([a.publish('news', 'no'), post(a.history, 'no').then(offsetOf)])).toEqual([
      false,
      'unknown',
    ]);
    server.resume();
    while (!(await a.publish('news', 'yes')) || typeof offsetOf(await post(a.history, 'yes')) === 'string');
    expect(statuses).toEqual([
      'ready',
      `ready Redis at ${server.address} has left posts unanswered for 200 ms and has accepted none in time since`,
      'ready',
    ]);
  });

  test('on a link whose answers all come too late are reported once, until one comes in time', async () => {
    const server = await nodes.server();
    const proxy = nodes.use(await TcpProxy.start(server.port));
    const [a] = await nodes.node({ host: '127.0.0.1', port: proxy.port, publishTimeoutMs: 300 });
    await post(a.history, 'known');
    const statuses = recordStatuses(a);
    proxy.delayMs = 170;
    for (let count = 0; count < 4; count++) {
      const both = [a.publish('news', 'late'), post(a.history, 'late').then(({ kind }) => kind === 'appended')];
      expect(await Promise.all(both)).toEqual([false, false]);
    }
    proxy.delayMs = 0;
    while (!(await a.publish('news', 'in time')));
    expect(statuses).toEqual([
      'ready',
      `ready Redis at 127.0.0.1:${proxy.port} has left posts unanswered for 300 ms and has accepted none in time since`,
      'ready',
    ]);
  });

  test('while Redis holds writes back for a failover are taken afterwards, over the same connections', async () => {
    const server = await nodes.server();
    const looker = nodes.probe(server);
    const [a] = await nodes.node({ url: server.url, publishTimeoutMs: 20_000 });
    const statuses = recordStatuses(a);
    await looker.redis.client('PAUSE', 3_500, 'WRITE');
    expect(await a.publish('news', 'kept')).toBe(true);
    expect(statuses.filter((status) => status.startsWith('waiting'))).toEqual([]);
  });

  test('stay the error of the status over a new connection until one is accepted', async () => {
    const server = await nodes.server();
    const looker = nodes.probe(server);
    const [a] = await nodes.node({ url: server.url, publishTimeoutMs: 50 });
    const unanswered = 'has left posts unanswered for 50 ms and has accepted none in time since';
    await looker.redis.client('PAUSE', 60_000, 'WRITE');
    for (let outage = 0; outage < 2; outage++) {
      expect(await a.publish('news', 'no')).toBe(false);
      await reached(a, 'ready', unanswered);
      await looker.cutClients();
      await reached(a, 'waiting');
      expect((await reached(a, 'ready')).error?.message).toContain(unanswered);
    }
    await looker.redis.client('UNPAUSE');
    // The answers of a busy machine may take longer than the 50 ms.
    while (!(await a.publish('news', 'yes')));
    // The subscription's connection may be the one that is being replaced.
    await firstValueFrom(a.status.pipe(filter(({ state, error }) => state === 'ready' && error === undefined)));
  });
});

/** A node whose user may post to these channels, and a function that changes the rules of the user. */
async function restricted(...rules: string[]) {
  const server = await nodes.server();
  const { redis } = nodes.probe(server);
  const allow = (...more: string[]): Promise<unknown> => redis.acl('SETUSER', 'app', ...more);
  await allow('on', '>secret', '+@all', ...rules);
  const [a] = await nodes.node(`redis://app:secret@${server.address}`);
  return { a, allow, error: async () => (await firstValueFrom(a.status)).error?.message };
}

describe('Posts that Redis refuses', () => {
  test('are reported each time refusals begin, until one is accepted again', async () => {
    const { a, allow, error } = await restricted('allchannels');
    const statuses = recordStatuses(a);
    for (let time = 0; time < 2; time++) {
      await allow('-publish');
      for (let count = 0; count < 3; count++) expect(await a.publish('news', 'no')).toBe(false);
      expect(await error()).toContain('refuses PUBLISH: NOPERM');
      await allow('+publish');
      expect(await a.publish('other', 'yes')).toBe(true);
      expect(await error()).toBeUndefined();
    }
    const refused = expect.stringMatching(/^ready Redis at .* refuses PUBLISH: NOPERM/);
    expect(statuses).toEqual(['ready', refused, 'ready', refused, 'ready']);
  });

  test('on one channel stay the error of the status while those on others are accepted', async () => {
    const { a, allow, error } = await restricted('resetchannels', '&messaging:|a', '&messaging:|messaging:beat/*');
    for (let count = 0; count < 2; count++) {
      expect(await a.publish('b', 'no')).toBe(false);
      expect(await a.publish('a', 'yes')).toBe(true);
      expect(await error()).toContain('refuses PUBLISH: NOPERM');
    }
    await allow('&messaging:|b');
    expect(await a.publish('b', 'yes')).toBe(true);
    expect(await error()).toBeUndefined();
  });

  test('leave the status as it was before, once they are accepted', async () => {
    const { a, allow, error } = await restricted('resetchannels', '&messaging:|news');
    expect(await error()).toContain('cannot tell whether it hears anything');
    await allow('-publish');
    expect(await a.publish('news', 'no')).toBe(false);
    expect(await error()).toContain('refuses PUBLISH');
    await allow('+publish');
    expect(await a.publish('news', 'yes')).toBe(true);
    expect(await error()).toContain('cannot tell whether it hears anything');
  });
});
