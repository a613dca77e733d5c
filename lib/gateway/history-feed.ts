import type { Delivery } from '../core/delivery.js';
import type { DeliveriesRead } from '../core/hub.js';
import { gapReasonOf } from '../core/histories.js';
import { isLastPage } from '../core/history-store.js';
import type { MemoryLogs } from '../core/memory-log.js';
import type { GapReason, Position } from '../protocol/position.js';
import { dropRuleOf } from '../sse/drop-rule.js';
import type { FeedContext, FeedPlace } from '../sse/feed.js';
import type { Frame } from '../sse/frame.js';
import { eventFrame } from '../sse/message-frame.js';
import { clientMessage, type ClientEntry } from './client-message.js';
import { positionFrame } from './history-place.js';
import type { HistoryPage, HistoryReads } from './history-reads.js';
import { HistoryRing } from './history-ring.js';
import { ClientReplay } from './replays.js';
import { UsedFeed, type NativeReader } from './used-feed.js';

/** How many messages are read at once. */
const PAGE_ENTRIES = 256;
/** How long to wait before checking whether a reader in another epoch is ahead of the feed or behind it. In milliseconds. */
const DOUBT_MS = 500;

/** Shared by the feeds of channels with history. */
export interface HistoryFeedContext extends FeedContext {
  readonly rings: MemoryLogs;
  readonly reads: HistoryReads;
  /** The size limit of a page in bytes; a single message may be longer. */
  readonly pageBytes: number;
}

/** Where a client begins to read a history: at a position, with a number of last messages, or with new messages. */
export type HistoryStart = Position | number | undefined;

/** A reader that is ahead of the feed. */
interface Early {
  readonly after: Position;
  /** Called if its position cannot be compared: it must read on from there. */
  readonly again: () => void;
}

/** A callback that waits for the feed to reach a position. */
interface Awaited {
  readonly position: Position;
  readonly reached: () => void;
}

/**
 * The feed of a channel with history for the clients of this node: one listener, whose messages come in the order of offsets without
 * gaps, and pages of the history for new and returning clients.
 */
export class HistoryFeed extends UsedFeed<HistoryFeedContext> {
  private readonly early = new Map<FeedPlace | NativeReader, Early>();
  private readonly awaited = new Set<Awaited>();
  private doubt: NodeJS.Timeout | undefined = undefined;
  private readonly ring: HistoryRing;
  /** The position up to which its readers have everything; `undefined` until the starting position is known. */
  private end: Position | undefined = undefined;

  /** @throws ConfigurationError if the class of the channel has the name of another class */
  constructor(context: HistoryFeedContext, name: string) {
    super(context, name);
    this.ring = new HistoryRing(context.rings);
  }

  /** The position up to which its readers have everything; `undefined`: not known yet. */
  get present(): Position | undefined {
    return this.end;
  }

  /**
   * Resolves when {@link present} is known.
   *
   * @throws (rejects) TransportUnavailableError if it cannot be known now
   */
  async whenKnown(): Promise<void> {
    if (this.end === undefined) await this.begin();
  }

  /** Whether {@link find} needs no read for a start: the feed knows all messages since then. */
  isNear(start: HistoryStart): boolean {
    return this.end !== undefined && (start === undefined || this.placeInRing(start) !== undefined);
  }

  /**
   * Finds the first page for a client.
   *
   * @throws (rejects) TransportUnavailableError if it cannot be read now
   */
  async find(start: HistoryStart): Promise<HistoryPage> {
    await this.whenKnown();
    if (start === undefined) return this.nothingAfter(this.end!);
    const after = this.placeInRing(start);
    if (after !== undefined) return this.nothingAfter(after);
    const isPlace = typeof start !== 'number';
    const key = `${this.name}\n${isPlace ? `${start.epoch}\n${start.offset}` : start}`;
    const { reads } = this.context;
    const known = reads.known(key);
    // The end of that page may be too old.
    if (known !== undefined && (!known.isLast || this.meet(known) !== undefined)) return known;
    const page = await reads.read(key, isPlace, () => this.read(start));
    if (!isPlace) this.keepLast(page);
    return page;
  }

  /**
   * Joins a page with the messages since then, if its reader can continue with live messages: call {@link join} in the same turn. Call it
   * when the feed is settled.
   */
  meet({ missed, next, isLast }: HistoryPage): { readonly missed: ClientReplay; readonly at: Position } | undefined {
    const { end, ring, name } = this;
    const { replays } = this.context.reads;
    if (end?.epoch !== next.epoch) return isLast ? { missed, at: next } : undefined;
    if (end.offset <= next.offset) return { missed, at: next };
    if (next.offset < ring.floor) return undefined;
    // All clients from the same position get the same messages.
    const isAll = missed.entries.length === 0;
    const make = (): ClientReplay => new ClientReplay(name, [...missed.entries, ...(ring.after(next.offset) ?? [])]);
    return { missed: replays.get(isAll ? ring.key : missed, end.offset, next.offset, make), at: end };
  }

  /**
   * Sends a reader of either form all messages after a position.
   *
   * @param again - called if the reader has to read again from there; it has left the feed then
   */
  join(place: FeedPlace | NativeReader, after: Position, again: () => void): void {
    const { end } = this;
    if (end !== undefined && end.epoch === after.epoch && end.offset >= after.offset) this.letIn(place);
    else {
      this.early.set(place, { after, again });
      // In another epoch, either side may be the older one.
      if (end?.epoch !== after.epoch) this.doubt ??= setTimeout(this.lookAgain, DOUBT_MS).unref();
    }
  }

  /** Calls back when readers have everything up to a position that the feed has not reached yet, or when the feed continues elsewhere. */
  whenAt(position: Position, reached: () => void): void {
    this.awaited.add({ position, reached });
  }

