// Runs benches by name, or all of them, against the built library:
//
//   npm run bench                            all
//   npm run bench -- local requests          some
//   npm run bench -- local --rounds=5        more or fewer rounds than the bench would take
//
// A bench is a file beside this one. What it measures is said in its first lines.
import { readdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { machineNow, machineUse } from './support/machine.js';

interface Bench {
  /** Absent where importing the file runs it. */
  readonly run?: (options: BenchOptions) => Promise<void>;
}

/** What a bench may be told. */
export interface BenchOptions {
  /** How often each case is measured. */
  readonly rounds: number | undefined;
}

const known = readdirSync(new URL('.', import.meta.url))
  .filter((file) => file.endsWith('.js') && file !== 'run.js')
  .map((file) => file.slice(0, -'.js'.length));

const { values, positionals } = parseArgs({ allowPositionals: true, options: { rounds: { type: 'string' } } });
const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
const unknown = positionals.filter((name) => !known.includes(name));
if (unknown.length > 0 || (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0))) {
  console.error(`usage: run [--rounds=N] [name …]; the names are: ${known.join(', ')}`);
  process.exit(2);
}

console.log(machineNow());
const use = machineUse();
for (const name of positionals.length > 0 ? positionals : known) {
  console.log(`\n## ${name}`);
  const bench = (await import(`./${name}.js`)) as Bench;
  await bench.run?.({ rounds });
}
console.log(`\n${use()}`);
