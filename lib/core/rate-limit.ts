/** What was not done in a second may be done later, for so long. */
const BURST_MS = 10_000;
/** Of how many the last requests are remembered: an attacker that has more names than that has no need of many requests by one. */
const MAX_KEYS = 100_000;

/**
 * How often each of many may do something: so many times a second on average, and ten times as often at once. Whoever has done
 * nothing for ten seconds is forgotten as others come.
 */
export class RateLimit {
  /** When each would be through if it did no more than it may on average. Who was here last is at the end. */
  private readonly through = new Map<string, number>();
  private readonly intervalMs: number;

  /**
   * @param perSecond - on average
   * @param now - in milliseconds
   * @param maxKeys - how many are remembered; of more, those are forgotten that have been away for longest
   */
  constructor(
    perSecond: number,
    private readonly now: () => number = () => performance.now(),
    private readonly maxKeys = MAX_KEYS,
  ) {
    this.intervalMs = 1_000 / perSecond;
  }

  /** How many are remembered. */
  get size(): number {
    return this.through.size;
  }

  /** Does it once if it may be done. @returns when it may be done next, in milliseconds from now; 0 if it has been done */
  take(key: string): number {
    const now = this.now();
    this.forget(now);
    const through = Math.max(this.through.get(key) ?? 0, now) + this.intervalMs;
    // A part of an interval, since sums of fractions are not exact.
    const waitMs = through - now - BURST_MS;
    if (waitMs > this.intervalMs / 2) return waitMs;
    this.through.delete(key);
    this.through.set(key, through);
    return 0;
  }

  /** Two at most for each that comes, so that there are never many to forget. */
  private forget(now: number): void {
    let count = 0;
    for (const [key, through] of this.through) {
      if (++count > 2 || (through > now && this.through.size < this.maxKeys)) return;
      this.through.delete(key);
    }
  }
}
