import { isObservable, type Observable, type Unsubscribable } from 'rxjs';
import { DirectStream } from '../core/stream.js';
import { describe } from '../protocol/channel-name.js';
import { ConfigurationError } from '../protocol/errors.js';
import type { Feeds } from './feed.js';

/** What a handler of `@Sse()` may return, or a promise of it. */
export type MessageStream<T = unknown> = Observable<T> | AsyncIterable<T>;

/** Takes what a stream gives. */
export interface StreamObserver {
  /** @returns `false` where the reader does not keep up */
  next(message: unknown): boolean;
  /** Resolves when the reader has caught up or gone. */
  drained(): Promise<void>;
  error(error: unknown): void;
  complete(): void;
}

/**
 * @param handler - its name, for the error's text
 * @throws ConfigurationError for anything but an Observable or an AsyncIterable
 */
export function checkStream(stream: unknown, handler: string): MessageStream {
  if (isObservable(stream) || isAsyncIterable(stream)) return stream;
  throw new ConfigurationError(
    `${handler} returned ${describe(stream)}; a handler of @Sse() returns an Observable or an AsyncIterable of messages, or a promise of one`,
  );
}

/**
 * Begins to read a stream. An Observable pushes; from an AsyncIterable no more is taken than the reader
 * can take.
 *
 * @returns ends it; the source is released at once, also while it is waiting for something
 */
export function readStream(stream: MessageStream, observer: StreamObserver, feeds: Feeds): Unsubscribable {
  if (stream instanceof DirectStream) return stream.read(observer, feeds);
  if (isObservable(stream)) return stream.subscribe(observer);
  const iterator = stream[Symbol.asyncIterator]();
  const state = { isStopped: false };
  void readIterator(iterator, observer, state);
  return {
    unsubscribe: () => {
      if (state.isStopped) return;
      state.isStopped = true;
      release(iterator);
    },
  };
}

/** Lets go of a stream that nobody will read. */
export function discardStream(stream: unknown): void {
  // An Observable that nobody subscribes to holds nothing; an iterator may have been opened already.
  if (isAsyncIterable(stream) && !isObservable(stream)) release(stream[Symbol.asyncIterator]());
}

async function readIterator(
  iterator: AsyncIterator<unknown>,
  observer: StreamObserver,
  state: { isStopped: boolean },
): Promise<void> {
  try {
    for (;;) {
      const result = await iterator.next();
      if (state.isStopped) return;
      if (result.done) break;
      if (!observer.next(result.value)) await observer.drained();
      if (state.isStopped) return;
    }
    state.isStopped = true;
    observer.complete();
  } catch (error) {
    if (state.isStopped) return;
    state.isStopped = true;
    observer.error(error);
  }
}

function release(iterator: AsyncIterator<unknown>): void {
  // An async generator that waits for something returns only after that; nobody waits for it here, and
  // what it throws on its way out has no reader any more.
  void (async () => iterator.return?.())().catch(() => {});
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return (
    typeof (value as { [Symbol.asyncIterator]?: unknown } | null | undefined)?.[Symbol.asyncIterator] === 'function'
  );
}
