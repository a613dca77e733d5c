/** How long to wait after failures. */
export interface BackoffOptions {
  /** The longest wait after the first failure; it doubles with each further one. */
  readonly firstMs: number;
  /** The longest of all. */
  readonly longestMs: number;
  /** The longest one of the first attempts, since most outages are short; without it, waits double from the beginning. */
  readonly early?: { readonly attempts: number; readonly longestMs: number };
  /** The random share of a wait: 1 is full jitter, from no wait at all to the longest. */
  readonly spread: number;
}

/**
 * Waits between attempts. Each doubles the previous one and is drawn at random, so that clients that lost a server together do not
 * return together (M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
 */
export class Backoff {
  readonly #options: BackoffOptions;
  readonly #random: () => number;
  #failures = 0;

  /** @param random - returns numbers from 0 up to, but not including, 1 */
  constructor(options: BackoffOptions, random: () => number = Math.random) {
    this.#options = options;
    this.#random = random;
  }

  /** The wait after one more failure, in milliseconds. */
  next(): number {
    const { spread } = this.#options;
    return this.#longest(this.#failures++) * (1 - spread + spread * this.#random());
  }

  /** An attempt has succeeded: the next wait is the shortest again. */
  reset(): void {
    this.#failures = 0;
  }

  #longest(failures: number): number {
    const { firstMs, longestMs, early } = this.#options;
    if (early === undefined) return Math.min(longestMs, firstMs * 2 ** failures);
    if (failures < early.attempts) return Math.min(early.longestMs, firstMs * 2 ** failures);
    return Math.min(longestMs, early.longestMs * 2 ** (failures - early.attempts + 1));
  }
}
