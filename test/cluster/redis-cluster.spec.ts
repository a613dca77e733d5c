import type { Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Cluster, Redis } from 'ioredis';
import { RedisTransport } from '../../lib/transport/redis-transport.js';
import { GatewayNode, type StreamReader } from '../support/gateway-node.js';
import { Queue } from '../support/queue.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { RedisNodes, reached } from '../support/redis-nodes.js';

let redis: RedisCluster;
let nodes = new RedisNodes();

beforeAll(async () => {
  redis = await RedisCluster.start(3);
});
afterEach(async () => {
  await nodes[Symbol.asyncDispose]();
  nodes = new RedisNodes();
});
afterAll(() => redis[Symbol.asyncDispose]());

function connect(to = redis, options: object = {}): Cluster {
  const cluster = new Cluster(to.nodes, { lazyConnect: true, ...options });
  nodes.use({ [Symbol.dispose]: () => cluster.disconnect() });
  return cluster;
}

test('payloads reach every node of the application, whichever nodes of the cluster they are connected to', async () => {
  const [a] = await nodes.node(connect());
  for (let round = 0; round < 5; round++) {
    const [, atB] = await nodes.node(connect(), ['news', 'rooms/:id']);
    expect(await a.publish('news', 'hello')).toBe(true);
    expect(await a.publish('rooms/1', 'room')).toBe(true);
    // Order is guaranteed within a channel, not between two.
    const received = await atB.take(2);
    expect(received).toContainEqual(['hello', 'news', 'news']);
    expect(received).toContainEqual(['room', 'rooms/:id', 'rooms/1']);
  }
});

test('payloads of one publisher stay in order', async () => {
  const [a] = await nodes.node(connect());
  const [, atB] = await nodes.node(connect(), ['news']);
  const payloads = Array.from({ length: 1_000 }, (_, index) => String(index));
  const accepted = await Promise.all(payloads.map((payload) => a.publish('news', payload)));
  expect(accepted.every(Boolean)).toBe(true);
  expect((await atB.take(1_000)).map(([payload]) => payload)).toEqual(payloads);
});

test('posts of one turn to different channels go out together, including posts to histories', async () => {
  const own = connect();
  const [a] = await nodes.node(() => own);
  const corked = (): number[] =>
    own.nodes('master').map(({ stream }) => (stream as Socket | undefined)?.writableCorked ?? 0);
  const post: Record<string, (name: string) => Promise<unknown>> = {
    plain: (name) => a.publish(name, 'hello'),
    kept: (name) => a.history.append(name, { payload: 'hello' }, { maxMessages: 10, ttlMs: 60_000 }),
  };
  for (const [kind, publish] of Object.entries(post)) {
    // Connects ioredis to the members.
    await Promise.all(Array.from({ length: 30 }, (_, index) => publish(`rooms/${index}`)));
    const posts = Array.from({ length: 30 }, (_, index) => publish(`rooms/${index}`));
    // The turn ends with its microtasks.
    await Promise.resolve();
    expect([kind, Math.max(...corked())]).toEqual([kind, 1]);
    await Promise.all(posts);
    expect(Math.max(...corked())).toBe(0);
  }
});

test('a cluster of the application is neither used nor ended', async () => {
  const own = connect();
  const [a] = await nodes.node(own, ['news']);
  expect(own.status).toBe('wait');
  await a.close();
  expect(await own.set('key', 'value')).toBe('OK');
});

test('closing ends all connections', async () => {
  const [a] = await nodes.node(connect(), ['news']);
  const states: string[] = [];
  a.status.subscribe(({ state }) => states.push(state));
  const before = performance.now();
  await a.close();
  expect(performance.now() - before).toBeLessThan(3_000);
  expect(states).toEqual(['ready', 'closed']);
});

