// What clients get while networks, servers and Redis fail: 200 clients of three servers, in processes of their own, that are
// cut off for 0.5–12 s and come back to any of the servers; each kind of fault by itself and beside such cuts. They read channels
// and a template without history, and channels with one. A checker follows every message, and its findings are printed. Then 2,000
// clients while the servers are told to leave (SIGTERM) and replaced, one after another. One process with one round takes less
// than four minutes; more processes or rounds draw other cuts. Three cases run side by side, which lengthens times: for those, use
// `--lanes=1`, which takes eight minutes.
import { FAULT_KINDS, type Fault, type FaultKind } from '../test/support/fault-schedule.js';
import type { RunReport } from '../test/support/fault-report.js';
import type { LedgerCounts } from '../test/support/ledger.js';
import { randomFrom } from '../test/support/random.js';
import type { BenchOptions } from './run.js';
import { reportFigures, type Figure } from './support/compare-figures.js';
import type { LaneCalls, LaneTask } from './support/jitter-lane.js';
import { PinnedProcess } from './support/pinned-process.js';
import { quantile } from './support/statistics.js';
import type { Case } from './support/table.js';

/** How many cases are measured beside each other without `--lanes`, each with its own servers and Redis. */
const LANES = 3;
const CLIENTS = 200;
const MOVED_CLIENTS = 2_000;
const CUT_MS = [500, 12_000] as const;
const CUTS_WITHIN_MS = 3_000;
/** Twice in a run. */
const AT_MS = [1_500, 7_000] as const;
/** What each server posts, by the names of `channelOf`; the last two have a history. */
const EVERY_MS = { busy: 250, calm: 1_000, kept: 250, 'kept/calm': 1_000 };
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
const LEAVING_EVERY_MS = 9_000;
/** Of each case. */
const SHOWN_FINDINGS = 3;

export const processes = 1;

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
  keptDelivered: { title: 'With history: messages that are delivered', unit: '%' },
  keptDoubled: { title: 'With history: messages that come twice', unit: 'messages' },
  keptDisorder: { title: 'With history: messages out of order', unit: 'messages' },
  keptGaps: { title: 'With history: gaps', unit: 'gaps' },
  absent: { title: 'Readers that did not come back', unit: 'readers' },
  median: { title: 'From "the network is back" to open, at the median', unit: 'ms' },
  p99: { title: 'From "the network is back" to open, of 99 in 100', unit: 'ms' },
  waitP99: { title: 'Of it, until the client reaches a server, of 99 in 100', unit: 'ms' },
  openP99: { title: 'Of it, from there to open, of 99 in 100', unit: 'ms' },
} satisfies Record<string, Figure>;

const LEAVING_FIGURES = {
  lost: { title: `${MOVED_CLIENTS} clients, three servers leave in turn: messages that are missing`, unit: 'messages' },
  keptLost: { title: 'The same, with history', unit: 'messages' },
  gaps: { title: 'Gaps that are told meanwhile', unit: 'gaps' },
  busiest: {
    title: 'Streams that are opened in the busiest second, to the mean of the seconds in which some are',
    unit: '',
  },
} satisfies Record<string, Figure>;

type Lane = PinnedProcess<LaneCalls>;

export async function run({ rounds = 1, lanes: count = LANES }: BenchOptions): Promise<void> {
  const kinds = FAULT_KINDS.filter((kind) => kind in FAULTS);
  const withCuts: readonly FaultCase[] = [
    { name: 'cuts alone', kind: undefined, hasCuts: true },
    { name: 'cuts alone, clients told of the network', kind: undefined, hasCuts: true, isNetworkKnown: true },
    ...kinds.map((kind): FaultCase => ({ name: `${kind}, cuts`, kind, hasCuts: true })),
  ];
  const alone = kinds.map((kind): FaultCase => ({ name: kind, kind, hasCuts: false }));
  const seed = 1 + Math.floor(Math.random() * 1_000_000);
  const lanes = await Promise.all(
    Array.from({ length: count }, () => PinnedProcess.start<LaneCalls>('jitter-lane.js', undefined, [])),
  );
  // The longest ones first, so that no lane waits long for the others.
  const measurements = [...withCuts, ...alone].map((measured) => ({ measured, results: [] as FaultFigures[] }));
  const leaving: LeavingFigures[] = [];
  for (let round = 0; round < rounds; round++) {
    const left = [...measurements];
    const work = async (lane: Lane): Promise<void> => {
      for (let next = left.shift(); next !== undefined; next = left.shift())
        next.results.push(figuresOf(await go(lane, next.measured.name, taskOf(next.measured, seed + round))));
    };
    await Promise.all(lanes.map(work));
    leaving.push(leavingFiguresOf(await go(lanes[0]!, 'SIGTERM', leavingTask(seed + round))));
  }
  await Promise.all(lanes.map((lane) => lane.stop()));
  measurements.sort((a, b) => a.measured.name.localeCompare(b.measured.name));
  await reportFigures(FIGURES, measurements);
  await reportFigures(LEAVING_FIGURES, [{ measured: { name: 'SIGTERM' }, results: leaving }]);
}

