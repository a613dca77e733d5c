import type { Delivery } from '../core/delivery.js';
import type { Heard } from '../core/listener.js';
import type { ReplayStart } from '../core/replay.js';
import type { GapReason, Position } from '../protocol/position.js';
import { Feed, type FeedContext, type FeedPlace, type FeedReader } from './feed.js';
import { gapFrame, type Frame } from './frame.js';
import { eventFrame } from './message-frame.js';
import type { PastReader } from './past-reading.js';
import type { WorkQueue } from './work-queue.js';

/** Shared by the feeds of event streams. */
export interface StreamFeedContext extends FeedContext {
  readonly queue: WorkQueue;
}

/** An event stream's registration in a feed. */
export interface StreamFeedPlace extends FeedPlace {
  readonly reader: FeedReader & PastReader;
}

/** A feed that ends with its last reader. */
export class StreamFeed extends Feed {
  constructor(
    protected override readonly context: StreamFeedContext,
    protected readonly heard: Heard,
    private readonly ended: () => void,
  ) {
    super(context, heard, 'event streams', {
      frameOf: (delivery) => this.frameOf(delivery),
      lost: (reason, position) => this.lost(reason, position),
    });
  }

  /** @param _start - where the reader begins, if the channel has a history; `undefined`: with new messages */
  enter(place: StreamFeedPlace, _start?: ReplayStart): void {
    this.join(place);
  }

  override leave(place: FeedPlace): void {
    super.leave(place);
    if (this.hasReaders) return;
    this.close();
    this.ended();
  }

  protected frameOf(delivery: Delivery): Frame {
    return eventFrame(this.context.hub, delivery);
  }

  protected lost(reason: GapReason, _position: Position | undefined): void {
    this.send(gapFrame({ channel: this.heard.channel, reason }));
  }
}
