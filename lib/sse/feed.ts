import { Subscription, type Unsubscribable } from 'rxjs';
import type { Delivery } from '../core/delivery.js';
import type { Hub } from '../core/hub.js';
import type { Heard, Listener } from '../core/listener.js';
import type { Reporter } from '../core/reporter.js';
import type { Registration, Session } from '../core/session.js';
import type { ChannelStream } from '../core/stream.js';
import type { Batch } from './batch.js';
import type { Flusher, Group } from './flusher.js';
import { eventFrame } from './message-frame.js';

/** Who is sent all messages of a channel, each as it is. */
export interface FeedReader {
  /** Takes what has been posted until a flush. */
  sendAll(batch: Batch): void;
  /** Called when the session has ended. */
  complete(): void;
}

/** A reader's registration in a feed, which ends with the session of its stream. */
class Member implements Registration, Unsubscribable {
  private closed = false;

  constructor(
    private readonly feed: Feed,
    private readonly session: Session,
    readonly reader: FeedReader,
  ) {}

  get name(): string {
    return 'an event stream';
  }

  // Made when it is asked for, once: there may be 100,000 members.
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

/** Those who are sent the messages of one channel or template, each as it is: one listener for all of them. */
class Feed implements Group {
  private readonly source: Listener;
  private readonly members = new Set<Member>();

  constructor(
    private readonly feeds: Feeds,
    readonly key: string,
    heard: Heard,
  ) {
    const { hub } = feeds;
    this.source = hub.tap(heard, (delivery) => feeds.take(this, delivery), hub.root, 'event streams');
  }

  join(member: Member): void {
    // What was posted before is not for it.
    this.feeds.flusher.settle();
    this.members.add(member);
  }

  leave(member: Member): void {
    // What was posted before is for it still.
    this.feeds.flusher.settle();
    this.members.delete(member);
    if (this.members.size > 0) return;
    this.source.unsubscribe();
    this.feeds.drop(this);
  }

  deliver(batch: Batch): void {
    for (const { reader } of this.members) reader.sendAll(batch);
  }
}

/**
 * What event streams read that send all messages of a channel: each looks once at what has been posted until the next
 * flush. To go through thousands of streams for each post costs half as much as to write to them (bench/fanout.ts).
 */
export class Feeds {
  private readonly feeds = new Map<string, Feed>();

  constructor(
    readonly hub: Hub,
    private readonly reporter: Reporter,
    readonly flusher: Flusher,
  ) {}

  /** Sends a reader what the stream would give a subscriber. */
  read({ heard, session }: ChannelStream<unknown>, reader: FeedReader): Unsubscribable {
    if (session.closed) {
      reader.complete();
      return Subscription.EMPTY;
    }
    const { channel, definition } = heard;
    // A channel takes its definition from who listens.
    const key = `${definition === undefined ? 'name' : 'definition'} ${channel}`;
    let feed = this.feeds.get(key);
    if (feed === undefined) this.feeds.set(key, (feed = new Feed(this, key, heard)));
    const member = new Member(feed, session, reader);
    feed.join(member);
    session.own(member);
    return member;
  }

  /** Has a feed send a message. */
  take(feed: Feed, delivery: Delivery): void {
    try {
      this.flusher.addFrame(feed, eventFrame(this.hub, delivery));
    } catch (error) {
      this.reporter.messageRejected({ channel: delivery.channel, error: error as Error });
    }
  }

  /** Forgets a feed that nobody reads. */
  drop(feed: Feed): void {
    this.feeds.delete(feed.key);
  }
}
