import http from 'node:http';
import { createParser } from 'eventsource-parser';
import type { ReceivedEvent } from './sse-client.js';

/** The completely read part of a stream that broke off. */
export interface CutRead {
  readonly events: readonly ReceivedEvent[];
  /** The `Last-Event-ID` with which a browser would return. */
  readonly lastEventId: string | undefined;
}

/**
 * Reads a stream as a browser does, until this many bytes of its body have arrived, or until the awaited last event.
 *
 * @param lastEventId - with which it returns
 * @param isLast - whether an event is the last one
 */
export function readUntilCut(
  url: string,
  lastEventId: string | undefined,
  cutAt: number,
  isLast: (event: ReceivedEvent) => boolean,
): Promise<CutRead> {
  return new Promise((resolve, reject) => {
    const events: ReceivedEvent[] = [];
    let last = lastEventId;
    let isOver = false;
    const decoder = new TextDecoder();
    const parser = createParser({
      onEvent: ({ event = 'message', id, data }) => {
        if (isOver) return;
        const received = { event, id, data };
        events.push(received);
        last = id ?? last;
        isOver = isLast(received);
      },
    });
    const headers = lastEventId === undefined ? {} : { 'last-event-id': lastEventId };
    const request = http.get(url, { headers, agent: false }, (response) => {
      let count = 0;
      response.on('data', (bytes: Buffer) => {
        if (isOver) return;
        const taken = bytes.subarray(0, cutAt - count);
        count += taken.length;
        parser.feed(decoder.decode(taken, { stream: true }));
        isOver ||= count >= cutAt;
        if (isOver) request.destroy();
      });
      // Expected: the stream is cut off.
      response.on('error', () => {});
      response.on('close', () => resolve({ events, lastEventId: last }));
    });
    request.on('error', (error) => (isOver ? undefined : reject(error)));
  });
}
