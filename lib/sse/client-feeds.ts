import type { Delivery } from '../core/delivery.js';
import type { Hub } from '../core/hub.js';
import type { Listener, MessageSubscription } from '../core/listener.js';
import type { Reporter } from '../core/reporter.js';
import { dropRuleOf } from './drop-rule.js';
import { Frame, encodeFrame } from './frame.js';

/** How much is kept at most for clients that come back, in bytes of frames. */
const MAX_KEPT_BYTES = 16 * 1024 * 1024;

/** A message as the clients of this node are sent it. */
export interface FeedMessage {
  /** Its place among all that this node sends to clients. */
  readonly seq: number;
  /** The same on every node, and of no other message; none where a part that is not of this library posted it. */
  readonly id: string | undefined;
  readonly frame: Frame;
}

interface KeptMessage extends FeedMessage {
  readonly feed: Feed;
  readonly at: number;
}

/** What clients get of one channel, or of all channels of a template. */
interface Feed {
  readonly name: string;
  readonly listener: Listener;
  readonly readers: Set<FeedReader>;
  /** All that it sent after this number is kept. */
  keptSince: number;
  /** When the last reader left. */
  idleSince: number;
}

/** Called with each message. */
export type FeedReader = (message: FeedMessage) => void;

/** A reader's registration. */
export type FeedSubscription = Pick<MessageSubscription, 'ready' | 'unsubscribe'>;

/**
 * What all clients of this node are sent: each message encoded once, numbered, and kept for a while for clients that have
 * lost their connection and come back for what they have missed.
 */
export class ClientFeeds {
  private readonly feeds = new Map<string, Feed>();
  /** In the order of their numbers; those before `first` are forgotten. */
  private kept: KeptMessage[] = [];
  private first = 0;
  private keptBytes = 0;
  private lastSeq = 0;
  private timer: NodeJS.Timeout | undefined = undefined;

  /** @param keepMs - how long messages are kept at least, unless there are too many; 0: not at all */
  constructor(
    private readonly hub: Hub,
    private readonly reporter: Reporter,
    private readonly keepMs: number,
  ) {}

  /** How far it has come, as clients are told. */
  get position(): string {
    return `${this.hub.node}.${this.lastSeq}`;
  }

  /**
   * Sends a reader what comes under a name or template from now on.
   *
   * @throws ConfigurationError where the class of the channel has the name of another one
   */
  join(name: string, reader: FeedReader): FeedSubscription {
    const feed = this.feeds.get(name) ?? this.create(name);
    feed.readers.add(reader);
    return {
      ready: feed.listener.ready,
      unsubscribe: () => {
        if (feed.readers.delete(reader) && feed.readers.size === 0) this.noteIdle(feed);
      },
    };
  }

  /**
   * What was sent under some names after a number.
   *
   * @returns the messages in order, and the names of which none is missing among them
   */
  since(seq: number, names: readonly string[]): { messages: FeedMessage[]; complete: string[] } {
    const complete = names.filter((name) => (this.feeds.get(name)?.keptSince ?? Infinity) <= seq);
    const wanted = new Set(complete);
    let index = this.kept.length;
    while (index > this.first && this.kept[index - 1]!.seq > seq) index--;
    return { messages: this.kept.slice(index).filter(({ feed }) => wanted.has(feed.name)), complete };
  }

  private create(name: string): Feed {
    // A number of its own: whoever has an earlier one does not know what came before there was this feed.
    const keptSince = ++this.lastSeq;
    const listener = this.hub.listenTo(name, () => this.take(feed), this.hub.root, 'subscriptions of clients');
    const feed: Feed = { name, listener, readers: new Set(), keptSince, idleSince: 0 };
    this.feeds.set(name, feed);
    return feed;
  }

  private take(feed: Feed): void {
    const delivery = this.hub.delivering!;
    const { listener } = feed;
    try {
      const seq = this.lastSeq + 1;
      const data = messageFrame(delivery, listener.isTemplate ? feed.name : undefined);
      const frame = new Frame(encodeFrame({ id: String(seq), data }), dropRuleOf(this.hub, delivery));
      this.lastSeq = seq;
      const message: KeptMessage = { seq, id: delivery.id, frame, feed, at: performance.now() };
      this.keep(message);
      // Nobody else's code runs in between, so every connection has its messages in the order of their numbers.
      for (const reader of feed.readers) reader(message);
    } catch (error) {
      this.reporter.messageRejected({ channel: delivery.channel, error: error as Error });
    }
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

  private noteIdle(feed: Feed): void {
    if (this.keepMs === 0) return this.close(feed);
    feed.idleSince = performance.now();
    this.sweepLater();
  }

  private sweepLater(): void {
    this.timer ??= setTimeout(() => this.sweep(), this.keepMs).unref();
  }

  private sweep(): void {
    this.timer = undefined;
    const due = performance.now() - this.keepMs;
    while (this.first < this.kept.length && this.kept[this.first]!.at <= due) this.forgetFirst();
    let hasIdle = false;
    for (const feed of this.feeds.values()) {
      if (feed.readers.size > 0) continue;
      if (feed.idleSince <= due) this.close(feed);
      else hasIdle = true;
    }
    if (hasIdle || this.first < this.kept.length) this.sweepLater();
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

  private close(feed: Feed): void {
    feed.listener.unsubscribe();
    this.feeds.delete(feed.name);
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
