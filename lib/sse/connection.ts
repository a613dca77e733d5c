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

/** The settings of a connection. */
export interface ConnectionOptions {
  /** How many bytes may wait for a slow reader, behind those being written, before it is cut off. */
  readonly maxBufferedBytes: number;
  /** Sent to the browser at the beginning: how long to wait before it reconnects. */
  readonly retryMs: number | undefined;
}

/** Learns of events on a connection. */
export interface ConnectionObserver {
  /** A reader was too slow and has been cut off. */
  slowConsumer(bufferedBytes: number): void;
  /** Other code has ended the response; nothing can be written any more. */
  responseTaken(): void;
  /** Writing to the response failed; the connection has been cut off. */
  writeFailed(error: unknown): void;
}

/** The state of a reader that has not taken everything that was written. */
interface Behind {
  /** The rest of a batch that is written in pieces. */
  rest: Buffer | undefined;
  /** The number of checks since the reader last took something. */
  beats: number;
  /** Whether some of the waiting frames may be dropped. */
  isLossy: boolean;
  /** Set once the stream has ended, with its last frame. */
  end?: { readonly frame: Buffer | undefined };
}

const COMMENT = new Frame(COMMENT_FRAME);
/** How long a reader may take nothing at all while data waits for it. */
const STALLED_MS = 60_000;
// A source that can wait must wait at this many waiting bytes. Longer data is written in pieces, since Node reports only a whole write as
// taken by the network.
const ENOUGH_BYTES = 65_536;

/** One open event-stream response. Everything that is written to it goes through this object. */
export class SseConnection implements Flushable {
  /** The frames for the next flush. */
  private pending: Batch | undefined = undefined;
  private isOpen = false;
  private isEnded = false;
  /**
   * Set while the socket is full, so that more data would only fill the memory. A separate object, since most readers are never behind.
   */
  private behind: Behind | undefined = undefined;
  /** Node's socket, if frames may be written to it directly, past the response. */
  private socket: Socket | undefined = undefined;
  private idling: Idling | undefined = undefined;
  private waitingForDrain: (() => void) | undefined = undefined;

  constructor(
    private readonly response: RawResponse,
    private readonly options: ConnectionOptions,
    private readonly flusher: Flusher,
    private readonly observer: ConnectionObserver,
  ) {}

  /** Whether the client has gone, or the stream has ended. */
  get isClosed(): boolean {
    return this.isEnded || isGone(this.response);
  }

  /** Whether a source that can wait may continue. */
  get keepsUp(): boolean {
    return this.behind === undefined && (this.pending?.length ?? 0) < ENOUGH_BYTES;
  }

  /** How many bytes wait for the reader. */
  get bufferedBytes(): number {
    return (this.pending?.length ?? 0) + (this.behind?.rest?.length ?? 0) + this.sink.writableLength;
  }

  /** The target of writes, which buffers data that the network has not taken yet. */
  private get sink(): Writable {
    return this.socket ?? writableOf(this.response);
  }

