import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { BEGINNING, type AppendOutcome, type HistoryRead, type HistoryStore } from '../../lib/core/history-store.js';
import { Hub } from '../../lib/core/hub.js';
import { defineChannel } from '../../lib/protocol/channel.js';
import { ConfigurationError, TransportUnavailableError } from '../../lib/protocol/errors.js';
import type { Position } from '../../lib/protocol/position.js';
import { APPEND_SCRIPT } from '../../lib/transport/redis-history-append-script.js';
import { POSITIONS_SCRIPT } from '../../lib/transport/redis-history-scripts.js';
import { BOUNDS, heard, keys, offsetOf, post } from '../support/history-posts.js';
import { Queue } from '../support/queue.js';
import { RecordingReporter } from '../support/recording-reporter.js';
import { RedisNodes, reached, type Received } from '../support/redis-nodes.js';
import type { RedisProbe } from '../support/redis-probe.js';
import { freePort, type RedisServer } from '../support/redis-server.js';
import { TLS } from '../support/tls.js';
import { RedisProxy, TcpProxy } from 'nestjs-messaging/testing';

let nodes: RedisNodes;
beforeEach(() => {
  nodes = new RedisNodes();
});
afterEach(() => nodes[Symbol.asyncDispose]());

async function follow(replica: RedisProbe, master: RedisServer): Promise<void> {
  await replica.redis.replicaof('127.0.0.1', master.port);
  while (!(await replica.redis.info('replication')).includes('master_link_status:up'));
}

async function kept(store: HistoryStore): Promise<string[]> {
  const { entries } = await store.read('news', 1_000);
  return entries.map(({ offset, payload }) => `${offset} ${payload}`);
}

function errorOf(outcome: AppendOutcome): Error {
  if (outcome.kind !== 'refused') throw new Error(`it is ${outcome.kind}`);
  return outcome.error;
}

/** Appends a batch as the appender `node` does. @param chain - must come before it */
function appendBatch(probe: RedisProbe, number: number, chain = ''): Promise<unknown> {
  const names = [keys.state, keys.stream, keys.appender('node'), keys.changes];
  const args = ['epoch', '', '', number, chain, 1_000, 60_000, 'messaging:|news', 1, `payload ${number}`];
  return probe.redis.eval(APPEND_SCRIPT, 4, ...names, ...args);
}

/** Behind a proxy: its first connection is for posts. */
async function behindProxy(server: RedisServer): Promise<RedisProxy> {
  return nodes.use(await RedisProxy.start(server.url));
}

