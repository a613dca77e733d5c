import { Deferred } from './deferred.js';
import type { OrderedChannel } from './ordered-channel.js';

/** What one subscription hears of channels with history, and whether it lacks anything of them that is being looked for. */
export class HeardChannels {
  readonly byName = new Map<string, OrderedChannel>();
  /** Since when readers are promised all. */
  promisedMs = Infinity;
  /** Whether there were too many. */
  hasForgotten = false;
  /** Those that wait until it is known what came before what they have heard. */
  private waiting: Set<string> | undefined = undefined;
  /** For what something is being looked for. */
  private readonly wanting = new Set<object>();
  private whole: Deferred | undefined = undefined;

  /** Those that wait until it is known what came before what they have heard. */
  get held(): Iterable<string> {
    return this.waiting ?? [];
  }

  /** What is heard of a channel for the first time waits from now on, until {@link takeHeld}. */
  holdUnknown(): void {
    if (this.waiting !== undefined) return;
    this.waiting = new Set();
    for (const channel of this.byName.values()) if (channel.position === undefined) this.holdNew(channel);
  }

  /** A channel that is new, or as if it were. */
  holdNew(channel: OrderedChannel): void {
    if (this.waiting === undefined) return;
    this.waiting.add(channel.name);
    channel.hold();
  }

  /** @returns those that wait still */
  takeHeld(): string[] {
    const held = [...this.held].filter((name) => this.byName.get(name)?.position === undefined);
    this.waiting = undefined;
    return held;
  }

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

  /** Resolves when nothing is being looked for, or nobody is subscribed any more; `undefined`: that is so. */
  whenWhole(): Promise<void> | undefined {
    return this.wanting.size === 0 ? undefined : (this.whole ??= new Deferred()).promise;
  }

  close(): void {
    this.wanting.clear();
    this.whole?.resolve();
  }
}
