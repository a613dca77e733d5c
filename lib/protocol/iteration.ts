import { describe, quote } from './channel-name.js';
import { ConfigurationError, LimitExceededError } from './errors.js';

/** How a loop over the messages of a channel is kept. */
export interface IterateOptions {
  /**
   * How many messages may wait to be taken.
   * @defaultValue 1_000
   */
  maxBuffered?: number;
  /**
   * What happens to one more. `error`: the messages that wait are still given, then the loop throws a
   * {@link LimitExceededError}. `dropOldest`: the oldest one that waits is dropped.
   * @defaultValue 'error'
   */
  overflow?: 'error' | 'dropOldest';
}

/**
 * Fills in the defaults.
 *
 * @param path - what the options were given to, as the error has it
 * @throws ConfigurationError that names the option
 */
export function resolveIterateOptions(
  { maxBuffered = 1_000, overflow = 'error' }: IterateOptions = {},
  path: string,
): Required<IterateOptions> {
  if (!Number.isInteger(maxBuffered) || maxBuffered < 1) {
    throw new ConfigurationError(
      `${path}: option "maxBuffered" must be a whole number of at least 1, not ${describe(maxBuffered)}`,
    );
  }
  if (overflow !== 'error' && overflow !== 'dropOldest') {
    throw new ConfigurationError(
      `${path}: option "overflow" must be 'error' or 'dropOldest', not ${describe(overflow)}`,
    );
  }
  return { maxBuffered, overflow };
}

/** What runs when everything before it has been taken. */
class Turn {
  constructor(readonly run: () => void) {}
}

/** Messages that come when they come, for a loop that takes them when it can. */
export class Iteration<T> implements AsyncIterator<T, undefined> {
  readonly #options: Required<IterateOptions>;
  readonly #channel: string;
  readonly #leave: () => void;
  /** Stands where messages were dropped. */
  readonly #dropped: Turn | undefined;
  #buffered: (T | Turn)[] = [];
  #turns = 0;
  #waiting: ((result: Promise<IteratorResult<T, undefined>> | IteratorResult<T, undefined>) => void)[] = [];
  #isDone = false;
  #failure: Error | undefined;

  /**
   * @param leave - called when no more messages are wanted
   * @param dropped - called when the loop comes to where messages were dropped; once for those that followed each other.
   *   Must not throw
   */
  constructor(options: Required<IterateOptions>, channel: string, leave: () => void, dropped?: () => void) {
    this.#options = options;
    this.#channel = channel;
    this.#leave = leave;
    this.#dropped = dropped && new Turn(dropped);
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    while (this.#buffered.length > 0) {
      const first = this.#buffered.shift()!;
      if (!(first instanceof Turn)) return { value: first, done: false };
      this.#turns--;
      first.run();
    }
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) throw failure;
    return this.#isDone ? { value: undefined, done: true } : new Promise((resolve) => this.#waiting.push(resolve));
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.#buffered = [];
    this.#turns = 0;
    this.#leave();
    this.finish();
    return { value: undefined, done: true };
  }

  /** Takes a message. */
  take(message: T): void {
    const { maxBuffered, overflow } = this.#options;
    const next = this.#waiting.shift();
    if (next) return next({ value: message, done: false });
    if (this.#buffered.length - this.#turns >= maxBuffered) {
      if (overflow === 'error') {
        const text = `more than maxBuffered (${maxBuffered}) messages wait in an iteration`;
        this.finish(new LimitExceededError(`Channel ${quote(this.#channel)}: ${text}`));
        return this.#leave();
      }
      this.#dropOldest();
    }
    this.#buffered.push(message);
  }

  /**
   * Runs a function when the loop has taken all messages that have come before: at once if it waits for one.
   *
   * @param run - must not throw
   */
  takeTurn(run: () => void): void {
    if (this.#waiting.length > 0) return run();
    this.#buffered.push(new Turn(run));
    this.#turns++;
  }

  /** No more messages come; the loop ends after those that wait, with the error where there is one. */
  finish(error?: Error): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#failure = error;
    for (const resolve of this.#waiting.splice(0)) resolve(this.next());
  }

  #dropOldest(): void {
    const buffered = this.#buffered;
    const dropped = this.#dropped;
    const oldest = buffered.findIndex((item) => !(item instanceof Turn));
    const isTold = dropped === undefined || buffered.slice(0, oldest).includes(dropped);
    if (isTold) {
      buffered.splice(oldest, 1);
    } else {
      buffered[oldest] = dropped;
      this.#turns++;
    }
  }
}
