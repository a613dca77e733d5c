import { Deferred } from './deferred.js';
import { isHeard } from './heard.js';
import type { Hub } from './hub.js';
import { inTime } from './in-time.js';
import { addLast, setLast } from './keep-last.js';
import { MAX_LEFT_TOLD, readNodeReport, type NodeReport } from './node-packet.js';

/**
 * A node that nobody has heard for this long counts as gone. A node that is only cut off from the broker keeps its posts, which its own
 * clients have read, for 2 s (`publishTimeoutMs`); if it were given up earlier, they would get them a second time elsewhere.
 */
const AWAY_MS = 2_500;
/**
 * The same for a client that left it {@link AWAY_MS} ago: all that the client has read there is at the broker, or never will be. It has
 * a gap in any case, because a node that is cut off misses messages; waiting a little saves those from before.
 */
const MISSED_MS = 1_250;
const LOOK_MS = 250;
/** With more missing nodes than this, checks are less frequent: clients can name any number of nodes that never existed. */
const LOOKED_FOR_OFTEN = 32;
/** How long it is remembered that a node is missing, after the last look at it, and of how many. */
const REMEMBERED_MS = 60_000;
const MAX_MISSING = 1_000;
/** How many nodes that have left for good are remembered. */
const MAX_LEFT = 1_000;
/** For how long a look counts that found a node, and for how many nodes: thousands of clients may come from one. */
const SEEN_MS = 50;
const MAX_SEEN = 100;

/** A node that nobody hears; times by `performance.now()`. */
interface Missing {
  readonly since: number;
  readonly lookedAt: number;
  /** Whether the others were asked about it. */
  readonly isAsked: boolean;
}

/** A look that is due soon, shared by all who wait for it. */
interface NextLook {
  /** How many wait for it; without any it is not done. */
  waiters: number;
  readonly result: Promise<boolean | undefined>;
  /** Has it done at once. */
  readonly wake: () => void;
}

/** Which other nodes exist, as far as the broker and the other nodes know. All who ask about one node share its checks. */
export class NodePresence {
  private readonly looks = new Map<string, Promise<boolean | undefined>>();
  private readonly nextLooks = new Map<string, NextLook>();
  private readonly missing = new Map<string, Missing>();
  /** When nodes were last found. */
  private readonly seen = new Map<string, number>();
  /** Nodes that have left for good, the last ones at the end. They never come back: a process that starts is another node. */
  private readonly left = new Set<string>();

  /**
   * @param channelOf - returns the name of the channel that a node hears
   * @param askOthers - asks the other nodes what they know of one: this one may have started later. Never rejects
   */
  constructor(
    private readonly hub: Hub,
    private readonly channelOf: (node: string) => string,
    private readonly askOthers: (
      node: string,
      timeoutMs: number,
      take: (report: unknown) => boolean,
    ) => Promise<unknown>,
  ) {}

  /**
   * Never rejects.
   *
   * @returns `false` if it has left for good, or is missing for {@link AWAY_MS}; `true` also if it cannot be known
   */
  isThere(node: string): Promise<boolean> {
    return this.waitFor(node, (since) => since + AWAY_MS);
  }

  /**
   * Like {@link isThere}, for a client that has read messages there. It waits longer if its messages may still be under way, and
   * shorter otherwise.
   *
   * @param leftAt - when the client read the last ones, or later; by `performance.now()`
   */
  async isThereFor(node: string, leftAt: number): Promise<boolean> {
    if ((this.seen.get(node) ?? -Infinity) > performance.now() - SEEN_MS && !this.left.has(node)) return true;
    return this.waitFor(node, (since) => Math.max(since + MISSED_MS, leftAt + AWAY_MS));
  }

  hasLeft(node: string): boolean {
    return this.left.has(node);
  }

  /** These nodes have left for good. */
  noteLeft(nodes: readonly string[]): void {
    for (const node of nodes) {
      addLast(this.left, node, MAX_LEFT);
      this.nextLooks.get(node)?.wake();
    }
  }