test('a member that comes back may have lost its data, so the work before posts and after an interruption is done again', async () => {
  const own = new Cluster(redis.nodes, { lazyConnect: true, slotsRefreshInterval: 200 });
  const told = new Queue<string>();
  const transport = nodes.create(() => own);
  const run = (): Promise<void> => {
    told.push('before posts');
    return Promise.resolve();
  };
  const beforePosts = { except: 'revocations', run };
  await transport.start(() => undefined, { interrupted: () => told.push('interrupted'), beforePosts });
  await reached(transport, 'ready');
  await Promise.all(own.nodes('master').map((member) => member.ping()));
  expect(told.pending).toEqual(['before posts']);
  // Neither posts nor subscriptions use this one.
  await transport.subscribe('here');
  const channels = await Promise.all(redis.servers.map((each) => nodes.probe(each).channels()));
  const posting = await postingMember(transport);
  const server = redis.servers.find((_, each) => each !== posting && !channels[each]!.includes('messaging:|here'))!;
  await server.kill();
  await server.restart();
  expect(await told.take(3)).toEqual(['before posts', 'interrupted', 'before posts']);
  expect(await transport.publish('news', 'x')).toBe(true);
  await redis.isWhole();
});

/** The index of the member through which a transport posts. */
async function postingMember(transport: RedisTransport, { servers } = redis): Promise<number> {
  const probes = servers.map((server) => nodes.probe(server));
  const counts = await Promise.all(probes.map((each) => each.calls('publish')));
  await transport.publish('other', 'x');
  const after = await Promise.all(probes.map((each) => each.calls('publish')));
  return after.findIndex((count, each) => count > counts[each]!);
}

