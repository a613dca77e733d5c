const FIRST_MS = 500;
const LONGEST_MS = 30_000;

/**
 * How long to wait after each failure: exponential with full jitter, so that the clients of a server that went away do
 * not come back together (M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
 */
export class Backoff {
  readonly #random: () => number;
  #failures = 0;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** The wait after one more failure, in milliseconds. */
  next(): number {
    return this.#random() * Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#failures++);
  }

  /** Notes a success. */
  reset(): void {
    this.#failures = 0;
  }
}
