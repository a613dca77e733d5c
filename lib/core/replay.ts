import type { Delivery } from './delivery.js';
import type { Position } from '../protocol/position.js';
import type { Gap } from './gap.js';
import { gapReasonOf } from './histories.js';
import { isLastPage, type HistoryRead } from './history-store.js';
import type { ReadBounds } from './channel-log.js';
import type { Reporter } from './reporter.js';
import { tellOfGap } from './isolate.js';
import type { Listener } from './listener.js';
import { MessageContext } from './message-context.js';
import { isBehind, isNext } from './ordered-channel.js';

/** Where a listener begins: before so many of the last messages, or right after a position. */
export type ReplayStart = number | Position;

/** What is read at once. */
const PAGE = { maxEntries: 256, maxBytes: 1024 * 1024 };
/** How many live messages wait for one page; if more come, they are read too. */
const MAX_HELD = 1_000;
/** After this long it is tried again to read. In milliseconds. */
const RETRY_MS = 500;

/** What the history of a channel has, as deliveries that are {@link Delivery.replayed}; see `HistoryRead`. */
export interface DeliveriesRead extends Omit<HistoryRead, 'entries'> {
  /** The place before the first of them. */
  readonly from: Position;
  /** What is no message of the channel is left out, and was reported. */
  readonly deliveries: readonly Delivery[];
}

/** What a replay needs of the node. */
export interface PastReader {
  readonly reporter: Reporter;
  /** See `HistoryStore.read`. */
  readHistory(channel: string, after: ReplayStart, page: ReadBounds): Promise<DeliveriesRead>;
  /** Whether this node has delivered the messages of a channel up to a position, and no further. */
  hasHeard(channel: string, position: Position): boolean;
  /** Delivers to one listener; see `Dispatcher.deliver`. */
  deliver(delivery: Delivery, listener: Listener, tap: Listener['tap']): void;
}

/** A reader that takes the past as fast as it can use it. */
export interface Pace {
  /** Resolves when it has used everything it was given. */
  wanted(): Promise<void>;
  /** Whether it can take so many live messages now, and those that follow them. */
  canTake(count: number): boolean;
}

/**
 * Gives one listener the past of its channel, then lets it listen as all others do: each message once, in the order of offsets.
 * Until then it stands between the channel and the listener; afterwards nothing is left of it.
 */
export class Replay {
  private readonly call: Listener['call'];
  private readonly tap: Listener['tap'];
  private readonly onGap: Listener['onGap'];
  private readonly ready: () => void;
  /** Up to where the listener has everything; so many of the last messages while nothing was read. */
  private last: ReplayStart;
  /** What came live while a page was being read. */
  private held: Delivery[] = [];
  /** Whether some of what came meanwhile is not held. */
  private isMissing = false;
  /** The place before the first message that came live: nothing after it is left out. */
  private liveFrom: Position | undefined = undefined;
  /** Whether it wants so many of the last messages, and was not given any. */
  private isCounting: boolean;
  private hasBegun = false;

  /**
   * @param listener - one that is not registered yet
   * @param pace - absent: the listener is given one page after the other
   */
  constructor(
    private readonly hub: PastReader,
    private readonly listener: Listener,
    start: ReplayStart,
    private readonly pace?: Pace,
  ) {
    this.call = listener.call;
    this.tap = listener.tap;
    this.onGap = listener.onGap;
    this.last = start;
    this.isCounting = typeof start === 'number';
    listener.tap = this.hold;
    listener.onGap = this.holdGap;
    this.ready = listener.delayReady();
  }

  /** To be called when the listener is registered. */
  begin(): void {
    if (!this.hasBegun) void this.run();
    this.hasBegun = true;
  }

  private async run(): Promise<void> {
    const { listener, pace } = this;
    await listener.interest;
    while (!listener.closed) {
      await pace?.wanted();
      if (listener.closed) return;
      this.held = [];
      this.isMissing = false;
      const page = await this.readPage();
      if (page === undefined) continue;
      this.take(page);
      if (!isLastPage(page) || pace?.canTake(this.held.length) === false) continue;
      if (this.takeHeld()) return this.join();
    }
  }

