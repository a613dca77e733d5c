import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Cluster, Redis } from 'ioredis';
import { filter, firstValueFrom } from 'rxjs';
import { BEGINNING } from '../../lib/core/history-store.js';
import { Hub } from '../../lib/core/hub.js';
import { defineChannel } from '../../lib/protocol/channel.js';
import { ConfigurationError } from '../../lib/protocol/errors.js';
import { GROUPS, groupOf, slotOfGroup } from '../../lib/transport/redis-groups.js';
import { RedisNames } from '../../lib/transport/redis-names.js';
import type { RedisTransportOptions } from '../../lib/transport/redis-options.js';
import type { RedisTransport } from '../../lib/transport/redis-transport.js';
import { BOUNDS, offsetOf } from '../support/history-posts.js';
import { Queue } from '../support/queue.js';
import { RecordingReporter } from '../support/recording-reporter.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { RedisNodes, reached } from '../support/redis-nodes.js';
import { RedisProbe } from '../support/redis-probe.js';

const names = new RedisNames('messaging:', undefined, true);

let redis: RedisCluster;
let nodes = new RedisNodes();
afterEach(async () => {
  await nodes[Symbol.asyncDispose]();
  nodes = new RedisNodes();
});

function sharded(to = redis, more: object = {}): RedisTransportOptions {
  const client = new Cluster(to.nodes, { lazyConnect: true, ...more });
  nodes.use({ [Symbol.dispose]: () => client.disconnect() });
  return { client, sharded: true, publishTimeoutMs: 15_000 };
}

/** One name for each master. */
function namesOf(cluster: RedisCluster): string[] {
  const found: string[] = [];
  for (let count = 0; found.filter(Boolean).length < cluster.servers.length; count++) {
    const owner = Math.floor((slotOfGroup(groupOf(`rooms/${count}`)) * cluster.servers.length) / 16_384);
    found[owner] ??= `rooms/${count}`;
  }
  return found;
}

const numbers = (count: number): string[] => Array.from({ length: count }, (_, index) => String(index));

/** Moves the slot of `name` to the next master, and back. */
async function moveTwice(name: string, pause: () => Promise<void>): Promise<void> {
  const { own } = names.routes(name);
  const from = await redis.ownerOf(own);
  await redis.moveSlot(own, from, (from + 1) % 3);
  await pause();
  await redis.moveSlot(own, (from + 1) % 3, from);
}

/** Numbers missing without a loss in between, and numbers out of order. */
function untoldHoles(lines: readonly string[]): string[] {
  let last: number | undefined;
  return lines.filter((line) => {
    const number = Number.parseInt(line, 10);
    if (Number.isNaN(number)) {
      if (line.includes('lost')) last = undefined;
      return false;
    }
    const isUntold = last !== undefined && number !== last + 1;
    last = number;
    return isUntold;
  });
}

async function isLeft(probe: RedisProbe): Promise<boolean> {
  return (await probe.clients()).some(({ name }) => name!.startsWith('nestjs'));
}

const otherSetting = (its: boolean): string => `Another server of this prefix has "redis.sharded: ${its}"`;

