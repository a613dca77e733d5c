import type { Unsubscribable } from 'rxjs';
import type { Delivery } from '../core/delivery.js';
import type { Gap } from '../core/gap.js';
import type { Hub } from '../core/hub.js';
import type { Reporter } from '../core/reporter.js';
import type { Following, GapReader } from '../core/gap-reader.js';
import type { Session } from '../core/session.js';
import type { SessionCloseReason } from '../core/session-close-reason.js';
import type { Position } from '../protocol/position.js';
import { Batch } from './batch.js';
import { SseConnection, type ConnectionObserver, type ConnectionOptions } from './connection.js';
import type { StreamFeeds } from './stream-feeds.js';
import type { Flusher } from './flusher.js';
import { END_FRAME, Frame, REVOKED_FRAME, drainFrame, expiredFrame } from './frame.js';
import { eventFrame, frameOf, gapFrameOf } from './message-frame.js';
import { StreamProgress, type ProgressOutput } from './stream-progress.js';
import type { Returns } from './return-window.js';
import { SseEvent } from './sse-event.js';
import type { RawResponse } from './response.js';
import { isWhole, readStream, type MessageStream, type StreamObserver } from './stream-source.js';
import type { WorkQueue } from './work-queue.js';

/** One request for an event stream. */
export interface StreamRequest {
  readonly response: RawResponse;
  /** Closes when the response has closed, at the latest; its streams end with it. */
  readonly session: Session;
  /** The place in the history of a channel that the client has come to. */
  readonly resumesAfter?: Position | undefined;
  /** The handler's name, for logs. */
  readonly handler: string;
  /** Time between two heartbeat comments, where it is not the application's. */
  readonly heartbeatMs?: number | undefined;
  /** Called before the head is written, which waits until `write` is called: at once, or later. */
  readonly beforeHead?: ((write: () => void) => void) | undefined;
}

/** What the event streams of an application have in common. */
export interface StreamContext {
  readonly hub: Hub;
  readonly reporter: Reporter;
  readonly options: ConnectionOptions & { readonly heartbeatMs: number };
  readonly flusher: Flusher;
  readonly queue: WorkQueue;
  /** Of clients whose streams end, each for a reason of its own. */
  readonly returns: Returns;
  /** What streams of whole channels read. */
  readonly feeds: StreamFeeds;
  /** Told of what a handler's stream fails with when it has ended. */
  endFailed(handler: string, error: unknown): void;
  /** Called when a stream has ended and its last byte has been handed to the network. */
  remove(stream: EventStream): void;
}

/** What a stream keeps if it has a past, or is made by operators. */
interface Told {
  lastGap: Gap | undefined;
  progress: StreamProgress | undefined;
}

/** What a stream needs until its head is written. */
interface Opening {
  readonly beforeHead: ((write: () => void) => void) | undefined;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  /** Its last frame, where it has come to its end meanwhile. */
  end?: { readonly frame: Buffer | undefined };
}

// Also a stream without heartbeats looks for a reader that has stalled.
const SILENT_BEAT_MS = 15_000;

/**
 * One stream of messages on its connection, from the handler's result to the last byte. There are many of them, mostly
 * idle: an open one keeps nothing that only its start or its end needs (docs/performance.md, "Memory").
 */
export class EventStream implements StreamObserver, ConnectionObserver, GapReader, ProgressOutput {
  private readonly heartbeatMs: number;
  private readonly connection: SseConnection;
  readonly handler: string;
  private state: 'starting' | 'opening' | 'open' | 'done' = 'starting';
  private opening: Opening | undefined = undefined;
  private reading: Unsubscribable | undefined = undefined;
  private told: Told | undefined = undefined;

  constructor(
    { response, handler, heartbeatMs, resumesAfter }: StreamRequest,
    private readonly context: StreamContext,
    /** See {@link Rotation}. */
    readonly endsAt: number,
  ) {
    this.connection = new SseConnection(response, context.options, context.flusher, this);
    this.handler = handler;
    this.heartbeatMs = heartbeatMs ?? context.options.heartbeatMs;
    if (resumesAfter !== undefined) this.progressFrom(resumesAfter);
  }

