import type { Schedule } from './fault-schedule.js';
import type { Finding, LedgerCounts } from './ledger.js';

/** How a client came back after its network was back, in milliseconds. */
export interface ClientReturn {
  /** Until it reached the server that let it in. */
  readonly waitMs: number;
  /** From then until its stream was open: what the server needs to find missed messages, on other servers too. */
  readonly openMs: number;
}

/** What became of a schedule. */
export interface RunReport {
  readonly seed: number;
  readonly findings: readonly Finding[];
  readonly counts: LedgerCounts;
  /** Of channels with history. */
  readonly histories: LedgerCounts;
  /** Of each client whose network was gone. */
  readonly returns: readonly ClientReturn[];
  /** When clients opened streams, the first ones apart, in milliseconds since the schedule began. */
  readonly openingsMs: readonly number[];
  /** How long this process stood still, at the longest: whatever waits for a beat was late then. */
  readonly stallMs: number;
  /** Where readers were sent that something was found about, and when. */
  readonly ways: readonly string[];
}

/** How many findings of a kind are shown of each reader. */
const MOST_OF_ONE_READER = 3;

/** A report for whoever has to find out what is wrong. */
export function describeReport(report: RunReport, { faults }: Schedule): string {
  const lines = faults.map(
    ({ kind, atMs, forMs, target, way, connection }) =>
      `  ${String(atMs).padStart(5)} ms ${kind} ${target === -1 ? 'all' : target} for ${forMs} ms` +
      (kind === 'link-half-open' || kind === 'link-stall' ? `, ${way}` : '') +
      (connection === undefined ? '' : `, connection ${connection}`),
  );
  const ways = report.ways.map((way) => `  ${way}`);
  const shownOf = new Map<string, number>();
  const found = report.findings
    .filter(({ kind, reader }) => {
      const shown = (shownOf.get(kind + reader) ?? 0) + 1;
      shownOf.set(kind + reader, shown);
      return shown <= MOST_OF_ONE_READER;
    })
    .map(({ kind, reader, name, what }) => `  ${kind}: ${reader}, ${name}: ${what}`);
  return [
    `seed ${report.seed}`,
    ...lines,
    ...ways,
    ...found,
    `  ${report.findings.length} findings, stood still for ${Math.round(report.stallMs)} ms, ${JSON.stringify(report.counts)}, with history ${JSON.stringify(report.histories)}`,
  ].join('\n');
}

/** What came of many schedules, in one line. */
export function summaryOf(reports: readonly RunReport[]): string {
  const kinds = new Map<string, number>();
  for (const { kind, reader } of reports.flatMap(({ findings }) => findings)) {
    const key = `${kind} (${reader.split(' ')[0]})`;
    kinds.set(key, (kinds.get(key) ?? 0) + 1);
  }
  const totals = (part: 'counts' | 'histories'): string => {
    const sum = (of: keyof LedgerCounts): number => reports.reduce((total, report) => total + report[part][of], 0);
    return `${sum('received')} messages were read, ${sum('told')} are missing and told, in ${sum('gaps')} gaps, ${sum('idleGaps')} of them without need`;
  };
  const returns = reports
    .flatMap((report) => report.returns.map(({ waitMs, openMs }) => waitMs + openMs))
    .toSorted((a, b) => a - b);
  const at = (share: number): number => Math.round(returns[Math.floor((returns.length - 1) * share)] ?? 0);
  return [
    `${reports.length} schedules: ${totals('counts')}`,
    `with history: ${totals('histories')}`,
    `a client whose network was back was open after ${at(0.5)} ms (median), ${at(0.99)} ms (99 of 100)`,
    `findings: ${JSON.stringify(Object.fromEntries(kinds))}`,
  ].join('; ');
}
