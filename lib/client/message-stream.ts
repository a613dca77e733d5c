import { quote, describe } from '../protocol/channel-name.js';
import { ConfigurationError, LimitExceededError } from '../protocol/errors.js';
import type { MessageReceiver, Registration } from './registration.js';

/** Options of `createStream`. */
export interface MessageStreamOptions {
  /**
   * How many messages may wait to be taken by a loop.
   * @defaultValue 1_000
   */
  maxBuffered?: number;
  /**
   * What happens to one more. `error`: the messages that wait are still given, then the loop throws a
   * `LimitExceededError`. `dropOldest`: the oldest one that waits is dropped.
   * @defaultValue 'error'
   */
  overflow?: 'error' | 'dropOldest';
}

/** Who subscribes to a {@link MessageStream}; as RxJS and others have it. */
export interface MessageObserver<T> {
  next?: (message: T) => void;
  error?: (error: unknown) => void;
  complete?: () => void;
}

type Listen = (receiver: MessageReceiver) => Registration;

/**
 * The messages of a channel, for a loop or, by `Symbol.observable`, for RxJS: `from(stream)`. Each loop and each observer
 * has a subscription of its own, from its start to its end. It ends where the client is closed by `close()`, and throws
 * where the server refuses the channel or closes the client.
 */
export class MessageStream<T> implements AsyncIterable<T> {
  readonly #listen: Listen;
  readonly #options: Required<MessageStreamOptions>;

  /** @internal */
  constructor(listen: Listen, { maxBuffered = 1_000, overflow = 'error' }: MessageStreamOptions = {}) {
    if (!Number.isInteger(maxBuffered) || maxBuffered < 1) {
      throw new ConfigurationError(
        `createStream: option "maxBuffered" must be a whole number of at least 1, not ${describe(maxBuffered)}`,
      );
    }
    if (overflow !== 'error' && overflow !== 'dropOldest') {
      throw new ConfigurationError(
        `createStream: option "overflow" must be 'error' or 'dropOldest', not ${describe(overflow)}`,
      );
    }
    this.#listen = listen;
    this.#options = { maxBuffered, overflow };
    const { observable } = Symbol as { observable?: symbol };
    if (observable) Object.defineProperty(this, observable, { value: () => this });
  }

  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    return new Iteration<T>(this.#listen, this.#options);
  }

  /** Calls an observer with each message from now on; nothing is buffered for it. */
  subscribe(observer: MessageObserver<T>): { unsubscribe(): void } {
    const registration = this.#listen({
      message: (message: T) => observer.next?.(message),
      ended: (error) => {
        if (error) observer.error?.(error);
        else observer.complete?.();
        return observer.error !== undefined;
      },
    });
    return { unsubscribe: () => void registration.unsubscribe() };
  }

  // What RxJS looks for where nobody has defined Symbol.observable.
  ['@@observable'](): this {
    return this;
  }
}

class Iteration<T> implements AsyncIterator<T, undefined> {
  readonly #options: Required<MessageStreamOptions>;
  readonly #buffered: T[] = [];
  readonly #waiting: ((result: Promise<IteratorResult<T, undefined>> | IteratorResult<T, undefined>) => void)[] = [];
  readonly #registration: Registration;
  #isDone = false;
  #failure: Error | undefined;

  constructor(listen: Listen, options: Required<MessageStreamOptions>) {
    this.#options = options;
    this.#registration = listen({
      message: (message: T) => this.#take(message),
      ended: (error) => this.#finish(error),
    });
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    if (this.#buffered.length > 0) return { value: this.#buffered.shift()!, done: false };
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) throw failure;
    return this.#isDone ? { value: undefined, done: true } : new Promise((resolve) => this.#waiting.push(resolve));
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.#buffered.length = 0;
    await this.#registration.unsubscribe();
    return { value: undefined, done: true };
  }

  #take(message: T): void {
    const { maxBuffered, overflow } = this.#options;
    const next = this.#waiting.shift();
    if (next) return next({ value: message, done: false });
    if (this.#buffered.length >= maxBuffered) {
      if (overflow === 'error') {
        const text = `more than maxBuffered (${maxBuffered}) messages wait in a loop`;
        this.#finish(new LimitExceededError(`Channel ${quote(this.#registration.channel)}: ${text}`));
        return void this.#registration.unsubscribe();
      }
      this.#buffered.shift();
    }
    this.#buffered.push(message);
  }

  #finish(error: Error | undefined): boolean {
    if (!this.#isDone) {
      this.#isDone = true;
      this.#failure = error;
      for (const resolve of this.#waiting.splice(0)) resolve(this.next());
    }
    return true;
  }
}
