import type { Delivery } from './delivery.js';
import type { Position } from '../protocol/position.js';
import type { Gap } from './gap.js';
import { gapReasonOf } from './histories.js';
import { BEGINNING, isLastPage, type HistoryRead } from './history-store.js';
import type { ReadBounds } from './channel-log.js';
import type { Reporter } from './reporter.js';
import { tellOfGap } from './isolate.js';
import type { Listener } from './listener.js';
import { MessageContext } from './message-context.js';
import { isBehind, isNext } from './ordered-channel.js';

/** Where a listener begins: with a number of the last messages, or directly after a position. */
export type ReplayStart = number | Position;

/** The size of one read. */
const PAGE = { maxEntries: 256, maxBytes: 1024 * 1024 };
/** How many live messages wait for one page. Beyond that, messages are dropped and read later. */
const MAX_HELD = 1_000;
/** How long to wait before a failed read is repeated. In milliseconds. */
const RETRY_MS = 500;

/** Entries of a channel's history, as {@link Delivery.replayed} deliveries; see `HistoryRead`. */
export interface DeliveriesRead extends Omit<HistoryRead, 'entries'> {
  /** The position before the first of them. */
  readonly from: Position;
  /** Without invalid messages, which were reported. */
  readonly deliveries: readonly Delivery[];
}

/** The parts of the node that a replay needs. */
export interface PastSource {
  readonly reporter: Reporter;
  /** See `HistoryStore.read`. */
  readHistory(channel: string, after: ReplayStart, page: ReadBounds): Promise<DeliveriesRead>;
  /** Whether this node has delivered the messages of a channel up to a position, and none after it. */
  hasHeard(channel: string, position: Position): boolean;
  /** Delivers to one listener; see `Dispatcher.deliver`. */
  deliver(delivery: Delivery, listener: Listener, tap: Listener['tap']): void;
}

/** A reader that takes earlier messages at its own pace. */
export interface Pace {
  /** Resolves when it has used everything it was given. */
  wanted(): Promise<void>;
  /** Whether it can take this many live messages now, and those that follow. */
  canTake(count: number): boolean;
}

/**
 * Gives one listener the earlier messages of its channel, then lets it listen like any other: each message once, in the order of
 * offsets. Until then it stands between the channel and the listener; afterwards it leaves no trace.
 */
export class Replay {
  private readonly call: Listener['call'];
  private readonly tap: Listener['tap'];
  private readonly onGap: Listener['onGap'];
  private readonly ready: () => void;
  /** The position up to which the listener has everything; before the first read, a number of last messages. */
  private last: ReplayStart;
  /** Live messages that arrived while a page was being read. */
  private held: Delivery[] = [];
  /** Whether some of them were dropped. */
  private isMissing = false;
  /** The position before the first live message: no later message is missing. */
  private liveFrom: Position | undefined = undefined;
  /** Whether it wants a number of last messages and has not got any yet. */
  private isCounting: boolean;
  private hasBegun = false;

  /**
   * @param listener - not yet registered
   * @param pace - absent: the listener gets one page after the other
   */
  constructor(
    private readonly hub: PastSource,
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

  /** Call it when the listener is registered. */
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

  /** @returns `undefined` if there is nothing to take: the replay ends here, or the read is repeated */
  private async readPage(): Promise<DeliveriesRead | undefined> {
    const { hub, listener, last } = this;
    try {
      const page = await hub.readHistory(listener.channel, last, PAGE);
      const { liveFrom } = this;
      if (typeof last !== 'number' || liveFrom === undefined) return page;
      // Some of the last messages arrived after the listener started, so they are not earlier messages.
      const from = { epoch: liveFrom.epoch, offset: Math.max(0, liveFrom.offset - last) };
      if (isBehind(from, page.from)) return page;
      this.last = from;
      return undefined;
    } catch {
      // The link is down, as the status shows. The store has reported any other failure.
      await new Promise<void>((resolve) => setTimeout(resolve, RETRY_MS).unref());
      return undefined;
    }
  }

  private take({ gap, from, deliveries, next }: DeliveriesRead): void {
    const { channel } = this.listener;
    // A reader of the last messages takes as many as there are.
    const isPast = this.liveFrom !== undefined && isBehind(this.liveFrom, from);
    const isTold = gap !== undefined && !(this.isCounting && gap === 'trimmed' && isPast);
    if (isTold) this.tellGap({ channel, reason: gapReasonOf(gap), position: from });
    this.isCounting = false;
    for (const delivery of deliveries) this.deliver(delivery);
    this.last = next;
  }

  /** @returns whether no message was missing among them */
  private takeHeld(): boolean {
    // The listener may post in turn, which adds to the held messages.
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

  /** The listener has everything up to a position, and hears live messages from now on. */
  private join(): void {
    const { hub, listener } = this;
    const last = this.last as Position;
    if (listener.closed) return;
    this.held = [];
    if (hub.hasHeard(listener.channel, last)) return this.end();
    // This node has not delivered that far yet; the listener has read these messages already.
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

  /** The tap while a page is being read. */
  private readonly hold = (delivery: Delivery): unknown => {
    const { position } = delivery;
    // A sender without histories posted it, so it has no position among the others.
    if (position === undefined) return this.pass(delivery);
    this.liveFrom ??= { epoch: position.epoch, offset: position.offset - 1 };
    if (this.held.length < MAX_HELD) this.held.push(delivery);
    else this.isMissing = true;
    return undefined;
  };

  /** Lost messages of the channel are read again, or found missing then. */
  private readonly holdGap = (): void => {
    this.isMissing = true;
  };

  /** The tap while this node delivers messages that the listener has already read. */
  private readonly skip = (delivery: Delivery): unknown => {
    const { position } = delivery;
    const last = this.last as Position;
    if (position !== undefined) {
      // What is between is in the history.
      if (isOther(last, position) || position.offset > last.offset + 1) return this.readAgain();
      if (position.offset >= last.offset) this.end();
      if (position.offset <= last.offset) return undefined;
    }
    return this.pass(delivery);
  };

  private readonly skipGap = (gap: Gap): unknown => {
    const { position } = gap;
    if (position !== undefined) {
      if (isOther(this.last as Position, position)) return this.readAgain();
      if (isBehind(this.last as Position, position)) return undefined;
      this.end();
    }
    return this.onGap?.(gap);
  };

  /** Only the store can compare positions of two epochs: the later one may begin before the end of the earlier one. */
  private readAgain(): void {
    const { listener } = this;
    listener.tap = this.hold;
    listener.onGap = this.holdGap;
    void this.run();
  }

  /** Runs within a delivery. */
  private pass(delivery: Delivery): unknown {
    if (this.tap !== undefined) return this.tap(delivery);
    return this.call(delivery.message as never, new MessageContext(delivery, this.listener));
  }
}

/** Whether a position is of another epoch. Nothing is before the first epoch. */
function isOther(last: Position, { epoch }: Position): boolean {
  return last.epoch !== epoch && last.epoch !== BEGINNING.epoch;
}
