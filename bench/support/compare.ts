import { median, medianRatio, spread } from './statistics.js';

/** One of several ways to do the same. */
export interface Case {
  readonly name: string;
  /** What it shall reach, measured in the same run. */
  readonly goal?: Goal;
}

/** At most `ratio` times as much as the case `base`, or at most `extra` units more. */
export type Goal = { readonly base: string } & ({ readonly ratio: number } | { readonly extra: number });

/** What all cases of a comparison have in common. */
export interface Comparison<C extends Case> {
  readonly title: string;
  readonly unit: string;
  /** The first one is the base of the ratios. */
  readonly cases: readonly C[];
  readonly rounds: number;
  /** Measures a case once, in `unit`. */
  readonly measure: (measured: C) => number | Promise<number>;
}

/** The measurements of each case by its name, in the order of the rounds. */
export type Samples = Map<string, number[]>;

/** Measures every case once a round, in an order that differs from round to round. */
export async function takeSamples<C extends Case>({ cases, rounds, measure }: Omit<Comparison<C>, 'title' | 'unit'>): Promise<Samples> {
  const samples: Samples = new Map(cases.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    // Turned and mirrored, so that no case always follows the same one and pays for its garbage.
    const shift = round % cases.length;
    const order = [...cases.slice(shift), ...cases.slice(0, shift)];
    for (const measured of round % 2 === 0 ? order : order.toReversed()) {
      samples.get(measured.name)!.push(await measure(measured));
    }
  }
  return samples;
}

/** Prints a table: the median, the least, the spread, the ratio to the base and to the goal. */
export function printTable(title: string, unit: string, cases: readonly Case[], samples: Samples): void {
  const base = samples.get(cases[0]!.name)!;
  console.log(`\n### ${title}\n`);
  console.log(`| case | median, ${unit} | least | spread | x ${cases[0]!.name} | goal | |`);
  console.log('|---|--:|--:|--:|--:|---|---|');
  for (const { name, goal } of cases) {
    const values = samples.get(name)!;
    const cells = [
      name,
      number(median(values)),
      number(Math.min(...values)),
      `${(100 * spread(values)).toFixed(0)} %`,
      medianRatio(values, base).toFixed(2),
      ...(goal === undefined ? ['', ''] : judge(values, goal, samples.get(goal.base)!, unit)),
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
}

/** {@link takeSamples} and {@link printTable} in one. */
export async function compare<C extends Case>({ title, unit, cases, ...how }: Comparison<C>): Promise<void> {
  printTable(title, unit, cases, await takeSamples({ cases, ...how }));
}

function judge(values: readonly number[], goal: Goal, base: readonly number[], unit: string): [string, string] {
  if ('ratio' in goal) {
    const ratio = medianRatio(values, base);
    return [`${goal.ratio} x ${goal.base}`, `${ratio <= goal.ratio ? 'met' : 'MISSED'}: ${ratio.toFixed(2)}`];
  }
  const extra = median(values.map((value, index) => value - base[index]!));
  const sign = extra < 0 ? '' : '+';
  return [`+${goal.extra} ${unit} on ${goal.base}`, `${extra <= goal.extra ? 'met' : 'MISSED'}: ${sign}${number(extra)}`];
}

function number(value: number): string {
  return value.toFixed(Math.abs(value) < 100 ? 1 : 0);
}
