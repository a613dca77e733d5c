/** An object that needs a call at intervals. */
interface Beating {
  /** Time between two beats. */
  readonly beatMs: number;
  beat(): void;
}

/** Lets streams beat at intervals: one timer serves all with the same interval. */
export class Heartbeat {
  private readonly timers = new Map<number, { readonly timer: NodeJS.Timeout; members: number }>();

  /** @param streams - the open streams; kept by the caller, since a set of our own would cost as much again */
  constructor(private readonly streams: Iterable<Beating>) {}

  /** Call it when a stream was added. */
  added({ beatMs }: Beating): void {
    const known = this.timers.get(beatMs);
    if (known !== undefined) known.members++;
    else
      this.timers.set(beatMs, {
        timer: setInterval(() => this.beat(beatMs), beatMs).unref(),
        members: 1,
      });
  }

  /** Call it when a stream was removed. */
  removed({ beatMs }: Beating): void {
    const known = this.timers.get(beatMs);
    if (known === undefined || --known.members > 0) return;
    clearInterval(known.timer);
    this.timers.delete(beatMs);
  }

  private beat(beatMs: number): void {
    for (const stream of this.streams) {
      if (stream.beatMs === beatMs) stream.beat();
    }
  }
}
