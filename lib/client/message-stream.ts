import { Iteration, type IterateOptions } from '../protocol/iteration.js';
import type { MessageReceiver, Registration } from './registration.js';

/** A subscriber of a {@link MessageStream}, as in RxJS and others. */
export interface MessageObserver<T> {
  /** Called with each message. */
  next?: (message: T) => void;
  /** Called once if the stream fails. */
  error?: (error: unknown) => void;
  /** Called once if the stream ends. */
  complete?: () => void;
}

type Listen = (receiver: MessageReceiver) => Registration;

/**
 * The messages of a channel, for a loop or, by `Symbol.observable`, for RxJS: `from(stream)`. Each loop and each observer
 * has a subscription of its own, from its start to its end. It ends if `close()` closes the client, and throws
 * if the server refuses the channel or closes the client.
 */
export class MessageStream<T> implements AsyncIterable<T> {
  readonly #name: string;
  readonly #listen: Listen;
  readonly #options: IterateOptions | undefined;

  /** @internal */
  constructor(name: string, listen: Listen, options?: IterateOptions) {
    this.#name = name;
    this.#options = options;
    this.#listen = listen;
    const { observable } = Symbol as { observable?: symbol };
    if (observable) Object.defineProperty(this, observable, { value: () => this });
  }

  /** Subscribes for one `for await` loop. */
  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    const iteration: Iteration<T> = new Iteration(this.#options, this.#name, () => void registration.unsubscribe());
    const registration = this.#listen({
      message: (message: T) => iteration.take(message),
      ended: (error) => {
        iteration.finish(error);
        return true;
      },
    });
    return iteration;
  }

  /** Calls an observer with each message from now on; nothing is buffered for it. */
  subscribe(observer: MessageObserver<T>): {
    /** Ends the subscription. It needs no `this`. */
    unsubscribe(this: void): void;
  } {
    const registration = this.#listen({
      message: (message: T) => observer.next?.(message),
      ended: (error, call) => {
        call(() => (error ? observer.error?.(error) : observer.complete?.()));
        return observer.error !== undefined;
      },
    });
    return { unsubscribe: () => void registration.unsubscribe() };
  }

  /** Makes `from(stream)` of RxJS work if nothing has defined `Symbol.observable`. */
  ['@@observable'](): this {
    return this;
  }
}
