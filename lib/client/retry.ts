import { ConnectionLostError } from '../protocol/errors.js';
import type { Clock } from './clock.js';

/** The longest wait after the first failure; it doubles with each further one. */
const FIRST_MS = 500;
/** After so many failures, a minute or more, waits get longer than {@link LONGEST_EAGER_MS}: most outages are over by then. */
const EAGER_FAILURES = 25;
const LONGEST_EAGER_MS = 5_000;
const LONGEST_MS = 30_000;

/** The waits for further attempts at something that fails. */
export class Retry {
  readonly #clock: Clock;
  readonly #attempt: () => void;
  #failures = 0;
  #timer: unknown;
  /** The server has asked for no attempt before. */
  #notBefore = 0;

  constructor(clock: Clock, attempt: () => void) {
    this.#clock = clock;
    this.#attempt = attempt;
  }

  get isWaiting(): boolean {
    return this.#timer !== undefined;
  }

  /**
   * Waits for the next attempt.
   *
   * @param error - why it is needed
   * @param waitMs - how long, if that is known
   * @returns when it will be, in milliseconds since 1970
   */
  wait(error: Error | undefined, waitMs?: number): number {
    this.stop();
    const askedMs = (error instanceof ConnectionLostError && error.retryAfterMs) || 0;
    const now = this.#clock.now();
    this.#notBefore = now + askedMs;
    const ms = waitMs ?? askedMs + this.#backoff();
    this.#timer = this.#clock.setTimeout(() => this.#go(), ms);
    return now + ms;
  }

  /** Tries again at once, unless nothing waits or the server has asked to wait. */
  wake(): void {
    if (this.isWaiting && this.#clock.now() >= this.#notBefore) this.#go();
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

  /** Drawn at random from all of the wait, since there are many clients, and the server may have asked all of them to wait. */
  #backoff(): number {
    const longestMs = this.#failures < EAGER_FAILURES ? LONGEST_EAGER_MS : LONGEST_MS;
    return Math.min(longestMs, FIRST_MS * 2 ** this.#failures++) * this.#clock.random();
  }

  #go(): void {
    this.stop();
    this.#attempt();
  }
}
