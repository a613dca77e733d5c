import type { ListenableChannel } from '../protocol/channel.js';
import { describe, quote } from '../protocol/channel-name.js';
import { ConfigurationError, LimitExceededError } from '../protocol/errors.js';
import type { Hub } from './hub.js';
import type { Listener } from './listener.js';
import type { Session } from './session.js';

/** Options of `iterate`. */
export interface IterateOptions {
  /**
   * How many messages may wait to be taken.
   * @defaultValue 1_000
   */
  maxBuffered?: number;
  /**
   * What happens to one more. `error`: the messages that wait are still given, then the iteration throws a
   * {@link LimitExceededError}. `dropOldest`: the oldest one that waits is dropped.
   * @defaultValue 'error'
   */
  overflow?: 'error' | 'dropOldest';
}

/**
 * The messages of a channel as an AsyncIterable that keeps a bounded number of them for a slow loop. Each
 * iteration listens from its start (`for await`) to its end, and ends when the session closes.
 *
 * @throws MessagingError at the call for what is no channel, and for wrong options
 */
export function iterate<T>(
  hub: Hub,
  channel: ListenableChannel<T>,
  session: Session,
  { maxBuffered = 1_000, overflow = 'error' }: IterateOptions = {},
): AsyncIterable<T> {
  if (!Number.isInteger(maxBuffered) || maxBuffered < 1) {
    throw new ConfigurationError(
      `iterate: option "maxBuffered" must be a whole number of at least 1, not ${describe(maxBuffered)}`,
    );
  }
  if (overflow !== 'error' && overflow !== 'dropOldest') {
    throw new ConfigurationError(
      `iterate: option "overflow" must be 'error' or 'dropOldest', not ${describe(overflow)}`,
    );
  }
  hub.prepare(channel, () => {}, session);
  return { [Symbol.asyncIterator]: () => new Iteration<T>(hub, channel, session, maxBuffered, overflow) };
}

class Iteration<T> implements AsyncIterator<T, undefined> {
  private readonly listener: Listener | undefined;
  private buffered: T[] = [];
  private waiting: { resolve: (result: IteratorResult<T, undefined>) => void; reject: (error: Error) => void }[] = [];
  private isDone = false;
  private failure: Error | undefined = undefined;

  constructor(
    hub: Hub,
    channel: ListenableChannel<T>,
    session: Session,
    private readonly maxBuffered: number,
    private readonly overflow: 'error' | 'dropOldest',
  ) {
    if (session.closed) {
      this.isDone = true;
      return;
    }
    this.listener = hub.prepare(channel, (message: T) => this.take(message), session, 'iterate()');
    this.listener.isContextFree = true;
    this.listener.onSessionClose = () => this.finish();
    hub.attach(this.listener);
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    if (this.buffered.length > 0) return { value: this.buffered.shift()!, done: false };
    if (this.failure) {
      const { failure } = this;
      this.failure = undefined;
      throw failure;
    }
    if (this.isDone) return { value: undefined, done: true };
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.buffered = [];
    this.listener?.unsubscribe();
    this.finish();
    return { value: undefined, done: true };
  }

  private take(message: T): void {
    const next = this.waiting.shift();
    if (next) {
      next.resolve({ value: message, done: false });
      return;
    }
    if (this.buffered.length >= this.maxBuffered) {
      if (this.overflow === 'error') return this.overflowed();
      this.buffered.shift();
    }
    this.buffered.push(message);
  }

  private overflowed(): void {
    this.failure = new LimitExceededError(
      `Channel ${quote(this.listener!.channel)}: more than maxBuffered (${this.maxBuffered}) messages wait in an iteration`,
    );
    this.listener!.unsubscribe();
    this.finish();
  }

  private finish(): void {
    this.isDone = true;
    for (const { resolve } of this.waiting) resolve({ value: undefined, done: true });
    this.waiting = [];
  }
}
