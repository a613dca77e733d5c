// How the cost of a global post grows with the nodes on one Redis: for the posting node, for listening nodes, for
// other nodes, and for Redis.
import { setTimeout } from 'node:timers/promises';
import type { BenchOptions } from './run.js';
import { takeTurns } from './support/compare.js';
import { reportFigures, type Measurements } from './support/compare-figures.js';
import { Cluster, channels } from './support/growth-cluster.js';
import type { Channels } from './support/growth-node.js';
import type { Case } from './support/table.js';

const ROUNDS = 3;
// Beside the posting node.
const POINTS = [1, 2, 4, 8];
const POSTS = 20_000;
const IN_FLIGHT = 100;

const TOGETHER = channels('together', 1);
const SPREAD = channels('spread', 1_000);
const FIRST = channels('first', 1_000);
const NOBODY = channels('nobody', 1_000);

interface NodesCase extends Case {
  /** The channels of the posts; `undefined`: nothing is posted. */
  readonly to?: Channels;
  /** How many nodes listen there. */
  readonly listening: number;
}

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const cluster = await Cluster.start();
  const measurements: Measurements<NodesCase, 'poster' | 'redis' | 'listening' | 'others'>[] = [];
  for (const at of POINTS) {
    while (cluster.size < at) {
      const node = await cluster.join();
      await node.call('listen', TOGETHER);
      await node.call('listen', SPREAD);
      if (cluster.size === 1) await node.call('listen', FIRST);
    }
    const cases: NodesCase[] = [
      { name: 'all listen, 1 channel', at, to: TOGETHER, listening: at },
      { name: 'all listen, 1,000 channels', at, to: SPREAD, listening: at },
      { name: 'one listens, 1,000 channels', at, to: FIRST, listening: 1 },
      { name: 'nobody listens, 1,000 channels', at, to: NOBODY, listening: 0 },
      { name: 'nothing is posted', at, listening: 0 },
    ];
    await takeTurns(cases, 1, (measured) => measure(cluster, measured));
    measurements.push(...(await takeTurns(cases, rounds, (measured) => measure(cluster, measured))));
  }
  await cluster.stop();
  const posted = measurements.filter(({ measured }) => measured.to !== undefined);
  const axes = { along: 'nodes that listen or might', unit: 'µs of CPU' };
  await reportFigures(
    {
      redis: { title: 'What a post costs Redis', ...axes },
      poster: { title: 'What a post costs the node that posts it', ...axes },
    },
    posted,
  );
  await reportFigures(
    { listening: { title: 'What a message costs a node that listens', ...axes } },
    posted.filter(({ measured }) => measured.listening > 0),
  );
  await reportFigures(
    { others: { title: 'What a post costs a node that does not listen', ...axes, unit: 'ns of CPU' } },
    measurements.filter(({ measured }) => measured.listening < measured.at!),
  );
}

let lastMs = 0;

async function measure(cluster: Cluster, { to, listening }: NodesCase) {
  const each = (used: readonly number[]) => used.reduce((sum, value) => sum + value, 0) / used.length / POSTS;
  const { poster, redis, nodes, ms } =
    to === undefined
      ? await cluster.spent(() => setTimeout(lastMs))
      : await cluster.pass({ to, count: POSTS, inFlight: IN_FLIGHT }, listening);
  // For as long as posting took, so that a node's own background work is the same.
  if (to === NOBODY) lastMs = ms;
  return {
    poster: poster / POSTS,
    redis: redis / POSTS,
    listening: each(nodes.slice(0, listening)),
    others: 1_000 * each(nodes.slice(listening)),
  };
}
