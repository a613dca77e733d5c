import { Backoff } from '../protocol/backoff.js';
import { ConnectionLostError } from '../protocol/errors.js';
import type { Clock } from './clock.js';

/** Full jitter, since there are many clients. */
const BACKOFF = { firstMs: 500, longestMs: 30_000, spread: 1 } as const;

/** The waits for further attempts at something that fails. */
export class Retry {
  readonly #clock: Clock;
  readonly #attempt: () => void;
  readonly #backoff: Backoff;
  #timer: unknown;
  /** The server has asked for no attempt before. */
  #notBefore = 0;

  constructor(clock: Clock, attempt: () => void) {
    this.#clock = clock;
    this.#attempt = attempt;
    this.#backoff = new Backoff(BACKOFF, () => clock.random());
  }

  get isWaiting(): boolean {
    return this.#timer !== undefined;
  }

  /**
   * Waits for the next attempt.
   *
   * @param error - why it is needed
   * @param waitMs - how long, where that is known
   * @returns when it will be, in milliseconds since 1970
   */
  wait(error: Error | undefined, waitMs?: number): number {
    const askedMs = (error instanceof ConnectionLostError && error.retryAfterMs) || 0;
    const now = this.#clock.now();
    this.#notBefore = now + askedMs;
    // Added to what the server has asked for, which it may have asked of many.
    const ms = waitMs ?? askedMs + this.#backoff.next();
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
    this.#backoff.reset();
  }

  #go(): void {
    this.stop();
    this.#attempt();
  }
}
