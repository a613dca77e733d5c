/** What is ended when it has become old. */
interface Aging {
  /** The end of its time, by {@link Rotation.pickEnd}. */
  readonly endsAt: number;
  /** Ends it in good order. */
  rotate(): void;
  cutOff(): void;
}

/** A stream's time is at least this share of the longest, at random, so that streams that began together end one by one. */
const SHORTEST_SHARE = 0.5;
/** Looks often enough that no more than this share of the streams ends at once; but no more often than is worth it. */
const LOOK_SHARE = 1 / 200;
const MIN_LOOK_MS = 20;
const MAX_LOOK_MS = 5_000;
/** How long a reader may take to read the end of its stream. */
const PATIENCE_MS = 60_000;

/** Ends streams that have become old, each after a time of its own, so that clients spread over servers that were added. */
export class Rotation {
  private timer: NodeJS.Timeout | undefined = undefined;

  /**
   * @param streams - those that are open; kept by the caller
   * @param maxAgeMs - the longest that a stream lasts; `undefined`: as long as it likes
   */
  constructor(
    private readonly streams: ReadonlySet<Aging>,
    private readonly maxAgeMs: number | undefined,
  ) {}

  /** When a stream that begins now must end, in milliseconds of `performance.now()`; a whole number, which takes no memory. */
  pickEnd(): number {
    if (this.maxAgeMs === undefined) return 0;
    const share = SHORTEST_SHARE + Math.random() * (1 - SHORTEST_SHARE);
    return Math.floor(performance.now() + this.maxAgeMs * share);
  }

  /** To be called when a stream was added. */
  added(): void {
    if (this.maxAgeMs === undefined || this.timer !== undefined) return;
    const lookMs = Math.min(MAX_LOOK_MS, Math.max(MIN_LOOK_MS, this.maxAgeMs * LOOK_SHARE));
    this.timer = setInterval(() => this.look(), lookMs).unref();
  }

  /** To be called when a stream was removed. */
  removed(): void {
    if (this.streams.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }

  private look(): void {
    const now = performance.now();
    for (const stream of this.streams) {
      if (stream.endsAt + PATIENCE_MS <= now) stream.cutOff();
      else if (stream.endsAt <= now) stream.rotate();
    }
  }
}
