import type { Delivery } from '../core/delivery.js';
import type { Hub } from '../core/hub.js';
import type { Heard, Listener } from '../core/listener.js';
import type { GapReason, Position } from '../protocol/position.js';
import type { Batch } from './batch.js';
import type { Flusher, Group } from './flusher.js';
import type { Frame } from './frame.js';

/** Who is sent all messages of a feed. */
export interface FeedReader {
  /** Takes what has been sent until a flush. */
  sendAll(batch: Batch): void;
}

/** A reader's registration in a feed. */
export interface FeedPlace {
  readonly reader: FeedReader;
}

/** What a feed makes of what it hears. */
export interface FeedWriter {
  /** What readers are sent of a message; nothing if it is not for them. What it throws is reported. */
  frameOf(delivery: Delivery): Frame | undefined;
  /** Messages may be missing here. @param position - from where the channel goes on, if it has a history */
  lost(reason: GapReason, position: Position | undefined): void;
  /** Whether a channel is for the readers of its template. @defaultValue all are */
  carries?(channel: string): boolean;
}

/** What feeds are made with. */
export interface FeedContext {
  readonly hub: Hub;
  readonly flusher: Flusher;
}

/**
 * Those who are sent the messages of one channel or template: one listener, and one frame of each message, for all of them.
 * Each looks once at what has come until the next flush: to go through thousands of streams for each message costs half as
 * much as to write to them (bench/fanout.ts).
 */
export class Feed implements Group {
  private readonly source: Listener;
  private readonly places = new Set<FeedPlace>();

  /**
   * @param label - what logs call it
   * @throws ConfigurationError if the class of the channel has the name of another one
   */
  constructor(
    protected readonly context: FeedContext,
    heard: Heard,
    label: string,
    private readonly writer: FeedWriter,
  ) {
    const { hub } = context;
    this.source = hub.tap(heard, (delivery) => this.take(delivery), hub.own, label, {
      onGap: ({ reason, position }) => writer.lost(reason, position),
      carries: (channel) => writer.carries?.(channel) ?? true,
    });
  }

  /** See `MessageSubscription.ready`. */
  get ready(): Promise<void> {
    return this.source.ready;
  }

  /** Whether it is of a template. */
  get isTemplate(): boolean {
    return this.source.isTemplate;
  }

  get hasReaders(): boolean {
    return this.places.size > 0;
  }

  /** Whether a reader has joined. */
  has(place: FeedPlace): boolean {
    return this.places.has(place);
  }

  /** Sends a reader what comes from now on. */
  join(place: FeedPlace): void {
    // Earlier messages are not for it.
    this.context.flusher.settle();
    this.places.add(place);
  }

  /** Sends a reader nothing more, beside what has come until now. */
  leave(place: FeedPlace): void {
    if (!this.places.has(place)) return;
    this.context.flusher.settle();
    this.places.delete(place);
  }

  /** Sends all readers a frame, behind the messages that came before it. */
  send(frame: Frame): void {
    if (this.places.size > 0) this.context.flusher.addFrame(this, frame);
  }

  deliver(batch: Batch): void {
    for (const { reader } of this.places) reader.sendAll(batch);
  }

  /** Stops listening. */
  close(): void {
    this.source.unsubscribe();
  }

  private take(delivery: Delivery): void {
    try {
      const frame = this.writer.frameOf(delivery);
      // Of all feeds in one order, so that a connection that reads several gets their messages as they came.
      if (frame !== undefined && this.places.size > 0) this.context.flusher.addFrame(this, frame);
    } catch (error) {
      this.context.hub.reporter.messageRejected({ channel: delivery.channel, error: error as Error });
    }
  }
}
