import { quote } from './channel-name.js';
import { atLeastOne, oneOf, type OptionCheck } from './check-options.js';
import { LimitExceededError } from './errors.js';

/** How a loop over the messages of a channel is kept. */
export interface IterateOptions {
  /**
   * How many messages may wait to be taken. Any whole number of at least 1.
   * @defaultValue 1_000
   */
  maxBuffered?: number | undefined;
  /**
   * What happens to one more. `error`: the messages that wait are still given, then the loop throws a
   * {@link LimitExceededError}. `dropOldest`: the oldest one that waits is dropped.
   * @defaultValue 'error'
   */
  overflow?: 'error' | 'dropOldest' | undefined;
}

/** The checks of {@link IterateOptions}. */
export const ITERATE_OPTIONS: Record<keyof IterateOptions, OptionCheck> = {
  maxBuffered: atLeastOne,
  overflow: /* @__PURE__ */ oneOf('error', 'dropOldest'),
};

/** Messages that come when they come, for a loop that takes them when it can. */
export class Iteration<T> implements AsyncIterator<T, undefined> {
  protected readonly maxBuffered: number;
  readonly #overflow: IterateOptions['overflow'];
  readonly #channel: string;
  readonly #leave: () => void;
  /** The waiting messages. */
  protected buffered: unknown[] = [];
  #waiting: ((result: Promise<IteratorResult<T, undefined>> | IteratorResult<T, undefined>) => void)[] = [];
  #isDone = false;
  #failure: Error | undefined;

  /**
   * @param options - checked
   * @param leave - called when no more messages are wanted
   */
  constructor({ maxBuffered = 1_000, overflow = 'error' }: IterateOptions = {}, channel: string, leave: () => void) {
    this.maxBuffered = maxBuffered;
    this.#overflow = overflow;
    this.#channel = channel;
    this.#leave = leave;
  }

  /** Whether the loop waits for a message. */
  get isWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    if (this.buffered.length > 0) return { value: this.buffered.shift() as T, done: false };
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) throw failure;
    return this.#isDone ? { value: undefined, done: true } : new Promise((resolve) => this.#waiting.push(resolve));
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.buffered = [];
    this.#leave();
    this.finish();
    return { value: undefined, done: true };
  }

  /** Takes a message. */
  take(message: T): void {
    if (!this.isWaiting && this.count() >= this.maxBuffered) {
      if (this.#overflow === 'error') {
        const text = `more than maxBuffered (${this.maxBuffered}) messages wait`;
        this.finish(new LimitExceededError(`Channel ${quote(this.#channel)}: ${text}`));
        return this.#leave();
      }
      this.dropOldest();
    }
    this.put(message);
  }

  /** Takes a message although too many may wait. */
  put(message: T): void {
    const next = this.#waiting.shift();
    if (next) next({ value: message, done: false });
    else this.buffered.push(message);
  }

  /** No more messages come; the loop ends after those that wait, with the error if there is one. */
  finish(error?: Error): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#failure = error;
    for (const resolve of this.#waiting.splice(0)) resolve(this.next());
  }

  /** How many messages wait. */
  protected count(): number {
    return this.buffered.length;
  }

  /** Drops the message that waits longest. */
  protected dropOldest(): void {
    this.buffered.shift();
  }
}
