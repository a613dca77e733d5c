import type { Hub } from '../core/hub.js';
import type { Reporter } from '../core/reporter.js';
import type { Session } from '../core/session.js';
import type { EncodedMessage } from '../protocol/codec.js';
import type { RawResponse, SseConnection } from './connection.js';
import { dropRuleOf } from './drop-rule.js';
import { END_FRAME, Frame, REVOKED_FRAME, encodeFrame, type DropRule } from './frame.js';
import { readStream, type MessageStream, type StreamObserver } from './stream-source.js';

/** One request for an event stream. */
export interface StreamRequest {
  readonly response: RawResponse;
  readonly session: Session;
  /** The handler's name, for logs. */
  readonly handler: string;
  /** Time between two heartbeat comments, where it is not the application's. */
  readonly heartbeatMs?: number | undefined;
  /** Called just before the head is written. */
  readonly beforeHead?: (() => void) | undefined;
}

/** One stream of messages on its connection, from the handler's result to the last byte. */
export class EventStream implements StreamObserver {
  private state: 'starting' | 'open' | 'done' = 'starting';
  private stopReading: (() => void) | undefined = undefined;
  private stopWatchingSession: (() => void) | undefined = undefined;
  private resolveStart: () => void = () => {};
  private rejectStart: (error: unknown) => void = () => {};

  constructor(
    private readonly connection: SseConnection,
    private readonly request: StreamRequest,
    private readonly hub: Hub,
    private readonly reporter: Reporter,
  ) {
    connection.onSlowConsumer = (bufferedBytes) => reporter.slowConsumer({ handler: request.handler, bufferedBytes });
  }

  /** See {@link EventStreams.serve}. */
  start(stream: MessageStream): Promise<void> {
    const started = new Promise<void>((resolve, reject) => {
      this.resolveStart = resolve;
      this.rejectStart = reject;
    });
    this.stopWatchingSession = this.request.session.onClose((reason) => {
      this.finish(reason === 'revoked' ? REVOKED_FRAME : END_FRAME);
    });
    try {
      const stop = readStream(stream, this);
      // A source may have completed while it was being subscribed to.
      if (this.state === 'done') stop();
      else this.stopReading = stop;
    } catch (error) {
      this.error(error);
    }
    // What a stream fails with at once is answered by exception filters; so the head waits for a turn.
    if (this.state === 'starting') setImmediate(() => this.openOnce());
    return started;
  }

  next(message: unknown): boolean {
    if (this.state === 'done') return false;
    const frame = this.encode(message);
    if (frame === undefined) return true;
    this.openOnce();
    return this.connection.send(frame);
  }

  drained(): Promise<void> {
    return this.connection.drained();
  }

  error(error: unknown): void {
    if (this.state === 'starting') {
      this.stop();
      this.rejectStart(error);
      return;
    }
    if (this.state === 'done') return;
    this.reporter.streamFailed({ handler: this.request.handler, error });
    // Without the terminal id: the browser comes back, and what is wrong then is answered as a status.
    this.finish();
  }

  complete(): void {
    this.finish(END_FRAME);
  }

  /** See {@link SseConnection.beat}. */
  beat(): void {
    if (this.state === 'open') this.connection.beat();
  }

  /** Ends the stream with a last frame; resolves when that has been handed to the network. */
  drain(frame: Buffer): Promise<void> {
    this.finish(frame);
    return this.connection.ended();
  }

  cutOff(): void {
    this.connection.destroy();
  }

  /** To be called when the response has closed. */
  noteClosed(): void {
    this.connection.noteClosed();
    this.stop();
    this.resolveStart();
  }

  private openOnce(): void {
    if (this.state !== 'starting') return;
    if (this.connection.isClosed) {
      this.stop();
    } else {
      try {
        this.request.beforeHead?.();
        this.connection.open();
        this.state = 'open';
      } catch (error) {
        // A header that somebody set and node refuses to write.
        this.stop();
        this.rejectStart(error);
      }
    }
    this.resolveStart();
  }

  private finish(frame?: Buffer): void {
    this.openOnce();
    if (this.state === 'done') return;
    this.connection.end(frame);
    this.stop();
  }

  private stop(): void {
    this.state = 'done';
    this.stopReading?.();
    this.stopReading = undefined;
    this.stopWatchingSession?.();
  }

  /**
   * A message as a frame. Streams that send the message being delivered right now share one frame, filtered
   * streams included: it belongs to the message, not to the stream.
   *
   * @returns `undefined` where it cannot be sent, which has been reported
   */
  private encode(message: unknown): Frame | undefined {
    if (message instanceof Frame) return message;
    const { delivering } = this.hub;
    try {
      if (delivering === undefined || delivering.message !== message) return frameOf(this.hub.codec.encode(message));
      return (delivering.forms.frame ??= frameOf(delivering.encoded, dropRuleOf(this.hub, delivering))) as Frame;
    } catch (error) {
      this.reporter.messageRejected({ channel: delivering?.channel ?? this.request.handler, error: error as Error });
      return undefined;
    }
  }
}

function frameOf({ data, type }: EncodedMessage, dropRule?: DropRule): Frame {
  return new Frame(encodeFrame({ event: type, data }), dropRule);
}