describe('In a Cluster that shards channels', () => {
  beforeAll(async () => {
    redis = await RedisCluster.start(3);
  });
  afterAll(() => redis[Symbol.asyncDispose]());

  test('the groups of channels are spread evenly over the slots, and the tag of each group has the slot that Redis computes', async () => {
    const probe = nodes.probe(redis.servers[0]!);
    for (const group of [0, 1, 100, GROUPS - 1]) {
      const slot = await probe.redis.cluster('KEYSLOT', names.ofGroup(group, 'x'));
      expect(slot).toBe(slotOfGroup(group));
      expect(Math.floor(slot / (16_384 / GROUPS))).toBe(group);
    }
  });

  test('each master carries the posts to its own channels, and no other', async () => {
    const [a] = await nodes.node(sharded());
    const mine = namesOf(redis);
    const probes = redis.servers.map((server) => nodes.probe(server));
    const [, atB] = await nodes.node(sharded(), [mine[1]!]);
    const before = await Promise.all(probes.map((probe) => probe.calls('evalsha')));
    for (const payload of numbers(20)) expect(await a.publish(mine[1]!, payload)).toBe(true);
    expect((await atB.take(20)).map(([payload]) => payload)).toEqual(numbers(20));
    const after = await Promise.all(probes.map((probe) => probe.calls('evalsha')));
    expect(after.map((count, index) => count - before[index]!)).toEqual([0, 20, 0]);
    expect(await Promise.all(probes.map((probe) => probe.calls('publish')))).toEqual([0, 0, 0]);
  });

  test('permissions that Redis takes back and gives back leave a gap, and no error of the status', async () => {
    const [a, told] = await nodes.listener(sharded(), ['rooms/:id', 'news']);
    const probes = redis.servers.map((server) => nodes.probe(server));
    const allow = (rule: string) => Promise.all(probes.map((probe) => probe.redis.acl('SETUSER', 'default', rule)));
    await allow('resetchannels');
    try {
      await reached(a, 'waiting', 'refuses SSUBSCRIBE');
    } finally {
      await allow('allchannels');
    }
    await firstValueFrom(a.status.pipe(filter(({ state, error }) => state === 'ready' && error === undefined)));
    expect((await told.take(2)).toSorted()).toEqual(['news lost: broker', 'rooms/:id lost: broker']);
    for (const channel of ['rooms/1', 'news']) expect(await a.publish(channel, 'heard')).toBe(true);
    expect((await told.take(2)).toSorted()).toEqual(['news: heard', 'rooms/:id: heard']);
  });

  test('subscriptions that a master ends because a slot moved away and back are registered again, after a loss', async () => {
    const [a] = await nodes.node(sharded());
    const [, told] = await nodes.listener(sharded(), ['news', 'rooms/:id']);
    const { own } = names.routes('news');
    const from = await redis.ownerOf(own);
    const [owner, other] = [nodes.probe(redis.servers[from]!), nodes.probe(redis.servers[(from + 1) % 3]!)];
    const [ownerId, otherId] = [await owner.redis.cluster('MYID'), await other.redis.cluster('MYID')];
    const slot = String(slotOfGroup(groupOf('news')));
    const away = ['CLUSTER', 'SETSLOT', slot, 'NODE', otherId] as const;
    const back = ['CLUSTER', 'SETSLOT', slot, 'NODE', ownerId] as const;
    await owner.redis
      .multi()
      .call(...away)
      .call(...back)
      .exec();
    const losses = (await told.take(2)).toSorted();
    expect(losses).toEqual(['news lost: broker', 'rooms/:id lost: broker']);
    await a.publish('news', 'end');
    expect(await told.next()).toBe('news: end');
  });

  test('a moved slot ends its subscriptions once: each member receives one SETSLOT NODE', async () => {
    const probes = redis.servers.map((server) => nodes.probe(server));
    const told = (): Promise<number[]> => Promise.all(probes.map((probe) => probe.calls('cluster\\|setslot')));
    const from = await redis.ownerOf(names.routes('news').own);
    const before = await told();
    await moveTwice('news', async () => {});
    const after = await told();
    // Before a slot moves, its two masters receive one SETSLOT each.
    const expected = redis.servers.map((_, index) => (index === (from + 2) % 3 ? 2 : 4));
    expect(after.map((count, index) => count - before[index]!)).toEqual(expected);
  });

  test('a history is kept and published by the master of its channel, for templates too', async () => {
    const [{ history }] = await nodes.node(sharded());
    const mine = namesOf(redis);
    const [, received] = await nodes.node(sharded(), ['rooms/:id', ':any/:id', mine[2]!]);
    for (const payload of ['1', '2']) {
      expect(offsetOf(await history.append(mine[2]!, { payload }, BOUNDS))).toBe(Number(payload));
    }
    const heard = (await received.take(6)).map(
      ([payload, name, channel, position]) => `${name} <- ${channel}: ${payload} at ${position!.offset}`,
    );
    for (const name of ['rooms/:id', ':any/:id', mine[2]!]) {
      const its = heard.filter((line) => line.startsWith(`${name} `));
      expect(its).toEqual(['1', '2'].map((text) => `${name} <- ${mine[2]}: ${text} at ${text}`));
    }
    expect((await history.read(mine[2]!, BEGINNING)).entries).toHaveLength(2);
    // Not DBSIZE, which counts the key of the check at the start until Redis has removed it.
    const keys = await Promise.all(redis.servers.map((server) => nodes.probe(server).redis.keys('*')));
    expect(keys.map(({ length }) => length > 0)).toEqual([false, false, true]);
  });

  test('posts stay in order when the masters forget their scripts', async () => {
    const [a] = await nodes.node(sharded());
    const [, atB] = await nodes.node(sharded(), ['news']);
    const accepted = numbers(100).map((payload) => a.publish('news', payload));
    await accepted[0];
    for (const { url } of redis.servers) {
      using probe = new RedisProbe(url);
      await probe.redis.call('SCRIPT', 'FLUSH');
    }
    for (let count = 100; count < 300; count++) {
      accepted.push(a.publish('news', String(count)));
      if (count % 7 === 0) await new Promise(setImmediate);
    }
    expect((await Promise.all(accepted)).every(Boolean)).toBe(true);
    expect((await atB.take(300)).map(([payload]) => payload)).toEqual(numbers(300));
  });

  test('a server catches up with all masters', async () => {
    const [a] = await nodes.node(sharded());
    expect(await a.catchUp()).toBe(true);
    redis.servers[1]!.pause();
    try {
      expect(await a.catchUp()).toBe(false);
    } finally {
      redis.servers[1]!.resume();
    }
    await a.close();
    expect(await a.catchUp()).toBe(false);
  });

  test('posts are settled when all masters have answered', async () => {
    const [a] = await nodes.node(sharded());
    const mine = namesOf(redis);
    await a.settled();
    redis.servers[1]!.pause();
    const accepted = a.publish(mine[1]!, 'waits');
    let isSettled = false;
    const settled = a.settled().then(() => (isSettled = true));
    try {
      for (const payload of numbers(3)) expect(await a.publish(mine[0]!, payload)).toBe(true);
      expect(isSettled).toBe(false);
    } finally {
      redis.servers[1]!.resume();
    }
    await settled;
    expect(await accepted).toBe(true);
  });

  test('foreign messages in a channel of templates are dropped', async () => {
    const [a, received] = await nodes.node(sharded(), ['rooms/:id']);
    const { head } = names.routes('rooms/1');
    const cluster = new Cluster(redis.nodes);
    nodes.use({ [Symbol.dispose]: () => cluster.disconnect() });
    for (const text of ['', 'no line break', '\n', `${'x'.repeat(300)}\nlong`, 'users/1\nother', 'rooms/*\nodd']) {
      await cluster.spublish(head, text);
    }
    await a.publish('rooms/1', 'end');
    expect(await received.next()).toEqual(['end', 'rooms/:id', 'rooms/1']);
  });

  test('the number of nodes that hear a name comes from all masters', async () => {
    const [a] = await nodes.node(sharded());
    const [b] = await nodes.node(sharded(), namesOf(redis));
    for (const name of namesOf(redis)) expect(await a.hearers(name)).toBe(1);
    expect(await a.hearers('other')).toBe(0);
    await b.close();
    for (const name of namesOf(redis)) while ((await a.hearers(name)) !== 0);
  });

  test.each([
    ['that starts later', false],
    ['that started earlier', true],
  ])('a server %s with another setting learns of the difference, and the others do too', async (_, isClassicFirst) => {
    const { client } = sharded() as { client: Cluster };
    const starts = [() => nodes.node(sharded(), [], { heartbeatMs: 50 }), () => nodes.node(client)];
    if (isClassicFirst) starts.reverse();
    const started: RedisTransport[] = [];
    for (const start of starts) started.push((await start())[0]);
    if (isClassicFirst) started.reverse();
    const [a, b] = started;
    expect(await reached(a!, 'ready', otherSetting(false))).toBeDefined();
    expect(await reached(b!, 'ready', otherSetting(true))).toBeDefined();
  });

  test('closing ends all connections', async () => {
    const [a] = await nodes.node(sharded(), ['news', 'rooms/:id']);
    const probes = redis.servers.map((server) => nodes.probe(server));
    await a.close();
    for (const probe of probes) while (await isLeft(probe));
    expect(await a.publish('news', 'no')).toBe(false);
  });

  describe('while the slot of a channel moves, nothing is lost or doubled, and order is kept', () => {
    test('with a history: the reader gets everything', async () => {
      const [{ history }] = await nodes.node(sharded());
      const told = new Queue<string>();
      const b = nodes.create(sharded());
      await b.start((payload, _, __, position) => told.push(`${position!.offset} ${payload}`), {
        lost: (name) => told.push(`${name} lost`),
      });
      await b.subscribe('news');
      const move = { isOver: false };
      const moved = moveTwice('news', async () => {
        await told.until((line) => line.endsWith(' lost'));
      }).finally(() => (move.isOver = true));
      let count = 0;
      while (!move.isOver) expect(offsetOf(await history.append('news', { payload: 'x' }, BOUNDS))).toBe(++count);
      await moved;
      // Heard again by the last master.
      for (;;) {
        const offset = offsetOf(await history.append('news', { payload: 'end' }, BOUNDS));
        expect(offset).toBe(++count);
        if (told.pending.some((line) => line.endsWith(' end'))) break;
        await new Promise((resolve) => setImmediate(resolve));
      }
      const lines = told.pending;
      const offsets = lines.filter((line) => !line.includes('lost')).map((line) => Number.parseInt(line, 10));
      expect(offsets).toEqual([...new Set(offsets)].toSorted((x, y) => x - y));
      // Missing numbers are behind a loss, and the loss makes readers read the history.
      expect(untoldHoles(lines)).toEqual([]);
      const all: number[] = [];
      for (let after = BEGINNING; all.length < count;) {
        const page = await history.read('news', after);
        expect(page.gap).toBeUndefined();
        all.push(...page.entries.map(({ offset }) => offset));
        after = page.next;
      }
      expect(all).toEqual(numbers(count).map((text) => Number(text) + 1));
    });

    test('without one: missing messages are reported as lost', async () => {
      const [a] = await nodes.node(sharded());
      const [, told] = await nodes.listener(sharded(), ['news', 'rooms/:id']);
      const posted: Promise<boolean>[] = [];
      const move = { isOver: false };
      const moved = moveTwice('news', async () => {
        await told.until((line) => line === 'news lost: broker');
      }).finally(() => (move.isOver = true));
      while (!move.isOver) {
        posted.push(a.publish('news', String(posted.length + 1)));
        await new Promise((resolve) => setImmediate(resolve));
      }
      await moved;
      expect((await Promise.all(posted)).every(Boolean)).toBe(true);
      for (let count = posted.length; !told.pending.some((line) => line.startsWith('news: end')); count++) {
        await a.publish('news', `end ${count}`);
      }
      const lines = told.pending.filter((line) => !line.startsWith('rooms'));
      expect(untoldHoles(lines.map((line) => (line.includes('lost') ? line : line.slice('news: '.length))))).toEqual(
        [],
      );
    });
  });
});

