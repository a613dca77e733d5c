/** Counts by key. A key whose count is 0 takes no memory; `undefined` as a key is never counted. */
export class Counts {
  private readonly counts = new Map<string, number>();

  /** How many keys are counted. */
  get size(): number {
    return this.counts.size;
  }

  of(key: string | undefined): number {
    return key === undefined ? 0 : (this.counts.get(key) ?? 0);
  }

  change(key: string | undefined, by: 1 | -1): void {
    if (key === undefined) return;
    const count = this.of(key) + by;
    if (count === 0) this.counts.delete(key);
    else this.counts.set(key, count);
  }
}
