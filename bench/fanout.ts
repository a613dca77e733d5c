// The cost of a burst of events for many connections: the time, and the server's CPU for each event
// that reaches a client; against Nest's @Sse(), better-sse, Socket.IO and code by hand.
import type { BenchOptions } from './run.js';
import { compareFigures, goalsFor } from './support/compare-figures.js';
import { BUSY_LOAD, withFanouts, type Fanout } from './support/fanout-process.js';
import type { Posting } from './support/fanout-server.js';
import { OURS, type FanoutVariant } from './support/fanout-servers.js';
import { PLACES } from './support/pinned-process.js';
import type { Goal } from './support/table.js';

const ROUNDS = 5;
const CONNECTIONS = 2_000;
const AT_ONCE: Posting = { events: 100, atOnce: 100, everyMs: 0 };
const OVER_TURNS: Posting = { events: 50, atOnce: 5, everyMs: 0 };
// Before that, the bench would measure V8's compiler, which matters if a delivery takes a tenth of a microsecond.
const WARM_UPS = 4;

const VARIANTS: readonly FanoutVariant[] = [
  'Nest @Sse Express',
  'Nest @Sse Fastify',
  'better-sse',
  'Socket.IO',
  'res.write(shared buffer)',
  'raw socket(shared buffer)',
  'hand-written coalescer',
  ...OURS,
];
const TURN_BY_TURN_VARIANTS: readonly FanoutVariant[] = [
  'Nest @Sse Express',
  'Socket.IO',
  'raw socket(shared buffer)',
  'hand-written coalescer',
  'messaging @Sse Express',
  'messaging @Sse Fastify',
  'messaging gateway',
];
const NEARLY_THE_LIMIT: Goal = { base: 'hand-written coalescer', ratio: 1 / 0.8 };
const FAR_ABOVE_THE_PEERS: readonly Goal[] = [
  { base: 'Nest @Sse Express', ratio: 1 / 40 },
  { base: 'Socket.IO', ratio: 1 / 10 },
];

/** How events are posted, and the goal for that. */
interface Burst {
  readonly what: string;
  readonly posting: Posting;
  readonly goals: readonly Goal[];
}

const IN_ONE_GO: Burst = {
  what: `${AT_ONCE.events} events posted in one go`,
  posting: AT_ONCE,
  goals: [...FAR_ABOVE_THE_PEERS, NEARLY_THE_LIMIT],
};
// With so few of them in a turn, the limit itself is not far above the peers.
const TURN_BY_TURN: Burst = {
  what: `${OVER_TURNS.events} events, ${OVER_TURNS.atOnce} in each turn of the event loop`,
  posting: OVER_TURNS,
  goals: [NEARLY_THE_LIMIT],
};

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  await withFanouts(VARIANTS, { connections: CONNECTIONS }, async (fanouts) => {
    for (const fanout of fanouts) for (let times = 0; times < WARM_UPS; times++) await fanout.deliver(AT_ONCE);
    await compareBursts(IN_ONE_GO, fanouts, rounds);
    const fewer = fanouts.filter(({ name }) => TURN_BY_TURN_VARIANTS.includes(name));
    await compareBursts(TURN_BY_TURN, fewer, rounds);
  });
}

function compareBursts({ what, posting, goals }: Burst, cases: readonly Fanout[], rounds: number): Promise<void> {
  const title = `${what}, to ${CONNECTIONS} connections`;
  return compareFigures({
    figures: {
      time: { title: `${title}; ${PLACES}`, unit: 'ns a delivery', goals: goalsFor(OURS, goals) },
      cpu: { title: `${title}: the server's part`, unit: 'ns of CPU a delivery', goals: goalsFor(OURS, goals) },
      load: { title: `${title}: the load's part`, unit: '% of a core' },
    },
    cases,
    rounds,
    measure: async (fanout) => {
      const { elapsedMs, serverCpuMs, deliveries, loadShare } = await fanout.deliver(posting);
      return { time: (elapsedMs * 1e6) / deliveries, cpu: (serverCpuMs * 1e6) / deliveries, load: 100 * loadShare };
    },
    note: (results) => (results.some(({ load }) => load > 100 * BUSY_LOAD) ? 'the load was busy' : undefined),
  });
}
