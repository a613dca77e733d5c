import type { Hub } from '../core/hub.js';
import { inTime } from '../core/in-time.js';
import type { Reporter } from '../core/reporter.js';
import { StreamFeeds } from './stream-feeds.js';
import { Flusher } from './flusher.js';
import { drainFrame } from './frame.js';
import { Heartbeat } from './heartbeat.js';
import { EventStream, type StreamContext, type StreamRequest } from './event-stream.js';
import { Http2Sessions } from './http2-sessions.js';
import { Returns, pickReturn, returnWindow } from './return-window.js';
import { Rotation } from './rotation.js';
import { destroyResponse, isWaitingForTurn, type RawResponse } from './response.js';
import type { MessageStream } from './stream-source.js';
import { WorkQueue } from './work-queue.js';

/** The settings of an application's event streams. */
export interface EventStreamOptions {
  /** Time between two heartbeat comments, in milliseconds; 0: none. */
  readonly heartbeatMs: number;
  /** How long a browser waits before it reconnects, in milliseconds; `undefined`: the browser's default, about 3 s. */
  readonly retryMs: number | undefined;
  /** How many bytes may wait for one slow reader, behind those being written. */
  readonly maxBufferedBytes: number;
  /** The maximum age of a stream, in milliseconds; its client is then told to come back. `undefined`: no limit. */
  readonly maxConnectionAgeMs?: number | undefined;
}

const DRAIN_TIMEOUT_MS = 400;

/** The open event streams of one application. */
export class EventStreams implements StreamContext {
  readonly flusher = new Flusher();
  readonly returns = new Returns();
  /** The work queue for new clients. */
  readonly queue: WorkQueue;
  private readonly streams = new Set<EventStream>();
  private readonly heartbeat = new Heartbeat(this.streams);
  private readonly rotation: Rotation;
  readonly feeds: StreamFeeds;
  /** Responses to requests for streams, and for changes, that are still being processed. */
  private readonly working = new Set<RawResponse>();
  /** Responses to requests that ask for a stream and have not reached their handler: a guard may be at work. */
  private readonly expected = new Set<RawResponse>();
  /** Shared by all responses, so that a request costs no function of its own. */
  private readonly closed: (this: RawResponse) => void;
  private readonly http2Sessions = new Http2Sessions();
  private isDraining = false;

  constructor(
    readonly hub: Hub,
    readonly reporter: Reporter,
    readonly options: EventStreamOptions,
  ) {
    const { expected } = this;
    this.closed = function () {
      expected.delete(this);
    };
    this.queue = new WorkQueue(reporter);
    this.feeds = new StreamFeeds({ hub, flusher: this.flusher, queue: this.queue });
    this.rotation = new Rotation(this.streams, options.maxConnectionAgeMs);
  }

  /** How many streams are open. */
  get size(): number {
    return this.streams.size;
  }

  /**
   * Runs the work for a request for a stream, which ends in {@link serve}, or for a change. If the application shuts down first, the
   * request is cut off without an answer: a browser treats an error status as final, but tries again elsewhere after a lost connection.
   */
  async answer(response: RawResponse, work: () => Promise<void>): Promise<void> {
    if (this.isDraining) return destroyResponse(response);
    this.forget(response);
    this.working.add(response);
    this.http2Sessions.note(response);
    try {
      await work();
    } finally {
      this.working.delete(response);
    }
  }

  /** Notes a request that asks for a stream, before its guards run. If {@link drain} comes first, the request is cut off too. */
  expect(response: RawResponse): void {
    // Node may not report the end of such a response.
    if (isWaitingForTurn(response)) return;
    this.expected.add(response);
    response.on('close', this.closed);
  }

  private forget(response: RawResponse): void {
    if (this.expected.delete(response)) response.off('close', this.closed);
  }

  /**
   * Answers a request with a stream of messages.
   *
   * @returns resolves once the head is written, or the client has gone
   * @throws (rejects) with an error of the stream before the head is written; nothing has been sent then
   */
  serve(stream: MessageStream, request: StreamRequest): Promise<void> {
    const eventStream = new EventStream(request, this, this.rotation.pickEnd());
    this.working.delete(request.response);
    this.streams.add(eventStream);
    this.heartbeat.added(eventStream);
    this.rotation.added();
    return eventStream.serve(stream, request);
  }

  /** Reports a failure of a handler's stream after its end, or if the stream is never read. */
  endFailed(handler: string, error: unknown): void {
    this.reporter.callbackFailed({ callback: `The end of the stream of ${handler}`, error });
  }

  /** Called by a stream that has ended. */
  remove(stream: EventStream): void {
    if (!this.streams.delete(stream)) return;
    this.heartbeat.removed(stream);
    this.rotation.removed();
  }

  /** Call it before the server stops listening, and before the streams end: clients that are told to come back must not come here. */
  aboutToClose(): void {
    this.http2Sessions.ask();
  }

  /**
   * Ends all streams. Each browser is told to come back at its own time, within the {@link returnWindow}. Resolves when the network has
   * taken the ends; readers that do not take them are cut off.
   *
   * @param backWithinMs - the time by which all clients have to be back
   */
  async drain(backWithinMs?: number): Promise<void> {
    this.isDraining = true;
    for (const response of this.working) destroyResponse(response);
    for (const response of this.expected) if (!response.headersSent) destroyResponse(response);
    this.http2Sessions.close();
    if (this.streams.size === 0) return;
    const window = returnWindow(this.streams.size, backWithinMs);
    const ended = [...this.streams].map((stream) => stream.drain(drainFrame(pickReturn(window))));
    await inTime(Promise.all(ended), DRAIN_TIMEOUT_MS, () => undefined);
    for (const stream of this.streams) stream.cutOff();
  }
}
