import { RESERVED_PREFIX } from '../protocol/channel-name.js';
import type { ChannelDefinition } from '../protocol/channel-definition.js';
import { Delivery } from './delivery.js';
import type { WaitingGap } from './gap.js';
import type { Listener, Registry } from './listener.js';

// Shorter lists are not worth compacting.
const MIN_COMPACTION = 32;
// Shared by all idle lists and never written to: a post must not pay for an array that is hardly ever needed.
const NONE_WAITING: (Delivery | WaitingGap)[] = [];
const NO_TEMPLATES: readonly ListenerList[] = [];

/**
 * The listeners of one channel or template, in the order of registration. Adding and removing cost O(1) amortised, even while the list
 * is being walked: removed listeners are marked and swept out later.
 */
export class ListenerList implements Registry {
  /** Resolves when the broker has confirmed the node's interest in this name. */
  interest: Promise<void> | undefined = undefined;
  /** Whether the name belongs to the library, so that the application cannot post to it. */
  readonly isReserved: boolean;
  /** Whether the subscription includes stock Redis clients, because a definition requires it. */
  hasInterop = false;
  /** Whether its channels are known to keep histories. If so, {@link interest} waits for more than the broker. */
  isOrdered = false;
  /** The definition that its listeners use: the first one, unless a later one is of exactly this name. */
  definition: ChannelDefinition | undefined = undefined;
  /**
   * The version of `declarations` at which only the class of {@link definition} decides about a post: there are no rules, no history and
   * no reserved name.
   */
  plainVersion = 0;
  /** Whether, at that version, there is no class either. */
  carriesAnything = false;
  /** Whether a message of this channel is being delivered. */
  isBusy = false;
  /** Messages, and gaps between them, that wait until the current message has reached every listener. */
  waiting: (Delivery | WaitingGap | undefined)[] = NONE_WAITING;
  /** Whether messages wait although none is being delivered. */
  isLeftOver = false;
  /** The list whose leftover messages come after those of this one. */
  nextLeftOver: ListenerList | undefined = undefined;
  /** The templates that match the name, at {@link templatesVersion}. */
  templates: readonly ListenerList[] = NO_TEMPLATES;
  templatesVersion = 0;
  private listeners: Listener[] = [];
  private closedCount = 0;
  private tapCount = 0;
  private nextWaiting = 0;

  constructor(
    /** The channel's name or the template. */
    readonly name: string,
    /** Called when the last listener has left. */
    private readonly onEmpty: (list: ListenerList) => void,
  ) {
    this.isReserved = name.startsWith(RESERVED_PREFIX);
  }

  /** Whether one of the listeners is a tap. */
  get hasTaps(): boolean {
    return this.tapCount > 0;
  }

  get isEmpty(): boolean {
    return this.listeners.length === this.closedCount;
  }

  add(listener: Listener): void {
    this.listeners.push(listener);
    if (listener.tap !== undefined) this.tapCount++;
  }

  noteUntapped(): void {
    this.tapCount--;
  }

  noteClosed({ tap }: Listener): void {
    if (tap !== undefined) this.tapCount--;
    this.closedCount++;
    this.sweep();
    if (this.isEmpty) this.onEmpty(this);
  }

  wait(delivery: Delivery | WaitingGap): void {
    if (this.waiting === NONE_WAITING) this.waiting = [];
    this.waiting.push(delivery);
  }

  /** Adds a gap. It replaces a waiting gap with the same reason if no message has come since. */
  waitGap(later: WaitingGap): void {
    const { waiting } = this;
    const { gap } = later;
    for (let index = waiting.length - 1; index >= this.nextWaiting; index--) {
      const before = waiting[index]!;
      if (before instanceof Delivery) break;
      if (before.gap.reason !== gap.reason) continue;
      // The later position counts.
      const told = before.told === later.told ? later.told : undefined;
      waiting[index] = { gap, channels: joined(before.channels, later.channels), told };
      return;
    }
    this.wait(later);
  }

  /** Takes the longest-waiting item. The others stay, whatever happens to its delivery. */
  takeWaiting(): Delivery | WaitingGap | undefined {
    const { waiting } = this;
    const delivery = waiting[this.nextWaiting];
    if (delivery === undefined) {
      this.waiting = NONE_WAITING;
      this.nextWaiting = 0;
    } else {
      // Released at once: otherwise a listener that posts again and again would keep all of its posts.
      waiting[this.nextWaiting++] = undefined;
    }
    return delivery;
  }

  /**
   * The listeners, for walking. The caller visits indexes 0 to `length - 1` as of now and skips closed listeners. New listeners are added
   * at the end; a sweep makes another array.
   */
  get all(): readonly Listener[] {
    return this.listeners;
  }

  private sweep(): void {
    if (this.closedCount < MIN_COMPACTION || this.closedCount * 2 < this.listeners.length) return;
    this.listeners = this.listeners.filter((listener) => !listener.closed);
    this.closedCount = 0;
  }
}

/** Adds to the first set, which may be large already. */
function joined(some: Set<string> | undefined, others: Set<string> | undefined): Set<string> | undefined {
  if (others === undefined) return undefined;
  for (const channel of others) some?.add(channel);
  return some;
}