/** The port of what passes connections on to a Redis. The first connection that brings a command of this name breaks, and the command is lost. */
async function losingFirst(command: string, { port }: RedisServer): Promise<number> {
  const name = `\r\n${command}\r\n`;
  let isLost = false;
  const server = createServer((client) => {
    const redis = connect(port, '127.0.0.1');
    for (const socket of [client, redis]) {
      socket.on('error', () => {});
      socket.on('close', () => void [client.destroy(), redis.destroy()]);
    }
    redis.pipe(client);
    client.on('data', (bytes) => {
      const isNamed = bytes.toString('latin1').toLowerCase().includes(name);
      if (isLost || !isNamed) redis.write(bytes);
      else client.destroy();
      isLost ||= isNamed;
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  nodes.use(server);
  return (server.address() as AddressInfo).port;
}

describe('A post to a channel with history', () => {
  test('is appended by a Redis that has forgotten the script', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    const [{ history }] = await nodes.node(server.url);
    await post(history, '1');
    await probe.redis.script('FLUSH');
    expect(offsetOf(await post(history, '2'))).toBe(2);
    expect(await kept(history)).toEqual(['1 1', '2 2']);
  });

  test('sends a Redis that has forgotten the script its text once, with however many other posts it is under way', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    const [{ history }] = await nodes.node(server.url);
    const channels = Array.from({ length: 500 }, (_, index) => `news/${index}`);
    const postAll = () =>
      Promise.all(
        channels.map((channel) => history.append(channel, { payload: '1', id: undefined, digest: undefined }, BOUNDS)),
      );
    await postAll();
    await probe.redis.script('FLUSH');
    const before = await probe.calls('eval');
    expect((await postAll()).map(offsetOf)).toEqual(channels.map(() => 2));
    expect((await probe.calls('eval')) - before).toBe(1);
  });

  test('is appended over the next connection if the text of the script is lost with one', async () => {
    const server = await nodes.server();
    const [{ history }] = await nodes.node({ url: `redis://127.0.0.1:${await losingFirst('eval', server)}` });
    expect(offsetOf(await post(history, '1'))).toBe(1);
    expect(await kept(history)).toEqual(['1 1']);
  });

  test.each(['down', 'up'] as const)(
    'is appended and published once if the connection is cut in the middle of it (%s)',
    async (way) => {
      const server = await nodes.server();
      const proxy = await behindProxy(server);
      const [{ history }] = await nodes.node({ url: proxy.url, publishTimeoutMs: 5_000 });
      const [, received] = await nodes.node(server.url, ['news']);
      await post(history, '1');
      proxy.mute(way, 0);
      const outcomes = [post(history, '2'), post(history, '3', 'an id')];
      // Appended but not answered, or not even forwarded.
      const before = heard(await received.take(way === 'down' ? 3 : 1));
      await new Promise(setImmediate);
      outcomes.push(post(history, '4'));
      proxy.cut();
      expect((await Promise.all(outcomes)).map(offsetOf)).toEqual([2, 3, 4]);
      expect(await kept(history)).toEqual(['1 1', '2 2', '3 3', '4 4']);
      before.push(...heard(await received.take(4 - before.length)));
      expect(before).toEqual(['1 1', '2 2', '3 3', '4 4']);
    },
  );

  test('has an unknown outcome if Redis hangs too long, and exists at most once; later posts are refused and never come', async () => {
    const server = await nodes.server();
    const [transport, received] = await nodes.node({ url: server.url, publishTimeoutMs: 300 }, ['news']);
    const { history } = transport;
    await post(history, '1');
    server.pause();
    const first = post(history, '2');
    await new Promise(setImmediate);
    const second = post(history, '3');
    expect((await first).kind).toBe('unknown');
    const error = errorOf(await second);
    expect(error).toBeInstanceOf(TransportUnavailableError);
    expect(error.message).toContain('300 ms');
    await reached(transport, 'ready', 'unanswered');
    server.resume();
    while (offsetOf(await post(history, 'end')) === 'refused');
    expect(await kept(history)).toEqual(['1 1', '2 2', '3 end']);
    expect(heard(await received.take(3))).toEqual(['1 1', '2 2', '3 end']);
    await reached(transport, 'ready');
  });

  test('is appended over a slow link, though it was sent only after the answer to the one before: its answer is late, not lost', async () => {
    const server = await nodes.server();
    const proxy = await behindProxy(server);
    const [{ history }] = await nodes.node({ url: proxy.url, publishTimeoutMs: 1_000 });
    await post(history, '1');
    proxy.delayMs = 350;
    const first = post(history, '2');
    await new Promise(setImmediate);
    expect((await Promise.all([first, post(history, '3')])).map(offsetOf)).toEqual([2, 3]);
    // The script is sent once more: two answers for one post.
    await nodes.probe(server).redis.script('FLUSH');
    expect(offsetOf(await post(history, '4'))).toBe(4);
  });

  test('waits in order while Redis is away, and is refused if that takes too long', async () => {
    const server = await nodes.server();
    const [transport] = await nodes.node({ url: server.url, publishTimeoutMs: 3_000 });
    const { history } = transport;
    await server.kill();
    await reached(transport, 'waiting');
    const outcomes = ['1', '2', '3'].map((payload) => post(history, payload));
    await server.restart();
    expect((await Promise.all(outcomes)).map(offsetOf)).toEqual([1, 2, 3]);
    await server.kill();
    await reached(transport, 'waiting');
    const error = errorOf(await post(history, '4'));
    expect(error).toBeInstanceOf(TransportUnavailableError);
    expect(error.message).toMatch(/not appended.*3000 ms/);
    await expect(history.read('news', BEGINNING)).rejects.toThrow(TransportUnavailableError);
    await expect(history.positions(['news'])).rejects.toThrow(TransportUnavailableError);
  });

  test('is refused at once if too much waits', async () => {
    const server = await nodes.server();
    const [transport] = await nodes.node({ url: server.url, publishTimeoutMs: 500 });
    await server.kill();
    await reached(transport, 'waiting');
    const long = 'x'.repeat(1024 * 1024);
    const outcomes = Array.from({ length: 17 }, () => post(transport.history, long));
    expect(errorOf(await outcomes[16]!).message).toContain('16 MiB');
    await Promise.all(outcomes);
  });

  test('is appended once a script of another client has ended or was killed', async () => {
    const server = await nodes.server({ args: ['--busy-reply-threshold', '10'] });
    const [probe, killer] = [nodes.probe(server), nodes.probe(server)];
    const [{ history }] = await nodes.node({ url: server.url, publishTimeoutMs: 10_000 });
    await post(history, '1');
    const script = probe.redis.eval('while true do end', 0).catch((error: Error) => error.message);
    await killer.redis.ping().catch(() => undefined);
    const outcome = post(history, '2');
    const [busy] = await Promise.allSettled([killer.redis.get('a')]);
    expect(busy.status).toBe('rejected');
    await killer.redis.script('KILL');
    expect(await script).toContain('killed');
    expect(offsetOf(await outcome)).toBe(2);
    expect(await kept(history)).toEqual(['1 1', '2 2']);
  });

  test('is refused by a full Redis; the status reports that until there is room again', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    const [transport, received] = await nodes.node(server.url, ['news']);
    const { history } = transport;
    await post(history, '1');
    await probe.redis.config('SET', 'maxmemory', '1');
    const [before] = await history.positions(['news']);
    expect(errorOf(await post(history, 'refused')).message).toContain('OOM');
    const { error } = await reached(transport, 'ready', 'OOM');
    expect(error!.message).toContain(`Redis at 127.0.0.1:${server.port} refuses to append to histories`);
    expect(await history.positions(['news'])).toEqual([before]);
    await probe.redis.config('SET', 'maxmemory', '0');
    expect(offsetOf(await post(history, '2'))).toBe(2);
    expect((await reached(transport, 'ready')).error).toBeUndefined();
    expect(heard(await received.take(2))).toEqual(['1 1', '2 2']);
    expect(await kept(history)).toEqual(['1 1', '2 2']);
  });

  test('is refused if Redis does not allow its keys, while other channels continue', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    await probe.redis.call('ACL', 'SETUSER', 'app', 'on', '>secret', '~*', '&*', '+@all');
    const [transport] = await nodes.node({ url: server.url, username: 'app', password: 'secret' });
    const { history } = transport;
    await post(history, '1');
    await probe.redis.call(
      'ACL',
      'SETUSER',
      'app',
      'resetkeys',
      '~messaging:*|other',
      '~messaging:*c',
      '~messaging:*by/*',
    );
    expect(errorOf(await post(history, '2')).message).toContain('NOPERM');
    await expect(history.read('news', BEGINNING)).rejects.toThrow(/channel "news".*NOPERM/);
    await reached(transport, 'ready', 'NOPERM');
    expect((await history.append('other', { payload: '1' }, BOUNDS)).kind).toBe('appended');
    expect((await reached(transport, 'ready')).error?.message).toContain('NOPERM');
    await probe.redis.call('ACL', 'SETUSER', 'app', 'allkeys');
    expect((await post(history, '2')).kind).toBe('appended');
    expect((await reached(transport, 'ready')).error).toBeUndefined();
  });

  test('is refused for a missing permission, and the status reports a post that is appended but cannot be published', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    await probe.redis.call('ACL', 'SETUSER', 'app', 'on', '>secret', '~*', '&*', '+@all');
    const [transport] = await nodes.node({ url: server.url, username: 'app', password: 'secret' });
    const { history } = transport;
    await probe.redis.call('ACL', 'SETUSER', 'app', '-xadd');
    expect(errorOf(await post(history, 'refused')).message).toMatch(/NOPERM|can't run/);
    await reached(transport, 'ready', 'refuses to append');
    expect(await history.positions(['news'])).toEqual([BEGINNING]);
    await probe.redis.call('ACL', 'SETUSER', 'app', '+xadd', '-publish');
    expect(offsetOf(await post(history, '1'))).toBe(1);
    await reached(transport, 'ready', 'PUBLISH');
    await probe.redis.call('ACL', 'SETUSER', 'app', '+publish');
    expect(offsetOf(await post(history, '2'))).toBe(2);
    expect((await reached(transport, 'ready')).error).toBeUndefined();
  });
});

