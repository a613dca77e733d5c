/** After so many beats in a row that Redis accepted and that did not come back, the subscription is deaf. */
const MISSING_BEATS = 2;

/** How long a beat is waited for at least, in milliseconds: the node that hears it may be another one of a Cluster. */
const PATIENCE_MS = 250;

/** After so many ticks without an answer of Redis nothing more is expected of a beat. */
const UNANSWERED_TICKS = 2;

/** So many bytes within a tick are messages, not answers: a beat may wait behind them. */
const BUSY_BYTES = 4_096;

/** For so many ticks at most. */
const MAX_BUSY_TICKS = 30;

/** What beats go out and come back by. */
export interface BeatConnection {
  /** How many bytes it has received; `undefined` if it does not tell. */
  bytesRead(): number | undefined;
  /**
   * Publishes a beat.
   *
   * @returns how many connections got it, if that is known; `undefined` if posts cannot be sent now
   */
  publish(): Promise<number | undefined> | undefined;
  /** A beat could not be published; or, without an error, Redis has not answered for a while. Neither says what is heard. */
  failed(error?: Error): void;
  /** Redis accepts beats and none comes back. */
  deaf(): void;
}

/**
 * Finds a subscription that hears nothing, although its connection lives: what goes out by the one connection must come
 * back by the other. A beat that Redis does not accept says nothing of that.
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
  /** When the last two were sent. */
  private sentMs: readonly [before: number, last: number] = [-Infinity, -Infinity];
  private proven = -Infinity;

  /** @param tickMs - the time between two calls of {@link tick} */
  constructor(
    private readonly connection: BeatConnection,
    private readonly tickMs: number,
  ) {}

  /**
   * Its channel is registered from now on: sends the first beat.
   *
   * @returns whether there will be beats
   */
  start(): boolean {
    this.stop();
    this.isOn = true;
    return this.send();
  }

  /** Its channel is not registered any more. */
  stop(): void {
    this.session++;
    this.isOn = false;
    this.isOut = false;
    this.missing = 0;
    this.ticks = 0;
  }

  /** Whatever was published before that time has been heard, also if the link is silent since then. */
  get provenMs(): number {
    return this.proven;
  }

  /** A beat has come back. */
  heard(): void {
    // It may be the one before the last.
    [this.proven] = this.sentMs;
    this.isOut = false;
    this.missing = 0;
  }

  /** To be called at intervals, of which every second one has a beat. */
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
    // One that nobody got does not wait behind others.
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
