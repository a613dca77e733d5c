import { compare } from './compare.js';
import type { Case } from './table.js';

/** A case that is a function called very often. */
export interface CallCase extends Case {
  readonly call: () => void;
}

/** Counts the arguments of listeners, so that no call can be optimised away or be missing. */
export class Tally {
  total = 0;
}

/** One kind of {@link CallCase} against another. */
export interface CallComparison {
  readonly title: string;
  readonly cases: readonly CallCase[];
  readonly tally: Tally;
  /** How much one call must add to the tally. */
  readonly perCall: number;
  readonly rounds: number;
}

const SAMPLE_MS = 10;
const WARM_UP_MS = 150;
// Some cases leave promises behind. They are part of the cost and must settle before the heap fills.
const CALLS_PER_TURN = 100;

/** Prints the nanoseconds per call in each case. */
export async function compareCalls({ title, cases, tally, perCall, rounds }: CallComparison): Promise<void> {
  const timesOf = new Map<CallCase, number>();
  // Twice, because later cases change the compiler's knowledge of earlier ones.
  for (const measured of [...cases, ...cases]) timesOf.set(measured, await calibrate(measured.call));
  await compare({
    title,
    unit: 'ns of CPU',
    cases,
    rounds,
    measure: async (measured) => {
      const times = timesOf.get(measured)!;
      tally.total = 0;
      const usedMs = await time(measured.call, times);
      if (tally.total !== times * perCall) {
        throw new Error(`${title}, ${measured.name}: ${tally.total} calls of listeners instead of ${times * perCall}`);
      }
      return (usedMs * 1e6) / times;
    },
  });
}

/** Warms up and determines how many calls fill a sample. */
async function calibrate(call: () => void): Promise<number> {
  let times = 1;
  let usedMs = 0;
  const end = performance.now() + WARM_UP_MS;
  while (performance.now() < end) {
    usedMs = await time(call, times);
    if (usedMs < SAMPLE_MS / 2) times *= 2;
  }
  return Math.max(1, Math.round((times * SAMPLE_MS) / usedMs));
}

/**
 * Makes this many calls and returns their CPU time in milliseconds, in all threads of the process. Not the
 * elapsed time, which on a busy machine includes other processes.
 */
async function time(call: () => void, times: number): Promise<number> {
  const before = process.cpuUsage();
  for (let left = times; left > 0; left -= CALLS_PER_TURN) {
    for (let index = Math.min(left, CALLS_PER_TURN); index > 0; index--) call();
    await Promise.resolve();
  }
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}