async function go(lane: Lane, name: string, task: LaneTask): Promise<RunReport> {
  const report = await lane.call('go', task);
  for (const { kind, reader, name: channel, what } of report.findings.slice(0, SHOWN_FINDINGS))
    console.error(`${name}: ${kind}: ${reader}, ${channel}: ${what}`);
  return report;
}

function taskOf({ kind, hasCuts, isNetworkKnown = false }: FaultCase, seed: number): LaneTask {
  return {
    schedule: { seed, faults: [...faultsOf(kind), ...(hasCuts ? cuts(seed) : [])] },
    options: {
      everyMs: EVERY_MS,
      clients: clients(CLIENTS, ['busy', 'calm', 'kept'], ['*', 'kept', 'kept/calm']),
      ...NOBODY_ELSE,
      isNetworkKnown,
    },
  };
}

/** Each server leaves, and another takes its place. */
function leavingTask(seed: number): LaneTask {
  const faults = [0, 1, 2].map((target) => faultAt('node-restart', 2_000 + target * LEAVING_EVERY_MS, 0, target));
  return {
    schedule: { seed, faults },
    options: {
      everyMs: { calm: 1_000, kept: 2_000 },
      clients: clients(MOVED_CLIENTS, ['calm'], ['calm', 'kept']),
      ...NOBODY_ELSE,
    },
  };
}

const NOBODY_ELSE = { natives: [], streams: [], reloads: [] };

/** One half and the other one. */
function clients(count: number, ...names: readonly [string[], string[]]): readonly (readonly string[])[] {
  return Array.from({ length: count }, (_, index) => names[index % 2]!);
}

type FaultFigures = Record<keyof typeof FIGURES, number>;

function figuresOf({ counts, histories, returns: measured, findings }: RunReport): FaultFigures {
  const { silent, doubled, disorder, falseGaps, told, idleGaps } = counts;
  const returns = measured.length > 0 ? measured : [{ waitMs: 0, openMs: 0 }];
  const totals = returns.map(({ waitMs, openMs }) => waitMs + openMs);
  return {
    silent,
    doubled,
    disorder,
    falseGaps,
    told: (told / expected(counts)) * 10_000,
    idleGaps,
    keptDelivered: (histories.received / expected(histories)) * 100,
    keptDoubled: histories.doubled,
    keptDisorder: histories.disorder,
    keptGaps: histories.gaps,
    absent: new Set(findings.filter(({ kind }) => kind === 'absent').map(({ reader }) => reader)).size,
    median: quantile(totals, 0.5),
    p99: quantile(totals, 0.99),
    waitP99: quantile(
      returns.map(({ waitMs }) => waitMs),
      0.99,
    ),
    openP99: quantile(
      returns.map(({ openMs }) => openMs),
      0.99,
    ),
  };
}

function expected({ received, told, silent }: LedgerCounts): number {
  return received + told + silent;
}

type LeavingFigures = Record<keyof typeof LEAVING_FIGURES, number>;

function leavingFiguresOf(report: RunReport): LeavingFigures {
  const { counts, histories } = report;
  return {
    lost: counts.silent + counts.told,
    keptLost: histories.silent + histories.told,
    gaps: counts.gaps + histories.gaps,
    busiest: busiestToMean(report),
  };
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