describe('When a master of a Cluster that shards channels fails, and a replica takes over', () => {
  test('posts to the other masters continue, its own posts wait, and each of its names has a loss', async () => {
    const cluster = nodes.use(await RedisCluster.start(3));
    const mine = namesOf(cluster);
    const replica = await cluster.addReplica(0);
    const [a] = await nodes.node(sharded(cluster));
    const [b, told] = await nodes.listener(sharded(cluster), [...mine, 'rooms/:id']);
    const { history } = a;
    expect(offsetOf(await history.append(mine[0]!, { payload: 'kept' }, BOUNDS))).toBe(1);
    await cluster.replicated(0);
    await cluster.servers[0]!.kill();
    await reached(b, 'waiting');
    const waiting = [1, 2, 3].map((count) => a.publish(mine[0]!, `after ${count}`));
    const appended = history.append(mine[0]!, { payload: 'later' }, BOUNDS);
    for (const name of mine.slice(1)) expect(await a.publish(name, 'meanwhile')).toBe(true);
    await nodes.probe(replica).redis.call('CLUSTER', 'FAILOVER', 'TAKEOVER');
    expect(await Promise.all(waiting)).toEqual([true, true, true]);
    expect(offsetOf(await appended)).toBe(2);
    await reached(b, 'ready');
    await a.publish(mine[1]!, 'end');
    const lines = await told.takeUntil((line) => line === `${mine[1]}: end`);
    for (const name of mine.slice(1)) {
      expect(lines).toContain(`${name}: meanwhile`);
      expect(lines).not.toContain(`${name} lost: broker`);
    }
    const ofLost = lines.filter((line) => line.startsWith(`${mine[0]}`));
    expect(ofLost.filter((line) => line.includes('lost'))).toEqual([`${mine[0]} lost: broker`]);
    expect(lines.filter((line) => line === 'rooms/:id lost: broker')).toHaveLength(1);
    // Earlier posts, from before the other server heard again, are part of the loss; the rest follows in order.
    const after = ofLost.slice(ofLost.findIndex((line) => line.includes('lost')) + 1);
    expect(after).toEqual([...after].toSorted());
    expect((await history.read(mine[0]!, BEGINNING)).entries.map(({ payload }) => payload)).toEqual(['kept', 'later']);
  }, 40_000);
});

