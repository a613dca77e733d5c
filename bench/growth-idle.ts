// The cost of connections without posts: memory after garbage collection, and the CPU of their heartbeats.
import { reportFigures, type Measurements } from './support/compare-figures.js';
import { Fanout } from './support/fanout-process.js';
import type { FanoutVariant } from './support/fanout-servers.js';

const POINTS = [1_000, 2_000, 5_000, 10_000, 15_000];
// The first ones load the code that all of them share.
const WARM_UP = 50;
// The default is 15 s, too long to wait for here.
const HEARTBEAT_MS = 2_500;
const BEATS = 2;

const SILENT: FanoutVariant = 'Nest @Sse Express';
const VARIANTS: readonly FanoutVariant[] = [
  'raw socket(shared buffer)',
  SILENT,
  'messaging @Sse Express, async-local',
  'messaging @Sse Fastify, async-local',
  'messaging gateway',
];

/** Once for each process of the bench: servers get more and more connections and never fewer. */
export async function run(): Promise<void> {
  const fanouts = await Promise.all(
    VARIANTS.map((variant) => Fanout.start(variant, { connections: WARM_UP }, undefined, HEARTBEAT_MS)),
  );
  const empty = await memories(fanouts);
  const measurements: Measurements<{ name: FanoutVariant; at: number }, 'rss' | 'heap' | 'beat'>[] = [];
  let connected = 0;
  for (const at of POINTS) {
    await Promise.all(fanouts.map((fanout) => fanout.connect({ connections: at - connected })));
    connected = at;
    const full = await memories(fanouts);
    const idle = await Promise.all(fanouts.map((fanout) => fanout.idle(BEATS * HEARTBEAT_MS)));
    for (const [index, { name }] of fanouts.entries()) {
      const rss = (full[index]!.rss - empty[index]!.rss) / 1_000 / at;
      const heap = (full[index]!.heapUsed - empty[index]!.heapUsed) / 1_000 / at;
      const beat = (idle[index]! * 1_000) / BEATS / (at + WARM_UP);
      measurements.push({ measured: { name, at }, results: [{ rss, heap, beat }] });
    }
  }
  for (const fanout of fanouts) await fanout.stop();
  const along = 'connections';
  await reportFigures(
    {
      rss: { title: 'RSS of each idle connection', unit: 'KB', along },
      heap: { title: 'Heap of each idle connection', unit: 'KB', along },
    },
    measurements,
  );
  await reportFigures(
    { beat: { title: 'A heartbeat of an idle connection', unit: 'µs of CPU', along } },
    measurements.filter(({ measured }) => measured.name !== SILENT),
  );
}

function memories(fanouts: readonly Fanout[]) {
  return Promise.all(fanouts.map((fanout) => fanout.memory()));
}
