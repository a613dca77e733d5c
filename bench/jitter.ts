// What clients get while networks, servers and Redis fail: 200 clients of three servers, in processes of their own, that are
// cut off for 0.5–12 s and come back to any of the servers; each kind of fault by itself and beside such cuts. A checker
// follows every message. Then 2,000 clients while the servers are told to leave (SIGTERM) and replaced, one after another.
// Half an hour for a process: npm run bench -- jitter --processes=1
import { FAULT_KINDS, type Fault, type FaultKind } from '../test/support/fault-schedule.js';
import type { RunReport } from '../test/support/fault-report.js';
import { FaultWorld } from '../test/support/fault-world.js';
import { randomFrom } from '../test/support/random.js';
import type { BenchOptions } from './run.js';
import { reportFigures, type Figure } from './support/compare-figures.js';
import { quantile } from './support/statistics.js';
import type { Case } from './support/table.js';

const CLIENTS = 200;
const MOVED_CLIENTS = 2_000;
const CUT_MS = [500, 12_000] as const;
const CUTS_WITHIN_MS = 10_000;
/** Twice in a run. */
const AT_MS = [3_000, 10_000] as const;
/** How long a fault of each kind lasts, in milliseconds. */
const FAULTS: Readonly<Partial<Record<FaultKind, number>>> = {
  'redis-restart': 500,
  'redis-kill': 1_000,
  'redis-pause': 3_000,
  'redis-kill-pubsub': 0,
  'link-cut': 1_000,
  'link-half-open': 3_000,
  'link-delay': 3_000,
  'node-kill': 500,
  'node-pause': 2_000,
  'node-restart': 500,
};
const LEAVING_EVERY_MS = 12_000;

interface FaultCase extends Case {
  readonly kind: FaultKind | undefined;
  readonly hasCuts: boolean;
  /** Whether clients are told when their network is back, as pages are by their browser; else they try at intervals. */
  readonly isNetworkKnown?: boolean;
}

const FIGURES = {
  silent: { title: 'Messages that are missing, and nobody is told', unit: 'messages' },
  doubled: { title: 'Messages that come twice', unit: 'messages' },
  disorder: { title: 'Messages out of order', unit: 'messages' },
  falseGaps: { title: 'Gaps that nothing explains', unit: 'gaps' },
  told: { title: 'Messages that are missing, and a gap says so', unit: 'messages in 10,000' },
  idleGaps: { title: 'Gaps where nothing is missing, though something could have been', unit: 'gaps' },
  absent: { title: 'Readers that did not come back', unit: 'readers' },
  median: { title: 'From "the network is back" to open, at the median', unit: 'ms' },
  p99: { title: 'From "the network is back" to open, of 99 in 100', unit: 'ms' },
} satisfies Record<string, Figure>;

const LEAVING_FIGURES = {
  lost: { title: `${MOVED_CLIENTS} clients, three servers leave in turn: messages that are missing`, unit: 'messages' },
  gaps: { title: 'Gaps that are told meanwhile', unit: 'gaps' },
  busiest: {
    title: 'Streams that are opened in the busiest second, to the mean of the seconds in which some are',
    unit: '',
  },
} satisfies Record<string, Figure>;

export async function run({ rounds = 1 }: BenchOptions): Promise<void> {
  const kinds = FAULT_KINDS.filter((kind) => kind in FAULTS);
  const cases: readonly FaultCase[] = [
    { name: 'cuts alone', kind: undefined, hasCuts: true },
    { name: 'cuts alone, clients told of the network', kind: undefined, hasCuts: true, isNetworkKnown: true },
    ...kinds.flatMap((kind): FaultCase[] => [
      { name: kind, kind, hasCuts: false },
      { name: `${kind}, cuts`, kind, hasCuts: true },
    ]),
  ];
  const file = new URL('../test/support/fault-node.js', import.meta.url);
  const code = `import { startFaultNode } from '${file.href}'; await startFaultNode(JSON.parse(process.env.FAULT_NODE));`;
  const measurements = cases.map((measured) => ({ measured, results: [] as Record<keyof typeof FIGURES, number>[] }));
  const leaving: Record<keyof typeof LEAVING_FIGURES, number>[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const { measured, results } of measurements) results.push(await measure(code, measured, round + 1));
    leaving.push(await leave(code));
  }
  await reportFigures(FIGURES, measurements);
  await reportFigures(LEAVING_FIGURES, [{ measured: { name: 'SIGTERM' }, results: leaving }]);
}

async function measure(code: string, measured: FaultCase, seed: number): Promise<Record<keyof typeof FIGURES, number>> {
  await using world = await FaultWorld.start({ code, heartbeatMs: 15_000, recoveryMs: 60_000 });
  const report = await world.go(
    { seed, faults: [...faultsOf(measured.kind), ...(measured.hasCuts ? cuts(seed) : [])] },
    {
      everyMs: { busy: 50, calm: 500 },
      clients: Array.from({ length: CLIENTS }, (_, index) => (index % 2 === 0 ? ['busy', 'calm'] : ['*'])),
      natives: [],
      isNetworkKnown: measured.isNetworkKnown ?? false,
    },
  );
  const { silent, doubled, disorder, falseGaps, told, received, idleGaps } = report.counts;
  const returns = report.returnsMs.length > 0 ? report.returnsMs : [0];
  return {
    silent,
    doubled,
    disorder,
    falseGaps,
    told: (told / (told + silent + received)) * 10_000,
    idleGaps,
    absent: new Set(report.findings.filter(({ kind }) => kind === 'absent').map(({ reader }) => reader)).size,
    median: quantile(returns, 0.5),
    p99: quantile(returns, 0.99),
  };
}

/** Each server leaves, and another takes its place. */
async function leave(code: string): Promise<Record<keyof typeof LEAVING_FIGURES, number>> {
  await using world = await FaultWorld.start({ code, heartbeatMs: 15_000, recoveryMs: 60_000 });
  const faults = [0, 1, 2].map((target) => faultAt('node-restart', 2_000 + target * LEAVING_EVERY_MS, 0, target));
  const report = await world.go(
    { seed: 1, faults },
    {
      everyMs: { calm: 1_000 },
      clients: Array.from({ length: MOVED_CLIENTS }, () => ['calm']),
      natives: [],
    },
  );
  const { silent, told, gaps } = report.counts;
  return { lost: silent + told, gaps, busiest: busiestToMean(report) };
}

/** Of the seconds in which streams are opened. */
function busiestToMean({ openingsMs }: RunReport): number {
  const seconds = new Map<number, number>();
  for (const atMs of openingsMs) {
    const second = Math.floor(atMs / 1_000);
    seconds.set(second, (seconds.get(second) ?? 0) + 1);
  }
  return Math.max(...seconds.values()) / (openingsMs.length / seconds.size);
}

function faultsOf(kind: FaultKind | undefined): Fault[] {
  return kind === undefined ? [] : AT_MS.map((atMs, index) => faultAt(kind, atMs, FAULTS[kind]!, index));
}

/** Each client is cut off once. */
function cuts(seed: number): Fault[] {
  const random = randomFrom(seed);
  return Array.from({ length: CLIENTS }, (_, client) => {
    const forMs = CUT_MS[0] + random(CUT_MS[1] - CUT_MS[0]);
    return faultAt('client-cut', random(CUTS_WITHIN_MS), forMs, client);
  });
}

function faultAt(kind: FaultKind, atMs: number, forMs: number, target: number): Fault {
  return { kind, atMs, forMs, target, way: 'down', connection: undefined };
}