const gap = (queue: Queue<number | string>) => (loss: { reason: string }) => queue.push(`gap ${loss.reason}`);

const Sharded = defineChannel<number, 'sharded/:room'>('sharded/:room', undefined, { history: BOUNDS });

test.each([
  ['slots move', false],
  ['a master fails, and a replica takes over', true],
])(
  'While %s under load, listeners of a history get all accepted posts, in order, without a gap',
  async (_, isFailover) => {
    const cluster = nodes.use(await RedisCluster.start(3));
    const room = numbers(100).find((each) => slotOfGroup(groupOf(`sharded/${each}`)) < 16_384 / 3)!;
    const channel = Sharded.for({ room });
    const { own } = names.routes(channel.name);
    const replica = isFailover ? await cluster.addReplica(0) : undefined;
    const [poster, listener] = [1, 2].map(() => {
      const transport = nodes.create(sharded(cluster), { heartbeatMs: 200 });
      const hub = new Hub({ reporter: new RecordingReporter(), transport });
      nodes.use({ [Symbol.asyncDispose]: () => hub.close() });
      return hub;
    }) as [Hub, Hub];
    for (const hub of [poster, listener]) await hub.start();
    const [told, byTemplate] = [new Queue<number | string>(), new Queue<number | string>()];
    await listener.listen(channel, told.push, listener.root, undefined, gap(told)).ready;
    await listener.listen(Sharded, byTemplate.push, listener.root, undefined, gap(byTemplate)).ready;
    const accepted: number[] = [];
    let count = 0;
    const load = { isOver: false };
    const loading = (async () => {
      while (!load.isOver) if (await poster.post(channel, ++count)) accepted.push(count);
    })();
    const heard = (least: number): Promise<number | string> => told.until((each) => Number(each) >= least);
    await heard(20);
    if (replica !== undefined) {
      await nodes.probe(cluster.servers[0]!).redis.call('CLIENT', 'PAUSE', '60000', 'WRITE');
      await cluster.replicated(0);
      await cluster.servers[0]!.kill();
      await nodes.probe(replica).redis.call('CLUSTER', 'FAILOVER', 'TAKEOVER');
    } else {
      for (const [from, to] of [
        [0, 1],
        [1, 2],
        [2, 0],
      ] as const) {
        await cluster.moveSlot(own, from, to);
        await heard(count);
      }
    }
    await heard(count + 20);
    load.isOver = true;
    await loading;
    const all = await byTemplate.takeUntil((each) => each === accepted.at(-1));
    expect([...all, accepted.at(-1)]).toEqual(accepted);
    expect(told.pending.filter((each) => typeof each === 'string')).toEqual([]);
  },
  40_000,
);

