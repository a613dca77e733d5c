import { takeTurns } from './compare.js';
import { report, type Case, type Goal } from './table.js';

/** One of several figures measured together. */
export interface Figure {
  readonly title: string;
  readonly unit: string;
  /** See {@link Table}. */
  readonly along?: string;
  /** By the names of cases. */
  readonly goals?: Readonly<Record<string, readonly Goal[]>>;
}

/** The same goals for several cases. */
export function goalsFor(names: readonly string[], goals: readonly Goal[]): Readonly<Record<string, readonly Goal[]>> {
  return Object.fromEntries(names.map((name) => [name, goals]));
}

/** The measurements of a case, in the order of the rounds. */
export interface Measurements<C extends Case, Name extends string> {
  readonly measured: C;
  readonly results: readonly Readonly<Record<Name, number>>[];
}

/** The common part of all cases of a comparison by several figures. */
export interface FigureComparison<C extends Case, Name extends string> {
  /** One table each. */
  readonly figures: Readonly<Record<Name, Figure>>;
  /** The first one is the base of the ratios. */
  readonly cases: readonly C[];
  readonly rounds: number;
  readonly measure: (measured: C) => Promise<Readonly<Record<Name, number>>>;
  /** Notes on a case, by its measurements. */
  readonly note?: (results: readonly Readonly<Record<Name, number>>[]) => string | undefined;
}

/** Like `compare`, with several figures for each measurement. */
export async function compareFigures<C extends Case, Name extends string>({
  figures,
  cases,
  rounds,
  measure,
  note,
}: FigureComparison<C, Name>): Promise<void> {
  await reportFigures(figures, await takeTurns(cases, rounds, measure), note);
}

/** Reports a table for each figure. */
export async function reportFigures<C extends Case, Name extends string>(
  figures: Readonly<Record<Name, Figure>>,
  measurements: readonly Measurements<C, NoInfer<Name>>[],
  note: FigureComparison<C, Name>['note'] = () => undefined,
): Promise<void> {
  for (const [name, { goals = {}, ...table }] of Object.entries(figures) as [Name, Figure][]) {
    const rows = measurements.map(({ measured, results }) => ({
      name: measured.name,
      at: measured.at,
      goal: goals[measured.name] ?? [],
      note: note(results),
      samples: results.map((result) => result[name]),
    }));
    await report({ ...table, rows });
  }
}
