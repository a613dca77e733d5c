import { Deferred } from './deferred.js';
import type { OrderedChannel } from './ordered-channel.js';
import type { ToldLosses } from './told-losses.js';

/** The channels with history that one subscription hears, and whether messages of any of them are being recovered. */
export class HeardChannels {
  readonly byName = new Map<string, OrderedChannel>();
  /** When readers were first promised every message. */
  promisedMs = Infinity;
  /** Whether channels were forgotten because there were too many. */
  hasForgotten = false;
  /** Channels that wait until it is known what came before the first message heard of them. */
  private waiting: Set<string> | undefined = undefined;
  /** Keys for which messages are being recovered. */
  private readonly wanting = new Set<object>();
  private whole: Deferred | undefined = undefined;

  /** @param told - for a template */
  constructor(readonly told: ToldLosses | undefined) {}

  /** Channels that wait until it is known what came before the first message heard of them. */
  get held(): Iterable<string> {
    return this.waiting ?? [];
  }

  /** From now on, the first message of a new channel waits until {@link takeHeld}. */
  holdUnknown(): void {
    if (this.waiting !== undefined) return;
    this.waiting = new Set();
    for (const channel of this.byName.values()) if (channel.position === undefined) this.holdNew(channel);
  }

  /** Adds a channel that is new, or counts as new. */
  holdNew(channel: OrderedChannel): void {
    if (this.waiting === undefined) return;
    this.waiting.add(channel.name);
    channel.hold();
  }

  /** @returns the channels that still wait */
  takeHeld(): string[] {
    const held = [...this.held].filter((name) => this.byName.get(name)?.position === undefined);
    this.waiting = undefined;
    return held;
  }

  /** Marks messages as possibly missing, until {@link found} is called with the same object. */
  want(something: object): void {
    this.wanting.add(something);
  }

  /** The missing messages have been delivered, or reported as lost. */
  found(something: object): void {
    if (!this.wanting.delete(something) || this.wanting.size > 0) return;
    this.whole?.resolve();
    this.whole = undefined;
  }

  /** Resolves when nothing is being recovered, or nobody is subscribed any more. `undefined`: nothing is being recovered. */
  whenWhole(): Promise<void> | undefined {
    return this.wanting.size === 0 ? undefined : (this.whole ??= new Deferred()).promise;
  }

  close(): void {
    this.wanting.clear();
    this.whole?.resolve();
  }
}
