import { Deferred } from './deferred.js';
import type { OrderedChannel } from './ordered-channel.js';

/** What one subscription hears of channels with history, and whether it lacks anything of them that is being looked for. */
export class HeardChannels {
  readonly byName = new Map<string, OrderedChannel>();
  /** For what something is being looked for. */
  private readonly wanting = new Set<object>();
  private whole: Deferred | undefined = undefined;

  /** Messages of something may be missing, until {@link found}. */
  want(something: object): void {
    this.wanting.add(something);
  }

  /** What was missing is delivered, or told to be lost. */
  found(something: object): void {
    if (!this.wanting.delete(something) || this.wanting.size > 0) return;
    this.whole?.resolve();
    this.whole = undefined;
  }

  /** Resolves when nothing is being looked for, or nobody is subscribed any more. */
  whenWhole(): Promise<void> | undefined {
    return this.wanting.size === 0 ? undefined : (this.whole ??= new Deferred()).promise;
  }

  close(): void {
    for (const something of [...this.wanting]) this.found(something);
  }
}
