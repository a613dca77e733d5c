import type { Unsubscribable } from 'rxjs';
import type { Delivery } from '../core/delivery.js';
import type { Gap } from '../core/gap.js';
import type { Hub } from '../core/hub.js';
import type { Reporter } from '../core/reporter.js';
import type { Following, GapReader } from '../core/gap-reader.js';
import type { Session } from '../core/session.js';
import type { SessionCloseReason, SessionObserver } from '../core/session-close-reason.js';
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
  /** Closes when the response has closed, at the latest. Its streams end with it. */
  readonly session: Session;
  /** The position in the history of a channel after which the client resumes. */
  readonly resumesAfter?: Position | undefined;
  /** The handler's name, for logs. */
  readonly handler: string;
  /** Time between two heartbeat comments, if it differs from the application's. */
  readonly heartbeatMs?: number | undefined;
  /** Called before the head is written. The head waits until `write` is called, at once or later. */
  readonly beforeHead?: ((write: () => void) => void) | undefined;
}

/** Shared by the event streams of an application. */
export interface StreamContext {
  readonly hub: Hub;
  readonly reporter: Reporter;
  readonly options: ConnectionOptions & { readonly heartbeatMs: number };
  readonly flusher: Flusher;
  readonly queue: WorkQueue;
  /** The return times of clients whose streams end one by one. */
  readonly returns: Returns;
  /** The feeds for streams of whole channels. */
  readonly feeds: StreamFeeds;
  /** Receives failures of a handler's stream after its end. */
  endFailed(handler: string, error: unknown): void;
  /** Called when a stream has ended and the network has taken its last byte. */
  remove(stream: EventStream): void;
}

/** The state of a stream that resumes, or that is made by operators. */
interface Told {
  lastGap: Gap | undefined;
  progress: StreamProgress | undefined;
}

/** The state of a stream until its head is written. */
interface Opening {
  readonly beforeHead: ((write: () => void) => void) | undefined;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  /** Its last frame, if it has ended before the head was written. */
  end?: { readonly frame: Buffer | undefined };
}

// Streams without heartbeats also check for a stalled reader.
const SILENT_BEAT_MS = 15_000;

/**
 * One stream of messages on its connection, from the handler's result to the last byte. There are many streams, mostly idle: an open one
 * keeps nothing that is needed only at its start or end (docs/performance.md, "Memory").
 */
export class EventStream implements StreamObserver, ConnectionObserver, SessionObserver, GapReader, ProgressOutput {
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
    session.onClose(this);
    try {
      const reading = this.read(stream, session);
      // A source may complete while it is being subscribed to.
      if (this.state === 'done') reading.unsubscribe();
      else this.reading = reading;
    } catch (error) {
      this.error(error);
    }
    // Exception filters answer an immediate failure, so the head waits for a turn.
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

  /** See {@link GapReader}. Sends one event, even if several of its streams are of that channel. */
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
    // Without the terminal id: the browser comes back, and a persistent error is then answered with a status.
    this.finish();
  }

  complete(): void {
    this.finish(END_FRAME);
  }

  sessionClosed(reason: SessionCloseReason): void {
    this.finish(this.lastFrame(reason));
  }

  endFailed(error: unknown): void {
    this.context.endFailed(this.handler, error);
  }

  /** See {@link SseConnection.beat}. */
  beat(): void {
    if (this.state === 'open') this.connection.beat(this.beatMs, this.heartbeatMs === 0);
    else if (this.state === 'done') this.connection.beatAfterEnd(this.beatMs);
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

  /** Ends the stream with a last frame; resolves when the network has taken it. */
  drain(frame: Buffer): Promise<void> {
    this.finish(frame);
    return this.connection.ended();
  }

  /** Ends a stream that has reached its age, and makes its client come back soon. Before the stream is open, the call is deferred. */
  rotate(): void {
    if (this.state === 'open') this.finish(drainFrame(this.context.returns.next()));
  }

  cutOff(): void {
    this.connection.destroy();
    this.stop();
  }

  /** The last frame for the client when the session has closed. */
  private lastFrame(reason: SessionCloseReason): Buffer {
    if (reason === 'reconnect') return drainFrame(this.context.returns.next());
    if (reason === 'expired') return expiredFrame(this.context.returns.next());
    return reason === 'revoked' ? REVOKED_FRAME : END_FRAME;
  }

  private read(stream: MessageStream, session: Session): Unsubscribable {
    const { hub, feeds } = this.context;
    // A feed reports losses to the stream itself.
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
      // The head may have been written already.
      if (this.opening === undefined) this.error(error);
      else this.fail(error);
    }
  }

  private writeHead(): void {
    // The client may have gone meanwhile.
    if (this.state !== 'opening') return;
    const { resolve, end } = this.opening!;
    try {
      this.connection.open();
    } catch (error) {
      // The application set a header that Node refuses to write.
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
   * Encodes a message as a frame. Streams that send the current message share one frame, even filtered streams: it belongs to the message,
   * not to the stream.
   *
   * @returns `undefined` if it cannot be sent, which has been reported
   */
  private encode(message: unknown): Frame | Batch | undefined {
    const { hub, reporter } = this.context;
    let delivery: Delivery | undefined;
    try {
      // Inside the try block, since `instanceof` may throw for a proxy.
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