describe('The script that appends', () => {
  test('appends a batch with a predecessor only if that is the last batch of its appender', async () => {
    const probe = nodes.probe(await nodes.server());
    expect(await appendBatch(probe, 2, '1 1')).toBe('early');
    expect(await appendBatch(probe, 1)).toMatch(/^ok epoch 1 /);
    expect(await appendBatch(probe, 3, '2 1')).toBe('early');
    expect(await appendBatch(probe, 2, '1 1')).toMatch(/^ok epoch 2 /);
    expect(await appendBatch(probe, 3, '1 1')).toBe('early');
    expect(await appendBatch(probe, 3, '2 1')).toMatch(/^ok epoch 3 /);
    expect(await probe.redis.xlen(keys.stream)).toBe(3);
  });

  test('answers each batch that may be repeated as it did the first time, and reports older ones as stale', async () => {
    const probe = nodes.probe(await nodes.server());
    for (const [number, chain] of [[1], [2, '1 1'], [3, '2 2']] as const) await appendBatch(probe, number, chain);
    expect(await appendBatch(probe, 2)).toMatch(/^ok epoch 2 /);
    expect(await appendBatch(probe, 3, '2 2')).toMatch(/^ok epoch 3 /);
    expect(await appendBatch(probe, 1)).toBe('stale');
    await appendBatch(probe, 4);
    expect(await appendBatch(probe, 3)).toBe('stale');
    expect(await appendBatch(probe, 4)).toMatch(/^ok epoch 4 /);
    expect(await probe.redis.xlen(keys.stream)).toBe(4);
  });

  test('remembers the last batch of an appender for at least two minutes, without renewing that time at each batch', async () => {
    const probe = nodes.probe(await nodes.server());
    const key = keys.appender('node');
    const left = async (): Promise<number> => probe.redis.pttl(key);
    await appendBatch(probe, 1);
    expect(await left()).toBeGreaterThan(150_000);
    const [now] = (await probe.redis.time()).map(Number) as [number];
    // Set a while ago; too long ago; and in the future, by a clock that was set back.
    for (const [seconds, isSet] of [
      [-35, false],
      [-45, true],
      [60, true],
    ] as const) {
      const record = (await probe.redis.get(key))!.replace(/^\d+/, String((now + seconds) * 1_000));
      await probe.redis.set(key, record, 'PX', 125_000);
      const { length } = record;
      await appendBatch(probe, (await probe.redis.xlen(keys.stream)) + 1);
      expect((await left()) > 130_000).toBe(isSet);
      expect((await probe.redis.get(key))!).toHaveLength(length);
    }
  });
});

