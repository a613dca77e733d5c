import { Deferred } from './deferred.js';
import { isHeard } from './heard.js';
import type { Hub } from './hub.js';
import { inTime } from './in-time.js';
import { MAX_LEFT_TOLD, type NodeReport } from './node-packet.js';

/**
 * A node that nobody has heard for this long counts as gone. A node that is only cut off from the broker keeps its posts, which its own
 * clients have read, for 2 s (`publishTimeoutMs`); if it were given up earlier, they would get them a second time elsewhere.
 */
const AWAY_MS = 2_500;
const LOOK_MS = 250;
/** With more missing nodes than this, checks are less frequent: clients can name any number of nodes that never existed. */
const LOOKED_FOR_OFTEN = 32;
/** How long a node that was given up is not waited for again, and how many such nodes are remembered. */
const GONE_MS = 5_000;
const MAX_GONE = 1_000;
/** How many nodes that have left for good are remembered. */
const MAX_LEFT = 1_000;

/** Which other nodes exist, as far as the broker knows. All who ask about one node share one check. */
export class NodePresence {
  private readonly looks = new Map<string, Promise<boolean | undefined>>();
  private readonly waits = new Map<string, Promise<boolean>>();
  /** Nodes that were given up, and until when. */
  private readonly gone = new Map<string, number>();
  /** Nodes that have left for good, the last ones at the end. They never come back: a process that starts is another node. */
  private readonly left = new Set<string>();
  /** Those that are waited for, and what ends the wait early. */
  private readonly leaving = new Map<string, Deferred>();

  /**
   * @param channelOf - returns the name of the channel that a node hears
   * @param isKnownToHaveLeft - asks the others about a node: this one may have started later. Never rejects
   */
  constructor(
    private readonly hub: Hub,
    private readonly channelOf: (node: string) => string,
    private readonly isKnownToHaveLeft: (node: string, ms: number) => Promise<boolean>,
  ) {}

  /**
   * Never rejects.
   *
   * @returns `false` if it has left for good, stays away for {@link AWAY_MS}, or has just done so; `true` also if it cannot be known
   */
  async isThere(node: string): Promise<boolean> {
    if (this.left.has(node)) return false;
    if ((await this.look(node)) !== false) return true;
    if ((this.gone.get(node) ?? 0) > performance.now()) return false;
    return shared(this.waits, node, () => this.waitFor(node));
  }

  hasLeft(node: string): boolean {
    return this.left.has(node);
  }

  /** These nodes have left for good. */
  noteLeft(nodes: readonly string[]): void {
    for (const node of nodes) {
      addLast(this.left, node, MAX_LEFT);
      this.leaving.get(node)?.resolve();
    }
  }

  /** What this node tells others of a node. */
  reportOf(node: string): NodeReport {
    return this.left.has(node) ? { left: true } : null;
  }

  /** The last ones that have left for good. */
  get lastLeft(): readonly string[] {
    return [...this.left].slice(1 - MAX_LEFT_TOLD);
  }

  private async waitFor(node: string): Promise<boolean> {
    const hasLeft = new Deferred();
    this.leaving.set(node, hasLeft);
    // Clients can name any number of nodes, and all others hear this.
    if (this.waits.size < LOOKED_FOR_OFTEN)
      void this.isKnownToHaveLeft(node, AWAY_MS).then((isSo) => isSo && this.noteLeft([node]));
    try {
      for (let left = AWAY_MS; left > 0;) {
        const ms = Math.min(LOOK_MS * Math.ceil((this.waits.size + 1) / LOOKED_FOR_OFTEN), left);
        left -= ms;
        // Keeps the process alive, because its callers may need it.
        await inTime(hasLeft.promise, ms, () => undefined);
        if (this.left.has(node)) return false;
        if ((await this.look(node)) !== false) return true;
      }
    } finally {
      this.leaving.delete(node);
    }
    this.noteGone(node);
    return false;
  }

  private look(node: string): Promise<boolean | undefined> {
    return shared(this.looks, node, () => isHeard(this.hub, this.channelOf(node)));
  }

  private noteGone(node: string): void {
    // Moves it to the end.
    this.gone.delete(node);
    this.gone.set(node, performance.now() + GONE_MS);
    const [first] = this.gone.keys();
    if (this.gone.size > MAX_GONE) this.gone.delete(first!);
  }
}

/** Makes it the last one, and forgets the first one if there are too many. */
function addLast(nodes: Set<string>, node: string, max: number): void {
  nodes.delete(node);
  nodes.add(node);
  const [first] = nodes;
  if (nodes.size > max) nodes.delete(first!);
}

/** The running promise for this key, or a new one. */
function shared<T>(underWay: Map<string, Promise<T>>, key: string, begin: () => Promise<T>): Promise<T> {
  const known = underWay.get(key);
  if (known !== undefined) return known;
  const result = begin().finally(() => underWay.delete(key));
  underWay.set(key, result);
  return result;
}
