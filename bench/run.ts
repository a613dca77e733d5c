// Runs benches by name, or all of them, against the built library:
//
//   npm run bench                                  all
//   npm run bench -- local requests                some
//   npm run bench -- local --processes=5 --rounds=9
//
// A bench is a file beside this one; what it measures is said in its first lines. Each is run in several
// processes, one after another: two processes of one program differ, for as long as they live, by more than
// two rounds in one of them do.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { machineNow, machineUse } from './support/machine.js';
import { joinTables, printTable, type Table } from './support/table.js';

interface Bench {
  readonly run: (options: BenchOptions) => Promise<void>;
}

/** What a bench may be told. */
export interface BenchOptions {
  /** How often each case is measured in a process; left to the bench where `undefined`. */
  readonly rounds: number | undefined;
}

const PROCESSES = 5;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string' }, processes: { type: 'string' } },
});
const known = readdirSync(new URL('.', import.meta.url))
  .filter((file) => file.endsWith('.js') && file !== 'run.js')
  .map((file) => file.slice(0, -'.js'.length));

// A child of this file has somebody to send its tables to.
if (process.send === undefined) await runAll(positionals.length > 0 ? positionals : known);
else await runOne(positionals[0]!);

async function runAll(names: readonly string[]): Promise<void> {
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) fail(`there is no bench "${unknown}"`);
  const processes = count('processes') ?? PROCESSES;
  const rounds = count('rounds');
  console.log(machineNow());
  console.log(`taken     by turns, in ${processes} processes one after another`);
  for (const name of names) {
    console.log(`\n## ${name}`);
    const use = machineUse();
    const runs: Table[][] = [];
    for (let run = 0; run < processes; run++)
      runs.push(await tablesOf([name, ...(rounds === undefined ? [] : [`--rounds=${rounds}`])]));
    joinTables(runs).forEach(printTable);
    console.log(`\n${use()}`);
  }
}

async function tablesOf(args: readonly string[]): Promise<Table[]> {
  const tables: Table[] = [];
  const child = fork(fileURLToPath(import.meta.url), args);
  child.on('message', (table: Table) => tables.push(table));
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) process.exit(1);
  return tables;
}

async function runOne(name: string): Promise<void> {
  const bench = (await import(`./${name}.js`)) as Bench;
  await bench.run({ rounds: count('rounds') });
  // Applications that a bench has started would keep the process.
  process.disconnect();
  process.exit();
}

function count(option: 'rounds' | 'processes'): number | undefined {
  const value = values[option];
  if (value === undefined) return undefined;
  if (!/^[1-9]\d*$/.test(value)) fail(`--${option} must be a whole number of at least 1`);
  return Number(value);
}

function fail(reason: string): never {
  console.error(`${reason}\nusage: run [--processes=N] [--rounds=N] [name …]; the names are: ${known.join(', ')}`);
  process.exit(2);
}