  /** What this node tells others of a node. */
  reportOf(node: string): NodeReport {
    if (this.left.has(node)) return { left: true };
    const missing = this.missingOf(node);
    return missing === undefined ? null : { missingMs: Math.round(performance.now() - missing.since) };
  }

  /** The last ones that have left for good. */
  get lastLeft(): readonly string[] {
    return [...this.left].slice(1 - MAX_LEFT_TOLD);
  }

  /** @param goneAt - when it counts as gone, if it is missing since then */
  private async waitFor(node: string, goneAt: (since: number) => number): Promise<boolean> {
    let since = Infinity;
    let isFound = this.left.has(node) ? false : await this.look(node);
    this.askAbout(node);
    for (;;) {
      if (this.left.has(node)) return false;
      if (isFound !== false) return true;
      since = Math.min(since, this.missing.get(node)?.since ?? performance.now());
      const restMs = Math.ceil(goneAt(since) - performance.now());
      if (restMs <= 0) return false;
      const next = this.nextLook(node);
      next.waiters++;
      // The timers keep the process alive, because the callers may need it.
      isFound = await inTime(next.result, restMs, () => this.lookOnce(node));
      if (--next.waiters === 0) next.wake();
    }
  }

  private nextLook(node: string): NextLook {
    const due = this.nextLooks.get(node);
    if (due !== undefined) return due;
    const { promise, resolve: wake } = new Deferred();
    const ms = LOOK_MS * Math.ceil((this.nextLooks.size + 1) / LOOKED_FOR_OFTEN);
    const result = inTime(promise, ms, () => undefined).then(() => {
      this.nextLooks.delete(node);
      return next.waiters > 0 ? this.look(node) : undefined;
    });
    const next: NextLook = { waiters: 0, result, wake };
    this.nextLooks.set(node, next);
    return next;
  }

  /** Looks unless it has just done so. */
  private async lookOnce(node: string): Promise<boolean | undefined> {
    const isRecent = (this.missing.get(node)?.lookedAt ?? -Infinity) > performance.now() - 2 * LOOK_MS;
    return isRecent ? false : this.look(node);
  }

  private look(node: string): Promise<boolean | undefined> {
    return shared(this.looks, node, async () => {
      const isThere = await isHeard(this.hub, this.channelOf(node));
      if (isThere === false) this.noteMissing(node);
      else this.missing.delete(node);
      if (isThere === true) {
        if (this.seen.size >= MAX_SEEN) this.seen.clear();
        this.seen.set(node, performance.now());
      }
      return isThere;
    });
  }

  private noteMissing(node: string): void {
    const now = performance.now();
    const known = this.missingOf(node);
    setLast(this.missing, node, { since: now, isAsked: false, ...known, lookedAt: now }, MAX_MISSING);
  }

  /** Once, while it is missing. */
  private askAbout(node: string): void {
    const missing = this.missing.get(node);
    // All others hear the question, and clients can name any number of nodes.
    if (missing === undefined || missing.isAsked || this.nextLooks.size >= LOOKED_FOR_OFTEN) return;
    this.missing.set(node, { ...missing, isAsked: true });
    void this.askOthers(node, AWAY_MS, (report) => this.takeReport(node, report));
  }

  /** @returns whether nothing else needs to be known */
  private takeReport(node: string, report: unknown): boolean {
    const { left, missingMs } = readNodeReport(report);
    const missing = this.missing.get(node);
    if (left) this.noteLeft([node]);
    else if (missing !== undefined) {
      this.missing.set(node, { ...missing, since: Math.min(missing.since, performance.now() - missingMs) });
      this.nextLooks.get(node)?.wake();
    }
    return left;
  }

  private missingOf(node: string): Missing | undefined {
    const missing = this.missing.get(node);
    return missing !== undefined && missing.lookedAt > performance.now() - REMEMBERED_MS ? missing : undefined;
  }
}

/** The running promise for this key, or a new one. */
function shared<T>(underWay: Map<string, Promise<T>>, key: string, begin: () => Promise<T>): Promise<T> {
  const known = underWay.get(key);
  if (known !== undefined) return known;
  const result = begin().finally(() => underWay.delete(key));
  underWay.set(key, result);
  return result;
}
