import type { ServerResponse } from 'node:http';
import type { Http2ServerResponse } from 'node:http2';
import type { Writable } from 'node:stream';
import { COMMENT_FRAME } from './frame.js';

/** What an event stream is written to: node's response, of HTTP/1 or of HTTP/2 with its compatible interface. */
export type RawResponse = ServerResponse;

/** How a connection is kept. */
export interface ConnectionOptions {
  /** How many bytes may wait for a slow reader before it is cut off. */
  readonly maxBufferedBytes: number;
  /** Told to the browser at the beginning: how long to wait before it reconnects. */
  readonly retryMs: number | undefined;
}

// `no-transform` keeps compressing middleware and proxies from holding events back, `x-accel-buffering`
// keeps nginx from it.
const HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
} as const;

/** One open event-stream response: everything that is written to it goes through here. */
export class SseConnection {
  /** Called when a reader was too slow and has been cut off. */
  onSlowConsumer: ((bufferedBytes: number) => void) | undefined = undefined;
  private readonly writable: Writable;
  private isEnded = false;
  private waitingForDrain: (() => void) | undefined = undefined;

  constructor(
    private readonly response: RawResponse,
    private readonly options: ConnectionOptions,
  ) {
    this.writable = writableOf(response);
  }

  /** Whether the other side has gone, or the stream was ended. */
  get isClosed(): boolean {
    return this.isEnded || isGone(this.response);
  }

  /** Writes the head and the first bytes, so that the browser knows at once that the stream is open. */
  open(): void {
    writeHead(this.response, 200);
    // A reset by the other side is an error of the response here; its 'close' tells all that matters.
    this.response.on('error', () => {});
    const { retryMs } = this.options;
    this.response.write(
      retryMs === undefined ? COMMENT_FRAME : Buffer.concat([Buffer.from(`retry: ${retryMs}\n`), COMMENT_FRAME]),
    );
  }

  /**
   * Sends a frame. A reader that leaves more than `maxBufferedBytes` waiting is cut off.
   *
   * @returns whether the reader keeps up; if not, a source that can wait should wait for {@link drained}
   */
  send(frame: Buffer): boolean {
    if (this.isClosed) return false;
    const buffered = this.writable.writableLength;
    if (buffered > 0 && buffered + frame.length > this.options.maxBufferedBytes) {
      this.onSlowConsumer?.(buffered);
      this.destroy();
      return false;
    }
    return this.response.write(frame);
  }

  /** Resolves when what was sent has been handed to the network, or the connection has closed. */
  drained(): Promise<void> {
    if (this.isClosed || !this.writable.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve) => {
      this.waitingForDrain = resolve;
      this.writable.once('drain', resolve);
    });
  }

  /** Ends the stream in good order, after a last frame. */
  end(frame?: Buffer): void {
    if (this.isClosed) return;
    this.isEnded = true;
    if (frame) this.response.end(frame);
    else this.response.end();
  }

  /** Resolves once the end has been handed to the network, or the connection has closed. */
  ended(): Promise<void> {
    return new Promise((resolve) => {
      if (isGone(this.response) || this.writable.writableFinished) return resolve();
      this.writable.once('finish', resolve);
      this.writable.once('close', resolve);
      return undefined;
    });
  }

  /** Cuts the connection off. */
  destroy(): void {
    this.isEnded = true;
    destroyResponse(this.response);
  }

  /** To be called when the response has closed. */
  noteClosed(): void {
    this.isEnded = true;
    this.waitingForDrain?.();
  }
}

/** Whether nobody can receive this response any more. */
export function isGone(response: RawResponse): boolean {
  const { destroyed, closed } = writableOf(response);
  return destroyed || closed || (response.socket?.destroyed ?? true);
}

/** Answers without a body: a HEAD request, or a browser that comes back to a stream that is complete. */
export function answerEmpty(response: RawResponse, status: 200 | 204): void {
  if (status === 204) response.statusCode = 204;
  else writeHead(response, status);
  response.end();
}

/** Cuts off a request that must not be answered: a browser would take an error status for final. */
export function destroyResponse(response: RawResponse): void {
  writableOf(response).destroy();
}

function writeHead(response: RawResponse, status: number): void {
  for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
  response.writeHead(status);
}

/** What holds the bytes that wait: of HTTP/2's response the stream, since the response itself does not tell. */
function writableOf(response: RawResponse | Http2ServerResponse): Writable {
  return 'stream' in response ? response.stream : response;
}
