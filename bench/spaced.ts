// The server's CPU for each connection of an event, with events one at a time and so far apart that none can be
// written together with another one. A server that falls behind, as on a busy machine, writes several together, and then
// its figures mean nothing.
import type { BenchOptions } from './run.js';
import { compareFigures, goalsFor } from './support/compare-figures.js';
import { hasNchan } from './support/fanout-nchan.js';
import { withFanouts } from './support/fanout-process.js';
import type { Posting } from './support/fanout-server.js';
import { OURS, type FanoutVariant } from './support/fanout-servers.js';
import { PLACES } from './support/pinned-process.js';
import type { Goal } from './support/table.js';

const ROUNDS = 8;
const CONNECTIONS = 1_000;
const POSTING: Posting = { events: 50, atOnce: 1, everyMs: 40 };
// Until all of it is compiled for good, and the garbage of opening the connections has been collected.
const WARM_UP: Posting = { events: 300, atOnce: 1, everyMs: 20 };

const GOAL: readonly Goal[] = [
  { base: 'raw socket(shared buffer)', ratio: 1.1 },
  { base: 'Nest @Sse Express', ratio: 0.35 },
];
const VARIANTS: readonly FanoutVariant[] = [
  'raw socket(shared buffer)',
  ...(hasNchan ? (['nginx with nchan'] as const) : []),
  'hand-written coalescer',
  'res.write(shared buffer)',
  'Nest @Sse Express',
  'Nest @Sse Fastify',
  'better-sse',
  'Socket.IO',
  ...OURS,
];

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  await withFanouts(VARIANTS, { connections: CONNECTIONS }, async (cases) => {
    for (const fanout of cases) await fanout.deliver(WARM_UP);
    await compareFigures({
      figures: {
        cpu: {
          title: `an event every ${POSTING.everyMs} ms, to ${CONNECTIONS} connections; ${PLACES}`,
          unit: 'ns of CPU a delivery',
          goals: goalsFor(OURS, GOAL),
        },
      },
      cases,
      rounds,
      measure: async (fanout) => {
        const { serverCpuMs, deliveries } = await fanout.deliver(POSTING);
        return { cpu: (serverCpuMs * 1e6) / deliveries };
      },
    });
  });
}