  /** Time between two calls of {@link beat}. */
  get beatMs(): number {
    return this.heartbeatMs || SILENT_BEAT_MS;
  }

  /** See {@link StreamReader.resumesAfter}. */
  get resumesAfter(): Position | undefined {
    return this.told?.progress?.resumesAfter;
  }

  /** See {@link EventStreams.serve}. */
  serve(stream: MessageStream, { session, beforeHead }: StreamRequest): Promise<void> {
    const started = new Promise<void>((resolve, reject) => (this.opening = { beforeHead, resolve, reject }));
    this.watch(session);
    try {
      const reading = this.read(stream, session);
      // A source may have completed while it was being subscribed to.
      if (this.state === 'done') reading.unsubscribe();
      else this.reading = reading;
    } catch (error) {
      this.error(error);
    }
    // What a stream fails with at once is answered by exception filters; so the head waits for a turn.
    if (this.state === 'starting') this.context.queue.add(() => this.openOnce());
    return started;
  }

  next(message: unknown): boolean {
    if (this.state === 'done') return false;
    const encoded = this.encode(message);
    if (encoded === undefined) return true;
    this.openOnce();
    if (encoded instanceof Frame) return this.sendInOrder(encoded, message);
    this.connection.sendAll(encoded);
    return true;
  }

  sendAll(batch: Batch): void {
    if (this.state === 'done') return;
    this.openOnce();
    this.connection.sendAll(batch);
  }

  /** See {@link GapReader}. Once, though several of its streams may be of that channel. */
  gap(gap: Gap): void {
    const told = (this.told ??= { lastGap: undefined, progress: undefined });
    if (gap === told.lastGap) return;
    told.lastGap = gap;
    this.next(gapFrameOf(gap, told.progress?.idOf(gap)));
  }

  /** See {@link GapReader}. */
  follow(channel: string): Following {
    return (this.told?.progress ?? this.progressFrom(undefined)).follow(channel);
  }

  /** See {@link ProgressOutput}. */
  send(frame: Frame): void {
    if (this.state !== 'done') this.connection.send(frame);
  }

  get keepsUp(): boolean {
    return this.connection.keepsUp;
  }

  drained(): Promise<void> {
    return this.connection.drained();
  }

  error(error: unknown): void {
    if (this.state === 'starting') return this.fail(error);
    if (this.state === 'done') return;
    this.context.reporter.streamFailed({ handler: this.handler, error });
    // Without the terminal id: the browser comes back, and what is wrong then is answered as a status.
    this.finish();
  }

  complete(): void {
    this.finish(END_FRAME);
  }

  endFailed(error: unknown): void {
    this.context.endFailed(this.handler, error);
  }

  /** See {@link SseConnection.beat}. */
  beat(): void {
    if (this.state === 'open') this.connection.beat(this.beatMs, this.heartbeatMs === 0);
  }

  slowConsumer(bufferedBytes: number): void {
    this.context.reporter.slowConsumer({ handler: this.handler, bufferedBytes });
    this.stop();
  }

  writeFailed(error: unknown): void {
    this.context.reporter.streamFailed({ handler: this.handler, error });
    this.stop();
  }

  responseTaken(): void {
    const error = new Error('the application ended the response, or wrote to it, while the stream was open');
    this.context.reporter.streamFailed({ handler: this.handler, error });
    this.stop();
  }

  /** Ends the stream with a last frame; resolves when that has been handed to the network. */
  drain(frame: Buffer): Promise<void> {
    this.finish(frame);
    return this.connection.ended();
  }

  /** Ends the stream, which has become old, and has its client come back soon. Calls while it is not open yet are for later. */
  rotate(): void {
    if (this.state === 'open') this.finish(drainFrame(this.context.returns.next()));
  }

  cutOff(): void {
    this.connection.destroy();
    this.stop();
  }

  // A method of its own: the closure that the session keeps must keep nothing but the stream.
  private watch(session: Session): void {
    session.onClose((reason) => this.finish(this.lastFrame(reason)));
  }

