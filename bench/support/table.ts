import { median, medianRatio, spread } from './statistics.js';

/** One of several ways to do the same. */
export interface Case {
  readonly name: string;
  /** Its place on a curve: the value on the curve's axis. */
  readonly at?: number | undefined;
  /** The goal, measured in the same run. */
  readonly goal?: Goal | readonly Goal[];
}

/** At most `ratio` times as much as the case `base`, or at most `extra` units more. */
export type Goal = { readonly base: string } & ({ readonly ratio: number } | { readonly extra: number });

/** The measurements of the cases of one comparison; the first is the base of the ratios. */
export interface Table {
  readonly title: string;
  readonly unit: string;
  /** The growing quantity, if the rows are points of curves: rows of one name form one curve. */
  readonly along?: string | undefined;
  readonly rows: readonly Row[];
}

/** The measurements of one case, in the order of the rounds. */
interface Row extends Case {
  /** Notes on it. */
  readonly note?: string | undefined;
  readonly samples: readonly number[];
}

/** Sends a table to the parent process, or prints it without one. */
export async function report(table: Table): Promise<void> {
  if (process.send === undefined) printTable(table);
  else await new Promise<void>((resolve) => process.send!(table, () => resolve()));
}

/** The tables of the same comparisons from several processes, as if from one. */
export function joinTables(runs: readonly (readonly Table[])[]): Table[] {
  return runs[0]!.map((first, place) => ({
    ...first,
    rows: first.rows.map((row, index) => ({
      ...row,
      note: runs.map((tables) => tables[place]!.rows[index]!.note).find((note) => note !== undefined),
      samples: runs.flatMap((tables) => tables[place]!.rows[index]!.samples),
    })),
  }));
}

/** Prints a table: a row for each case, or for each point of the curves. */
export function printTable(table: Table): void {
  console.log(`\n### ${table.title}\n`);
  if (table.along === undefined) printCases(table);
  else printCurves(table);
}

/** For each case: the median, the least value and the spread, its ratio to the base, and its goal. */
function printCases({ unit, rows }: Table): void {
  const base = rows[0]!;
  console.log(`| case | median, ${unit} | least | spread | x ${base.name} | goal | reached |`);
  console.log('|---|--:|--:|--:|--:|---|---|');
  for (const row of rows) {
    const cells = [
      row.note === undefined ? row.name : `${row.name} (${row.note})`,
      number(median(row.samples)),
      number(Math.min(...row.samples)),
      percent(spread(row.samples)),
      ratioText(medianRatio(row.samples, base.samples)),
      ...judgeAll(row, rows, unit),
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
}

/** For each curve: the medians, and the ratio of the last to the first. */
function printCurves(table: Table): void {
  const curves = curvesOf(table);
  console.log(`| ${table.along}; ${table.unit} | ${curves.map(({ name }) => name).join(' | ')} |`);
  console.log(`|${'--:|'.repeat(curves.length + 1)}`);
  for (const at of [...new Set(table.rows.map((row) => row.at!))].toSorted((a, b) => a - b)) {
    const cells = curves.map(({ points }) => points.find((point) => point.at === at)?.value);
    console.log(
      `| ${at.toLocaleString('en')} | ${cells.map((cell) => (cell === undefined ? '' : number(cell))).join(' | ')} |`,
    );
  }
  const growth = curves.map(({ points }) => ratioText(points.at(-1)!.value / points[0]!.value));
  console.log(`| last : first | ${growth.join(' | ')} |`);
  const spreads = table.rows.map(({ samples }) => spread(samples));
  if (table.rows.every(({ samples }) => samples.length === 1)) return;
  console.log(
    `\nSpread: ${percent(median(spreads))} at the median of the points, ${percent(Math.max(...spreads))} at most.`,
  );
}

/** The medians of a table of curves. */
export function curvesOf({ rows }: Table) {
  return [...new Set(rows.map(({ name }) => name))].map((name) => ({
    name,
    points: rows
      .filter((row) => row.name === name)
      .map(({ at, samples }) => ({ at: at!, value: median(samples) }))
      .toSorted((a, b) => a.at - b.at),
  }));
}

function judgeAll(row: Row, rows: readonly Row[], unit: string): [string, string] {
  const verdicts = [row.goal ?? []].flat().map((goal) =>
    judge(
      row,
      goal,
      rows.find(({ name }) => name === goal.base)!,
      unit,
    ),
  );
  return [verdicts.map(([goal]) => goal).join('; '), verdicts.map(([, reached]) => reached).join('; ')];
}

function judge({ samples }: Row, goal: Goal, base: Row, unit: string): [string, string] {
  if ('ratio' in goal) {
    const ratio = medianRatio(samples, base.samples);
    return [`${goal.ratio} x ${goal.base}`, `${ratio <= goal.ratio ? 'yes' : 'NO'}: ${ratioText(ratio)}`];
  }
  const extra = median(samples.map((value, index) => value - base.samples[index]!));
  return [
    `+${goal.extra} ${unit} on ${goal.base}`,
    `${extra <= goal.extra ? 'yes' : 'NO'}: ${extra < 0 ? '' : '+'}${number(extra)}`,
  ];
}

function number(value: number): string {
  return value.toFixed(Math.abs(value) < 100 ? 1 : 0);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}

function ratioText(ratio: number): string {
  // A ratio of nothing to nothing, or to something, does not exist.
  if (!Number.isFinite(ratio)) return '';
  return ratio.toFixed(ratio < 0.1 ? 3 : 2);
}
