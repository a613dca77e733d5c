import type { Hub } from '../core/hub.js';
import { Listener, type Registry } from '../core/listener.js';
import type { Reporter } from '../core/reporter.js';
import type { Registrar } from '../core/stream.js';
import type { Batch } from './batch.js';
import type { Flusher, Group } from './flusher.js';
import { eventFrame } from './message-frame.js';

/** Those who are sent the messages of one channel or template, each as it is: one listener for all of them. */
class Feed implements Group, Registry {
  /** Hears the messages. */
  readonly source: Listener;
  private readonly members = new Set<Listener>();

  constructor(
    private readonly feeds: Feeds,
    readonly key: string,
    { channel, definition, segments }: Listener,
  ) {
    const { hub } = feeds;
    this.source = new Listener(channel, definition, segments, () => feeds.take(this), hub.root, 'event streams');
    this.source.isContextFree = true;
    hub.attach(this.source);
  }

  get interest(): Promise<void> | undefined {
    return this.source.interest;
  }

  add(listener: Listener): void {
    // What was posted before is not for it.
    this.feeds.flusher.settle();
    this.members.add(listener);
  }

  noteClosed(listener: Listener): void {
    // What was posted before is for it still.
    this.feeds.flusher.settle();
    this.members.delete(listener);
    if (this.members.size === 0) this.feeds.drop(this);
  }

  deliver(batch: Batch): void {
    for (const { call } of this.members) (call as (batch: Batch) => unknown)(batch);
  }
}

/**
 * What event streams read that send all messages of a channel: each looks once at what has been posted until the next
 * flush. To go through thousands of streams for each post costs half as much as to write to them (bench/fanout.ts).
 */
export class Feeds implements Registrar {
  private readonly feeds = new Map<string, Feed>();

  constructor(
    readonly hub: Hub,
    private readonly reporter: Reporter,
    readonly flusher: Flusher,
  ) {}

  /** Registers a listener that is called with a {@link Batch} of the messages that have been posted. */
  attach(listener: Listener): void {
    const { channel, definition, session } = listener;
    // A channel takes its definition from who listens.
    const key = `${definition === undefined ? 'name' : 'definition'} ${channel}`;
    let feed = this.feeds.get(key);
    if (feed === undefined) this.feeds.set(key, (feed = new Feed(this, key, listener)));
    listener.attach(feed, 0);
    session.own(listener);
  }

  /** Has a feed send the message that is being delivered. */
  take(feed: Feed): void {
    const delivery = this.hub.delivering!;
    try {
      this.flusher.addFrame(feed, eventFrame(this.hub, delivery));
    } catch (error) {
      this.reporter.messageRejected({ channel: delivery.channel, error: error as Error });
    }
  }

  /** Forgets a feed that nobody reads. */
  drop(feed: Feed): void {
    feed.source.unsubscribe();
    this.feeds.delete(feed.key);
  }
}
