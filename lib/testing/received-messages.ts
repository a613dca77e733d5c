import { checkOptions, wholeNumber } from '../protocol/check-options.js';

/** A message with what came beside it. */
export interface Received<T, Context> {
  /** The message. */
  readonly message: T;
  /** The second argument that a listener gets. */
  readonly context: Context;
}

/** A test that waits for the next message. */
interface Waiting<T, Context> {
  readonly give: (received: Received<T, Context>) => void;
  readonly fail: (error: Error) => void;
}

/** The messages that have come, in order, for a test that waits for the next one. */
export class ReceivedMessages<T, Context> {
  private readonly received: Received<T, Context>[] = [];
  private readonly waiting: Waiting<T, Context>[] = [];
  private failure: Error | undefined = undefined;

  /** The messages that have come and were not taken. */
  get pending(): readonly T[] {
    return this.received.map(({ message }) => message);
  }

  /** The next message; waits for it. Rejects once no more can come. */
  next(): Promise<T> {
    return awaitedOrNot(this.nextReceived().then(({ message }) => message));
  }

  /** The next message with its context; waits for it. Rejects once no more can come. */
  nextReceived(): Promise<Received<T, Context>> {
    const first = this.received.shift();
    if (first) return Promise.resolve(first);
    return awaitedOrNot(
      new Promise((give, fail) => {
        if (this.failure) fail(this.failure);
        else this.waiting.push({ give, fail });
      }),
    );
  }

  /**
   * The next so many messages; waits for them. Rejects once that many can no longer come.
   *
   * @throws (rejects) ConfigurationError for anything but a whole number
   */
  take(count: number): Promise<T[]> {
    return awaitedOrNot(this.takeNext(count));
  }

  private async takeNext(count: number): Promise<T[]> {
    checkOptions({ count: count ?? null }, 'take()', { count: wholeNumber(0) });
    const messages: T[] = [];
    while (messages.length < count) messages.push(await this.next());
    return messages;
  }

  /** Takes a message. */
  protected receive(message: T, context: Context): void {
    const received = { message, context };
    const next = this.waiting.shift();
    if (next) next.give(received);
    else this.received.push(received);
  }

  /** No more will come: present and later callers that wait are told why. */
  protected fail(error: Error): void {
    this.failure ??= error;
    for (const { fail } of this.waiting.splice(0)) fail(error);
  }
}

/** Things that have come with nothing beside them, in order. */
export class Arrived<T> extends ReceivedMessages<T, undefined> {
  /** Takes one. */
  readonly add = (thing: T): void => this.receive(thing, undefined);
  /** No more will come. */
  readonly end = (error: Error): void => this.fail(error);
}

/** Keeps a rejection from being unhandled: a test may end without awaiting what it has asked for. */
export function awaitedOrNot<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}
