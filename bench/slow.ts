// The effect of clients that do not read on a server: the memory that it holds for them once the system's buffers are full,
// whether it keeps them, and their cost for other clients.
import type { BenchOptions } from './run.js';
import { compareFigures } from './support/compare-figures.js';
import { Fanout } from './support/fanout-process.js';
import type { Posting } from './support/fanout-server.js';
import type { FanoutVariant } from './support/fanout-servers.js';
import { PLACES } from './support/pinned-process.js';
import type { Case, Goal } from './support/table.js';

const ROUNDS = 3;
const READERS = 900;
const STALLED = 100;
// On Linux the buffers of a connection take about 4.5 MB: this is 8 MB for each.
const FILLING: Posting = { events: 80, atOnce: 1, everyMs: 10, extraBytes: 100_000 };
const POSTING: Posting = { events: 100, atOnce: 100, everyMs: 0 };

const VARIANTS: readonly FanoutVariant[] = [
  'res.write(shared buffer)',
  'Nest @Sse Express',
  'messaging @Sse Express',
  'messaging gateway',
];

interface StalledCase extends Case {
  readonly variant: FanoutVariant;
  readonly stalled: number;
}

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const cases = VARIANTS.flatMap((variant): StalledCase[] => [
    { name: `${variant}, all read`, variant, stalled: 0 },
    { name: `${variant}, ${STALLED} do not`, variant, stalled: STALLED },
  ]);
  const goals: Record<string, readonly Goal[]> = Object.fromEntries(
    VARIANTS.map((variant) => [`${variant}, ${STALLED} do not`, [{ base: `${variant}, all read`, ratio: 1.1 }]]),
  );
  const burst = `${POSTING.events} events in one go to ${READERS} that read`;
  await compareFigures({
    figures: {
      memory: { title: 'RSS of the server after 8 MB for each that does not read', unit: 'MB', goals },
      kept: { title: `Connections that the server then keeps, with the ${READERS} that read`, unit: 'connections' },
      time: { title: `${burst}; ${PLACES}`, unit: 'ns a delivery', goals },
      cpu: { title: `${burst}: the server's part`, unit: 'ns of CPU a delivery', goals },
    },
    cases,
    rounds,
    measure: withStalled,
  });
}

/** In separate processes, because most servers cut stalled clients off, which happens only once. */
async function withStalled({ variant, stalled }: StalledCase) {
  const fanout = await Fanout.start(variant, { connections: stalled, stalled });
  await fanout.deliver(FILLING);
  const { rss } = await fanout.memory();
  await fanout.connect({ connections: READERS });
  await fanout.deliver({ ...POSTING, events: 20 });
  const { elapsedMs, serverCpuMs, deliveries } = await fanout.deliver(POSTING);
  const kept = await fanout.connections();
  await fanout.stop();
  return {
    memory: rss / 1e6,
    kept,
    time: (elapsedMs * 1e6) / deliveries,
    cpu: (serverCpuMs * 1e6) / deliveries,
  };
}