/** The member through which a transport posts, and the messages of a subscriber to another member. */
async function postedThrough(transport: RedisTransport) {
  const { servers } = redis;
  const index = await postingMember(transport);
  const elsewhere = new Redis(servers[(index + 1) % 3]!.url);
  nodes.use({ [Symbol.dispose]: () => elsewhere.disconnect() });
  const heard = new Queue<string>();
  elsewhere.on('message', (_: string, text: string) => {
    for (const payload of text.split('\n')) if (payload !== '') heard.push(payload);
  });
  await elsewhere.subscribe('messaging:|news');
  return { member: servers[index]!, heard };
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

test('posts go through another member at once if the connection to the current one ends', async () => {
  const [a] = await nodes.node(connect());
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

test('posts go through another member, in order, if the current one does not answer', async () => {
  const [a] = await nodes.node(connect(), [], { heartbeatMs: 50 });
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

test('unanswered posts make later ones go through another member, whatever the heartbeat', async () => {
  const [a] = await nodes.node({ client: connect(), publishTimeoutMs: 100 }, [], { heartbeatMs: 60_000 });
  const { member } = await postedThrough(a);
  member.pause();
  try {
    expect((await postUntilAccepted(a)).refused).toBeLessThan(3);
  } finally {
    member.resume();
  }
});

/** A node that records its messages, and the member of its subscription. */
async function subscribed(cluster = redis) {
  const [transport, told] = await nodes.listener(connect(cluster), ['news', 'rooms/:id']);
  const probes = cluster.servers.map(({ url }) => new RedisProbe(url));
  const listening = await Promise.all(probes.map(async (each) => (await each.channels()).includes('messaging:|news')));
  for (const probe of probes) probe[Symbol.dispose]();
  return { transport, told, member: cluster.servers[listening.indexOf(true)]! };
}

/** Posts until the listening node hears it and has a loss for each of its names; returns everything that it received. */
async function toldUntilHeard(b: RedisTransport, told: Queue<string>): Promise<string[]> {
  const posting = setInterval(() => void b.publish('news', 'hello'), 20);
  try {
    const before = await told.takeUntil((line) => line === 'news: hello');
    // The other name may be subscribed to again later.
    if (!before.some((line) => line.startsWith('rooms')))
      before.push(await told.until((line) => line.startsWith('rooms')));
    return before.toSorted();
  } finally {
    clearInterval(posting);
  }
}

const LOSSES = ['news lost: broker', 'rooms/:id lost: broker'];

test.each<[string, (cluster: Cluster) => Cluster | (() => Cluster)]>([
  ['itself', (cluster) => cluster],
  ['from a function', (cluster) => () => cluster],
])(
  'posts that its members take late are accepted, whatever the commandTimeout of a Cluster %s',
  async (_way, clientOf) => {
    const redisOptions = { commandTimeout: 100 };
    const cluster = connect(redis, { redisOptions });
    const [a] = await nodes.node({ client: clientOf(cluster), publishTimeoutMs: 20_000 });
    const probes = redis.servers.map(({ url }) => nodes.use(new RedisProbe(url)));
    await Promise.all(probes.map((probe) => probe.redis.client('PAUSE', 400, 'WRITE')));
    expect(await a.publish('news', 'late')).toBe(true);
    expect(redisOptions).toEqual({ commandTimeout: 100 });
  },
);

test('a node that loses its member for subscriptions hears through another one, and its names have a loss', async () => {
  const [b] = await nodes.node(connect());
  const { told, member } = await subscribed();
  await member.kill();
  try {
    expect(await toldUntilHeard(b, told)).toEqual(LOSSES);
  } finally {
    await member.restart();
  }
});

test('a node whose member for subscriptions falls silent notices within 5 s, and hears through another one', async () => {
  const [b] = await nodes.node(connect());
  const { transport, told, member } = await subscribed();
  member.pause();
  try {
    const before = performance.now();
    await reached(transport, 'waiting');
    expect(performance.now() - before).toBeLessThan(5_500);
    expect(await toldUntilHeard(b, told)).toEqual(LOSSES);
    await reached(transport, 'ready');
  } finally {
    member.resume();
  }
});

test('a node whose member answers but receives no posts notices within 5 s, and hears through another one', async () => {
  const cluster = nodes.use(await RedisCluster.start(3));
  let listening = await subscribed(cluster);
  // Posts through the member itself return to it.
  while (cluster.servers[await postingMember(listening.transport, cluster)] === listening.member) {
    await listening.transport.close();
    listening = await subscribed(cluster);
  }
  const { transport, told, member } = listening;
  const before = performance.now();
  using forgotten = new RedisProbe(member.url);
  const id = await forgotten.redis.call('CLUSTER', 'MYID');
  for (const { url, port } of cluster.servers) {
    using probe = new RedisProbe(url);
    if (port !== member.port) await probe.redis.call('CLUSTER', 'FORGET', String(id));
  }
  expect((await reached(transport, 'waiting')).error?.message).toContain('hears nothing of what is published');
  expect(performance.now() - before).toBeLessThan(5_500);
  expect(await toldUntilHeard(transport, told)).toEqual(LOSSES);
});

test('the number of nodes that hear a name is the sum over all members, and unknown while one of them is silent', async () => {
  const [a] = await nodes.node({ client: connect(), publishTimeoutMs: 500 });
  const [b] = await nodes.node(connect(), ['news']);
  expect(await a.hearers('news')).toBe(1);
  expect(await a.hearers('other')).toBe(0);
  await b.close();
  while ((await a.hearers('news')) !== 0);
  const { member } = await postedThrough(a);
  member.pause();
  try {
    expect(await a.hearers('news')).toBeUndefined();
  } finally {
    member.resume();
  }
});

describe('A node has caught up with all posts that any member took', () => {
  test('when each has passed on a mark: not while one member is silent, but again once that member is gone', async () => {
    const [a] = await nodes.node(connect());
    const { member } = await subscribed();
    const silent = redis.servers.find((server) => server !== member)!;
    expect(await a.catchUp()).toBe(true);
    silent.pause();
    try {
      const before = performance.now();
      expect(await a.catchUp()).toBe(false);
      expect(performance.now() - before).toBeLessThan(2_000);
      await silent.kill();
      // Once the end of its connection is noticed.
      while (!(await a.catchUp())) await new Promise((resolve) => setImmediate(resolve));
    } finally {
      await silent.restart();
    }
  });

  test('not if its subscription ends meanwhile, nor once it is closed', async () => {
    const { transport, member } = await subscribed();
    const others = redis.servers.filter((server) => server !== member);
    for (const server of others) server.pause();
    const before = performance.now();
    const caughtUp = transport.catchUp();
    using probe = new RedisProbe(member.url);
    await probe.cutClients();
    expect(await caughtUp).toBe(false);
    for (const server of others) server.resume();
    expect(performance.now() - before).toBeLessThan(1_000);
    await transport.close();
    expect(await transport.catchUp()).toBe(false);
  });
});

describe('With a slow link between two members, a client that comes from another server', () => {
  let slow: RedisCluster;
  beforeAll(async () => {
    slow = await RedisCluster.start(3, true);
  });
  afterEach(async () => {
    for (const bus of slow.buses) bus.resume();
    await GatewayNode.closeAll();
  });
  afterAll(() => slow[Symbol.asyncDispose]());

  /** The members through which a server posts and listens. */
  type Place = readonly [posts: number, listens: number];

  /** Starts servers until one has the wanted members. */
  async function serverAt(fits: (...place: Place) => boolean): Promise<[GatewayNode<RedisTransport>, ...Place]> {
    for (;;) {
      // Without heartbeats, which would count too.
      const node = await GatewayNode.start(new RedisTransport(connect(slow), { heartbeatMs: 60_000 }));
      await reached(node.transport!, 'ready');
      const place: Place = [await postsAt(node), await listensAt(node)];
      if (fits(...place)) return [node, ...place];
      await node.hub.close();
    }
  }

  async function ofEach<T>(look: (probe: RedisProbe) => Promise<T>): Promise<T[]> {
    const probes = slow.servers.map(({ url }) => new RedisProbe(url));
    const found = await Promise.all(probes.map(look));
    for (const probe of probes) probe[Symbol.dispose]();
    return found;
  }

  const published = () => ofEach((probe) => probe.calls('publish'));

  async function postsAt(node: GatewayNode<RedisTransport>): Promise<number> {
    const before = await published();
    await node.post('other', 'x');
    return (await published()).findIndex((count, index) => count > before[index]!);
  }

  async function listensAt({ channel }: GatewayNode<RedisTransport>): Promise<number> {
    const channels = await ofEach((probe) => probe.channels());
    return channels.findIndex((names) => names.includes(`messaging:|${channel}`));
  }

  /** Releases held data once a client is connected, or a member has carried this much more. */
  async function releaseFor(moved: StreamReader, held: number, through: number, until: number): Promise<void> {
    while (moved.events.pending.length === 0 && (await published())[through]! < until);
    slow.buses[held]!.resume();
  }

  test('misses nothing that reaches its former server later than the new one', async () => {
    const [former, , held] = await serverAt(() => true);
    const [next] = await serverAt((posts, listens) => posts === held && listens !== held);
    const [poster, through] = await serverAt((posts) => posts !== held);
    const client = await former.open('news');
    const other = await next.open('news');
    slow.buses[held]!.pause();
    expect(await poster.post('news', 'hello')).toBe(true);
    expect(await other.next(1)).toEqual(['hello']);
    const before = (await published())[through]!;
    const moved = next.connect(client.wanted('news'));
    // That server waits for its missing messages.
    await releaseFor(moved, held, through, before + 1);
    expect(await moved.next(2)).toEqual(['hello', 'messaging:ready']);
    await poster.post('news', 'again');
    expect(await moved.next(1)).toEqual(['again']);
  });

  test('gets nothing twice that reaches the new server later than the former one', async () => {
    const [next, by, held] = await serverAt(() => true);
    const [former] = await serverAt((posts, listens) => posts === held && listens !== held);
    const [poster, through] = await serverAt((posts) => posts !== held && posts !== by);
    const client = await former.open('news');
    const other = await next.open('news');
    slow.buses[held]!.pause();
    expect(await poster.post('news', 'hello')).toBe(true);
    expect(await client.next(1)).toEqual(['hello']);
    const before = (await published())[through]!;
    const moved = next.connect(client.wanted('news'));
    // Both servers wait for their missing messages.
    await releaseFor(moved, held, through, before + 2);
    expect(await other.next(1)).toEqual(['hello']);
    expect(await moved.next(1)).toEqual(['messaging:ready']);
    await poster.post('news', 'again');
    expect(await moved.next(1)).toEqual(['again']);
  });
});
