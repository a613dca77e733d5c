import { createParser, type EventSourceMessage } from 'eventsource-parser';

/** The most characters that one event may have; without a bound a stream could fill the memory. */
const MAX_EVENT_CHARACTERS = 16 * 1024 * 1024;

/** What is told of an event stream as it is read. */
export interface EventReceiver {
  event(event: EventSourceMessage): void;
  /** The `retry:` field, in milliseconds. */
  retry(ms: number): void;
  /** Anything at all has come; before what it was. */
  heard(): void;
}

/**
 * Reads an event stream (HTML Living Standard, 9.2) to its end, or until the signal is aborted.
 *
 * @throws what the receiver throws, what the network does, and where one event is longer than 16 Mi characters
 */
export async function readEvents(
  body: ReadableStream<Uint8Array>,
  receiver: EventReceiver,
  signal: AbortSignal,
): Promise<void> {
  const parser = createParser({
    onEvent: (event) => receiver.event(event),
    onRetry: (ms) => receiver.retry(ms),
    // What the standard says to ignore is reported as an error, too.
    onError: (error) => {
      if (error.type === 'max-buffer-size-exceeded') throw error;
    },
    maxBufferSize: MAX_EVENT_CHARACTERS,
  });
  const decoder = new TextDecoder();
  const reader = body.getReader();
  // A `fetch` of the application need not know the signal. What the stream failed by, reading it throws.
  signal.addEventListener('abort', () => void reader.cancel().catch(() => {}));
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    receiver.heard();
    parser.feed(decoder.decode(value, { stream: true }));
  }
}