  /** @returns `undefined` if there is nothing to take: it ends here, or is to be tried again */
  private async readPage(): Promise<DeliveriesRead | undefined> {
    const { hub, listener, last } = this;
    try {
      const page = await hub.readHistory(listener.channel, last, PAGE);
      const { liveFrom } = this;
      if (typeof last !== 'number' || liveFrom === undefined) return page;
      // Some of the last ones were posted when it listened already, and are not of the past.
      const from = { epoch: liveFrom.epoch, offset: Math.max(0, liveFrom.offset - last) };
      if (isBehind(from, page.from)) return page;
      this.last = from;
      return undefined;
    } catch {
      // The link is away, as the status tells; of anything else the store has told.
      await new Promise<void>((resolve) => setTimeout(resolve, RETRY_MS).unref());
      return undefined;
    }
  }

  private take({ gap, from, deliveries, next }: DeliveriesRead): void {
    const { channel } = this.listener;
    // Who wants the last ones takes what there is of the past.
    const isPast = this.liveFrom !== undefined && isBehind(this.liveFrom, from);
    const isTold = gap !== undefined && !(this.isCounting && gap === 'trimmed' && isPast);
    if (isTold) this.tellGap({ channel, reason: gapReasonOf(gap), position: from });
    this.isCounting = false;
    for (const delivery of deliveries) this.deliver(delivery);
    this.last = next;
  }

  /** @returns whether nothing was missing among them */
  private takeHeld(): boolean {
    // The listener may post in turn, which adds to them.
    for (let index = 0; index < this.held.length; index++) {
      const delivery = this.held[index]!;
      const last = this.last as Position;
      if (isBehind(last, delivery.position!)) continue;
      if (!isNext(last, delivery.position!)) return false;
      this.deliver(delivery);
      this.last = delivery.position!;
    }
    return !this.isMissing;
  }

  /** The listener has everything up to a position, and hears what comes. */
  private join(): void {
    const { hub, listener } = this;
    const last = this.last as Position;
    if (listener.closed) return;
    this.held = [];
    if (hub.hasHeard(listener.channel, last)) return this.end();
    // This node has not come so far: what it delivers up to there has been read.
    listener.tap = this.skip;
    listener.onGap = this.skipGap;
    this.ready();
  }

  private end(): void {
    const { listener } = this;
    listener.onGap = this.onGap;
    listener.setTap(this.tap);
    this.ready();
  }

  private deliver(delivery: Delivery): void {
    const { hub, listener, tap } = this;
    if (!listener.closed) hub.deliver(delivery, listener, tap);
  }

  private tellGap(gap: Gap): void {
    const { hub, listener, onGap } = this;
    if (onGap !== undefined && !listener.closed) tellOfGap(hub.reporter, listener.name, gap, onGap);
  }

  /** While a page is being read. */
  private readonly hold = (delivery: Delivery): unknown => {
    const { position } = delivery;
    // It was posted by a part that keeps no history, and has no place among the others.
    if (position === undefined) return this.pass(delivery);
    this.liveFrom ??= { epoch: position.epoch, offset: position.offset - 1 };
    if (this.held.length < MAX_HELD) this.held.push(delivery);
    else this.isMissing = true;
    return undefined;
  };

  /** What is lost for the channel is read again, or found missing then. */
  private readonly holdGap = (): void => {
    this.isMissing = true;
  };

  /** While this node delivers what the listener has read already. */
  private readonly skip = (delivery: Delivery): unknown => {
    const { position } = delivery;
    const last = this.last as Position;
    // Without a gap between them, another epoch goes on with the offsets of the one before.
    if (position !== undefined && position.offset >= last.offset) this.end();
    return position !== undefined && position.offset <= last.offset ? undefined : this.pass(delivery);
  };

  private readonly skipGap = (gap: Gap): unknown => {
    const { position } = gap;
    if (position !== undefined) {
      if (isBehind(this.last as Position, position)) return undefined;
      this.end();
    }
    return this.onGap?.(gap);
  };

  /** Inside of a delivery. */
  private pass(delivery: Delivery): unknown {
    if (this.tap !== undefined) return this.tap(delivery);
    return this.call(delivery.message as never, new MessageContext(delivery, this.listener));
  }
}
