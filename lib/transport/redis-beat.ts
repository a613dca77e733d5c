/** After this many consecutive beats that Redis accepted but that did not come back, the subscription is deaf. */
const MISSING_BEATS = 2;

/** The minimum wait for a beat, in milliseconds: another member of a Cluster may receive it. */
const PATIENCE_MS = 250;

/** After this many ticks without an answer of Redis, no beat is expected back. */
const UNANSWERED_TICKS = 2;

/** More bytes than this within a tick are messages, not answers: a beat may wait behind them. */
const BUSY_BYTES = 4_096;

/** The maximum number of ticks that a beat may wait behind messages. */
const MAX_BUSY_TICKS = 30;

/** The connection that beats are sent through and come back by. */
export interface BeatConnection {
  /** How many bytes it has received; `undefined` if that is unknown. */
  bytesRead(): number | undefined;
  /**
   * Publishes a beat.
   *
   * @returns how many connections received it, if that is known; `undefined` if posts cannot be sent now
   */
  publish(): Promise<number | undefined> | undefined;
  /** A beat could not be published; or, without an error, Redis has not answered for a while. Neither shows whether messages arrive. */
  failed(error?: Error): void;
  /** Redis accepts beats but none comes back. */
  deaf(): void;
}

/**
 * Detects a subscription that hears nothing although its connection is alive: a message sent through one connection must come back by
 * the other. A beat that Redis does not accept proves nothing.
 */
export class RedisBeat {
  /** Whether its channel is registered. */
  isOn = false;
  private isOut = false;
  private ticks = 0;
  private missing = 0;
  private unansweredTicks = 0;
  private busyTicks = 0;
  private bytesRead: number | undefined = 0;
  private accepted: { readonly at: number; readonly receivers: number | undefined } | undefined = undefined;
  private session = 0;
  /** When the last two beats were sent. */
  private sentMs: readonly [before: number, last: number] = [-Infinity, -Infinity];
  private proven = -Infinity;

  /** @param tickMs - the time between two calls of {@link tick} */
  constructor(
    private readonly connection: BeatConnection,
    private readonly tickMs: number,
  ) {}

  /**
   * Its channel is now registered: sends the first beat.
   *
   * @returns whether there will be beats
   */
  start(): boolean {
    this.stop();
    this.isOn = true;
    return this.send();
  }

  /** Its channel is no longer registered. */
  stop(): void {
    this.session++;
    this.isOn = false;
    this.isOut = false;
    this.missing = 0;
    this.ticks = 0;
  }

  /** Everything published before this time has been heard, even if the link has been silent since. */
  get provenMs(): number {
    return this.proven;
  }

  /** A beat has come back. */
  heard(): void {
    // It may be the second-last beat.
    [this.proven] = this.sentMs;
    this.isOut = false;
    this.missing = 0;
  }

  /** Call it at intervals. Every second call sends a beat. */
  tick(): void {
    if (!this.isOn) return;
    const bytesRead = this.connection.bytesRead();
    const isBusy = bytesRead! - this.bytesRead! >= BUSY_BYTES;
    this.bytesRead = bytesRead;
    if (this.isOut) {
      this.look(isBusy);
    } else if (++this.ticks % 2 === 0) {
      this.send();
    }
  }

  private look(isBusy: boolean): void {
    const { accepted } = this;
    if (accepted === undefined) {
      if (++this.unansweredTicks === UNANSWERED_TICKS) this.connection.failed();
      return;
    }
    if (performance.now() - accepted.at < Math.max(this.tickMs / 2, PATIENCE_MS)) return;
    // A beat that nobody received is not waiting behind messages.
    if (isBusy && accepted.receivers !== 0 && ++this.busyTicks < MAX_BUSY_TICKS) return;
    this.isOut = false;
    this.missing++;
    if (this.missing < MISSING_BEATS) {
      this.send();
    } else {
      this.stop();
      this.connection.deaf();
    }
  }

  private send(): boolean {
    const published = this.connection.publish();
    if (published === undefined) return false;
    this.sentMs = [this.sentMs[1], performance.now()];
    const session = ++this.session;
    this.isOut = true;
    this.accepted = undefined;
    this.unansweredTicks = this.busyTicks = 0;
    published.then(
      (receivers) => {
        if (session === this.session) this.accepted = { at: performance.now(), receivers };
      },
      (error: Error) => {
        if (session !== this.session) return;
        this.isOut = false;
        this.connection.failed(error);
      },
    );
    return true;
  }
}
