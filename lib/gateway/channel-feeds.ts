import { isTemplate } from '../protocol/channel-name.js';
import { MemoryLogs } from '../core/memory-log.js';
import type { FeedContext } from '../sse/feed.js';
import { ChannelFeed } from './channel-feed.js';
import type { ClientFeed } from './client-feed.js';
import { HistoryFeed } from './history-feed.js';
import { HistoryReads } from './history-reads.js';
import { IdleFeeds } from './idle-feeds.js';

/** How many feeds without readers are kept; a client may name as many channels as it likes. */
export const MAX_IDLE_FEEDS = 10_000;

/** How much is kept for returning clients. */
export interface ShortMemory {
  /** How long messages are kept at least, if there is room, in milliseconds; 0: not at all. */
  readonly keepMs: number;
  /** The limit for all channels together, in bytes. */
  readonly maxBytes: number;
  /** The limit for one channel, and for the messages that one client is sent at once, in bytes. */
  readonly maxMissedBytes: number;
}

/** How long sent messages of a history stay in memory for new readers, in milliseconds. */
const RING_MS = 10_000;
/** How much of one history is read at once, and kept in memory, in bytes. */
const PAGE_BYTES = 1024 * 1024;

/** All feeds for clients of this node. */
export class ChannelFeeds {
  /** Reads of histories. */
  readonly reads = new HistoryReads();
  private readonly feeds = new Map<string, ClientFeed>();
  private readonly idle = new IdleFeeds();
  private readonly logs: MemoryLogs;
  private readonly rings: MemoryLogs;
  private readonly pageBytes: number;
  private timer: NodeJS.Timeout | undefined = undefined;

  constructor(
    private readonly context: FeedContext,
    readonly memory: ShortMemory,
  ) {
    const { keepMs, maxBytes, maxMissedBytes } = memory;
    const { node } = context.hub;
    this.logs = new MemoryLogs({ node, keepMs, maxBytes, maxLogBytes: maxMissedBytes });
    this.pageBytes = Math.min(PAGE_BYTES, maxMissedBytes);
    this.rings = new MemoryLogs({ node, keepMs: RING_MS, maxBytes, maxLogBytes: this.pageBytes });
  }

  /** The feed of a name or template without a history, if there is one. */
  get(name: string): ChannelFeed | undefined {
    const feed = this.feeds.get(name);
    return feed instanceof ChannelFeed ? feed : undefined;
  }

  /**
   * Returns the feed of a name or template to one more user, who must call {@link release}.
   *
   * @throws ConfigurationError if the class of the channel has the name of another class
   */
  use(name: string): ClientFeed {
    let feed = this.feeds.get(name);
    if (feed === undefined) {
      feed = this.open(name);
      this.feeds.set(name, feed);
    }
    this.idle.delete(feed);
    feed.use();
    return feed;
  }

  /**
   * Ends one use of a feed. The feed stays for a while: other clients may come back for its messages.
   *
   * @param leaver - the user who leaves, or the connection of an anonymous client
   */
  release(feed: ClientFeed, leaver: string): void {
    if (feed.release()) return;
    if (this.memory.keepMs === 0) return this.close(feed);
    this.idle.add(feed, leaver);
    if (this.idle.size > MAX_IDLE_FEEDS) this.close(this.idle.leastFair!);
    this.sweepLater();
  }

  private open(name: string): ClientFeed {
    const { context, rings, reads, pageBytes } = this;
    if (!this.hasHistory(name)) return new ChannelFeed(context, name, this.logs.open(isTemplate(name)));
    return new HistoryFeed({ ...context, rings, reads, pageBytes }, name);
  }

  /** Whether clients read the history of a channel. A template has no single history. */
  private hasHistory(name: string): boolean {
    const { hub } = this.context;
    return !isTemplate(name) && hub.keepsHistories && hub.historyOf(hub.heardUnder(name)) !== undefined;
  }

  private sweepLater(): void {
    this.timer ??= setTimeout(() => this.sweep(), this.memory.keepMs).unref();
  }

  private sweep(): void {
    this.timer = undefined;
    for (const feed of this.idle.before(performance.now() - this.memory.keepMs)) this.close(feed);
    if (this.idle.size > 0) this.sweepLater();
  }

  private close(feed: ClientFeed): void {
    feed.close();
    this.feeds.delete(feed.name);
    this.idle.delete(feed);
  }
}
