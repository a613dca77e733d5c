const SHORTEST_MS = 50;
const LONGEST_MS = 10_000;

/**
 * Waits between attempts: doubled each time, from 50 ms up to 10 s, and spread at random over the upper
 * half of that, so that nodes that lost a broker together do not come back to it together.
 */
export class Backoff {
  private attempts = 0;

  /** @param random - gives numbers from 0 up to, but not including, 1 */
  constructor(private readonly random: () => number = Math.random) {}

  /** How long to wait before the next attempt, in milliseconds. */
  next(): number {
    // Beyond 2 ** 31 the power would lose nothing but sense.
    const ceiling = Math.min(LONGEST_MS, SHORTEST_MS * 2 ** Math.min(++this.attempts, 31));
    return Math.round(ceiling / 2 + (this.random() * ceiling) / 2);
  }

  /** An attempt succeeded; the next wait is the shortest again. */
  reset(): void {
    this.attempts = 0;
  }
}
