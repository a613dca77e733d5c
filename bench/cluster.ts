// The CPU that posts cost each master of a Redis Cluster of three: with classic publish/subscribe, which forwards each post to all
// masters, and with sharded (`redis.sharded`), by the number of channels. Two nodes listen to each channel, or to a template.
import { Cluster } from 'ioredis';
import { RedisTransport } from '../lib/transport/redis-transport.js';
import { RedisCluster } from '../test/support/redis-cluster.js';
import { RedisProbe } from '../test/support/redis-probe.js';
import type { BenchOptions } from './run.js';
import { cpuOf } from './support/redis.js';
import { report, type Table } from './support/table.js';

const ROUNDS = 5;
const POINTS = [1, 10, 100, 1_000, 10_000];
const POSTS = 6_000;
const IN_FLIGHT = 60;
const PAYLOAD = JSON.stringify({ metadata: { type: 'Update' }, data: 'x'.repeat(300) });

type Setting = 'classic' | 'sharded';
type Listening = 'channels' | 'a template';

interface Node {
  readonly transport: RedisTransport;
  received: number;
}

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const cluster = await RedisCluster.start(3);
  try {
    for (const listening of ['channels', 'a template'] as const) {
      const tables = await measure(cluster, listening, rounds);
      for (const table of tables) await report(table);
    }
  } finally {
    await cluster[Symbol.asyncDispose]();
  }
}

async function measure(cluster: RedisCluster, listening: Listening, rounds: number): Promise<Table[]> {
  const [sum, most]: [Table['rows'][number][], Table['rows'][number][]] = [[], []];
  for (const setting of ['classic', 'sharded'] as const) {
    for (const at of POINTS) {
      const names = Array.from({ length: at }, (_, number) => `updates/${number}`);
      const nodes = [await start(cluster, setting), await start(cluster, setting), await start(cluster, setting)];
      const [poster, ...listeners] = nodes as [Node, ...Node[]];
      const wanted = listening === 'channels' ? names : ['updates/:number'];
      for (const { transport } of listeners) await Promise.all(wanted.map((name) => transport.subscribe(name)));
      const used: number[][] = [];
      for (let round = 0; round < rounds; round++)
        used.push(await mastersCpuOf(cluster, () => pass(poster, listeners, names)));
      const name = `${setting}, two nodes listen to ${listening}`;
      sum.push({ name, at, samples: used.map((each) => each.reduce((all, one) => all + one, 0)) });
      most.push({ name, at, samples: used.map((each) => Math.max(...each)) });
      await Promise.all(nodes.map(({ transport }) => transport.close()));
    }
  }
  const along = 'channels';
  const unit = 'µs/post';
  return [
    { title: `CPU of the three masters together, ${listening}`, unit, along, rows: sum },
    { title: `CPU of the busiest master, ${listening}`, unit, along, rows: most },
  ];
}

async function start({ nodes }: RedisCluster, setting: Setting): Promise<Node> {
  const client = () => new Cluster(nodes, { lazyConnect: true });
  const node: Node = { transport: new RedisTransport({ client, sharded: setting === 'sharded' }), received: 0 };
  await node.transport.start(() => void node.received++);
  await new Promise<void>((resolve) => {
    node.transport.status.subscribe(({ state }) => state === 'ready' && resolve());
  });
  return node;
}

/** Posts to all channels in turn, so that few posts share a command, and waits until all have arrived. */
async function pass({ transport }: Node, listeners: readonly Node[], names: readonly string[]): Promise<void> {
  for (const node of listeners) node.received = 0;
  for (let index = 0; index < POSTS; index += IN_FLIGHT) {
    const batch = Array.from({ length: IN_FLIGHT }, (_, each) => names[(index + each) % names.length]!);
    await Promise.all(batch.map((name) => transport.publish(name, PAYLOAD)));
  }
  while (listeners.some(({ received }) => received < POSTS)) await new Promise((resolve) => setImmediate(resolve));
}

/** The CPU of each master for each post, in microseconds. */
async function mastersCpuOf({ servers }: RedisCluster, action: () => Promise<void>): Promise<number[]> {
  const used = (): Promise<number[]> => Promise.all(servers.map(({ url }) => cpu(url)));
  const before = await used();
  await action();
  return (await used()).map((each, index) => (each - before[index]!) / POSTS);
}

async function cpu(url: string): Promise<number> {
  using probe = new RedisProbe(url);
  return await cpuOf(probe.redis);
}
