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
import { destroyResponse, type RawResponse } from './response.js';
import type { MessageStream } from './stream-source.js';
import { WorkQueue } from './work-queue.js';

/** How event streams are kept, for all of an application. */
export interface EventStreamOptions {
  /** Time between two heartbeat comments, in milliseconds; 0: none. */
  readonly heartbeatMs: number;
  /** How long a browser waits before it reconnects, in milliseconds; `undefined`: as it likes, about 3 s. */
  readonly retryMs: number | undefined;
  /** How many bytes may gather behind what one slow reader is being sent. */
  readonly maxBufferedBytes: number;
  /** How long a stream lasts at most, in milliseconds; then its client is told to come back. `undefined`: as long as it likes. */
  readonly maxConnectionAgeMs?: number | undefined;
}

const DRAIN_TIMEOUT_MS = 400;

/** The open event streams of one application. */
export class EventStreams implements StreamContext {
  readonly flusher = new Flusher();
  readonly returns = new Returns();
  /** Of clients that come. */
  readonly queue: WorkQueue;
  private readonly streams = new Set<EventStream>();
  private readonly heartbeat = new Heartbeat(this.streams);
  private readonly rotation: Rotation;
  readonly feeds: StreamFeeds;
  /** Of requests for streams, and for changes of them, that somebody is still at work for. */
  private readonly working = new Set<RawResponse>();
  private readonly http2Sessions = new Http2Sessions();
  private isDraining = false;

  constructor(
    readonly hub: Hub,
    readonly reporter: Reporter,
    readonly options: EventStreamOptions,
  ) {
    this.queue = new WorkQueue(reporter);
    this.feeds = new StreamFeeds({ hub, flusher: this.flusher, queue: this.queue });
    this.rotation = new Rotation(this.streams, options.maxConnectionAgeMs);
  }

  /** How many streams are open. */
  get size(): number {
    return this.streams.size;
  }

  /**
   * Runs what answers a request for a stream, with {@link serve} at its end, or for a change of one. Where the application
   * shuts down before, the request is cut off, however long somebody is at work for it: a browser takes an error status
   * for final, and tries again elsewhere after this.
   */
  async answer(response: RawResponse, work: () => Promise<void>): Promise<void> {
    if (this.isDraining) return destroyResponse(response);
    this.working.add(response);
    this.http2Sessions.note(response);
    try {
      await work();
    } finally {
      this.working.delete(response);
    }
  }

  /**
   * Answers a request with a stream of messages.
   *
   * @returns resolves once the head is written, or the client has gone
   * @throws (rejects) what the stream fails with before the head is written; nothing has been sent then
   */
  serve(stream: MessageStream, request: StreamRequest): Promise<void> {
    const eventStream = new EventStream(request, this, this.rotation.pickEnd());
    this.working.delete(request.response);
    this.streams.add(eventStream);
    this.heartbeat.added(eventStream);
    this.rotation.added();
    return eventStream.serve(stream, request);
  }

  /** What a handler's stream fails with when it has ended, or is not read at all. */
  endFailed(handler: string, error: unknown): void {
    this.reporter.callbackFailed({ callback: `The end of the stream of ${handler}`, error });
  }

  /** Called by a stream that has ended. */
  remove(stream: EventStream): void {
    if (!this.streams.delete(stream)) return;
    this.heartbeat.removed(stream);
    this.rotation.removed();
  }

  /** To be called before the server stops listening, which comes before the streams end: who is told to come back must not come here. */
  aboutToClose(): void {
    this.http2Sessions.ask();
  }

  /**
   * Ends all streams: each browser is told to come back after a time of its own, in the {@link returnWindow}. Resolves when the
   * ends have been handed to the network; readers that do not take theirs are cut off.
   *
   * @param backWithinMs - until when all have to be back
   */
  async drain(backWithinMs?: number): Promise<void> {
    this.isDraining = true;
    for (const response of this.working) destroyResponse(response);
    this.http2Sessions.close();
    if (this.streams.size === 0) return;
    const window = returnWindow(this.streams.size, backWithinMs);
    const ended = [...this.streams].map((stream) => stream.drain(drainFrame(pickReturn(window))));
    await inTime(Promise.all(ended), DRAIN_TIMEOUT_MS, () => undefined);
    for (const stream of this.streams) stream.cutOff();
  }
}
