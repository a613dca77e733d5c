// How long an event takes from its post to its clients at a moderate, steady rate, measured by a time in the event on a sample of
// the clients. Client and server are on one machine and read one clock, which is checked.
import type { BenchOptions } from './run.js';
import { compareFigures, goalsFor } from './support/compare-figures.js';
import { withFanouts } from './support/fanout-process.js';
import type { Posting } from './support/fanout-server.js';
import { OURS, type FanoutVariant } from './support/fanout-servers.js';
import { PLACES } from './support/pinned-process.js';
import { quantile } from './support/statistics.js';
import type { Goal } from './support/table.js';

const ROUNDS = 5;
const CONNECTIONS = 2_000;
const SAMPLED_EVERY = 20;
const POSTS_PER_SECOND = 10;
const POSTING: Posting = { events: 30, atOnce: 1, everyMs: 1000 / POSTS_PER_SECOND };
const WARM_UP: Posting = { events: 30, atOnce: 1, everyMs: 10 };

const BASE: FanoutVariant = 'raw socket(shared buffer)';
const GOAL: readonly Goal[] = [{ base: BASE, ratio: 1.1 }];
const VARIANTS: readonly FanoutVariant[] = [
  BASE,
  'res.write(shared buffer)',
  'Nest @Sse Express',
  'Nest @Sse Fastify',
  'better-sse',
  'Socket.IO',
  ...OURS,
];

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const rate = `${POSTS_PER_SECOND} events/s to ${CONNECTIONS} connections`;
  await withFanouts(VARIANTS, { connections: CONNECTIONS, sampledEvery: SAMPLED_EVERY }, async (cases) => {
    for (const fanout of cases) await fanout.deliver(WARM_UP);
    await compareFigures({
      figures: {
        p50: { title: `Latency, p50: ${rate}; ${PLACES}`, unit: 'ms' },
        p99: { title: `Latency, p99: ${rate}`, unit: 'ms', goals: goalsFor(OURS, GOAL) },
        p999: { title: `Latency, p99.9: ${rate}`, unit: 'ms' },
      },
      cases,
      rounds,
      measure: async (fanout) => {
        const { latencies } = await fanout.deliver(POSTING);
        return {
          p50: quantile(latencies, 0.5),
          p99: quantile(latencies, 0.99),
          p999: quantile(latencies, 0.999),
        };
      },
    });
  });
}
