import { afterEach, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { firstValueFrom } from 'rxjs';
import type { RedisOption } from '../../lib/transport/redis-options.js';
import type { RedisTransport } from '../../lib/transport/redis-transport.js';
import { Queue } from '../support/queue.js';
import { RedisNodes, reached, recordStatuses } from '../support/redis-nodes.js';
import type { RedisServer } from '../support/redis-server.js';
import { TcpProxy } from 'nestjs-messaging/testing';

let nodes = new RedisNodes();

afterEach(async () => {
  await nodes[Symbol.asyncDispose]();
  nodes = new RedisNodes();
});

/** Posts until Redis accepts it. */
async function acceptedAtLast(transport: RedisTransport, channel: string, payload: string): Promise<void> {
  while (!(await transport.publish(channel, payload))) await new Promise(setImmediate);
}

/** Commands go to one port, subscriptions to another. */
function splitOver(commands: number, subscriber: number): RedisOption {
  const ports = [commands, subscriber];
  return () => new Redis({ host: '127.0.0.1', port: ports.shift()!, lazyConnect: true, disconnectTimeout: 100 });
}

async function proxyOf(server: RedisServer): Promise<TcpProxy> {
  return nodes.use(await TcpProxy.start(server.port));
}

/** Whether each hole in the numbers posted to a channel has one loss before the next message. */
function check(lines: readonly string[]): { problems: string[]; losses: number[] } {
  const channels = new Map<string, { last: number; isLost: boolean; losses: number }>();
  const problems: string[] = [];
  for (const line of lines) {
    const [, name = '', payload] = /^(.*?)(?: lost: broker|: (\d+))$/.exec(line)!;
    // Messages of the template have its name, for all channels.
    if (name === ':any') continue;
    const channel = channels.get(name) ?? { last: -1, isLost: false, losses: 0 };
    channels.set(name, channel);
    if (payload === undefined) {
      if (channel.isLost) problems.push(`told twice: ${line}`);
      channel.isLost = true;
      channel.losses++;
      continue;
    }
    if (Number(payload) !== channel.last + 1 && !channel.isLost) problems.push(`not told: ${channel.last}, ${line}`);
    channel.last = Number(payload);
    channel.isLost = false;
  }
  return { problems, losses: [...channels.values()].map(({ losses }) => losses) };
}

describe('A subscriber whose connection is killed', () => {
  test('reports one loss for each registered name, after the earlier messages and before the later ones', async () => {
    const server = await nodes.server();
    const { redis } = nodes.probe(server);
    const [a, told] = await nodes.listener(server.url, ['news', 'rooms/:roomId', 'dropped', 'again']);
    const [b] = await nodes.listener(server.url, []);
    for (const payload of ['1', '2']) expect(await b.publish('news', payload)).toBe(true);
    expect(await told.take(2)).toEqual(['news: 1', 'news: 2']);
    await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await reached(a, 'waiting');
    for (const name of ['dropped', 'again']) a.unsubscribe(name);
    for (const name of ['again', 'new']) void a.subscribe(name);
    expect(await b.publish('news', 'missed')).toBe(true);
    await reached(a, 'ready');
    for (const channel of ['news', 'rooms/1', 'dropped', 'again', 'new']) await b.publish(channel, 'after');
    const all = await told.take(6);
    expect(all.slice(0, 2).toSorted()).toEqual(['news lost: broker', 'rooms/:roomId lost: broker']);
    expect(all.slice(2)).toEqual(['news: after', 'rooms/:roomId: after', 'again: after', 'new: after']);
  });

  test('reports the loss before the first payload, even while others post without a pause', async () => {
    const server = await nodes.server();
    const { redis } = nodes.probe(server);
    const names = Array.from({ length: 50 }, (_, index) => `channel ${index}`);
    const [a, told] = await nodes.listener(server.url, [...names, ':any']);
    const [b] = await nodes.listener(server.url, []);
    const rounds = new Queue<number>();
    const end = new AbortController();
    const posting = (async () => {
      for (let count = 0; !end.signal.aborted; rounds.push(count++)) {
        await Promise.all(names.map((name) => b.publish(name, String(count))));
      }
    })();
    for (let outage = 0; outage < 5; outage++) {
      await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
      await reached(a, 'waiting');
      await reached(a, 'ready');
      await rounds.take(rounds.pending.length + 3);
    }
    end.abort();
    await posting;
    await b.publish('end', 'end');
    const lines = await told.takeUntil((each) => each === ':any: end');
    expect(check(lines)).toEqual({ problems: [], losses: names.map(() => 5) });
  });

  test('reports a loss of a name that Redis then refuses, once Redis accepts it again', async () => {
    const server = await nodes.server();
    const { redis } = nodes.probe(server);
    await redis.acl('SETUSER', 'app', 'on', '>secret', '+@all', 'resetchannels', '&messaging:*');
    const [a, told] = await nodes.listener(`redis://app:secret@${server.address}`, ['free', 'secret']);
    const rules = ['resetchannels', '&messaging:|free', '&messaging:|messaging:*'];
    // Redis ends connections with subscriptions that they may no longer have.
    await redis.acl('SETUSER', 'app', ...rules);
    const { error } = await reached(a, 'waiting', 'refuses SUBSCRIBE "messaging:|secret"');
    expect(error?.message).toContain('NOPERM');
    expect(await told.next()).toBe('free lost: broker');
    await redis.acl('SETUSER', 'app', '&messaging:*');
    expect(await told.next()).toBe('secret lost: broker');
    await reached(a, 'ready');
    expect(told.pending).toEqual([]);
  });

  test('reports losses even if an ACL forbids its beats, and reports that it cannot know whether it hears', async () => {
    const server = await nodes.server();
    const { redis } = nodes.probe(server);
    await redis.acl('SETUSER', 'app', 'on', '>secret', '+@all', 'resetchannels', '&messaging:|news');
    const [a, told] = await nodes.listener(`redis://app:secret@${server.address}`, ['news']);
    const refused =
      /refuses SUBSCRIBE "messaging:\|messaging:beat\/.*": NOPERM.*cannot tell whether it hears anything$/;
    expect((await firstValueFrom(a.status)).error?.message).toMatch(refused);
    await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    expect(await told.next()).toBe('news lost: broker');
  });
});

describe('A name that is heard in several ways', () => {
  test('has one loss even if stock parts are heard as well', async () => {
    const server = await nodes.server();
    const { redis } = nodes.probe(server);
    const [a, told] = await nodes.listener({ url: server.url, interop: true }, ['news', 'rooms/:roomId']);
    await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await reached(a, 'waiting');
    await reached(a, 'ready');
    await redis.publish('news', 'end');
    const lines = await told.takeUntil((line) => line === 'news: end');
    expect(lines.toSorted()).toEqual(['news lost: broker', 'rooms/:roomId lost: broker']);
  });

  test('has one loss even if an ACL makes it heard by the pattern of the prefix', async () => {
    const server = await nodes.server();
    const { redis } = nodes.probe(server);
    await redis.acl('SETUSER', 'app', 'on', '>secret', '+@all', 'resetchannels', '&messaging:*');
    const [a, told] = await nodes.listener(`redis://app:secret@${server.address}`, ['rooms/:roomId', 'news']);
    for (let outage = 0; outage < 2; outage++) {
      await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
      await reached(a, 'waiting');
      await reached(a, 'ready');
      expect(await a.publish('rooms/1', 'end')).toBe(true);
      const lines = await told.takeUntil((line) => line === 'rooms/:roomId: end');
      expect(lines.toSorted()).toEqual(['news lost: broker', 'rooms/:roomId lost: broker']);
    }
  });
});

test('A loss of the connection for posts alone is no loss for listeners', async () => {
  const server = await nodes.server();
  const looker = nodes.probe(server);
  const [a, told] = await nodes.listener(server.url, ['news']);
  for (const { id } of (await looker.clients()).filter(({ name }) => name === 'nestjs-messaging:commands')) {
    await looker.redis.client('KILL', 'ID', id!);
  }
  await reached(a, 'waiting');
  await reached(a, 'ready');
  expect(await a.publish('news', 'heard')).toBe(true);
  expect(await told.next()).toBe('news: heard');
});

describe('A subscriber that hears nothing although its connection lives', () => {
  test.each(['down', 'up', 'both'] as const)(
    'is found within 5 s on a half-open link (%s), reported and replaced, and its names have a loss',
    async (way) => {
      const server = await nodes.server();
      const proxy = await proxyOf(server);
      const [a, told] = await nodes.listener(splitOver(server.port, proxy.port), ['news']);
      const statuses = recordStatuses(a);
      proxy.mute(way);
      const before = performance.now();
      expect(await a.publish('news', 'posted')).toBe(true);
      await reached(a, 'waiting', 'it does not answer');
      expect(performance.now() - before).toBeLessThan(5_000);
      const expected = [...(way === 'up' ? ['news: posted'] : []), 'news lost: broker'];
      expect(await told.take(expected.length)).toEqual(expected);
      await reached(a, 'ready');
      expect(performance.now() - before).toBeLessThan(6_000);
      expect(await a.publish('news', 'heard')).toBe(true);
      expect(await told.next()).toBe('news: heard');
      expect(statuses).toEqual(['ready', expect.stringMatching(/^waiting .* it does not answer$/), 'ready']);
    },
  );

  test('is found within 5 s, as is the connection for posts, if the link of both is half-open', async () => {
    const server = await nodes.server();
    const proxy = await proxyOf(server);
    const [a, told] = await nodes.listener(proxy.url.replace('tcp:', 'redis:'), ['news']);
    const before = performance.now();
    proxy.mute('down');
    await reached(a, 'waiting', 'it does not answer');
    await reached(a, 'ready');
    expect(performance.now() - before).toBeLessThan(5_000);
    expect(await a.publish('news', 'heard')).toBe(true);
    expect(await told.take(2)).toEqual(['news lost: broker', 'news: heard']);
  });

  test.each<[string, (options: object) => RedisOption]>([
    ['options', (options) => options],
    ['an instance', (options) => new Redis({ ...options, lazyConnect: true })],
    ['a function', (options) => () => new Redis(options)],
  ])('is found within 5 s with a commandTimeout among %s', async (_way, redis) => {
    const server = await nodes.server();
    const proxy = await proxyOf(server);
    const [a] = await nodes.listener(redis({ host: '127.0.0.1', port: proxy.port, commandTimeout: 200 }), ['news']);
    const before = performance.now();
    proxy.mute('down');
    await reached(a, 'waiting', 'it does not answer');
    await reached(a, 'ready');
    expect(performance.now() - before).toBeLessThan(5_000);
  });

  test('is found if it is connected to another Redis than the posts are', async () => {
    const [server, other] = [await nodes.server(), await nodes.server()];
    const proxy = await proxyOf(server);
    const [a, told] = await nodes.listener(splitOver(server.port, proxy.port), ['news']);
    proxy.retarget(other.port);
    proxy.cut();
    const statuses = recordStatuses(a);
    await reached(a, 'waiting', 'hears nothing');
    const times = proxy.connections.pending.length;
    proxy.retarget(server.port);
    expect(await told.next()).toBe('news lost: broker');
    await reached(a, 'ready');
    expect(await a.publish('news', 'heard')).toBe(true);
    expect(await told.next()).toBe('news: heard');
    expect(proxy.connections.pending.length - times).toBeLessThan(3);
    // It was not ready in between, while registered at a Redis that receives no posts.
    expect(statuses.map((text) => text.split(' ')[0])).toEqual(['ready', 'waiting', 'waiting', 'ready']);
  });

  test('is found if only the posts are connected to another Redis', async () => {
    const [server, other] = [await nodes.server(), await nodes.server()];
    const proxy = await proxyOf(server);
    const [a, told] = await nodes.listener(splitOver(proxy.port, server.port), ['news']);
    proxy.retarget(other.port);
    proxy.cut();
    const statuses = recordStatuses(a);
    await reached(a, 'waiting', 'hears nothing');
    proxy.retarget(server.port);
    await reached(a, 'ready');
    expect(await a.publish('news', 'heard')).toBe(true);
    expect((await told.take(2)).at(-1)).toBe('news: heard');
    // It was not ready in between, while posts went to a Redis without listeners.
    expect(statuses.map((text) => text.split(' ')[0]).filter((state) => state === 'ready')).toHaveLength(2);
  });

  test('for a long time is reported once, and leaves the connection for posts alone after replacing it once', async () => {
    const server = await nodes.server();
    const other = await nodes.server();
    const proxy = await proxyOf(other);
    const commands = await proxyOf(server);
    const a = nodes.create(splitOver(commands.port, proxy.port), { heartbeatMs: 600 });
    const told = new Queue<string>();
    await a.start((payload) => told.push(payload), { lost: (name) => told.push(`${name} lost`) });
    const statuses = recordStatuses(a);
    await a.subscribe('news');
    await proxy.connections.take(6);
    expect(commands.connections.pending).toHaveLength(2);
    expect(statuses).toEqual([expect.stringMatching(/^waiting the subscription to .* hears nothing/)]);
    expect(told.pending).toEqual([]);
    proxy.retarget(server.port);
    await reached(a, 'ready');
    expect(await told.next()).toBe('news lost');
    expect(told.pending).toEqual([]);
  });

  test('is not suspected while Redis is paused: one status reports that within 5 s, and no connection is replaced', async () => {
    const server = await nodes.server();
    const proxy = await proxyOf(server);
    const [a, told] = await nodes.listener(`redis://127.0.0.1:${proxy.port}`, ['news']);
    const looker = nodes.probe(server);
    const connections = async () => (await looker.clients()).map(({ id, name }) => `${id} ${name}`);
    const had = await connections();
    expect(had).toHaveLength(2);
    const statuses = recordStatuses(a);
    server.pause();
    const before = performance.now();
    await reached(a, 'waiting', 'it does not answer');
    expect(performance.now() - before).toBeLessThan(5_500);
    server.resume();
    await reached(a, 'ready');
    expect(await a.publish('news', 'heard')).toBe(true);
    expect(await told.next()).toBe('news: heard');
    expect(await connections()).toEqual(had);
    expect(statuses).toEqual(['ready', expect.stringMatching(/^waiting .* it does not answer$/), 'ready']);
  });
});

test('A Redis that is paused for long costs one loss for each name, once it continues', async () => {
  const server = await nodes.server();
  const [a, told] = await nodes.listener(server.url, ['news', 'rooms/:roomId'], { heartbeatMs: 200 });
  const statuses = recordStatuses(a);
  server.pause();
  await reached(a, 'waiting');
  // Several attempts end without an answer meanwhile.
  for (let post = 0; post < 2; post++) expect(await a.publish('news', 'no')).toBe(false);
  server.resume();
  await reached(a, 'ready');
  await acceptedAtLast(a, 'news', 'yes');
  const lines = await told.takeUntil((line) => line === 'news: yes');
  expect(lines.filter((line) => line.includes('lost')).toSorted()).toEqual([
    'news lost: broker',
    'rooms/:roomId lost: broker',
  ]);
  expect(statuses).toEqual(['ready', expect.stringMatching(/^waiting .* it does not answer$/), 'ready']);
});

describe('Posts that have waited for Redis', () => {
  test('are sent only after the interests of this node are registered again', async () => {
    const server = await nodes.server();
    const proxy = await proxyOf(server);
    const [a, told] = await nodes.listener({ client: splitOver(server.port, proxy.port) as () => Redis }, ['news']);
    for (let outage = 0; outage < 3; outage++) {
      proxy.mode = 'refuse';
      await server.kill();
      await reached(a, 'waiting');
      const accepted = a.publish('news', `posted ${outage}`);
      await server.restart();
      const commands = nodes.probe(server);
      while (!(await commands.clients()).some(({ cmd }) => cmd === 'role' || cmd === 'ping'));
      proxy.mode = 'pass';
      expect(await accepted).toBe(true);
      expect(await told.take(2)).toEqual(['news lost: broker', `news: posted ${outage}`]);
    }
  });

  test('are not accepted if the subscriptions do not come back in time, but later ones are', async () => {
    const server = await nodes.server();
    const proxy = await proxyOf(server);
    const client = splitOver(server.port, proxy.port) as () => Redis;
    const [a] = await nodes.listener({ client, publishTimeoutMs: 300 }, ['news']);
    proxy.mode = 'refuse';
    await server.kill();
    await reached(a, 'waiting');
    await server.restart();
    expect(await a.publish('news', 'no')).toBe(false);
    await acceptedAtLast(a, 'news', 'yes');
  });
});
