import { report, type Case } from './table.js';

/** The common part of all cases of a comparison. */
export interface Comparison<C extends Case> {
  readonly title: string;
  readonly unit: string;
  /** The first one is the base of the ratios. */
  readonly cases: readonly C[];
  readonly rounds: number;
  /** Measures a case once, in `unit`. */
  readonly measure: (measured: C) => number | Promise<number>;
}

/** Measures every case once a round, in an order that differs from round to round, and reports the table. */
export async function compare<C extends Case>({ title, unit, cases, rounds, measure }: Comparison<C>): Promise<void> {
  const rows = await takeTurns(cases, rounds, measure);
  await report({
    title,
    unit,
    rows: rows.map(({ measured: { name, goal }, results }) => ({ name, samples: results, ...(goal && { goal }) })),
  });
}

/** Measures every case once a round, in an order that differs from round to round. */
export async function takeTurns<C extends Case, Result>(
  cases: readonly C[],
  rounds: number,
  measure: (measured: C) => Result | Promise<Result>,
): Promise<{ readonly measured: C; readonly results: Result[] }[]> {
  const rows = cases.map((measured) => ({ measured, results: [] as Result[] }));
  for (let round = 0; round < rounds; round++) {
    // Rotated and mirrored, so that no case always follows the same one and pays for its garbage.
    const shift = round % rows.length;
    const order = [...rows.slice(shift), ...rows.slice(0, shift)];
    for (const { measured, results } of round % 2 === 0 ? order : order.toReversed())
      results.push(await measure(measured));
  }
  return rows;
}