describe('A history', () => {
  test('continues in another epoch after Redis came back from disk, without a gap', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'history-'));
    try {
      const server = await nodes.server({ args: ['--appendonly', 'yes', '--appendfsync', 'always', '--dir', dir] });
      const [transport] = await nodes.node(server.url);
      const { history } = transport;
      for (const payload of ['1', '2', '3']) await post(history, payload, payload);
      const [before] = await history.positions(['news']);
      await server.kill();
      await reached(transport, 'waiting');
      await server.restart();
      await reached(transport, 'ready');
      expect(await history.read('news', before!)).toEqual({ gap: undefined, entries: [], next: before, end: before });
      // Reports of the former process about a tail that this one has lost.
      const ahead = { ...before!, offset: 9 };
      expect(await history.read('news', ahead)).toEqual({ gap: undefined, entries: [], next: ahead, end: before });
      expect(offsetOf(await post(history, '2', '2'))).toBe(2);
      expect(offsetOf(await post(history, '4'))).toBe(4);
      const [after] = await history.positions(['news']);
      expect(after!.epoch).not.toBe(before!.epoch);
      const read = await history.read('news', ahead);
      const entries = [{ offset: 4, payload: '4' }];
      expect(read).toEqual({ gap: undefined, entries, next: after, end: after, former: [before] });
      expect((await history.read('news', { ...before!, offset: 1 })).entries).toHaveLength(3);
    } finally {
      await nodes[Symbol.asyncDispose]();
      await rm(dir, { recursive: true, force: true });
    }
  });

  test('knows the positions of its last 64 epochs, except epochs that ended before its oldest message', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    const [{ history }] = await nodes.node(server.url);
    const positions: Position[] = [];
    for (let count = 1; count <= 66; count++) {
      await post(history, String(count));
      positions.push((await history.positions(['news']))[0]!);
      // As if appended by another master.
      await probe.redis.hset(keys.state, 'run', 'another');
    }
    await post(history, '67');
    const read = (): Promise<HistoryRead[]> => Promise.all(positions.map((position) => history.read('news', position)));
    const reads = await read();
    expect(reads.map(({ gap }) => gap)).toEqual(['epoch', 'epoch', ...Array.from({ length: 64 }, () => undefined)]);
    expect(reads.map(({ entries }) => entries[0]?.offset)).toEqual(
      positions.map((_, index) => (index < 2 ? 1 : index + 2)),
    );
    await probe.redis.xtrim(keys.stream, 'MINID', '60');
    await probe.redis.hset(keys.state, 'run', 'another');
    await post(history, '68');
    expect((await probe.redis.hget(keys.state, 'former'))!.split(' ').map((end) => end.split(':')[1])).toEqual([
      '67',
      '66',
      '65',
      '64',
      '63',
      '62',
      '61',
      '60',
      '59',
    ]);
    expect((await read()).map(({ gap }) => gap)).toEqual(
      positions.map((_, index) => (index < 58 ? 'epoch' : undefined)),
    );
  });

  test('continues in another epoch if its Redis was a replica for a while and lost messages, while the connection stayed', async () => {
    const args = ['--repl-diskless-sync-delay', '0'];
    const [server, other] = [await nodes.server({ args }), await nodes.server({ args })];
    const [probe, otherProbe] = [nodes.probe(server), nodes.probe(other)];
    // Nothing checks the role meanwhile.
    const [{ history }] = await nodes.node(server.url, [], { heartbeatMs: 60_000 });
    await follow(otherProbe, server);
    expect(offsetOf(await post(history, '1'))).toBe(1);
    while ((await otherProbe.redis.hget(keys.state, 'offset')) !== '1');
    const [common] = await history.positions(['news']);
    await otherProbe.redis.replicaof('NO', 'ONE');
    for (const payload of ['lost', 'lost too']) await post(history, payload);
    const [before] = await history.positions(['news']);
    expect(before).toEqual({ epoch: common!.epoch, offset: 3 });
    await follow(probe, other);
    expect(await history.positions(['news'])).toEqual([common]);
    await probe.redis.replicaof('NO', 'ONE');
    // Reports about the tail are no reason for a gap. A reader that has heard it stays behind it, because it may return.
    expect(await history.read('news', before!)).toEqual({ gap: undefined, entries: [], next: before, end: common });
    expect(offsetOf(await post(history, '2'))).toBe(2);
    const [after] = await history.positions(['news']);
    expect(after!.epoch).not.toBe(before!.epoch);
    const entries = [{ offset: 2, payload: '2' }];
    const read = { gap: undefined, entries, next: after, end: after, former: [common] };
    expect(await history.read('news', before!)).toEqual(read);
  });

  test('that nobody disturbs keeps its epoch, however long the time between two posts', async () => {
    const server = await nodes.server();
    const [{ history }] = await nodes.node(server.url);
    await post(history, '1');
    const [before] = await history.positions(['news']);
    // Longer than a node's knowledge of its master stays valid.
    const start = performance.now();
    while (performance.now() - start < 50) await post(history, 'more');
    expect((await history.positions(['news']))[0]!.epoch).toBe(before!.epoch);
  });

  test.each([
    ['epoch', 'a b"'],
    ['offset', 'NaN'],
    ['offset', 'nan'],
    ['offset', 'inf'],
    ['offset', '-5'],
    ['offset', '1.5'],
    ['offset', '1e3'],
    ['offset', '9007199254740991'],
    ['offset', '9007199254740992'],
    ['offset', '99999999999999999999'],
    ['root', ''],
    ['root', 'a b'],
  ])('whose %s is %p counts as missing: a post begins a new one', async (field, value) => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    const [{ history }] = await nodes.node(server.url);
    await post(history, 'before', 'an id');
    await probe.redis.hset(keys.state, field, value);
    expect(offsetOf(await post(history, '1', 'an id'))).toBe(1);
    expect(offsetOf(await post(history, '2'))).toBe(2);
    expect(await kept(history)).toEqual(['1 1', '2 2']);
    expect((await history.read('news', BEGINNING)).gap).toBeUndefined();
  });

  test.each([
    ['sweepAt', 'xyz'],
    ['sweepAt', 'nan'],
    ['sweepAt', 'inf'],
    ['sweepAt', '-1'],
    ['ttl', 'xyz'],
    ['ttl', 'nan'],
    ['ttl', '-inf'],
    ['former', 'x:99999999999999999999 :: nonsense'],
    ['run', ''],
  ])('whose %s is %p continues, and a post replaces the value', async (field, value) => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    const [{ history }] = await nodes.node(server.url);
    await post(history, '1');
    const [before] = await history.positions(['news']);
    await probe.redis.hset(keys.state, field, value);
    expect((await history.read('news', before!)).gap).toBeUndefined();
    expect(offsetOf(await post(history, '2'))).toBe(2);
    expect(await history.read('news', before!)).toMatchObject({ gap: undefined, entries: [{ offset: 2 }] });
    expect(await kept(history)).toEqual(['1 1', '2 2']);
    const stands = await probe.redis.hget(keys.state, field);
    expect(stands === value).toBe(field === 'former');
  });

  test.each(['state', 'stream', 'appender', 'post'] as const)(
    'whose key of the %s holds something else counts as missing: a post replaces it',
    async (which) => {
      const server = await nodes.server();
      const probe = nodes.probe(server);
      const [{ history }] = await nodes.node(server.url);
      await history.append('other', { payload: 'x' }, BOUNDS);
      const [other] = await history.positions(['other']);
      await post(history, '1', 'an id');
      const [key] =
        which === 'appender'
          ? (await probe.redis.keys('*')).filter(
              (name) =>
                !name.includes('other') && name !== keys.state && name !== keys.stream && name !== keys.post('an id'),
            )
          : [which === 'post' ? keys.post('an id') : keys[which]];
      await probe.redis.del(key!);
      if (which === 'stream') await probe.redis.set(key!, 'garbage');
      else await probe.redis.lpush(key!, 'garbage');
      const isGone = which === 'state';
      expect((await history.positions(['other', 'news'])).map(({ offset }) => offset)).toEqual([
        other!.offset,
        isGone ? 0 : 1,
      ]);
      const read = await history.read('news', BEGINNING);
      expect(read).toMatchObject({ gap: which === 'stream' ? 'trimmed' : undefined });
      expect(read.entries).toHaveLength(which === 'state' || which === 'stream' ? 0 : 1);
      const next = isGone ? 1 : 2;
      expect(offsetOf(await post(history, 'new', 'an id 2'))).toBe(next);
      expect((await kept(history)).at(-1)).toBe(`${next} new`);
      expect(offsetOf(await post(history, 'again', 'an id'))).toBe(which === 'post' || isGone ? next + 1 : 'refused');
    },
  );

  test('with many foreign entries is read in bounded time: Redis does not hang', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    const transport = nodes.create(server.url);
    const told: string[] = [];
    await transport.start(() => undefined, { rejected: (channel, { message }) => told.push(`${channel}: ${message}`) });
    const { history } = transport;
    await post(history, '1');
    const [{ epoch }] = (await history.positions(['news'])) as [Position];
    const garbage = probe.redis.pipeline();
    for (let id = 2; id < 12_000; id++) garbage.xadd(keys.stream, `${id}-0`, 'foo', 'bar');
    await garbage.exec();
    await probe.redis.hset(keys.state, 'offset', '9007199254740990');
    expect(await history.read('news', { epoch, offset: 0 })).toMatchObject({ entries: [{ offset: 1, payload: '1' }] });
    await expect(history.read('news', { epoch, offset: 1 })).rejects.toThrow(`delete the key ${keys.stream}`);
    expect(told).toHaveLength(1);
    await probe.redis.xdel(keys.stream, '1-0');
    await probe.redis.hdel(keys.state, 'ttl');
    await expect(history.read('news', 1)).rejects.toThrow('too much in the stream is not of this library');
    await probe.redis.del(keys.stream);
    await probe.redis.xadd(keys.stream, '9007199254740990-0', 'n', '1', 't', String(Date.now()), 'p', 'good');
    for (const id of ['9007199254740990-1', '9007199254740993-0', '18446744073709551615-18446744073709551615']) {
      await probe.redis.xadd(keys.stream, id, 'foo', 'bar');
    }
    expect(await kept(history)).toEqual(['9007199254740990 good']);
    expect(await probe.redis.ping()).toBe('PONG');
    expect(offsetOf(await post(history, 'last'))).toBe(9_007_199_254_740_991);
    expect(offsetOf(await post(history, 'first'))).toBe(1);
    expect(await kept(history)).toEqual(['1 first']);
  });

  test('is deleted by Redis after its time, but its last offset stays', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    const [{ history }] = await nodes.node(server.url);
    await history.append('news', { payload: '1', id: 'an id', digest: 'd' }, { maxMessages: 10, ttlMs: 60_000 });
    const ttls = await Promise.all(
      (await probe.redis.keys('*')).map(async (key) => [key, await probe.redis.pttl(key)]),
    );
    const ttlOf = (wanted: string): number => ttls.find(([key]) => key === wanted)![1] as number;
    expect(ttls).toHaveLength(5);
    expect(ttlOf(keys.stream)).toBeLessThanOrEqual(63_750);
    expect(ttlOf(keys.stream)).toBeGreaterThan(60_000);
    expect(ttlOf(keys.post('an id'))).toBeLessThanOrEqual(60_000);
    expect(ttlOf(keys.state)).toBeGreaterThan(23 * 3_600_000);
    for (const [, ttl] of ttls) expect(ttl).toBeGreaterThan(0);
    await history.append('news', { payload: '2' }, { maxMessages: 10, ttlMs: 30 * 86_400_000 });
    expect(await probe.redis.pttl(keys.state)).toBeGreaterThan(59 * 86_400_000);
  });

  test('lives on while a server asks how far it has come, which writes once in half of its life; offsets continue', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    const [{ history }] = await nodes.node(server.url);
    await post(history, '1');
    const [position] = await history.positions(['news']);
    const left = () => probe.redis.pttl(keys.state);
    const setLeft = async (ms: number, keptTo: number | undefined): Promise<void> => {
      await probe.redis.pexpire(keys.state, ms);
      if (keptTo === undefined) await probe.redis.hdel(keys.state, 'keptTo');
      else await probe.redis.hset(keys.state, 'keptTo', keptTo);
    };
    const [DAY, HOUR] = [86_400_000, 3_600_000];
    const now = Number((await probe.redis.time())[0]) * 1_000;
    // Absent: an earlier version or only posts wrote it. Too late: a clock was set back, or `ttlMs` was longer.
    for (const keptTo of [undefined, now + DAY / 2 - HOUR, now + 1_000, now - DAY, now + DAY + HOUR]) {
      await setLeft(HOUR, keptTo);
      expect(await history.positions(['other', 'news'])).toEqual([BEGINNING, position]);
      expect(await left()).toBeGreaterThan(DAY - 60_000);
      expect(Number(await probe.redis.hget(keys.state, 'keptTo'))).toBeGreaterThan(now + DAY - 60_000);
    }
    await setLeft(HOUR, now + DAY / 2 + HOUR);
    await history.positions(['news']);
    expect(await left()).toBeLessThanOrEqual(HOUR);
    expect(await probe.redis.exists(keys.state.replace('news', 'other'))).toBe(0);
    // Its messages have expired, long after the last look for old ones.
    await probe.redis.del(keys.stream);
    await probe.redis.hset(keys.state, 'sweepAt', now - HOUR);
    expect(await history.positions(['news'])).toEqual([position]);
    expect(await history.read('news', position!)).toMatchObject({ gap: undefined, entries: [], next: position });
    expect(await history.read('news', BEGINNING)).toMatchObject({ gap: 'trimmed', entries: [], next: position });
    expect(await history.read('news', 10)).toMatchObject({ gap: undefined, entries: [], next: position });
    const later = { ...position!, offset: 2 };
    expect(await history.read('news', later)).toMatchObject({ gap: 'future', next: position });
    const { now: moment } = await history.changes();
    expect(await history.positions(['news'], { moment, laterMs: -1_000 })).toEqual([position]);
    expect(offsetOf(await post(history, '2'))).toBe(2);
    expect(await history.read('news', position!)).toMatchObject({
      gap: undefined,
      entries: [{ offset: 2 }],
      end: later,
    });
    expect(await probe.redis.pttl(keys.stream)).toBeGreaterThan(0);
  });

  test('is known at a Redis that refuses writes', async () => {
    const [server, other] = [await nodes.server(), await nodes.server()];
    const probe = nodes.probe(server);
    const [{ history }] = await nodes.node(server.url);
    await post(history, '1');
    const [position] = await history.positions(['news']);
    const isKnown = async (): Promise<void> => {
      await probe.redis.hdel(keys.state, 'keptTo').catch(() => {});
      expect(await history.positions(['news'])).toEqual([position]);
    };
    await probe.redis.config('SET', 'maxmemory', '1');
    await isKnown();
    await probe.redis.config('SET', 'maxmemory', '0');
    await probe.redis.config('SET', 'min-replicas-to-write', '1');
    await isKnown();
    await probe.redis.config('SET', 'min-replicas-to-write', '0');
    await probe.redis.hdel(keys.state, 'keptTo');
    const replica = nodes.probe(other);
    await probe.redis.config('SET', 'repl-diskless-sync-delay', '0');
    await follow(replica, server);
    expect(await replica.redis.eval(POSITIONS_SCRIPT, 1, keys.state)).toEqual([[position!.epoch, '1']]);
    expect(await probe.redis.hexists(keys.state, 'keptTo')).toBe(0);
  });

  test('removes old messages at each append', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    const [{ history }] = await nodes.node(server.url);
    const append = (payload: string): Promise<AppendOutcome> =>
      history.append('news', { payload }, { maxMessages: 1_000, ttlMs: 1_000 });
    const start = performance.now();
    let count = 0;
    while (performance.now() - start < 1_500) await append(String(++count));
    const entries = await probe.redis.xlen(keys.stream);
    const { gap, entries: read } = await history.read('news', BEGINNING);
    expect(gap).toBe('trimmed');
    expect(read.map(({ offset }) => offset)).toEqual(read.map((_, index) => count + 1 - read.length + index));
    expect(entries).toBeLessThan(count);
    expect(entries).toBeGreaterThanOrEqual(read.length);
  });

  test('with deleted or foreign entries has a gap there, and continues', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    const [{ history }] = await nodes.node(server.url);
    for (let count = 1; count <= 6; count++) await post(history, String(count));
    await probe.redis.xdel(keys.stream, '3-0', '4-0');
    const { epoch } = (await history.positions(['news']))[0]!;
    const first = await history.read('news', { epoch, offset: 1 });
    expect(first).toMatchObject({ gap: undefined, entries: [{ offset: 2 }], next: { offset: 2 }, end: { offset: 6 } });
    const second = await history.read('news', first.next);
    expect(second).toMatchObject({ gap: 'trimmed', entries: [{ offset: 5 }, { offset: 6 }], next: { offset: 6 } });
    expect(await history.read('news', 4)).toMatchObject({ gap: undefined, entries: [{ offset: 5 }, { offset: 6 }] });
    await probe.redis.xadd(keys.stream, '6-1', 'n', '1');
    await probe.redis.xadd(keys.stream, '7-0', 'n', '9', 't', 'x', 'p', 'evil');
    expect(offsetOf(await post(history, '7'))).toBe(7);
    expect(await history.read('news', { epoch, offset: 6 })).toMatchObject({
      gap: undefined,
      entries: [{ offset: 7 }],
    });
    await probe.redis.xadd(keys.stream, '18446744073709551615-18446744073709551615', 'a', 'b');
    expect(offsetOf(await post(history, '8'))).toBe(8);
    expect(await history.read('news', { epoch, offset: 7 })).toMatchObject({
      gap: undefined,
      entries: [{ offset: 8 }],
    });
    await probe.redis.del(keys.stream);
    expect(await history.read('news', BEGINNING)).toMatchObject({ gap: 'trimmed', entries: [], next: { offset: 8 } });
    expect(offsetOf(await post(history, '9'))).toBe(9);
  });

  test('with an entry that states a wrong number of messages is refused with the key, and reported once', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    const told: string[] = [];
    const transport = nodes.create(server.url);
    await transport.start(() => undefined, { rejected: (channel, { message }) => told.push(`${channel}: ${message}`) });
    const { history } = transport;
    await post(history, '1');
    await probe.redis.xadd(keys.stream, '3-0', 'n', '2', 't', String(Date.now()), 'p', 'only one');
    await probe.redis.hset(keys.state, 'offset', '3');
    for (let count = 0; count < 2; count++) {
      await expect(history.read('news', BEGINNING)).rejects.toThrow(`delete the key ${keys.stream}`);
    }
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/^news: a batch of 2 messages holds 1/);
    await probe.redis.hset(keys.state, 'epoch', '"}');
    expect(await history.positions(['news'])).toEqual([BEGINNING]);
    expect(offsetOf(await post(history, 'new'))).toBe(1);
    expect(await kept(history)).toEqual(['1 new']);
  });
});

