import { ServerResponse } from 'node:http';
import type { Http2ServerResponse } from 'node:http2';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import type { Batch } from './batch.js';
import type { Flushable, Flusher } from './flusher.js';
import { COMMENT_FRAME, Frame } from './frame.js';
import { thinOut } from './thin-out.js';

/** What an event stream is written to: node's response, of HTTP/1 or of HTTP/2 with its compatible interface. */
export type RawResponse = ServerResponse;

/** How a connection is kept. */
export interface ConnectionOptions {
  /** How many bytes may wait for a slow reader before it is cut off. */
  readonly maxBufferedBytes: number;
  /** Told to the browser at the beginning: how long to wait before it reconnects. */
  readonly retryMs: number | undefined;
}

/** Who is told of what becomes of a connection. */
export interface ConnectionObserver {
  /** A reader was too slow and has been cut off. */
  slowConsumer(bufferedBytes: number): void;
}

// `no-transform` keeps compressing middleware and proxies from holding events back, `x-accel-buffering`
// keeps nginx from it.
const HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
} as const;

const COMMENT = new Frame(COMMENT_FRAME);
// A minute with heartbeats as they are by default.
const MAX_BLOCKED_BEATS = 4;
// A source that can wait is told to with so many bytes waiting.
const ENOUGH_BYTES = 65_536;

/** One open event-stream response: everything that is written to it goes through here. */
export class SseConnection implements Flushable {
  /** What is to be written with the next flush. */
  private pending: Batch | undefined = undefined;
  private isEnded = false;
  /** Whether what was written has filled the socket, so that more would only fill the memory. */
  private isBlocked = false;
  private blockedBeats = 0;
  /** Whether something waits for a slow reader that may be dropped. */
  private isLossy = false;
  /** Node's socket, where frames may be written to it past the response. */
  private socket: Socket | undefined = undefined;
  private waitingForDrain: (() => void) | undefined = undefined;

  constructor(
    private readonly response: RawResponse,
    private readonly options: ConnectionOptions,
    private readonly flusher: Flusher,
    private readonly observer: ConnectionObserver,
  ) {}

  /** Whether the other side has gone, or the stream was ended. */
  get isClosed(): boolean {
    return this.isEnded || isGone(this.response);
  }

  /** How many bytes wait for the reader. */
  get bufferedBytes(): number {
    return (this.pending?.length ?? 0) + this.sink.writableLength;
  }

  /** What frames are written to, and what holds those that the network has not taken yet. */
  private get sink(): Writable {
    return this.socket ?? writableOf(this.response);
  }

  /** Writes the head and the first bytes, so that the browser knows at once that the stream is open. */
  open(): void {
    const { response } = this;
    response.writeHead(200, HEADERS);
    // A reset by the other side is an error of the response here; its 'close' tells all that matters.
    response.on('error', ignore);
    const { retryMs } = this.options;
    // The head and the first bytes in one write, but each a string of its own: put together with something else, the head
    // would be kept as the 28 pieces that node makes it of. The cork is that of the socket; a response's holds back chunks only.
    const { socket } = response;
    socket?.cork();
    response.flushHeaders();
    response.write(
      retryMs === undefined ? COMMENT_FRAME : Buffer.concat([Buffer.from(`retry: ${retryMs}\n`), COMMENT_FRAME]),
    );
    socket?.uncork();
    this.socket = plainSocketOf(response);
  }

  /**
   * Sends a frame with the next flush. Where a reader leaves more than `maxBufferedBytes` waiting, what may be dropped is; if
   * that is not enough, the reader is cut off.
   *
   * @returns whether the reader keeps up; if not, a source that can wait should wait for {@link drained}
   */
  send(frame: Frame): boolean {
    if (this.isEnded) return false;
    const { pending } = this;
    this.pending = (pending ?? this.flusher.start).add(frame);
    if (this.isBlocked) return this.noteSlowReader(frame);
    if (pending === undefined) this.flusher.add(this);
    // What is on its way to the next flush tells nothing of the reader; but a source that can wait need not go on.
    return this.pending.length < ENOUGH_BYTES;
  }

  /** Sends frames that many connections are sent with the next flush, as {@link send} does each of them. */
  sendAll(batch: Batch): void {
    if (this.isEnded) return;
    if (this.isBlocked) {
      for (const frame of batch.frames) this.send(frame);
      return;
    }
    const { pending } = this;
    this.pending = pending === undefined ? batch : pending.addAll(batch);
    if (pending === undefined) this.flusher.add(this);
  }

  /**
   * Sends a comment, so that proxies keep the connection and a dead one is noticed. Who has not caught up for so many
   * beats never will: a reader that has stalled would be kept for as long as nobody posts.
   */
  beat(): void {
    if (!this.isBlocked) {
      this.send(COMMENT);
    } else if (++this.blockedBeats > MAX_BLOCKED_BEATS) {
      this.cutOffSlowReader();
    }
  }

