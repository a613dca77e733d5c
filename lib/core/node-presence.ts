import type { Hub } from './hub.js';

/**
 * A node that nobody has heard for so long is gone. One that is only cut off from the broker keeps its posts, which its own
 * clients have read, for 2 s (`publishTimeoutMs`); if it was given up earlier, they would get them a second time elsewhere.
 */
const AWAY_MS = 2_500;
const LOOK_MS = 250;
/** If more nodes than this are waited for, they are looked for less often: clients can name any number that never existed. */
const LOOKED_FOR_OFTEN = 32;
/** How long a node that was given up is not waited for again, and how many are known to be gone. */
const GONE_MS = 5_000;
const MAX_GONE = 1_000;

/** Which other nodes are there, as far as the broker knows. However many ask about one, it is looked for once at a time. */
export class NodePresence {
  private readonly looks = new Map<string, Promise<boolean | undefined>>();
  private readonly waits = new Map<string, Promise<boolean>>();
  /** Those that were given up, and until when that is so. */
  private readonly gone = new Map<string, number>();

  /** @param channelOf - the name of the channel that a node hears */
  constructor(
    private readonly hub: Hub,
    private readonly channelOf: (node: string) => string,
  ) {}

  /**
   * Never rejects.
   *
   * @returns `false` if it stays away for {@link AWAY_MS}, or has just done so; `true` also if nobody can tell
   */
  async isThere(node: string): Promise<boolean> {
    if ((await this.look(node)) !== false) return true;
    if ((this.gone.get(node) ?? 0) > performance.now()) return false;
    return shared(this.waits, node, () => this.waitFor(node));
  }

  private async waitFor(node: string): Promise<boolean> {
    for (let left = AWAY_MS; left > 0;) {
      const ms = Math.min(LOOK_MS * Math.ceil((this.waits.size + 1) / LOOKED_FOR_OFTEN), left);
      left -= ms;
      // Keeps the process alive, as what waits for it may.
      await new Promise((resolve) => setTimeout(resolve, ms));
      if ((await this.look(node)) !== false) return true;
    }
    this.noteGone(node);
    return false;
  }

  private look(node: string): Promise<boolean | undefined> {
    return shared(this.looks, node, () => this.hub.isHeard(this.channelOf(node)));
  }

  private noteGone(node: string): void {
    // Moves it to the end.
    this.gone.delete(node);
    this.gone.set(node, performance.now() + GONE_MS);
    const [first] = this.gone.keys();
    if (this.gone.size > MAX_GONE) this.gone.delete(first!);
  }
}

/** What is under way already for this key, or is begun now. */
function shared<T>(underWay: Map<string, Promise<T>>, key: string, begin: () => Promise<T>): Promise<T> {
  const known = underWay.get(key);
  if (known !== undefined) return known;
  const result = begin().finally(() => underWay.delete(key));
  underWay.set(key, result);
  return result;
}
