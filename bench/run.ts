// Runs benches by name, or all of them, against the built library:
//
//   npm run bench                                  all
//   npm run bench -- local requests                some
//   npm run bench -- local --processes=5 --rounds=9
//   npm run bench -- growth --plots=docs/plots     those that begin with growth-, and a picture of each table
//
// A bench is a file beside this one; its first lines describe its measurements. Each runs in several
// processes, one after another: two processes of one program differ, for their whole lives, by more than
// two rounds in one of them do.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { machineNow, machineUse } from './support/machine.js';
import { plotFile, plotOf } from './support/plot.js';
import { joinTables, printTable, type Table } from './support/table.js';

interface Bench {
  readonly run: (options: BenchOptions) => Promise<void>;
  /** How many processes run it without `--processes`. Default: {@link PROCESSES}. */
  readonly processes?: number;
}

/** The options of a bench. */
export interface BenchOptions {
  /** How often a process measures each case; `undefined` leaves it to the bench. */
  readonly rounds: number | undefined;
  /** How many cases run side by side; `undefined` leaves it to the bench. Only `jitter` has any. */
  readonly lanes: number | undefined;
}

const PROCESSES = 5;
const INTERRUPTS = ['SIGINT', 'SIGTERM'] as const;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string' },
    lanes: { type: 'string' },
    processes: { type: 'string' },
    plots: { type: 'string' },
  },
});
const known = readdirSync(new URL('.', import.meta.url))
  .filter((file) => file.endsWith('.js') && !['run.js', 'scaling.js'].includes(file))
  .map((file) => file.slice(0, -'.js'.length));

// Only a child of this file has a parent for its tables.
if (process.send === undefined) await runAll(positionals.length > 0 ? positionals : known);
else await runOne(positionals[0]!);

async function runAll(names: readonly string[]): Promise<void> {
  const handedOn = (['rounds', 'lanes'] as const).flatMap((option) => {
    const value = count(option);
    return value === undefined ? [] : [`--${option}=${value}`];
  });
  console.log(machineNow());
  for (const name of names.flatMap(benchesBy)) {
    const processes = count('processes') ?? (await benchOf(name)).processes ?? PROCESSES;
    console.log(`\n## ${name}\n\ntaken by turns, in ${processes} processes one after another`);
    const use = machineUse();
    const runs: Table[][] = [];
    for (let run = 0; run < processes; run++) runs.push(await tablesOf([name, ...handedOn]));
    const tables = joinTables(runs);
    tables.forEach(printTable);
    if (values.plots !== undefined) plotAll(tables, values.plots);
    console.log(`\n${use()}`);
  }
}

/** The bench of a name, or all benches whose names begin with it. */
function benchesBy(name: string): string[] {
  const benches = known.filter((bench) => bench === name || bench.startsWith(`${name}-`));
  if (benches.length === 0) fail(`there is no bench "${name}"`);
  return benches;
}

function plotAll(tables: readonly Table[], folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (const table of tables) writeFileSync(join(folder, plotFile(table)), plotOf(table));
}

async function tablesOf(args: readonly string[]): Promise<Table[]> {
  const tables: Table[] = [];
  const child = fork(fileURLToPath(import.meta.url), args);
  child.on('message', (table: Table) => tables.push(table));
  const interrupt = () => child.kill();
  for (const signal of INTERRUPTS) process.on(signal, interrupt);
  const [code] = (await once(child, 'exit')) as [number | null];
  for (const signal of INTERRUPTS) process.off(signal, interrupt);
  if (code !== 0) process.exit(1);
  return tables;
}

async function runOne(name: string): Promise<void> {
  // Everything that a bench has started ends with its process, and that one with the process that runs all benches.
  for (const end of [...INTERRUPTS, 'disconnect']) process.on(end, () => process.exit(1));
  const bench = await benchOf(name);
  await bench.run({ rounds: count('rounds'), lanes: count('lanes') });
  // Applications started by a bench would keep the process alive.
  process.exit();
}

function benchOf(name: string): Promise<Bench> {
  return import(`./${name}.js`) as Promise<Bench>;
}

function count(option: 'rounds' | 'lanes' | 'processes'): number | undefined {
  const value = values[option];
  if (value === undefined) return undefined;
  if (!/^[1-9]\d*$/.test(value)) fail(`--${option} must be a whole number of at least 1`);
  return Number(value);
}

function fail(reason: string): never {
  console.error(
    `${reason}\nusage: run [--processes=N] [--rounds=N] [--lanes=N] [--plots=FOLDER] [name …]; the names are: ${known.join(', ')}`,
  );
  process.exit(2);
}