  /** Writes what is pending, unless the reader has to catch up first. Called by the flusher. */
  flush(): void {
    const { pending } = this;
    if (pending === undefined || this.isBlocked || this.isEnded) return;
    this.pending = undefined;
    if (this.write(pending)) this.release();
    else this.waitForReader();
  }

  /** Resolves when what was sent has been handed to the network, or the connection has closed. */
  drained(): Promise<void> {
    if (this.isClosed || (this.pending === undefined && !this.isBlocked)) return Promise.resolve();
    return new Promise((resolve) => (this.waitingForDrain = resolve));
  }

  /** Ends the stream in good order, after what is pending and a last frame. */
  end(frame?: Buffer): void {
    // What was posted before is sent still.
    this.flusher.settle();
    const { isClosed, pending } = this;
    this.isEnded = true;
    this.pending = undefined;
    this.release();
    if (isClosed) return;
    if (pending !== undefined) this.write(pending);
    if (frame) this.response.end(frame);
    else this.response.end();
  }

  /** Resolves once the end has been handed to the network, or the connection has closed. */
  ended(): Promise<void> {
    const writable = writableOf(this.response);
    return new Promise((resolve) => {
      if (isGone(this.response) || writable.writableFinished) return resolve();
      writable.once('finish', resolve);
      writable.once('close', resolve);
      return undefined;
    });
  }

  /** Cuts the connection off. */
  destroy(): void {
    this.isEnded = true;
    this.pending = undefined;
    destroyResponse(this.response);
  }

  /** @returns whether the socket takes more */
  private write(batch: Batch): boolean {
    return this.socket === undefined ? this.response.write(batch.bytes) : this.socket.write(batch.chunk);
  }

  private waitForReader(): void {
    this.isBlocked = true;
    this.sink.once('drain', () => {
      this.isBlocked = false;
      this.blockedBeats = 0;
      this.isLossy = false;
      if (this.pending === undefined) this.release();
      else this.flush();
    });
  }

  /** Sees to it that no more waits than may: by dropping what may be dropped, or by cutting the reader off. */
  private noteSlowReader({ dropRule }: Frame): false {
    this.isLossy ||= dropRule !== undefined;
    const { pending } = this;
    const { maxBufferedBytes } = this.options;
    const room = maxBufferedBytes - this.sink.writableLength;
    // What the socket has taken cannot be dropped any more; a burst that fills it shall not cost such a reader the stream.
    const maxBytes = this.isLossy ? Math.max(room, maxBufferedBytes / 2) : room;
    if (pending === undefined || pending.length <= maxBytes) return false;
    this.pending = this.isLossy ? thinOut(pending, maxBytes) : undefined;
    if (this.pending === undefined) this.cutOffSlowReader();
    return false;
  }

  private cutOffSlowReader(): void {
    this.observer.slowConsumer(this.bufferedBytes);
    this.destroy();
  }

  private release(): void {
    this.waitingForDrain?.();
    this.waitingForDrain = undefined;
  }
}

/**
 * The socket of a response, where chunks may be written to it directly: half the cost of a write to the response
 * (bench/spaced.ts). Not where somebody stands between, as compression does, nor over TLS, nor where the client does
 * not know chunks; and only once the response holds nothing back.
 */
function plainSocketOf(response: RawResponse): Socket | undefined {
  if ('stream' in response || response.write !== ServerResponse.prototype.write) return undefined;
  const { socket, chunkedEncoding } = response;
  const isPlain =
    socket !== null &&
    chunkedEncoding &&
    !('encrypted' in socket) &&
    socket.write === Socket.prototype.write &&
    response.writableLength === socket.writableLength;
  return isPlain ? socket : undefined;
}

/** Whether nobody can receive this response any more. */
export function isGone(response: RawResponse): boolean {
  const { destroyed, closed } = writableOf(response);
  return destroyed || closed || (response.socket?.destroyed ?? true);
}

/** Answers without a body: a HEAD request, or a browser that comes back to a stream that is complete. */
export function answerEmpty(response: RawResponse, status: 200 | 204): void {
  if (status === 204) response.statusCode = 204;
  else response.writeHead(status, HEADERS);
  response.end();
}

/** Cuts off a request that must not be answered: a browser would take an error status for final. */
export function destroyResponse(response: RawResponse): void {
  writableOf(response).destroy();
}

function ignore(): void {}

/** What holds the bytes that wait: of HTTP/2's response the stream, since the response itself does not tell. */
function writableOf(response: RawResponse | Http2ServerResponse): Writable {
  return 'stream' in response ? response.stream : response;
}
