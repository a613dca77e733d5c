import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import type { Batch } from './batch.js';
import type { Flushable, Flusher } from './flusher.js';
import { COMMENT_FRAME, Frame } from './frame.js';
import { resumeIdleTimeout, suspendIdleTimeout, type Idling } from './idle-timeout.js';
import {
  destroyResponse,
  headersOf,
  isGone,
  isWaitingForTurn,
  onceGone,
  plainSocketOf,
  writableOf,
  type RawResponse,
} from './response.js';
import { fits, thinOut } from './thin-out.js';

/** How a connection is kept. */
export interface ConnectionOptions {
  /** How many bytes may gather behind what is being written to a slow reader before it is cut off. */
  readonly maxBufferedBytes: number;
  /** Told to the browser at the beginning: how long to wait before it reconnects. */
  readonly retryMs: number | undefined;
}

/** Who is told of what becomes of a connection. */
export interface ConnectionObserver {
  /** A reader was too slow and has been cut off. */
  slowConsumer(bufferedBytes: number): void;
  /** Somebody else has ended the response; nothing can be written any more. */
  responseTaken(): void;
  /** To write to the response failed; it has been cut off. */
  writeFailed(error: unknown): void;
}

/** What is known of a reader that has not taken all that was written. */
interface Behind {
  /** What is left of a batch that is written in pieces. */
  rest: Buffer | undefined;
  /** How often the connection was looked at since the reader last took something. */
  beats: number;
  /** Whether something waits for it that may be dropped. */
  isLossy: boolean;
}

const COMMENT = new Frame(COMMENT_FRAME);
/** How long a reader may take nothing at all of what waits for it. */
const STALLED_MS = 60_000;
// A source that can wait is told to with so many bytes waiting. More than that is also written piece by piece, since node
// tells only of each write as a whole that the network has taken it.
const ENOUGH_BYTES = 65_536;

/** One open event-stream response: everything that is written to it goes through here. */
export class SseConnection implements Flushable {
  /** What is to be written with the next flush. */
  private pending: Batch | undefined = undefined;
  private isOpen = false;
  private isEnded = false;
  /**
   * While what was written has filled the socket, so that more would only fill the memory. An object of its own, since most
   * readers are never behind.
   */
  private behind: Behind | undefined = undefined;
  /** Node's socket, where frames may be written to it past the response. */
  private socket: Socket | undefined = undefined;
  private idling: Idling | undefined = undefined;
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

  /** Whether a source that can wait need not. */
  get keepsUp(): boolean {
    return this.behind === undefined && (this.pending?.length ?? 0) < ENOUGH_BYTES;
  }

  /** How many bytes wait for the reader. */
  get bufferedBytes(): number {
    return (this.pending?.length ?? 0) + (this.behind?.rest?.length ?? 0) + this.sink.writableLength;
  }

  /** What frames are written to, and what holds those that the network has not taken yet. */
  private get sink(): Writable {
    return this.socket ?? writableOf(this.response);
  }

  /** Writes the head and the first bytes, so that the browser knows at once that the stream is open. */
  open(): void {
    const { response } = this;
    response.writeHead(response.statusCode, headersOf(response));
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
    this.idling = suspendIdleTimeout(response);
    this.isOpen = true;
    if (this.pending !== undefined) this.flusher.add(this);
  }

  /**
   * Sends a frame with the next flush. Where more than `maxBufferedBytes` has gathered behind what a reader is being sent,
   * what may be dropped is; if that is not enough, the reader is cut off.
   *
   * @returns whether the reader keeps up; if not, a source that can wait should wait for {@link drained}
   */
  send(frame: Frame): boolean {
    if (this.isEnded) return false;
    const { pending } = this;
    this.pending = (pending ?? this.flusher.start).add(frame);
    if (this.behind !== undefined) return this.noteSlowReader(frame, this.behind);
    if (pending === undefined) this.flusher.add(this);
    // What is on its way to the next flush tells nothing of the reader; but a source that can wait need not go on.
    return this.pending.length < ENOUGH_BYTES;
  }

  /** Sends frames that many connections are sent with the next flush, as {@link send} does each of them. */
  sendAll(batch: Batch): void {
    if (this.isEnded) return;
    if (this.behind !== undefined) {
      for (const frame of batch.frames) this.send(frame);
      return;
    }
    const { pending } = this;
    this.pending = pending === undefined ? batch : pending.addAll(batch);
    if (pending === undefined) this.flusher.add(this);
  }

  /**
   * Looks for a reader that has stalled, which would be kept for as long as nobody posts. To be called at intervals.
   *
   * @param intervalMs - between two calls
   * @param isSilent - no comment is sent; one keeps proxies from closing the connection, and shows that it is dead
   */
  beat(intervalMs: number, isSilent: boolean): void {
    if (isWaitingForTurn(this.response)) return;
    if (this.behind !== undefined) {
      // The first beat may have come right after the write.
      if (this.behind.beats++ * intervalMs >= STALLED_MS) this.cutOffSlowReader();
    } else if (!isSilent) {
      this.send(COMMENT);
    }
  }

