import type { ClientFeed } from './client-feed.js';

/** What one client has left. */
interface Leaver {
  readonly id: string;
  readonly feeds: Set<ClientFeed>;
  /** By how often their number could be halved. */
  sizeClass: number;
}

/** What is known of a feed that nobody has. */
interface Idle {
  readonly leaver: Leaver;
  readonly since: number;
}

/**
 * The feeds that nobody has, by who has left them last. If there are too many, those who have left the most lose one first (one
 * of those that have left at least half as many as any other): a client that names a thousand channels never costs one its
 * recovery that has a few.
 */
export class IdleFeeds {
  /** In the order in which they were left. */
  private readonly feeds = new Map<ClientFeed, Idle>();
  private readonly leavers = new Map<string, Leaver>();
  private readonly bySize = Array.from({ length: 33 }, () => new Set<Leaver>());

  get size(): number {
    return this.feeds.size;
  }

  /** @param leaver - who has left it */
  add(feed: ClientFeed, leaver: string): void {
    let known = this.leavers.get(leaver);
    if (known === undefined) this.leavers.set(leaver, (known = { id: leaver, feeds: new Set(), sizeClass: 0 }));
    known.feeds.add(feed);
    this.feeds.set(feed, { leaver: known, since: performance.now() });
    this.resize(known);
  }

  /** Does nothing if somebody has it. */
  delete(feed: ClientFeed): void {
    const idle = this.feeds.get(feed);
    if (idle === undefined) return;
    this.feeds.delete(feed);
    idle.leaver.feeds.delete(feed);
    this.resize(idle.leaver);
  }

  /** The first one of those who have left the most. */
  get leastFair(): ClientFeed | undefined {
    const [leaver] = this.bySize.findLast((leavers) => leavers.size > 0) ?? [];
    const [feed] = leaver?.feeds ?? [];
    return feed;
  }

  /** Those that were left before that time. */
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
