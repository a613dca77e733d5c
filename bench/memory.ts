// The memory of an idle connection on the server, after garbage collection: of the whole process, and of V8's heap;
// against open responses of plain Node, and of a route of the same adapter.
import type { BenchOptions } from './run.js';
import { compareFigures, type Figure } from './support/compare-figures.js';
import { Fanout } from './support/fanout-process.js';
import type { Memory } from './support/fanout-server.js';
import type { FanoutVariant } from './support/fanout-servers.js';
import type { Case, Goal } from './support/table.js';

const ROUNDS = 3;
// The first ones load the code that all of them share. Many systems limit a process to 20,000 open files; 9,000 leave room.
const WARM_UP = 50;
const FEW = 1_000;
const MANY = 9_000;

const BASE: FanoutVariant = 'node http, held open';
const ON_EXPRESS: readonly Goal[] = [
  { base: BASE, ratio: 1.3 },
  { base: 'Express route, held open', ratio: 1.3 },
];
const ON_FASTIFY: readonly Goal[] = [
  { base: BASE, ratio: 1.15 },
  { base: 'Fastify route, held open', ratio: 1.15 },
];
const GOALS: Readonly<Record<string, readonly Goal[]>> = {
  'messaging @Sse Express': ON_EXPRESS,
  'messaging @Sse Express, async-local': ON_EXPRESS,
  'messaging @Sse Fastify': ON_FASTIFY,
  'messaging @Sse Fastify, async-local': ON_FASTIFY,
  'messaging gateway': ON_EXPRESS,
};
const VARIANTS: readonly FanoutVariant[] = [
  BASE,
  'Express route, held open',
  'Fastify route, held open',
  'Nest @Sse Express',
  'better-sse',
  ...(Object.keys(GOALS) as FanoutVariant[]),
];

interface MemoryCase extends Case {
  readonly name: FanoutVariant;
}

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  await compareFigures({
    figures: {
      rssOfFew: figure('RSS', FEW),
      heapOfFew: figure('Heap', FEW),
      // Memory reserved at the start and not yet used hides much of the first connections' cost, so goals are for many.
      rssOfMany: { ...figure('RSS', MANY), goals: GOALS },
      heapOfMany: { ...figure('Heap', MANY), goals: GOALS },
    },
    cases: VARIANTS.map((name): MemoryCase => ({ name })),
    rounds,
    measure: ({ name }) => perConnection(name),
  });
}

function figure(what: string, connections: number): Figure {
  return { title: `${what} for each of ${connections} idle connections`, unit: 'KB' };
}

/** In a separate process, because a process does not return memory. */
async function perConnection(variant: FanoutVariant) {
  const fanout = await Fanout.start(variant, { connections: WARM_UP });
  const none = await fanout.memory();
  await fanout.connect({ connections: FEW });
  const few = await fanout.memory();
  await fanout.connect({ connections: MANY - FEW });
  const many = await fanout.memory();
  await fanout.stop();
  const kilobytes = (key: keyof Memory, memory: Memory, connections: number) =>
    (memory[key] - none[key]) / 1000 / connections;
  return {
    rssOfFew: kilobytes('rss', few, FEW),
    heapOfFew: kilobytes('heapUsed', few, FEW),
    rssOfMany: kilobytes('rss', many, MANY),
    heapOfMany: kilobytes('heapUsed', many, MANY),
  };
}
