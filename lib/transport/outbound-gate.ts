import type { BeforePosts } from '../core/transport.js';

/**
 * Stands between posts and the links to Redis. Whenever a link for posts has come up, it is shut until that has been done which goes
 * before posts: those that have waited and those that are made meanwhile wait, except those to one history.
 */
export class OutboundGate {
  private before: BeforePosts | undefined = undefined;
  /** So many links have come up for which it is not done yet. */
  private pending = 0;

  /** @param opened - told when it opens */
  constructor(private readonly opened: () => void) {}

  /** Gives it what goes before posts; once. */
  attach(before: BeforePosts | undefined): void {
    this.before = before;
  }

  get isOpen(): boolean {
    return this.pending === 0;
  }

  /** Whether posts to a history pass. */
  lets(channel: string): boolean {
    return this.isOpen || channel === this.before!.except;
  }

  /**
   * Shuts it for a link that has come up.
   *
   * @returns resolves when posts may go out by this link; `undefined`: they may at once
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
