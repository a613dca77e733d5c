import { isTemplate } from '../protocol/channel-name.js';
import { MemoryLogs } from '../core/memory-log.js';
import type { FeedContext } from '../sse/feed.js';
import { ChannelFeed } from './channel-feed.js';
import type { ClientFeed } from './client-feed.js';
import { HistoryFeed } from './history-feed.js';
import { HistoryReads } from './history-reads.js';
import { IdleFeeds } from './idle-feeds.js';

/** How many feeds may wait for their readers to come back; a client may name as many channels as it likes. */
export const MAX_IDLE_FEEDS = 10_000;

/** How much is kept for clients that come back. */
export interface ShortMemory {
  /** How long messages are kept at least, if there is room, in milliseconds; 0: not at all. */
  readonly keepMs: number;
  /** In bytes, for all channels together. */
  readonly maxBytes: number;
  /** In bytes, for one channel, and what one client may be sent at once. */
  readonly maxMissedBytes: number;
}

/** For how long what was sent of a history is at hand for those who enter, in milliseconds. */
const RING_MS = 10_000;
/** How much of one history is read at once, and is at hand, in bytes. */
const PAGE_BYTES = 1024 * 1024;

/** What all clients of this node are sent, and were sent a short while ago. */
export class ChannelFeeds {
  /** Of histories. */
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

  /** The feed of a name or template whose messages only this node numbers, if there is one. */
  get(name: string): ChannelFeed | undefined {
    const feed = this.feeds.get(name);
    return feed instanceof ChannelFeed ? feed : undefined;
  }

  /**
   * The feed of a name or template, for one more who has it until {@link release}.
   *
   * @throws ConfigurationError if the class of the channel has the name of another one
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
   * One has the feed no more. It goes on for a while: others may come back for what it has.
   *
   * @param leaver - who that was: a user, or a connection of somebody who is not signed in
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

  /** Whether clients read the history of a channel. Many channels at once have no one history. */
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