test('a read, or a count of hearers, that waits for its answer when the connection ends has its outcome at once', async () => {
  const server = await nodes.server();
  const proxy = await behindProxy(server);
  const [transport] = await nodes.node({ url: proxy.url, publishTimeoutMs: 60_000 });
  const { history } = transport;
  proxy.mute('down', 0);
  const hearers = transport.hearers('news');
  const read = history.read('news', BEGINNING);
  const positions = history.positions(['news', 'other']);
  proxy.cut();
  await expect(read).rejects.toThrow(TransportUnavailableError);
  await expect(positions).rejects.toThrow(/the link failed: the connection has ended$/);
  expect(await hearers).toBeUndefined();
});

test('a neighbour’s message in place of a batch is refused and reported, and later messages are heard', async () => {
  const server = await nodes.server();
  const probe = nodes.probe(server);
  const transport = nodes.create(server.url);
  const told: string[] = [];
  const heardHere: Received[] = [];
  await transport.start((...args) => heardHere.push(args), { rejected: (_, { message }) => told.push(message) });
  await transport.subscribe('news');
  const batches = [
    '\n{"history":{',
    '\n{"history":{}}\na',
    '\n{"history":{"epoch":"a","offset":0,"count":1}}\na',
    '\n{"history":{"epoch":"a","offset":-1,"count":1}}\na',
    '\n{"history":{"epoch":"a b","offset":1,"count":1}}\na',
    `\n{"history":{"epoch":"${'a'.repeat(129)}","offset":1,"count":1}}\na`,
    '\n{"history":{"epoch":"a","offset":1}}\na',
    '\n{"history":{"epoch":"a","offset":1,"count":2}}\na',
    '\n{"history":{"epoch":"a","offset":1,"count":1e9}}\na',
    '\n{"history":{"epoch":"a","offset":9007199254740991,"count":2}}\na\nb',
    `\n{"history":{"epoch":"a","offset":1,"count":2000}}\n${'a\n'.repeat(1_999)}a`,
    `\n{"history":{"epoch":"a","offset":1,"count":1}}\n${'x'.repeat(2 * 1024 * 1024)}`,
    `\n{"history":{"epoch":"a","offset":1,"count":1${' '.repeat(1_000)}}}\na`,
  ];
  for (const batch of batches) await probe.redis.publish('messaging:|news', batch);
  await post(transport.history, 'end');
  while (heardHere.length === 0) await new Promise(setImmediate);
  expect(heard(heardHere)).toEqual(['1 end']);
  expect(told).toHaveLength(batches.length);
});

