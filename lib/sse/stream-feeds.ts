import { Subscription, type Unsubscribable } from 'rxjs';
import type { Registration, Session } from '../core/session.js';
import type { ChannelStream } from '../core/stream.js';
import type { Position } from '../protocol/position.js';
import type { FeedReader } from './feed.js';
import { HistoryStreamFeed } from './history-stream-feed.js';
import type { PastReader } from './past-reading.js';
import { StreamFeed, type StreamFeedContext, type StreamFeedPlace } from './stream-feed.js';

/** An event stream that sends all messages of a channel unchanged. */
export interface StreamReader extends FeedReader, PastReader {
  /** The position where it begins if the channel has a history, whatever the options of the stream say. */
  readonly resumesAfter: Position | undefined;
  /** Called when the session has ended. */
  complete(): void;
}

/** The registration of an event stream in a feed. It ends with the session of the stream. */
class StreamRegistration implements StreamFeedPlace, Registration, Unsubscribable {
  private closed = false;

  constructor(
    private readonly feed: StreamFeed,
    private readonly session: Session,
    readonly reader: StreamReader,
  ) {}

  get name(): string {
    return 'an event stream';
  }

  // Made on demand, once: there may be 100,000 of them.
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

/** The feeds for `@Sse()` streams that send all messages of a channel. */
export class StreamFeeds {
  private readonly feeds = new Map<string, StreamFeed>();

  constructor(private readonly context: StreamFeedContext) {}

  /** Sends a reader the messages that the stream would give a subscriber. */
  read(stream: ChannelStream<unknown>, reader: StreamReader): Unsubscribable {
    const { session } = stream;
    if (session.closed) {
      reader.complete();
      return Subscription.EMPTY;
    }
    const feed = this.feedOf(stream);
    const place = new StreamRegistration(feed, session, reader);
    feed.enter(place, reader.resumesAfter ?? stream.replay);
    session.own(place);
    return place;
  }

  private feedOf(stream: ChannelStream<unknown>): StreamFeed {
    const { heard } = stream;
    const { channel, definition } = heard;
    // By name and by `Channel` may carry different options, so each gets its own feed.
    const key = `${definition === undefined ? 'name' : 'definition'} ${channel}`;
    let feed = this.feeds.get(key);
    if (feed === undefined) {
      const ended = (): void => void this.feeds.delete(key);
      feed = new (stream.keepsHistory ? HistoryStreamFeed : StreamFeed)(this.context, heard, ended);
      this.feeds.set(key, feed);
    }
    return feed;
  }
}
