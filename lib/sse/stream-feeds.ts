import { Subscription, type Unsubscribable } from 'rxjs';
import type { Registration, Session } from '../core/session.js';
import type { ChannelStream } from '../core/stream.js';
import { Feed, type FeedContext, type FeedPlace, type FeedReader } from './feed.js';
import { gapFrame } from './frame.js';
import { eventFrame } from './message-frame.js';

/** An event stream that sends all messages of a channel, each as it is. */
export interface StreamReader extends FeedReader {
  /** Called when the session has ended. */
  complete(): void;
}

/** The registration of an event stream in a feed, which ends with the session of the stream. */
class StreamPlace implements FeedPlace, Registration, Unsubscribable {
  private closed = false;

  constructor(
    private readonly feed: StreamFeed,
    private readonly session: Session,
    readonly reader: StreamReader,
  ) {}

  get name(): string {
    return 'an event stream';
  }

  // Made when it is asked for, once: there may be 100,000 of them.
  get onSessionClose(): () => void {
    return () => this.reader.complete();
  }

  unsubscribe(): void {
    if (this.closed) return;
    this.closed = true;
    this.session.release(this);
    this.feed.leave(this);
  }
}

/** A feed that ends with its last reader. */
class StreamFeed extends Feed {
  constructor(
    context: FeedContext,
    { heard }: ChannelStream<unknown>,
    private readonly ended: () => void,
  ) {
    super(context, heard, 'event streams', {
      frameOf: (delivery) => eventFrame(context.hub, delivery),
      lost: (reason) => this.send(gapFrame({ channel: heard.channel, reason })),
    });
  }

  override leave(place: FeedPlace): void {
    super.leave(place);
    if (this.hasReaders) return;
    this.close();
    this.ended();
  }
}

/** What event streams of `@Sse()` read that send all messages of a channel. */
export class StreamFeeds {
  private readonly feeds = new Map<string, StreamFeed>();

  constructor(private readonly context: FeedContext) {}

  /** Sends a reader what the stream would give a subscriber. */
  read(stream: ChannelStream<unknown>, reader: StreamReader): Unsubscribable {
    const { session } = stream;
    if (session.closed) {
      reader.complete();
      return Subscription.EMPTY;
    }
    const feed = this.feedOf(stream);
    const place = new StreamPlace(feed, session, reader);
    feed.join(place);
    session.own(place);
    return place;
  }

  private feedOf(stream: ChannelStream<unknown>): StreamFeed {
    const { channel, definition } = stream.heard;
    // By name and by `Channel` may carry different options, so each gets its own feed.
    const key = `${definition === undefined ? 'name' : 'definition'} ${channel}`;
    let feed = this.feeds.get(key);
    if (feed === undefined) {
      feed = new StreamFeed(this.context, stream, () => this.feeds.delete(key));
      this.feeds.set(key, feed);
    }
    return feed;
  }
}
