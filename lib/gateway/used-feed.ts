import type { Delivery } from '../core/delivery.js';
import type { GapReason, Position } from '../protocol/position.js';
import { Feed, type FeedContext, type FeedPlace, type FeedWriter } from '../sse/feed.js';
import type { Frame } from '../sse/frame.js';

/** Who is sent the messages of a feed as a native EventSource reads them, each under an `id` of its own. */
export interface NativeReader {
  /**
   * @param frame - the message, without `id`
   * @param epoch - of the history that the channel keeps
   */
  message(offset: number, frame: Frame, epoch?: string): void;
  gap(offset: number, reason: GapReason, epoch?: string): void;
}

/** What the feeds of clients have in common: one listener, who has the feed, and who is sent what comes. */
export abstract class UsedFeed<Context extends FeedContext> implements FeedWriter {
  protected readonly feed: Feed;
  protected readonly natives = new Set<NativeReader>();
  /** How many clients have it, also those that are not sent anything yet. */
  private users = 0;

  /** @throws ConfigurationError if the class of the channel has the name of another one */
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

  /** Whether any client has it, also one that is not sent anything yet. */
  get isUsed(): boolean {
    return this.users > 0;
  }

  use(): void {
    this.users++;
  }

  /** @returns whether anybody else has it */
  release(): boolean {
    return --this.users > 0;
  }

  /** Hands all readers what has come, so that the end of the feed is where each of them is. */
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

  /** Sends a reader of either form what comes from now on. */
  protected letIn(place: FeedPlace | NativeReader): void {
    if ('reader' in place) this.feed.join(place);
    else this.natives.add(place);
  }
}
