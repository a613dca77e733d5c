import type { Delivery } from '../core/delivery.js';
import type { Hub } from '../core/hub.js';
import type { Listener } from '../core/listener.js';
import type { Reporter } from '../core/reporter.js';
import type { Batch } from '../sse/batch.js';
import { dropRuleOf } from '../sse/drop-rule.js';
import type { Flusher, Group } from '../sse/flusher.js';
import { Frame, encodeFrame } from '../sse/frame.js';

/** How much is kept at most for clients that come back, in bytes of frames. */
const MAX_KEPT_BYTES = 16 * 1024 * 1024;
/** How many feeds may wait for their readers to come back; a client may name as many channels as it likes. */
const MAX_IDLE_FEEDS = 10_000;

/** A message as the clients of this node are sent it. */
export interface FeedMessage {
  /** Its place among all that this node sends to clients. */
  readonly seq: number;
  /** The same on every node, and of no other message; none where a part that is not of this library posted it. */
  readonly id: string | undefined;
  readonly frame: Frame;
}

interface KeptMessage extends FeedMessage {
  readonly feed: ClientFeed;
  readonly channel: string;
  readonly at: number;
}

/** Takes what has been posted until a flush. */
export type FeedReader = (batch: Batch) => void;

/** What clients get of one channel, or of all channels of a template. */
class ClientFeed implements Group {
  readonly listener: Listener;
  readonly readers = new Set<FeedReader>();
  /** Where messages gather for those who are not to be sent them yet. */
  readonly holds = new Set<FeedMessage[]>();
  /** When the last of them left. */
  idleSince = 0;

  /** @param keptSince - all that it has sent after this number is kept */
  constructor(
    readonly feeds: ClientFeeds,
    readonly name: string,
    public keptSince: number,
  ) {
    const { hub } = feeds;
    this.listener = hub.tap(
      hub.heardUnder(name),
      (delivery) => feeds.take(this, delivery),
      hub.root,
      'subscriptions of clients',
    );
  }

  get isIdle(): boolean {
    return this.readers.size === 0 && this.holds.size === 0;
  }

  deliver(batch: Batch): void {
    for (const read of this.readers) read(batch);
  }
}

/** A reader's registration in a feed. */
export class FeedSubscription {
  constructor(
    private readonly feed: ClientFeed,
    private readonly read: FeedReader,
    private held: FeedMessage[] | undefined,
  ) {
    if (held === undefined) feed.readers.add(read);
    else feed.holds.add(held);
  }

  /** See `MessageSubscription.ready`. */
  get ready(): Promise<void> {
    return this.feed.listener.ready;
  }

  /** Sends the reader what comes from now on, instead of holding it back. */
  release(): void {
    if (this.held === undefined) return;
    this.feed.feeds.flusher.settle();
    this.feed.holds.delete(this.held);
    this.held = undefined;
    this.feed.readers.add(this.read);
  }

  unsubscribe(): void {
    const { feed } = this;
    // What was posted before is for it still.
    feed.feeds.flusher.settle();
    feed.readers.delete(this.read);
    if (this.held !== undefined) feed.holds.delete(this.held);
    if (feed.isIdle) feed.feeds.noteIdle(feed);
  }
}

/**
 * What all clients of this node are sent: each message encoded once, numbered, and kept for a while for clients that have
 * lost their connection and come back for what they have missed.
 */
export class ClientFeeds {
  private readonly feeds = new Map<string, ClientFeed>();
  /** Those without readers, in the order in which they have become so. */
  private readonly idle = new Set<ClientFeed>();
  /** In the order of their numbers; those before `first` are forgotten. */
  private kept: KeptMessage[] = [];
  private first = 0;
  private keptBytes = 0;
  private lastSeq = 0;
  private timer: NodeJS.Timeout | undefined = undefined;

  /**
   * @param keepMs - how long messages are kept at least, unless there are too many; 0: not at all
   * @param maxMissedBytes - how much of them one client may be sent at once
   */
  constructor(
    readonly hub: Hub,
    private readonly reporter: Reporter,
    readonly flusher: Flusher,
    private readonly keepMs: number,
    private readonly maxMissedBytes: number,
  ) {}

  /** How far it has come, as clients are told. */
  get position(): string {
    return `${this.hub.node}.${this.lastSeq}`;
  }

  /** Tells a client how far it has come where no message does. */
  get positionFrame(): Frame {
    return new Frame(encodeFrame({ event: 'messaging:position', id: String(this.lastSeq), data: '{}' }));
  }