function hubWith(interop?: boolean): Hub {
  const transport = nodes.create({ client: () => new Cluster([]), sharded: true, interop });
  return new Hub({ reporter: new RecordingReporter(), transport });
}

describe('Sharded channels are refused at the start', () => {
  test('by a Redis without the command, and the error names it', async () => {
    const cluster = nodes.use(await RedisCluster.start(2, false, ['--rename-command', 'SPUBLISH', '']));
    const started = nodes.create(sharded(cluster)).start(() => undefined);
    await expect(started).rejects.toThrow(
      /Option "redis.sharded" needs the command SPUBLISH, which Redis has from version 7; Redis at .* refuses it/,
    );
    await expect(started).rejects.toBeInstanceOf(ConfigurationError);
  });

  test('by an ACL that does not allow the command', async () => {
    const cluster = nodes.use(await RedisCluster.start(2));
    for (const server of cluster.servers) {
      await nodes.probe(server).redis.call('ACL', 'SETUSER', 'default', '-spublish');
    }
    const started = nodes.create(sharded(cluster)).start(() => undefined);
    await expect(started).rejects.toThrow(/Option "redis.sharded" needs the command SPUBLISH; Redis at .* refuses it/);
  });

  test('for anything but a Cluster', async () => {
    const server = await nodes.server();
    const single = { client: () => new Redis(server.url), sharded: true };
    await expect(nodes.create(single).start(() => undefined)).rejects.toThrow(
      'Option "redis.sharded" needs an ioredis Cluster as "redis.client"; a single Redis shards nothing',
    );
    expect(() => nodes.create({ ...single, interop: true })).toThrow('Option "redis.interop" cannot be true');
  });

  test('together with a channel for stock parts of Nest, by the first listener or post, unless "redis.interop" is false', () => {
    const Shared = defineChannel('sharded/shared', undefined, { interop: true });
    const hub = hubWith();
    const text =
      'Channel "sharded/shared" has interop: true, but "redis.sharded" is on, and stock parts of Nest know no sharded channels; leave out one of the two options, or set "redis.interop" to false';
    for (const channel of [Shared, Shared.name]) {
      expect(() => hub.listen(channel, () => undefined, hub.root)).toThrow(new ConfigurationError(text));
    }
    expect(() => hub.post(Shared, 1)).toThrow(new ConfigurationError(text));
    const without = hubWith(false);
    expect(() => without.listen(Shared, () => undefined, without.root)).not.toThrow();
    expect(() => without.post(Shared, 1, { scope: 'local' })).not.toThrow();
  });
});
