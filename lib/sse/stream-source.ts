import { isObservable, type Observable, type Unsubscribable } from 'rxjs';
import { IsolatedSubscriber } from '../core/isolated-observable.js';
import { ChannelStream, DirectStream } from '../core/stream.js';
import { describe } from '../protocol/channel-name.js';
import { ConfigurationError } from '../protocol/errors.js';
import { isAbortError } from '../protocol/thrown.js';
import type { StreamFeeds, StreamReader } from './stream-feeds.js';

/** How many messages are taken from a source before others get a turn. */
const READ_AT_ONCE = 64;

/** What a handler of `@Sse()` may return, or a promise of it. */
export type MessageStream<T = unknown> = Observable<T> | AsyncIterable<T>;

/** Receives the output of a stream. */
export interface StreamObserver extends StreamReader {
  /** `Class.method` of the handler, for errors. */
  readonly handler: string;
  /** @returns `false` if the reader does not keep up */
  next(message: unknown): boolean;
  /** Resolves when the reader has caught up or gone. */
  drained(): Promise<void>;
  error(error: unknown): void;
  complete(): void;
  /** Receives failures of the stream during or after its end. */
  endFailed(error: unknown): void;
}

/**
 * @param handler - its name, for the error text
 * @throws ConfigurationError for anything but an Observable or an AsyncIterable
 */
export function checkStream(stream: unknown, handler: string): MessageStream {
  if (isObservable(stream) || isAsyncIterable(stream)) return stream;
  throw new ConfigurationError(
    `${handler} returned ${describe(stream)}; a handler of @Sse() returns an Observable or an AsyncIterable of messages, or a promise of one`,
  );
}

/** Whether a stream can be read without subscribing to it. */
export function isWhole(stream: MessageStream): stream is ChannelStream<unknown> | DirectStream<unknown> {
  // Its own `onGap` is called only for subscribers.
  return stream instanceof DirectStream || (stream instanceof ChannelStream && stream.onGap === undefined);
}

/**
 * Begins to read a stream. An Observable pushes; an AsyncIterable is read only as fast as the reader takes messages.
 *
 * @returns a handle that ends it; the source is released at once, even while it waits for something
 * @throws ConfigurationError for an AsyncIterable without a valid iterator
 */
export function readStream(stream: MessageStream, observer: StreamObserver, feeds: StreamFeeds): Unsubscribable {
  if (isWhole(stream)) return stream instanceof DirectStream ? stream.read(observer) : feeds.read(stream, observer);
  if (isObservable(stream)) {
    return stream.subscribe(new IsolatedSubscriber(observer, () => (error) => observer.endFailed(error)));
  }
  const iterator = iteratorOf(stream, observer.handler);
  const state = { isStopped: false };
  void readIterator(iterator, observer, state);
  return {
    unsubscribe: () => {
      if (state.isStopped) return;
      state.isStopped = true;
      void release(iterator, observer);
    },
  };
}

/**
 * Releases a stream that nobody will read.
 *
 * @param failed - receives failures
 */
export function discardStream(stream: unknown, failed: (error: unknown) => void): void {
  // An Observable without subscribers holds nothing; an iterator may already be open.
  if (!isAsyncIterable(stream) || isObservable(stream)) return;
  try {
    void release(stream[Symbol.asyncIterator](), { endFailed: failed });
  } catch (error) {
    failed(error);
  }
}

async function readIterator(
  iterator: AsyncIterator<unknown>,
  observer: StreamObserver,
  state: { isStopped: boolean },
): Promise<void> {
  try {
    for (let taken = 1; ; taken++) {
      // A source that never waits would block the event loop.
      if (taken % READ_AT_ONCE === 0) await nextTurn();
      if (state.isStopped) return;
      const result: unknown = await iterator.next();
      if (state.isStopped) return;
      assertResult(result, observer.handler);
      if (result.done) break;
      if (!observer.next(result.value)) await observer.drained();
      if (state.isStopped) return;
    }
    state.isStopped = true;
    observer.complete();
  } catch (error) {
    if (state.isStopped) return reportEnd(error, observer);
    state.isStopped = true;
    observer.error(error);
  }
}

/** @throws ConfigurationError if the value is not an object with a function `next` */
function iteratorOf(stream: AsyncIterable<unknown>, handler: string): AsyncIterator<unknown> {
  const iterator: unknown = stream[Symbol.asyncIterator]();
  if (isObject(iterator) && typeof (iterator as { next?: unknown }).next === 'function') {
    return iterator as unknown as AsyncIterator<unknown>;
  }
  throw new ConfigurationError(
    `${handler} returned an AsyncIterable whose [Symbol.asyncIterator]() gave ${describe(iterator)}; it gives an object with a function next`,
  );
}

/** As in `for await`; without this check, an iterator of numbers would be endless and have no values. */
function assertResult(result: unknown, handler: string): asserts result is IteratorResult<unknown> {
  if (isObject(result) || typeof result === 'function') return;
  throw new ConfigurationError(
    `${handler} returned an AsyncIterable whose next() gave ${describe(result)}; it gives a promise of { value, done }`,
  );
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Releases an iterator. A waiting iterator, such as a generator, returns only after its wait, so nobody awaits it. */
async function release(iterator: AsyncIterator<unknown>, observer: Pick<StreamObserver, 'endFailed'>): Promise<void> {
  try {
    await iterator.return?.();
  } catch (error) {
    reportEnd(error, observer);
  }
}

function reportEnd(error: unknown, observer: Pick<StreamObserver, 'endFailed'>): void {
  // A source that waits with the session's signal ends with this error, as intended.
  if (!isAbortError(error)) observer.endFailed(error);
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return (
    typeof (value as { [Symbol.asyncIterator]?: unknown } | null | undefined)?.[Symbol.asyncIterator] === 'function'
  );
}
