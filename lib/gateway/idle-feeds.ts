import type { ClientFeed } from './client-feed.js';

/** The feeds that one client has left. */
interface Leaver {
  readonly id: string;
  readonly feeds: Set<ClientFeed>;
  /** The binary logarithm of their number. */
  sizeClass: number;
}

/** The record of an unused feed. */
interface Idle {
  readonly leaver: Leaver;
  readonly since: number;
}

/**
 * Unused feeds, grouped by the client that left them last. At the limit, a client that has left the most loses one first (or a client
 * that has left at least half as many): a client that names a thousand channels never costs another one its recovery.
 */
export class IdleFeeds {
  /** In the order in which they were left. */
  private readonly feeds = new Map<ClientFeed, Idle>();
  private readonly leavers = new Map<string, Leaver>();
  private readonly bySize = Array.from({ length: 33 }, () => new Set<Leaver>());

  get size(): number {
    return this.feeds.size;
  }

  /** @param leaver - the client that has left it */
  add(feed: ClientFeed, leaver: string): void {
    let known = this.leavers.get(leaver);
    if (known === undefined) this.leavers.set(leaver, (known = { id: leaver, feeds: new Set(), sizeClass: 0 }));
    known.feeds.add(feed);
    this.feeds.set(feed, { leaver: known, since: performance.now() });
    this.resize(known);
  }

  /** Does nothing if the feed is in use. */
  delete(feed: ClientFeed): void {
    const idle = this.feeds.get(feed);
    if (idle === undefined) return;
    this.feeds.delete(feed);
    idle.leaver.feeds.delete(feed);
    this.resize(idle.leaver);
  }

  /** The oldest feed of a client that has left the most. */
  get leastFair(): ClientFeed | undefined {
    const [leaver] = this.bySize.findLast((leavers) => leavers.size > 0) ?? [];
    const [feed] = leaver?.feeds ?? [];
    return feed;
  }

  /** The feeds that were left before that time. */
  before(time: number): ClientFeed[] {
    const left: ClientFeed[] = [];
    for (const [feed, { since }] of this.feeds) {
      if (since > time) break;
      left.push(feed);
    }
    return left;
  }

  private resize(leaver: Leaver): void {
    const to = 32 - Math.clz32(leaver.feeds.size);
    if (to === 0) this.leavers.delete(leaver.id);
    if (to === leaver.sizeClass) return;
    this.bySize[leaver.sizeClass]!.delete(leaver);
    leaver.sizeClass = to;
    if (to > 0) this.bySize[to]!.add(leaver);
  }
}
