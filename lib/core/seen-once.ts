/** Ids are grouped by the second in which they were made, so that all ids of a second can be forgotten together. */
const SLICE_MS = 1_000;
const MAX_IDS = 100_000;

/**
 * Detects ids that come a second time, within a time window and in bounded memory. Ids from outside the window are refused, so only
 * those inside it are kept. With too many of them, the window starts later.
 */
export class SeenOnce {
  /** The ids by the time slice in which they were made. */
  private readonly slices = new Map<number, Set<string>>();
  private size = 0;
  /** The first slice of the window when it was last checked. */
  private first = 0;
  /** Ids of earlier slices are refused, because there were too many to keep. */
  private keptFrom = 0;

  constructor(
    private readonly windowMs: number,
    private readonly maxIds = MAX_IDS,
  ) {}

  /** How many ids are kept. */
  get count(): number {
    return this.size;
  }

  /**
   * @param at - when the id was made
   * @param now - both in milliseconds since 1970
   */
  add(id: string, at: number, now: number): 'new' | 'repeated' | 'out of time' {
    if (!(Math.abs(now - at) <= this.windowMs)) return 'out of time';
    this.move(now);
    const slice = sliceOf(at);
    if (slice < this.keptFrom) return 'out of time';
    let ids = this.slices.get(slice);
    if (ids?.has(id) === true) return 'repeated';
    if (ids === undefined) this.slices.set(slice, (ids = new Set()));
    ids.add(id);
    this.size++;
    if (this.size > this.maxIds) {
      this.keptFrom = Math.min(...this.slices.keys()) + 1;
      this.forgetOutside(this.keptFrom, Infinity);
    }
    return 'new';
  }

  /** Also moves back, if the clock of this machine is set back. */
  private move(now: number): void {
    const first = sliceOf(now - this.windowMs);
    if (first === this.first) return;
    this.first = first;
    const last = sliceOf(now + this.windowMs);
    if (this.keptFrom > last) this.keptFrom = 0;
    this.forgetOutside(first, last);
  }

  private forgetOutside(first: number, last: number): void {
    for (const [slice, ids] of this.slices) {
      if (slice >= first && slice <= last) continue;
      this.slices.delete(slice);
      this.size -= ids.size;
    }
  }
}

function sliceOf(ms: number): number {
  return Math.floor(ms / SLICE_MS);
}