describe('A start', () => {
  test('checks nothing for histories if no channel keeps one', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    await probe.redis.call('ACL', 'SETUSER', 'app', 'on', '>secret', '&*', '+@all', '-eval', '-xadd');
    const [transport] = await nodes.node({ url: server.url, username: 'app', password: 'secret' });
    expect(await transport.publish('news', 'x')).toBe(true);
  });

  test('with a channel that keeps a history fails if Redis refuses a required command, and names the command', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    defineChannel('kept', undefined, { history: BOUNDS });
    const allowed = [
      'on',
      '>secret',
      '~messaging:*',
      '&messaging:*',
      '-@all',
      '+@pubsub',
      '+ping',
      '+role',
      '+evalsha',
      '+eval',
    ];
    const commands = [
      ...['info', 'time', 'get', 'set', 'hmget', 'hset', 'del', 'xadd', 'xtrim', 'xrange', 'pexpire'],
      ...['zadd', 'zrangebyscore', 'zremrangebyscore'],
    ];
    const grant = [...allowed, ...commands.map((command) => `+${command}`)];
    const redis = { url: server.url, username: 'app', password: 'secret' };
    for (const command of ['eval', 'evalsha', 'publish', ...commands]) {
      await probe.redis.call('ACL', 'SETUSER', 'app', 'reset', ...grant, `-${command}`);
      const start = nodes.create(redis).start(() => undefined);
      await expect(start).rejects.toThrow(ConfigurationError);
      await expect(start).rejects.toThrow(new RegExp(`needs the command ${command.toUpperCase()}\\b`));
    }
    await probe.redis.call('ACL', 'SETUSER', 'app', 'reset', ...grant);
    const [{ history }, received] = await nodes.node(redis, ['news']);
    expect(offsetOf(await post(history, '1', 'an id'))).toBe(1);
    expect(await kept(history)).toEqual(['1 1']);
    expect(heard([await received.next()])).toEqual(['1 1']);
    await probe.redis.call('ACL', 'SETUSER', 'app', 'resetkeys', '~other:*');
    await expect(nodes.create(redis).start(() => undefined)).rejects.toThrow(/history.*NOPERM/);
  });

  test('is checked again when Redis comes back, if Redis lacked a command when it was first reached after the start', async () => {
    defineChannel('redis-history-spec', class Later {}, { history: BOUNDS });
    const user = ['--user', 'default', 'on', 'nopass', '~*', '&*', '+@all'];
    const server = await nodes.server({ args: [...user, '-xadd'] });
    await server.stop();
    const transport = nodes.create(server.url);
    await transport.start(() => undefined);
    await server.restart();
    await reached(transport, 'waiting', 'needs the command XADD');
    const probe = nodes.probe(server);
    await probe.redis.call('ACL', 'SETUSER', 'default', '+xadd');
    await probe.cutClients();
    await reached(transport, 'ready');
    expect(offsetOf(await post(transport.history, '1'))).toBe(1);
  });

  test('is checked again over the next connection, if the first one was lost before the answer', async () => {
    defineChannel('redis-history-spec', class Lost {}, { history: BOUNDS });
    const user = ['--user', 'default', 'on', 'nopass', '~*', '&*', '+@all'];
    const server = await nodes.server({ args: [...user, '-xadd'] });
    const transport = nodes.create(`redis://127.0.0.1:${await losingFirst('eval', server)}`);
    await transport.start(() => undefined);
    const { error } = await reached(transport, 'waiting', 'needs the command XADD');
    expect(error).toBeInstanceOf(ConfigurationError);
  });
});

