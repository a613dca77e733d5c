import type { Delivery } from '../core/delivery.js';
import type { Hub } from '../core/hub.js';
import type { Heard, Listener } from '../core/listener.js';
import type { GapReason, Position } from '../protocol/position.js';
import type { Batch } from './batch.js';
import type { Flusher, Group } from './flusher.js';
import type { Frame } from './frame.js';

/** A reader of all messages of a feed. */
export interface FeedReader {
  /** Takes the frames of one flush. */
  sendAll(batch: Batch): void;
}

/** Whether a reader of a stream takes the frames of one flush together. */
export function isFeedReader(reader: Partial<FeedReader> | undefined): reader is FeedReader {
  return reader?.sendAll !== undefined;
}

/** A reader's registration in a feed. */
export interface FeedPlace {
  readonly reader: FeedReader;
}

/** Turns deliveries into frames for a feed. */
export interface FeedWriter {
  /** The frame of a message; `undefined` if it is not for the readers. Its errors are reported. */
  frameOf(delivery: Delivery): Frame | undefined;
  /** Messages may be missing here. @param position - after which the channel continues, if it has a history */
  lost(reason: GapReason, position: Position | undefined): void;
  /** Whether a channel is for the readers of its template. @defaultValue all channels are */
  carries?(channel: string): boolean;
}

/** Shared by all feeds of a kind. */
export interface FeedContext {
  readonly hub: Hub;
  readonly flusher: Flusher;
}

/**
 * Sends the messages of one channel or template to many readers: one listener, and one frame of each message, for all of them. Each
 * reader is visited once per flush: visiting thousands of streams for each message costs half as much as writing to them
 * (bench/fanout.ts).
 */
export class Feed implements Group {
  private readonly source: Listener;
  private readonly places = new Set<FeedPlace>();

  /**
   * @param label - its name in logs
   * @throws ConfigurationError if the class of the channel has the name of another class
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

  /** Whether it belongs to a template. */
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

  /** Sends a reader all messages from now on. */
  join(place: FeedPlace): void {
    // Earlier messages are not for it.
    this.context.flusher.settle();
    this.places.add(place);
  }

  /** Stops sending to a reader, after the messages so far. */
  leave(place: FeedPlace): void {
    if (!this.places.has(place)) return;
    this.context.flusher.settle();
    this.places.delete(place);
  }

  /** Sends all readers a frame, after the earlier messages. */
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
      // In one order across all feeds, so that a connection with several of them gets messages in order of arrival.
      if (frame !== undefined && this.places.size > 0) this.context.flusher.addFrame(this, frame);
    } catch (error) {
      this.context.hub.reporter.messageRejected({ channel: delivery.channel, error: error as Error });
    }
  }
}
