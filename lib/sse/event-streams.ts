import type { Hub } from '../core/hub.js';
import type { Reporter } from '../core/reporter.js';
import { Feeds } from './feed.js';
import { Flusher } from './flusher.js';
import { drainFrame } from './frame.js';
import { Heartbeat } from './heartbeat.js';
import { EventStream, type StreamContext, type StreamRequest } from './event-stream.js';
import type { MessageStream } from './stream-source.js';

/** How event streams are kept, for all of an application. */
export interface EventStreamOptions {
  /** Time between two heartbeat comments; 0: none. */
  readonly heartbeatMs: number;
  /** How long a browser waits before it reconnects; `undefined`: as it likes, about 3 s. */
  readonly retryMs: number | undefined;
  /** How many bytes may wait for one slow reader. */
  readonly maxBufferedBytes: number;
}

const DRAIN_TIMEOUT_MS = 400;
// Browsers that lose a server together must not all come to the next one in the same moment.
const DRAIN_RETRY_MS = { min: 500, spread: 2_500 };

/** The open event streams of one application. */
export class EventStreams implements StreamContext {
  readonly flusher = new Flusher();
  private readonly open = new Set<EventStream>();
  private readonly heartbeat = new Heartbeat(this.open);
  readonly feeds: Feeds;
  private draining = false;

  constructor(
    readonly hub: Hub,
    readonly reporter: Reporter,
    readonly options: EventStreamOptions,
  ) {
    this.feeds = new Feeds(hub, reporter, this.flusher);
  }

  /** Whether the application shuts down and takes no more streams. */
  get isDraining(): boolean {
    return this.draining;
  }

  /** How many streams are open. */
  get size(): number {
    return this.open.size;
  }

  /**
   * Answers a request with a stream of messages.
   *
   * @returns resolves once the head is written, or the client has gone
   * @throws (rejects) what the stream fails with before the head is written; nothing has been sent then
   */
  serve(stream: MessageStream, request: StreamRequest): Promise<void> {
    const eventStream = new EventStream(request, this);
    this.open.add(eventStream);
    this.heartbeat.added(eventStream);
    return eventStream.serve(stream, request);
  }

  /** Called by a stream that has ended. */
  remove(stream: EventStream): void {
    if (this.open.delete(stream)) this.heartbeat.removed(stream);
  }

  /**
   * Ends all streams: each browser is told to come back after a time of its own. Resolves when the ends
   * have been handed to the network; readers that do not take theirs are cut off.
   */
  async drain(): Promise<void> {
    this.draining = true;
    if (this.open.size === 0) return;
    const ended = [...this.open].map((stream) =>
      stream.drain(drainFrame(DRAIN_RETRY_MS.min + Math.random() * DRAIN_RETRY_MS.spread)),
    );
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, DRAIN_TIMEOUT_MS)));
    await Promise.race([Promise.all(ended), timeout]);
    clearTimeout(timer);
    for (const stream of this.open) stream.cutOff();
  }
}