/** A Redis that accepts TLS only. */
async function startTls(): Promise<{ server: RedisServer; url: string }> {
  const dir = await mkdtemp(join(tmpdir(), 'tls-'));
  nodes.use({ [Symbol.asyncDispose]: () => rm(dir, { recursive: true }) });
  const [cert, key, port] = [join(dir, 'cert.pem'), join(dir, 'key.pem'), await freePort()];
  await writeFile(cert, TLS.cert);
  await writeFile(key, TLS.key);
  const files = ['--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', cert];
  const args = ['--tls-port', String(port), '--port', '0', '--tls-auth-clients', 'no', ...files];
  return { server: await nodes.server({ args, dir }), url: `rediss://localhost:${port}` };
}

describe('Over TLS, histories', () => {
  test('are appended, heard and read, even after Redis has restarted', async () => {
    const { server, url } = await startTls();
    const redis = { url, tls: { ca: TLS.cert }, publishTimeoutMs: 10_000 };
    const [{ history }] = await nodes.node(redis);
    const [other, received] = await nodes.node(redis, ['news']);
    for (const payload of ['1', '2']) expect(offsetOf(await post(history, payload))).toBe(Number(payload));
    expect(heard(await received.take(2))).toEqual(['1 1', '2 2']);
    await server.restart();
    expect(offsetOf(await post(history, '3'))).toBe(3);
    await reached(other, 'ready');
    expect(await kept(other.history)).toEqual(['1 1', '2 2', '3 3']);
  });

  test('are not kept at a Redis with an unknown certificate', async () => {
    const { url } = await startTls();
    const transport = nodes.create({ url, publishTimeoutMs: 200 });
    await transport.start(() => undefined);
    expect((await reached(transport, 'waiting')).error?.message).toContain('self-signed certificate');
    expect(offsetOf(await post(transport.history, '1'))).toBe('refused');
  });
});

async function startHub(port: number): Promise<Hub> {
  const hub = new Hub({ reporter: new RecordingReporter(), transport: nodes.create({ host: '127.0.0.1', port }) });
  nodes.use({ [Symbol.asyncDispose]: () => hub.close() });
  await hub.start();
  return hub;
}