  /** What the client is told when the session has closed. */
  private lastFrame(reason: SessionCloseReason): Buffer {
    if (reason === 'reconnect') return drainFrame(this.context.returns.next());
    if (reason === 'expired') return expiredFrame(this.context.returns.next());
    return reason === 'revoked' ? REVOKED_FRAME : END_FRAME;
  }

  private read(stream: MessageStream, session: Session): Unsubscribable {
    const { hub, feeds } = this.context;
    // A feed tells of its losses itself.
    if (isWhole(stream)) return readStream(stream, this, feeds);
    session.tellGapsTo(this);
    return hub.subscribeFor(this, () => readStream(stream, this, feeds));
  }

  private progressFrom(resumesAfter: Position | undefined): StreamProgress {
    const progress = new StreamProgress(this.context.hub, this, resumesAfter);
    this.told = { lastGap: this.told?.lastGap, progress };
    return progress;
  }

  /** @returns see {@link SseConnection.send} */
  private sendInOrder(frame: Frame, message: unknown): boolean {
    const progress = this.told?.progress;
    if (progress === undefined) return this.connection.send(frame);
    const hasId = message instanceof Frame || (message instanceof SseEvent && message.options.id !== undefined);
    if (hasId) progress.release();
    const next = hasId ? frame : progress.hold(frame);
    return next === undefined || this.connection.send(next);
  }

  private openOnce(): void {
    if (this.state !== 'starting') return;
    this.state = 'opening';
    const { beforeHead } = this.opening!;
    try {
      if (this.connection.isClosed) this.stop();
      else if (beforeHead === undefined) this.writeHead();
      else beforeHead(() => this.writeHead());
    } catch (error) {
      // Of what comes before the head, which may have been written already.
      if (this.opening === undefined) this.error(error);
      else this.fail(error);
    }
  }

  private writeHead(): void {
    // The client may have left meanwhile.
    if (this.state !== 'opening') return;
    const { resolve, end } = this.opening!;
    try {
      this.connection.open();
    } catch (error) {
      // A header that somebody set and node refuses to write.
      return this.fail(error);
    }
    this.state = 'open';
    this.opening = undefined;
    resolve();
    if (end !== undefined) this.finish(end.frame);
  }

  private fail(error: unknown): void {
    const { reject } = this.opening!;
    this.opening = undefined;
    this.stop();
    reject(error);
  }

  private finish(frame?: Buffer): void {
    this.told?.progress?.release();
    this.openOnce();
    if (this.state === 'done') return;
    if (this.state === 'opening' && !this.connection.isClosed) {
      this.opening!.end ??= { frame };
      return;
    }
    this.connection.end(frame);
    this.stop();
  }

  private stop(): void {
    if (this.state === 'done') return;
    this.state = 'done';
    this.opening?.resolve();
    this.opening = undefined;
    this.reading?.unsubscribe();
    this.reading = undefined;
    void this.connection.ended().then(() => this.context.remove(this));
  }

  /**
   * A message as a frame. Streams that send the message being delivered right now share one frame, filtered
   * streams included: it belongs to the message, not to the stream.
   *
   * @returns `undefined` where it cannot be sent, which has been reported
   */
  private encode(message: unknown): Frame | Batch | undefined {
    const { hub, reporter } = this.context;
    let delivery: Delivery | undefined;
    try {
      // Here, since a proxy may throw when it is asked for its class.
      if (message instanceof Batch || message instanceof Frame) return message;
      if (message instanceof SseEvent) {
        delivery = hub.deliveryOf(message.message);
        return frameOf(delivery?.encoded ?? hub.codec.encode(message.message), undefined, message.options);
      }
      delivery = hub.deliveryOf(message);
      return delivery === undefined ? frameOf(hub.codec.encode(message)) : eventFrame(hub, delivery);
    } catch (error) {
      reporter.messageRejected({ channel: delivery?.channel ?? this.handler, error: error as Error });
      return undefined;
    }
  }
}
