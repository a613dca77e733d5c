import { stopwatch, type Clock } from './clock.js';
import { EAGER_FAILURES, FIRST_MS, HURRIED_MS, LONGEST_EAGER_MS, LONGEST_MS, LONGEST_UNANSWERED_MS } from './times.js';

/** The error of a failed attempt. */
type RetryError = Error & { readonly retryAfterMs?: number | undefined };

const noWait = (): number => 0;

/** The waits for further attempts at something that fails. */
export class Retry {
  readonly #clock: Clock;
  readonly #attempt: () => void;
  #failures = 0;
  #timer: unknown;
  /** When an attempt may come, by `now`, if somebody is in a hurry. */
  #hurriedAt = 0;
  /** How much of the wait that the server has asked for is left, in milliseconds. */
  askedMs = noWait;

  constructor(clock: Clock, attempt: () => void) {
    this.#clock = clock;
    this.#attempt = attempt;
  }

  get isWaiting(): boolean {
    return this.#timer !== undefined;
  }

  /** Notes how long the server asks the client to wait, even if the client has nothing to ask for now. */
  noteAsked(error: RetryError | undefined): void {
    const ms = error?.retryAfterMs;
    if (!ms) return;
    const elapsedMs = stopwatch(this.#clock);
    this.askedMs = () => Math.max(0, ms - elapsedMs());
  }

  /**
   * Waits for the next attempt.
   *
   * @param error - why it is needed
   * @param waitMs - how long, if that is known
   * @returns when it will be, in milliseconds since 1970
   */
  wait(error: RetryError | undefined, waitMs?: number): number {
    this.noteAsked(error);
    const askedMs = this.askedMs();
    // Only a failure of the platform, or of `headers`, has a cause.
    const eagerMs = error?.cause ? LONGEST_UNANSWERED_MS : LONGEST_EAGER_MS;
    const longestMs = this.#failures < EAGER_FAILURES ? eagerMs : LONGEST_MS;
    // Drawn at random from all of the wait, since there are many clients, and the server may have asked all of them to wait.
    const ms = waitMs ?? askedMs + Math.min(longestMs, FIRST_MS * 2 ** this.#failures++) * this.#clock.random();
    const now = this.#clock.now();
    this.#hurriedAt = now + Math.min(ms, askedMs || HURRIED_MS);
    this.#set(ms);
    return now + ms;
  }

  /**
   * Tries again as soon as {@link HURRIED_MS} allows, if it waits; never within the call.
   *
   * @returns whether the server has not asked to wait for longer
   */
  wake(): boolean {
    const leftMs = this.#hurriedAt - this.#clock.now();
    if (leftMs > HURRIED_MS) return false;
    if (this.isWaiting) this.#set(leftMs);
    return true;
  }

  /** Waits no longer, and does not try. */
  stop(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** An attempt has succeeded. */
  reset(): void {
    this.#failures = 0;
  }

  #set(ms: number): void {
    this.stop();
    this.#timer = this.#clock.setTimeout(() => {
      this.stop();
      this.askedMs = noWait;
      this.#attempt();
    }, ms);
  }
}