  override leave(place: FeedPlace | NativeReader): void {
    this.early.delete(place);
    super.leave(place);
  }

  /** The position up to which a reader has everything. */
  positionOf(place: FeedPlace | NativeReader): Position | undefined {
    return this.early.get(place)?.after ?? this.end;
  }

  override close(): void {
    super.close();
    this.ring.close();
    this.early.clear();
    this.awaited.clear();
    clearTimeout(this.doubt);
  }

  /** See {@link UsedFeed.frameOf}. */
  frameOf(delivery: Delivery): Frame | undefined {
    const { hub } = this.context;
    const { position, channel } = delivery;
    if (position !== undefined && this.isBehind(position)) return undefined;
    const rule = dropRuleOf(hub, delivery);
    const id = position && String(position.offset);
    const body = clientMessage(delivery, position?.offset, undefined, rule && { ...rule, id });
    if (position !== undefined) {
      this.goTo(position);
      this.ring.append(channel, body);
    }
    const place = position ?? this.end;
    if (this.natives.size > 0 && place !== undefined) {
      const native = eventFrame(hub, delivery);
      for (const reader of this.natives) reader.message(place.offset, native, place.epoch);
    }
    return body.frame;
  }

  /** See {@link UsedFeed.lost}. */
  lost(reason: GapReason, position = this.end): void {
    // Nothing has been promised yet.
    if (position === undefined) return;
    this.end = position;
    this.ring.restart(position.offset);
    this.feed.send(positionFrame(this.name, position, reason));
    for (const native of this.natives) native.gap(position.offset, reason, position.epoch);
    for (const place of this.early.keys()) this.sendAway(place);
    this.wakeAt(position);
  }

  private async begin(): Promise<void> {
    const position = await this.context.hub.follow(this.name);
    // Not if messages have arrived meanwhile. More may arrive before the caller goes on, so it must not set the end.
    if (this.end !== undefined) return;
    this.ring.restart(position.offset);
    this.end = position;
  }

  private nothingAfter(position: Position): HistoryPage {
    const missed = new ClientReplay(this.name, []);
    return { gap: undefined, from: position, missed, next: position, isLast: true, isAhead: false };
  }

  /** The position of a start; `undefined` if the ring does not have all messages since then. */
  private placeInRing(start: Position | number): Position | undefined {
    const after = typeof start === 'number' ? this.lastOf(start) : start;
    return after !== undefined && this.isInRing(after) ? after : undefined;
  }

  private isInRing({ epoch, offset }: Position): boolean {
    const { end, ring } = this;
    return end?.epoch === epoch && offset <= end.offset && offset >= ring.floor;
  }

  private lastOf(count: number): Position | undefined {
    const { epoch, offset } = this.end!;
    return offset - count >= this.ring.floor ? { epoch, offset: offset - count } : undefined;
  }

  private async read(start: Position | number): Promise<HistoryPage> {
    const { hub, pageBytes } = this.context;
    return this.pageOf(await hub.readHistory(this.name, start, { maxEntries: PAGE_ENTRIES, maxBytes: pageBytes }));
  }

  private pageOf({ gap, from, deliveries, next, end }: DeliveriesRead): HistoryPage {
    const entries = deliveries.map((delivery): ClientEntry => {
      const { channel, position } = delivery;
      const { offset } = position!;
      const body = clientMessage(delivery, offset, undefined, undefined);
      const bytes = body.frame.bytes.length;
      return { offset, item: { kind: 'message', channel, node: '', serial: undefined, body, bytes } };
    });
    return {
      gap: gap && gapReasonOf(gap),
      from,
      missed: new ClientReplay(this.name, entries),
      next,
      isLast: isLastPage({ next, end }),
      isAhead: gap === 'future',
    };
  }

  /** Keeps the last messages for the next client that requests them. */
  private keepLast({ from, missed, next }: HistoryPage): void {
    const { end, ring } = this;
    const isWhole = missed.entries.length === next.offset - from.offset;
    if (!isWhole || end?.epoch !== next.epoch || end.offset !== next.offset || ring.floor <= from.offset) return;
    ring.restart(from.offset);
    for (const { item } of missed.entries) if (item.kind === 'message') ring.append(item.channel, item.body);
  }

  private isBehind({ epoch, offset }: Position): boolean {
    return this.end?.epoch === epoch && offset <= this.end.offset;
  }

  private goTo(position: Position): void {
    const { end } = this;
    const { epoch, offset } = position;
    const isNewEpoch = end !== undefined && end.epoch !== epoch;
    if (isNewEpoch) this.feed.send(positionFrame(this.name, { epoch, offset: offset - 1 }));
    // Invalid messages have offsets in the history, too.
    if (end === undefined || isNewEpoch || offset !== end.offset + 1) this.ring.restart(offset - 1);
    this.end = position;
    for (const [place, { after }] of this.early) {
      // What is between is in the history.
      if (after.epoch !== epoch || after.offset < offset - 1) this.sendAway(place);
      else if (after.offset < offset) {
        this.early.delete(place);
        this.letIn(place);
      }
    }
    if (this.awaited.size > 0) this.wakeAt(position);
  }

  private wakeAt({ epoch, offset }: Position): void {
    for (const each of this.awaited) {
      if (each.position.epoch === epoch && each.position.offset > offset) continue;
      this.awaited.delete(each);
      each.reached();
    }
  }

  private readonly lookAgain = (): void => {
    this.doubt = undefined;
    for (const [place, { after }] of this.early) if (after.epoch !== this.end?.epoch) this.sendAway(place);
  };

  private sendAway(place: FeedPlace | NativeReader): void {
    const { again } = this.early.get(place)!;
    this.early.delete(place);
    again();
  }
}