  /** Writes the head and the first bytes, so that the browser knows at once that the stream is open. */
  open(): void {
    const { response } = this;
    response.writeHead(response.statusCode, headersOf(response));
    // A reset by the client is an error of the response here; its 'close' event is all that matters.
    response.on('error', ignore);
    const { retryMs } = this.options;
    // The head and the first bytes are one write, but each is a string of its own: joined with something else, the head would stay in
    // memory as the 28 pieces that Node makes it of. The cork is on the socket; the response's own cork holds back only chunks.
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
   * Sends a frame with the next flush. If more than `maxBufferedBytes` wait for a slow reader, droppable frames are dropped. If that is not
   * enough, the reader is cut off.
   *
   * @returns whether the reader keeps up; if not, a source that can wait should wait for {@link drained}
   */
  send(frame: Frame): boolean {
    if (this.isEnded) return false;
    const { pending } = this;
    this.pending = (pending ?? this.flusher.start).add(frame);
    if (this.behind !== undefined) return this.noteSlowReader(frame, this.behind);
    if (pending === undefined) this.flusher.add(this);
    // Frames that wait for the next flush say nothing about the reader, but a source that can wait need not continue.
    return this.pending.length < ENOUGH_BYTES;
  }

  /** Sends frames that many connections share with the next flush, like {@link send} for each of them. */
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
   * Detects a stalled reader, which would otherwise be kept until the next post. Call it at intervals.
   *
   * @param intervalMs - between two calls
   * @param isSilent - sends no comment. A comment keeps proxies from closing the connection, and reveals a dead one
   */
  beat(intervalMs: number, isSilent: boolean): void {
    if (isWaitingForTurn(this.response)) return;
    if (this.behind !== undefined) {
      // The first beat may have come directly after the write.
      if (this.behind.beats++ * intervalMs >= STALLED_MS) this.cutOffSlowReader();
    } else if (!isSilent) {
      this.send(COMMENT);
    }
  }

  /** Writes the pending frames, unless the reader has to catch up first. The flusher calls it. */
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

  /** Resolves when the network has taken everything, or the connection has closed. */
  drained(): Promise<void> {
    // Not at once: otherwise a source that always has more would never end the turn in which it is told to stop.
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

  /** Ends the stream normally, after the pending frames and a last frame. A slow reader takes them at its pace. */
  end(frame?: Buffer): void {
    // Earlier posts are still sent.
    this.flusher.settle();
    const { isEnded, pending, behind, response } = this;
    const isTaken = !isEnded && response.writableEnded;
    const isLost = this.isClosed || isTaken;
    this.close();
    if (isTaken) this.observer.responseTaken();
    if (isLost) return;
    this.pending = pending;
    this.behind = { rest: behind?.rest, beats: 0, isLossy: false, end: { frame } };
    if (behind === undefined) this.guard(() => this.writeEnd(undefined));
  }

  /** Detects that a reader does not take the end of its stream, which would otherwise be kept for ever. See {@link beat}. */
  beatAfterEnd(intervalMs: number): void {
    const { behind, response } = this;
    if (behind?.end === undefined || isWaitingForTurn(response)) return;
    if (behind.beats++ * intervalMs >= STALLED_MS) destroyResponse(response);
  }

  /** Resolves once the network has taken the end, or the connection has closed. */
  ended(): Promise<void> {
    const writable = writableOf(this.response);
    return new Promise((resolve) => {
      if (isGone(this.response) || writable.writableFinished) return resolve();
      writable.once('finish', resolve);
      writable.once('close', resolve);
      // A response that waits for its turn gets neither event when its connection closes.
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
    // Before the response ends: Node then sets the timeout of the kept connection.
    if (this.idling !== undefined) resumeIdleTimeout(this.idling);
    this.idling = undefined;
    this.release();
  }

  /** @returns whether the sink can take more */
  private write(batch: Batch): boolean {
    const { response, socket } = this;
    const isShort = batch.length <= ENOUGH_BYTES;
    // Other code that ends the response finishes it in the same turn, unless something waits before it. Checking the response at each write
    // would cost a quarter of the write: responses of Express have a hidden class each (bench/fanout.ts).
    if (isShort && socket?.writableLength === 0) return socket.write(batch.chunk);
    if (response.writableEnded) return this.noteTakenResponse();
    if (isShort) return socket === undefined ? response.write(batch.bytes) : socket.write(batch.chunk);
    return this.writePieces(batch.bytes);
  }

  /** Writes pieces until the sink is full. */
  private writePieces(bytes: Buffer): boolean {
    for (let end = ENOUGH_BYTES; ; end += ENOUGH_BYTES) {
      if (this.response.writableEnded) return this.noteTakenResponse();
      // Through the response, where each piece is a chunk: if other code ends it meanwhile, no partial chunk is left.
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
    if (behind.end !== undefined) return this.writeEnd(rest);
    if (rest !== undefined && !this.writePieces(rest)) return this.waitForReader();
    this.behind = undefined;
    if (this.pending === undefined) this.release();
    else this.flush();
  }

  private writeEnd(rest: Buffer | undefined): void {
    if (rest !== undefined && !this.writePieces(rest)) return this.waitForReader();
    const { pending } = this;
    this.pending = undefined;
    // Its bytes are shared with all other connections that are sent the same: they may be many, and all of them behind.
    if (pending !== undefined) this.writeEnd(pending.bytes);
    else this.response.end(this.behind?.end?.frame);
  }

  private guard(write: () => void): void {
    try {
      write();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Cuts the connection off after a failed write: middleware may have replaced Node's functions. */
  private fail(error: unknown): void {
    this.destroy();
    this.observer.writeFailed(error);
  }

  /** Enforces the limit of waiting bytes: drops droppable frames, or cuts the reader off. */
  private noteSlowReader({ dropRule }: Frame, behind: Behind): false {
    behind.isLossy ||= dropRule !== undefined;
    const { pending } = this;
    const { maxBufferedBytes } = this.options;
    if (pending === undefined || fits(pending, maxBufferedBytes)) return false;
    const kept = behind.isLossy ? thinOut(pending, maxBufferedBytes) : undefined;
    if (kept === undefined) this.cutOffSlowReader();
    else this.pending = kept;
    return false;
  }

  private noteTakenResponse(): false {
    this.close();
    this.observer.responseTaken();
    return false;
  }

  private cutOffSlowReader(): void {
    const { bufferedBytes } = this;
    // First: the observer may send more, for which it would be cut off again.
    this.destroy();
    this.observer.slowConsumer(bufferedBytes);
  }

  private release(): void {
    this.waitingForDrain?.();
    this.waitingForDrain = undefined;
  }
}

function ignore(): void {}
