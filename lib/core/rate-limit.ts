import { ownText } from '../protocol/own-text.js';

/** Unused requests of a second can be made up for this long. */
const BURST_MS = 10_000;
/** How many keys are remembered. An attacker with more names than that does not need many requests per name. */
const MAX_KEYS = 100_000;

/**
 * Limits how often each key may do something: a number of times a second on average, and ten times that number at once. A key without
 * requests for ten seconds is forgotten when others come.
 */
export class RateLimit {
  /** When each key would be done at the average rate. The latest key is at the end. */
  private readonly through = new Map<string, number>();
  private readonly intervalMs: number;

  /**
   * @param perSecond - on average
   * @param now - in milliseconds
   * @param maxKeys - how many keys are remembered; beyond that, the longest unused are forgotten
   */
  constructor(
    perSecond: number,
    private readonly now: () => number = () => performance.now(),
    private readonly maxKeys = MAX_KEYS,
  ) {
    this.intervalMs = 1_000 / perSecond;
  }

  /** How many keys are remembered. */
  get size(): number {
    return this.through.size;
  }

  /** Counts a request if it is allowed. @returns the milliseconds until the next try; 0 if it was counted */
  take(key: string): number {
    const now = this.now();
    this.forget(now);
    const through = Math.max(this.through.get(key) ?? 0, now) + this.intervalMs;
    // A fraction of an interval is tolerated, since sums of fractions are not exact.
    const waitMs = through - now - BURST_MS;
    if (waitMs > this.intervalMs / 2) return waitMs;
    this.through.delete(key);
    // It may be a view of a long URL or header.
    this.through.set(ownText(key), through);
    return 0;
  }

  /** Removes at most two keys for each new one, so that there are never many to remove. */
  private forget(now: number): void {
    let count = 0;
    for (const [key, through] of this.through) {
      if (++count > 2 || (through > now && this.through.size < this.maxKeys)) return;
      this.through.delete(key);
    }
  }
}
