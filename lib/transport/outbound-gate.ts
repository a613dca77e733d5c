import type { BeforePosts } from '../core/transport.js';

/**
 * Stands between posts and the links to Redis. When a link for posts comes up, the gate shuts until the work that must come before posts is
 * done. All posts wait meanwhile, except those to one history.
 */
export class OutboundGate {
  private before: BeforePosts | undefined = undefined;
  /** How many new links have that work still to do. */
  private pending = 0;

  /** @param opened - called when it opens */
  constructor(private readonly opened: () => void) {}

  /** Sets the work that comes before posts. Call it once. */
  attach(before: BeforePosts | undefined): void {
    this.before = before;
  }

  get isOpen(): boolean {
    return this.pending === 0;
  }

  /** Whether posts to a history may pass. */
  lets(channel: string): boolean {
    return this.isOpen || channel === this.before!.except;
  }

  /**
   * Shuts for a link that has come up.
   *
   * @returns resolves when posts may use this link; `undefined`: they may use it at once
   */
  shut(): Promise<void> | undefined {
    const { before } = this;
    if (before === undefined) return undefined;
    this.pending++;
    return before.run().finally(() => {
      if (--this.pending === 0) this.opened();
    });
  }
}
