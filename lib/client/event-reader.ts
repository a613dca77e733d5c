import { ConnectionLostError } from '../protocol/errors.js';
import { quietly } from './isolate.js';
import { MAX_EVENT_CHARACTERS } from './times.js';

/** One event of a stream. */
export interface StreamEvent {
  /** Its name; none for a message. */
  readonly event: string | undefined;
  readonly data: string;
  /** Its own, not that of an event before it. */
  readonly id: string | undefined;
}

/** What is told of an event stream as it is read. */
export interface EventSink {
  event(event: StreamEvent): void;
  /** The `retry:` field, in milliseconds. */
  retry(ms: number): void;
  /** Anything at all has come; before what it was. */
  heard(): void;
}

/**
 * Reads an event stream to its end, or until the signal is aborted.
 *
 * @throws what the receiver throws, what the network does, and ConnectionLostError where one event is longer than 16 Mi
 *   characters
 */
export async function readEvents(
  body: ReadableStream<Uint8Array>,
  receiver: EventSink,
  signal: AbortSignal,
): Promise<void> {
  const take = eventsTo(receiver);
  const decoder = new TextDecoder();
  const reader = body.getReader();
  // A `fetch` of the application need not know the signal, nor its reader `cancel`. What the stream failed by, reading it throws.
  const cancel = (): unknown => quietly(() => reader.cancel());
  // Its answer may come when nobody waits for it any more.
  if (signal.aborted) cancel();
  else signal.addEventListener('abort', cancel);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    receiver.heard();
    take(decoder.decode(value, { stream: true }));
  }
}

/**
 * Makes events of text (HTML Living Standard, 9.2.6), in time linear in its length however it is cut. By hand: a library for
 * it is a tenth of what the client takes of a page.
 *
 * @returns takes the next text
 */
function eventsTo(receiver: EventSink): (text: string) => void {
  /** The line that has no end yet. */
  let rest = '';
  /** Whether the last line ended with CR, so that LF may still belong to that end. */
  let isAfterCr = false;
  let event: string | undefined;
  let data: string | undefined;
  let id: string | undefined;

  const takeLine = (line: string): void => {
    const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line)!;
    if (field === 'data') data = data === undefined ? value : `${data}\n${value}`;
    else if (field === 'event') event = value || undefined;
    else if (field === 'id' && !value.includes('\0')) id = value;
    else if (field === 'retry' && /^\d+$/.test(value)) receiver.retry(+value);
    if (line) return;
    const ended = data !== undefined && { event, data, id };
    event = data = id = undefined;
    if (ended) receiver.event(ended);
  };

  return (text) => {
    if (!text) return;
    const lines = (isAfterCr ? text.replace(/^\n/, '') : text).split(/\r\n|\n|\r/);
    isAfterCr = text.endsWith('\r');
    lines[0] = rest + lines[0];
    rest = lines.pop()!;
    lines.forEach(takeLine);
    if (rest.length + (data?.length ?? 0) > MAX_EVENT_CHARACTERS) {
      throw new ConnectionLostError(`The server sent an event of more than ${MAX_EVENT_CHARACTERS} characters`);
    }
  };
}
