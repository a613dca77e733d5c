/** Ids are kept by the second in which they were made, so that those of a second can be forgotten together. */
const SLICE_MS = 1_000;
const MAX_IDS = 100_000;

/**
 * Tells what comes a second time, within a window of time and in bounded memory: what was made earlier or later than that is
 * refused, so only the ids of the window are kept. If there are too many of them, the window begins later.
 */
export class SeenOnce {
  /** By the slice of time in which they were made. */
  private readonly slices = new Map<number, Set<string>>();
  private size = 0;
  /** The slice that the window began with when it was last looked at. */
  private first = 0;
  /** What was made in an earlier slice is refused, because there were too many ids to keep those. */
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
   * @param at - when it was made
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

  /** Also back, if the clock of this machine is set. */
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
