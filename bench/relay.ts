// The cost of events for the clients of another server: one server posts, a second one holds the clients, a third
// one of the same cluster has no clients, and Redis connects them. Measures the time from the posts to the clients, the CPU of the
// servers and Redis, and the third server's cost of irrelevant messages; against Nest's @Sse() with PUBLISH and SUBSCRIBE
// by hand, and Socket.IO with its adapters for Redis.
import type { BenchOptions } from './run.js';
import { compareFigures } from './support/compare-figures.js';
import { BUSY_LOAD, Fanout, startServer, type Delivered } from './support/fanout-process.js';
import type { Posting, ServerCalls } from './support/fanout-server.js';
import type { FanoutVariant } from './support/fanout-servers.js';
import type { Audience } from './support/load.js';
import { PLACES, type PinnedProcess } from './support/pinned-process.js';
import { Redis } from './support/redis.js';
import { quantile } from './support/statistics.js';
import type { Case } from './support/table.js';

const ROUNDS = 5;
const CONNECTIONS = 1_000;
const SAMPLED_EVERY = 50;
const IN_ONE_GO: Posting = { events: 100, atOnce: 100, everyMs: 0 };
const POSTS_PER_SECOND = 20;
const PACED: Posting = { events: 60, atOnce: 1, everyMs: 1000 / POSTS_PER_SECOND };
// The fewer clients the second server has, the more messages the third one can receive in the same time.
const FEW = 10;
const MANY_MESSAGES: Posting = { events: 2_000, atOnce: 1, everyMs: 1 };
const WARM_UP: Posting = { events: 200, atOnce: 5, everyMs: 10 };

const VARIANTS: readonly FanoutVariant[] = [
  'Nest @Sse Express',
  'Socket.IO',
  'Socket.IO, sharded',
  'messaging @Sse Express',
  'messaging gateway',
];

/** A separate Redis, a server that posts, one with clients, and one without. */
interface Cluster extends Case {
  readonly redis: Redis;
  readonly fanout: Fanout;
  readonly third: PinnedProcess<ServerCalls>;
}

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  await withClusters({ connections: CONNECTIONS, sampledEvery: SAMPLED_EVERY }, async (clusters) => {
    await compareBursts(clusters, rounds);
    await comparePaced(clusters, rounds);
  });
  await withClusters({ connections: FEW }, (clusters) => compareThird(clusters, rounds));
}

function compareBursts(cases: readonly Cluster[], rounds: number): Promise<void> {
  const title = `${IN_ONE_GO.events} events posted in one go, to ${CONNECTIONS} connections of another server`;
  return compareFigures({
    figures: {
      time: { title: `${title}; ${PLACES}`, unit: 'ns a delivery' },
      cpu: { title: `${title}: the part of both servers and Redis`, unit: 'ns of CPU a delivery' },
      load: { title: `${title}: the load's part`, unit: '% of a core' },
    },
    cases,
    rounds,
    measure: async (cluster) => {
      const { elapsedMs, clusterCpuMs, deliveries, loadShare } = await deliver(cluster, IN_ONE_GO);
      return {
        time: (elapsedMs * 1e6) / deliveries,
        cpu: (clusterCpuMs * 1e6) / deliveries,
        load: 100 * loadShare,
      };
    },
    note: (results) => (results.some(({ load }) => load > 100 * BUSY_LOAD) ? 'the load was busy' : undefined),
  });
}

function comparePaced(cases: readonly Cluster[], rounds: number): Promise<void> {
  const title = `${POSTS_PER_SECOND} events/s to ${CONNECTIONS} connections of another server`;
  return compareFigures({
    figures: {
      p50: { title: `Latency, p50: ${title}`, unit: 'ms' },
      p99: { title: `Latency, p99: ${title}`, unit: 'ms' },
      cpu: { title: `${title}: the part of both servers and Redis`, unit: 'ns of CPU a delivery' },
      load: { title: `${title}: the load's part`, unit: '% of a core' },
    },
    cases,
    rounds,
    measure: async (cluster) => {
      const { latencies, clusterCpuMs, deliveries, loadShare } = await deliver(cluster, PACED);
      return {
        p50: quantile(latencies, 0.5),
        p99: quantile(latencies, 0.99),
        cpu: (clusterCpuMs * 1e6) / deliveries,
        load: 100 * loadShare,
      };
    },
  });
}

async function compareThird(cases: readonly Cluster[], rounds: number): Promise<void> {
  // Until the code is compiled, and most garbage of the start is collected.
  for (const { fanout } of cases) await fanout.deliver(MANY_MESSAGES);
  await compareFigures({
    figures: {
      cpu: {
        title: `A server without clients, while others pass on ${1000 / MANY_MESSAGES.everyMs} messages/s`,
        unit: 'µs of CPU a message',
      },
    },
    cases,
    rounds,
    measure: async ({ fanout, third }) => {
      const before = await third.call('cpu');
      await fanout.deliver(MANY_MESSAGES);
      return { cpu: ((await third.call('cpu')) - before) / MANY_MESSAGES.events };
    },
  });
}

async function deliver({ fanout, redis }: Cluster, posting: Posting): Promise<Delivered & { clusterCpuMs: number }> {
  const before = await redis.cpu();
  const delivered = await fanout.deliver(posting);
  const redisCpuMs = ((await redis.cpu()) - before) / 1000;
  return { ...delivered, clusterCpuMs: delivered.serverCpuMs + redisCpuMs };
}

/** Starts clusters with their clients and warms them up, lets `use` measure them, and ends them. */
async function withClusters(audience: Audience, use: (clusters: readonly Cluster[]) => Promise<void>): Promise<void> {
  const redises: Redis[] = [];
  try {
    const clusters: Cluster[] = [];
    for (const name of VARIANTS) {
      const redis = await Redis.start(0);
      redises.push(redis);
      const third = await startServer(name, redis.url);
      clusters.push({ name, redis, third, fanout: await Fanout.start(name, audience, redis.url) });
    }
    for (const { fanout } of clusters) await fanout.deliver(WARM_UP);
    await use(clusters);
    for (const { fanout, third } of clusters) {
      await fanout.stop();
      await third.stop();
    }
  } finally {
    for (const redis of redises) await redis.stop();
  }
}