  /** Writes what is pending, unless the reader has to catch up first. Called by the flusher. */
  flush(): void {
    const { pending } = this;
    if (pending === undefined || this.behind !== undefined || this.isEnded || !this.isOpen) return;
    this.pending = undefined;
    try {
      if (this.write(pending)) this.release();
      else this.waitForReader();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Resolves when what was sent has been handed to the network, or the connection has closed. */
  drained(): Promise<void> {
    // Not at once, or a source that always has more would keep the turn from ending, in which it is told to stop.
    if (this.isClosed) return new Promise((resolve) => setImmediate(resolve));
    if (this.pending === undefined && this.behind === undefined) return Promise.resolve();
    const earlier = this.waitingForDrain;
    return new Promise((resolve) => {
      this.waitingForDrain = () => {
        earlier?.();
        resolve();
      };
    });
  }

  /** Ends the stream in good order, after what is pending and a last frame. */
  end(frame?: Buffer): void {
    // What was posted before is sent still.
    this.flusher.settle();
    const { isEnded, pending, behind, response } = this;
    const isTaken = !isEnded && response.writableEnded;
    const isLost = this.isClosed || isTaken;
    this.close();
    if (isTaken) this.observer.responseTaken();
    if (isLost) return;
    this.guard(() => {
      if (behind?.rest !== undefined) response.write(behind.rest);
      if (pending !== undefined) response.write(pending.bytes);
      if (frame) response.end(frame);
      else response.end();
    });
  }

  /** Resolves once the end has been handed to the network, or the connection has closed. */
  ended(): Promise<void> {
    const writable = writableOf(this.response);
    return new Promise((resolve) => {
      if (isGone(this.response) || writable.writableFinished) return resolve();
      writable.once('finish', resolve);
      writable.once('close', resolve);
      // One that still waits for its turn gets neither when its connection closes.
      if (isWaitingForTurn(this.response)) onceGone(this.response, resolve);
      return undefined;
    });
  }

  /** Cuts the connection off. */
  destroy(): void {
    this.close();
    destroyResponse(this.response);
  }

  private close(): void {
    this.isEnded = true;
    this.pending = undefined;
    this.behind = undefined;
    // Before the response ends: node then sets the time for which the connection is kept.
    if (this.idling !== undefined) resumeIdleTimeout(this.idling);
    this.idling = undefined;
    this.release();
  }

  /** @returns whether the sink takes more */
  private write(batch: Batch): boolean {
    const { response, socket } = this;
    const isShort = batch.length <= ENOUGH_BYTES;
    // Whoever else ends the response finishes it in that very turn, unless something waits before it. To look at the response
    // for each write would cost a quarter of the write: those of Express have a hidden class each (bench/fanout.ts).
    if (isShort && socket?.writableLength === 0) return socket.write(batch.chunk);
    if (response.writableEnded) return this.noteTakenResponse();
    if (isShort) return socket === undefined ? response.write(batch.bytes) : socket.write(batch.chunk);
    return this.writePieces(batch.bytes);
  }

  /** Writes pieces until the sink takes no more for now. */
  private writePieces(bytes: Buffer): boolean {
    for (let end = ENOUGH_BYTES; ; end += ENOUGH_BYTES) {
      if (this.response.writableEnded) return this.noteTakenResponse();
      // By the response, of which each piece is a chunk of its own: whoever ends it meanwhile leaves no half one.
      const takesMore = this.response.write(bytes.subarray(end - ENOUGH_BYTES, end));
      if (end >= bytes.length) return takesMore;
      if (takesMore) continue;
      this.fallBehind().rest = bytes.subarray(end);
      return false;
    }
  }

  private fallBehind(): Behind {
    return (this.behind ??= { rest: undefined, beats: 0, isLossy: false });
  }

  private waitForReader(): void {
    this.fallBehind();
    this.sink.once('drain', () => this.guard(() => this.continue()));
  }

  private continue(): void {
    const behind = this.fallBehind();
    const { rest } = behind;
    behind.beats = 0;
    behind.rest = undefined;
    if (rest !== undefined && !this.writePieces(rest)) return this.waitForReader();
    this.behind = undefined;
    if (this.pending === undefined) this.release();
    else this.flush();
  }

  private guard(write: () => void): void {
    try {
      write();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Cuts the connection off if writing failed: middleware may have put functions of its own in place of node's. */
  private fail(error: unknown): void {
    this.destroy();
    this.observer.writeFailed(error);
  }

  /** Sees to it that no more waits than may: by dropping what may be dropped, or by cutting the reader off. */
  private noteSlowReader({ dropRule }: Frame, behind: Behind): false {
    behind.isLossy ||= dropRule !== undefined;
    const { pending } = this;
    const { maxBufferedBytes } = this.options;
    if (pending === undefined || fits(pending, maxBufferedBytes)) return false;
    this.pending = behind.isLossy ? thinOut(pending, maxBufferedBytes) : undefined;
    if (this.pending === undefined) this.cutOffSlowReader();
    return false;
  }

  private noteTakenResponse(): false {
    this.close();
    this.observer.responseTaken();
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

function ignore(): void {}
