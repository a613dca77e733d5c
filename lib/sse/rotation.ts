/** An object with a maximum age. */
interface Aging {
  /** Its end, from {@link Rotation.pickEnd}. */
  readonly endsAt: number;
  /** Ends it normally. */
  rotate(): void;
  cutOff(): void;
}

/** A stream lasts at least this share of the maximum, at random, so that streams that began together end one by one. */
const SHORTEST_SHARE = 0.5;
/** The check interval as a share of the maximum age, so that at most this share of the streams ends at once. */
const LOOK_SHARE = 1 / 200;
const MIN_LOOK_MS = 20;
const MAX_LOOK_MS = 5_000;
/** How long a reader may take to read the end of its stream. */
const PATIENCE_MS = 60_000;

/** Ends streams at their maximum age, each at its own time, so that clients spread over added servers. */
export class Rotation {
  private timer: NodeJS.Timeout | undefined = undefined;

  /**
   * @param streams - the open streams; kept by the caller
   * @param maxAgeMs - the maximum age of a stream; `undefined`: no limit
   */
  constructor(
    private readonly streams: ReadonlySet<Aging>,
    private readonly maxAgeMs: number | undefined,
  ) {}

  /** The end of a stream that begins now, in milliseconds of `performance.now()`; an integer, which needs no extra memory. */
  pickEnd(): number {
    if (this.maxAgeMs === undefined) return 0;
    const share = SHORTEST_SHARE + Math.random() * (1 - SHORTEST_SHARE);
    return Math.floor(performance.now() + this.maxAgeMs * share);
  }

  /** Call it when a stream was added. */
  added(): void {
    if (this.maxAgeMs === undefined || this.timer !== undefined) return;
    const lookMs = Math.min(MAX_LOOK_MS, Math.max(MIN_LOOK_MS, this.maxAgeMs * LOOK_SHARE));
    this.timer = setInterval(() => this.look(), lookMs).unref();
  }

  /** Call it when a stream was removed. */
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
