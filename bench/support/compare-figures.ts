import { takeTurns } from './compare.js';
import { report, type Case, type Goal } from './table.js';

/** One of the figures that are taken of a case at once. */
export interface Figure {
  readonly title: string;
  readonly unit: string;
  /** By the names of cases. */
  readonly goals?: Readonly<Record<string, readonly Goal[]>>;
}

/** The same goals for several cases. */
export function goalsFor(names: readonly string[], goals: readonly Goal[]): Readonly<Record<string, readonly Goal[]>> {
  return Object.fromEntries(names.map((name) => [name, goals]));
}

/** What all cases of a comparison by several figures have in common. */
export interface FigureComparison<C extends Case, Name extends string> {
  /** A table each. */
  readonly figures: Readonly<Record<Name, Figure>>;
  /** The first one is the base of the ratios. */
  readonly cases: readonly C[];
  readonly rounds: number;
  readonly measure: (measured: C) => Promise<Readonly<Record<Name, number>>>;
  /** What to know of a case, by what was measured of it. */
  readonly note?: (results: readonly Readonly<Record<Name, number>>[]) => string | undefined;
}

/** Like `compare`, where each measurement gives several figures. */
export async function compareFigures<C extends Case, Name extends string>({
  figures,
  cases,
  rounds,
  measure,
  note = () => undefined,
}: FigureComparison<C, Name>): Promise<void> {
  const measurements = await takeTurns(cases, rounds, measure);
  for (const [name, { title, unit, goals = {} }] of Object.entries(figures) as [Name, Figure][]) {
    const rows = measurements.map(({ measured, results }) => ({
      name: measured.name,
      goal: goals[measured.name] ?? [],
      note: note(results),
      samples: results.map((result) => result[name]),
    }));
    await report({ title, unit, rows });
  }
}
