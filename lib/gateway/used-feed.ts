import type { Delivery } from '../core/delivery.js';
import type { GapReason, Position } from '../protocol/position.js';
import { Feed, type FeedContext, type FeedPlace, type FeedWriter } from '../sse/feed.js';
import type { Frame } from '../sse/frame.js';

/** Receives the messages of a feed in the form for a native EventSource, each under its own `id`. */
export interface NativeReader {
  /**
   * @param frame - the message, without `id`
   * @param epoch - of the channel's history, if it keeps one
   */
  message(offset: number, frame: Frame, epoch?: string): void;
  gap(offset: number, reason: GapReason, epoch?: string): void;
}

/** The base of client feeds: one listener, its users, and the readers of its messages. */
export abstract class UsedFeed<Context extends FeedContext> implements FeedWriter {
  protected readonly feed: Feed;
  protected readonly natives = new Set<NativeReader>();
  /** How many clients have it, including those that get no messages yet. */
  private users = 0;

  /** @throws ConfigurationError if the class of the channel has the name of another class */
  constructor(
    protected readonly context: Context,
    readonly name: string,
  ) {
    this.feed = new Feed(context, context.hub.heardUnder(name), 'subscriptions of clients', this);
  }

  /** See `MessageSubscription.ready`. */
  get ready(): Promise<void> {
    return this.feed.ready;
  }

  /** Whether any client has it, including those that get no messages yet. */
  get isUsed(): boolean {
    return this.users > 0;
  }

  use(): void {
    this.users++;
  }

  /** @returns whether anybody else still has it */
  release(): boolean {
    return --this.users > 0;
  }

  /** Sends all readers the collected messages, so that each of them is at the end of the feed. */
  settle(): void {
    this.context.flusher.settle();
  }

  leave(place: FeedPlace | NativeReader): void {
    if ('reader' in place) this.feed.leave(place);
    else this.natives.delete(place);
  }

  close(): void {
    this.feed.close();
  }

  /** See {@link FeedWriter.frameOf}. */
  abstract frameOf(delivery: Delivery): Frame | undefined;

  /** See {@link FeedWriter.lost}. */
  abstract lost(reason: GapReason, position?: Position): void;

  /** Sends a reader of either form all messages from now on. */
  protected letIn(place: FeedPlace | NativeReader): void {
    if ('reader' in place) this.feed.join(place);
    else this.natives.add(place);
  }
}