  /**
   * Sends a reader what comes under a name or template from now on.
   *
   * @param held - takes it instead until the subscription is released
   * @throws ConfigurationError where the class of the channel has the name of another one
   */
  join(name: string, read: FeedReader, held?: FeedMessage[]): FeedSubscription {
    // What was posted before is not for it.
    this.flusher.settle();
    let feed = this.feeds.get(name);
    if (feed === undefined) {
      // A number of its own: whoever has an earlier one does not know what came before there was this feed.
      feed = new ClientFeed(this, name, ++this.lastSeq);
      this.feeds.set(name, feed);
    }
    this.idle.delete(feed);
    return new FeedSubscription(feed, read, held);
  }

  /**
   * What was sent under some names after a number.
   *
   * @returns the messages in order, and the names of which none is missing among them; nothing where it would be too much
   */
  since(seq: number, names: readonly string[]): { messages: FeedMessage[]; complete: string[] } {
    const complete = names.filter((name) => (this.feeds.get(name)?.keptSince ?? Infinity) <= seq);
    const wanted = new Set(complete);
    let index = this.kept.length;
    while (index > this.first && this.kept[index - 1]!.seq > seq) index--;
    const messages = this.kept
      .slice(index)
      // What was defined since then decides about what was kept before too.
      .filter(({ feed, channel }) => wanted.has(feed.name) && this.carries(feed, channel));
    const bytes = messages.reduce((sum, { frame }) => sum + frame.bytes.length, 0);
    return bytes > this.maxMissedBytes ? { messages: [], complete: [] } : { messages, complete };
  }

  /** Has a feed send a message. */
  take(feed: ClientFeed, delivery: Delivery): void {
    try {
      if (!this.carries(feed, delivery.channel)) return;
      const seq = this.lastSeq + 1;
      const data = messageFrame(delivery, feed.listener.isTemplate ? feed.name : undefined);
      const frame = new Frame(encodeFrame({ id: String(seq), data }), dropRuleOf(this.hub, delivery));
      this.lastSeq = seq;
      const message: KeptMessage = {
        seq,
        id: delivery.id,
        frame,
        feed,
        channel: delivery.channel,
        at: performance.now(),
      };
      this.keep(message);
      for (const held of feed.holds) held.push(message);
      // In one order for all feeds, so that every connection has its messages in the order of their numbers.
      if (feed.readers.size > 0) this.flusher.addFrame(feed, frame);
    } catch (error) {
      this.reporter.messageRejected({ channel: delivery.channel, error: error as Error });
    }
  }

  /** To be called when a feed has become idle. */
  noteIdle(feed: ClientFeed): void {
    if (this.keepMs === 0) return this.close(feed);
    feed.idleSince = performance.now();
    this.idle.add(feed);
    const [first] = this.idle;
    if (this.idle.size > MAX_IDLE_FEEDS) this.close(first!);
    this.sweepLater();
  }

  /** Whether a message is for those who have this name: of a template as a whole, what nothing else decides about. */
  private carries({ listener, name }: ClientFeed, channel: string): boolean {
    return !listener.isTemplate || this.hub.definitions.decides(name, channel);
  }

  private keep(message: KeptMessage): void {
    if (this.keepMs === 0) {
      message.feed.keptSince = message.seq;
      return;
    }
    this.kept.push(message);
    this.keptBytes += message.frame.bytes.length;
    while (this.keptBytes > MAX_KEPT_BYTES) this.forgetFirst();
    this.sweepLater();
  }

  private sweepLater(): void {
    this.timer ??= setTimeout(() => this.sweep(), this.keepMs).unref();
  }

  private sweep(): void {
    this.timer = undefined;
    const due = performance.now() - this.keepMs;
    while (this.first < this.kept.length && this.kept[this.first]!.at <= due) this.forgetFirst();
    for (const feed of this.idle) {
      if (feed.idleSince > due) break;
      this.close(feed);
    }
    if (this.idle.size > 0 || this.first < this.kept.length) this.sweepLater();
  }

  private forgetFirst(): void {
    const { feed, seq, frame } = this.kept[this.first++]!;
    feed.keptSince = seq;
    this.keptBytes -= frame.bytes.length;
    // Half of it at a time, so that each is moved only a few times.
    if (this.first * 2 < this.kept.length) return;
    this.kept = this.kept.slice(this.first);
    this.first = 0;
  }

  private close(feed: ClientFeed): void {
    feed.listener.unsubscribe();
    this.feeds.delete(feed.name);
    this.idle.delete(feed);
  }
}

/** A `MessageFrame` as text; written by hand, since its parts are texts already. */
function messageFrame({ channel, postedAt, encoded }: Delivery, template: string | undefined): string {
  const { data, type, meta } = encoded;
  let text = `{"channel":${JSON.stringify(channel)},"at":${postedAt}`;
  if (template !== undefined) text += `,"template":${JSON.stringify(template)}`;
  if (type !== undefined) text += `,"type":${JSON.stringify(type)}`;
  if (meta !== undefined) text += `,"meta":${meta}`;
  return `${text},"data":${data}}`;
}