test('Listeners that hear Redis again after it lost its data get one gap without a post, and then the new history', async () => {
  const server = await nodes.server();
  const proxy = nodes.use(await TcpProxy.start(server.port));
  const Rooms = defineChannel<number, 'wiped/:room'>('wiped/:room', undefined, { history: BOUNDS });
  const [poster, listener] = [await startHub(server.port), await startHub(proxy.port)];
  const One = Rooms.for({ room: '1' });
  const listen = async (channel: typeof One): Promise<Queue<string>> => {
    const told = new Queue<string>();
    const { ready } = listener.listen(
      channel,
      (message: number, { position }) => told.push(`${position!.offset}: ${message}`),
      listener.root,
      undefined,
      ({ reason }) => told.push(`gap ${reason}`),
    );
    await ready;
    return told;
  };
  const [named, all] = [await listen(One), await listen(Rooms as unknown as typeof One)];
  expect(await poster.post(One, 1)).toBe(true);
  for (const told of [named, all]) expect(await told.next()).toBe('1: 1');
  const isAway = reached(listener, 'waiting');
  proxy.mode = 'refuse';
  proxy.cut();
  await isAway;
  expect(await poster.post(One, 2)).toBe(true);
  await nodes.probe(server).redis.flushall();
  proxy.mode = 'pass';
  expect(await named.next()).toBe('gap epoch');
  expect(await all.next()).toBe('gap broker');
  for (const message of [3, 4]) expect(await poster.post(One, message)).toBe(true);
  for (const told of [named, all]) expect(await told.take(2)).toEqual(['1: 3', '2: 4']);
});

test('A listener of a template hears the first messages of channels with posts while its link was cut, and has no gap', async () => {
  const server = await nodes.server();
  const proxy = nodes.use(await TcpProxy.start(server.port));
  const Rooms = defineChannel<number, 'outage/:room'>('outage/:room', undefined, { history: BOUNDS });
  const [poster, listener] = [await startHub(server.port), await startHub(proxy.port)];
  const say = async (room: string, message: number): Promise<void> => {
    expect(await poster.post(Rooms.for({ room }), message)).toBe(true);
  };
  await say('old', 1);
  const told = new Queue<string>();
  await listener.listen(
    Rooms,
    (message: number, { channel }) => told.push(`${channel} ${message}`),
    listener.root,
    undefined,
    ({ reason }) => told.push(`gap ${reason}`),
  ).ready;
  const isAway = reached(listener, 'waiting');
  proxy.mode = 'refuse';
  proxy.cut();
  await isAway;
  await say('new', 1);
  await say('old', 2);
  await say('new', 2);
  proxy.mode = 'pass';
  const got = await told.take(3);
  expect(got.filter((each) => each.includes('new'))).toEqual(['outage/new 1', 'outage/new 2']);
  expect(got).toContain('outage/old 2');
  // A Redis without its former data cannot report the loss.
  const isAwayAgain = reached(listener, 'waiting');
  proxy.mode = 'refuse';
  proxy.cut();
  await isAwayAgain;
  await say('lost', 1);
  await nodes.probe(server).redis.flushall();
  await say('kept', 1);
  proxy.mode = 'pass';
  expect(
    (await told.takeUntil((each) => each === 'outage/kept 1')).filter((each) => each === 'gap broker'),
  ).toHaveLength(1);
});

test('Readers whose epoch was lost with a Redis from an earlier copy have one gap, and go on where that epoch began', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'history-'));
  try {
    const server = await nodes.server({ args: ['--dir', dir, '--dbfilename', 'copy.rdb'] });
    const Rooms = defineChannel<string, 'branch/:room'>('branch/:room', undefined, { history: BOUNDS });
    const One = Rooms.for({ room: 'one' });
    const hub = new Hub({ reporter: new RecordingReporter(), transport: nodes.create(server.url) });
    nodes.use({ [Symbol.asyncDispose]: () => hub.close() });
    await hub.start();
    const say = async (message: string): Promise<void> => {
      for (const room of ['one', 'two']) expect(await hub.post(Rooms.for({ room }), message)).toBe(true);
    };
    const restart = async (): Promise<void> => {
      const isAway = reached(hub, 'waiting');
      await server.kill();
      await isAway;
      await server.restart();
      await reached(hub, 'ready');
    };
    const [named, any] = [new Queue<string>(), new Queue<string>()];
    await hub.listen(
      One,
      (message: string, { position }) => named.push(`${position!.offset} ${message}`),
      hub.root,
      undefined,
      ({ reason, position }) => named.push(`gap ${reason} ${position?.offset}`),
    ).ready;
    await hub.listen(
      Rooms,
      (message: string) => any.push(message),
      hub.root,
      undefined,
      ({ reason }) => any.push(`gap ${reason}`),
    ).ready;
    for (const message of ['a', 'b']) await say(message);
    await nodes.probe(server).redis.save();
    await restart();
    for (const message of ['lost', 'lost too']) await say(message);
    expect(await named.take(4)).toEqual(['1 a', '2 b', '3 lost', '4 lost too']);
    const lost = await hub.positionOf(One.name);
    await restart();
    await say('c');
    expect(await named.take(2)).toEqual(['gap epoch 2', '3 c']);
    // The outage, if the search for its losses has not ended yet.
    expect((await any.take(11)).slice(8)).toEqual([expect.stringMatching(/^gap (epoch|broker)$/), 'c', 'c']);
    const end = await hub.positionOf(One.name);
    const page = await hub.readHistory(One.name, lost);
    expect(page).toMatchObject({ gap: 'epoch', from: { ...end, offset: 2 }, next: end });
    expect(page.deliveries.map(({ message }) => message)).toEqual(['c']);
    // No epoch of the reader is known any more.
    await nodes.probe(server).redis.flushall();
    await say('d');
    expect(await named.take(2)).toEqual(['gap epoch 0', '1 d']);
    expect(await any.take(3)).toEqual(['gap epoch', 'd', 'd']);
  } finally {
    await nodes[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  }
});
