import { ownText } from '../protocol/own-text.js';
import type { Position } from '../protocol/position.js';
import type { ReadFailure } from './channel-log.js';
import { BEGINNING, isLastPage, type HistoryRead, type HistoryStore } from './history-store.js';

/** The size of one read. */
const PAGE = { maxEntries: 256, maxBytes: 1024 * 1024 };
/** How many messages wait while earlier ones are read. Beyond that, messages are dropped and read later. */
const MAX_WAITING = 256;
/** How long to wait before a failed read is repeated. In milliseconds. */
const RETRY_MS = 500;
/** The minimum time between two reads caused by messages that may be forged. In milliseconds. */
const DOUBT_MS = 100;

/** Receives the messages of a subscription, in order. */
export interface OrderedOutput {
  /** @returns `false` for an invalid message, which has been reported */
  message(payload: string, subscription: string, channel: string, position: Position): boolean;
  /**
   * Called while the channel has its former position.
   *
   * @param position - after which the channel continues
   */
  gap(subscription: string, channel: string, failure: ReadFailure, position: Position): void;
  /** Receives errors that one of them has thrown. */
  failed(error: unknown): void;
}

/**
 * Delivers the messages of one channel to one subscription of this node: each once, in the order of offsets. If an offset is missing, or
 * the epoch changes, it reads the missing messages from the history first.
 */
export class OrderedChannel {
  /** The position up to which everything is delivered; `undefined` until the starting position is known. */
  private last: Position | undefined = undefined;
  /** The payload delivered at that position. */
  private lastPayload: string | undefined = undefined;
  /** Whether that is a text of its own, instead of a part of its batch. */
  private isOwn = false;
  /** The offset up to which every delivered message is known to be in the store. Anybody may have published later ones. */
  private sureTo = 0;
  /** The first offset at which another message came than the delivered one. */
  private suspected: number | undefined = undefined;
  /** Whether nothing was delivered or reported yet, so that {@link last} comes from the store. */
  private isSilent = true;
  private lastAt = performance.now();
  /** The epoch of a lost history, if there was no other one yet when that was reported. */
  private gone: string | undefined = undefined;
  private reading = false;
  /** Whether another read must follow the current one. */
  private isStale = false;
  private waiting: { readonly payload: string; readonly position: Position }[] = [];
  /** A payload in the place of the next message that was rejected: anybody may have published it there. */
  private doubted: { readonly payload: string; readonly position: Position } | undefined = undefined;
  private doubtedAt = -Infinity;
  private retry: NodeJS.Timeout | undefined = undefined;
  private isClosed = false;

  /** @param changed - called when {@link isReading} has changed */
  constructor(
    readonly name: string,
    readonly subscription: string,
    private readonly store: Pick<HistoryStore, 'read'>,
    private readonly output: OrderedOutput,
    private readonly changed?: (channel: OrderedChannel) => void,
  ) {}

  /** Whether missing messages are being read. */
  get isReading(): boolean {
    return this.reading;
  }

  /** The position up to which everything is delivered; `undefined` until the starting position is known. */
  get position(): Position | undefined {
    return this.last;
  }

  /**
   * Sets the position that the channel had when it was subscribed to, unless something was heard before.
   *
   * @returns the starting position
   */
  beginAt(position: Position): Position {
    if (this.last === undefined) this.sureTo = position.offset;
    return (this.last ??= position);
  }

  /** Makes messages wait until {@link goOn}. Call it while the starting position is unknown. */
  hold(): void {
    this.setReading(true);
  }

  /** Delivers the messages after a position; without one, everything from the first received message on. */
  goOn(position: Position | undefined): void {
    if (this.isClosed) return;
    if (position !== undefined) {
      this.last = position;
      this.isSilent = false;
      return void this.read();
    }
    const { waiting } = this;
    this.waiting = [];
    this.setReading(false);
    for (const each of waiting) this.guard(() => this.receive(each.payload, each.position));
    // There were too many waiting messages.
    if (this.isStale) this.check();
  }

  receive(payload: string, position: Position): void {
    this.lastAt = performance.now();
    if (this.isReading) return this.wait(payload, position);
    const { last } = this;
    // The first message heard sets the start: earlier ones were not promised. It may have been under way when the store was asked.
    if (last === undefined || this.isNext(last, position) || (this.isSilent && isBehind(last, position))) {
      if (this.isSilent) this.sureTo = 0;
      if (!this.deliver(payload, position) && last !== undefined) this.doubt(payload, position);
      return;
    }
    if (isBehind(last, position)) {
      this.suspect(payload, position);
      if (this.suspected !== undefined) this.readSoon();
      return;
    }
    this.wait(payload, position);
    this.readSoon();
  }

  /** Messages may have been missed: reads them. */
  check(): void {
    if (this.isReading) this.isStale = true;
    else if (this.last !== undefined) void this.read();
  }

  /** Messages may have been missed before the position that the store reported. */
  checkUntil(position: Position): void {
    if (this.last !== undefined && !isBehind(this.last, position)) this.check();
  }

  /** Whether everything up to a position is delivered, and nothing after it. */
  isAt(position: Position): boolean {
    const { last } = this;
    // The first message heard may come before the position that the store reported.
    return !this.isReading && !this.isSilent && last !== undefined && isSame(last, position);
  }

  isQuietSince(time: number): boolean {
    return this.last !== undefined && !this.isReading && this.lastAt < time;
  }

  /**
   * Reads messages that were not heard. A history is not forgotten while anybody reads it, so one that is gone is a loss.
   *
   * @param before - it must have been quiet at least since then
   */
  compare(position: Position, before: number): void {
    if (!this.isQuietSince(before)) return;
    this.releaseBatch();
    if (!isSame(this.last!, position)) void this.read();
  }

  /** Otherwise the last batch of each quiet channel would stay in memory. */
  private releaseBatch(): void {
    if (this.isOwn || this.lastPayload === undefined) return;
    this.lastPayload = ownText(this.lastPayload);
    this.isOwn = true;
  }

  close(): void {
    this.isClosed = true;
    this.waiting = [];
    clearTimeout(this.retry);
  }

  /** @returns whether the message is valid; an invalid one counts as not received */
  private deliver(payload: string, position: Position): boolean {
    const { last, isSilent } = this;
    this.last = position;
    this.isSilent = false;
    if (this.output.message(payload, this.subscription, this.name, position)) {
      this.lastPayload = payload;
      this.isOwn = false;
      return true;
    }
    this.last = last;
    this.isSilent = isSilent;
    return false;
  }

  /** Two messages claim one position, so anybody may have published one of them. The history shows which. */
  private suspect(payload: string, { offset }: Position): void {
    if (offset <= this.sureTo || (offset === this.last!.offset && payload === this.lastPayload)) return;
    this.suspected = Math.min(offset, this.suspected ?? offset);
  }

  /**
   * Checks whether the history has the message that was delivered last. If not, all since the suspected offset may be forged, and the real
   * ones were dropped as known: the channel goes on from there, after a gap.
   */
  private async verify(suspected: number): Promise<void> {
    const { epoch, offset } = this.last!;
    const { entries } = await this.store.read(this.name, { epoch, offset: offset - 1 }, { ...PAGE, maxEntries: 1 });
    const [entry] = entries;
    this.suspected = undefined;
    if (this.isClosed) return;
    if (entry?.offset === offset && entry.payload === this.lastPayload) this.sureTo = offset;
    else this.tellGap('epoch', { epoch, offset: suspected - 1 });
  }

  /** Reads the message that the history has at this position; it may be the same one. Later messages wait. */
  private doubt(payload: string, position: Position): void {
    this.doubted = { payload, position };
    this.readSoon();
  }

  private setReading(isReading: boolean): void {
    if (this.reading === isReading) return;
    this.reading = isReading;
    this.changed?.(this);
  }

  /** Reads at once, unless a recent read for a possibly forged message found nothing. */
  private readSoon(): void {
    this.setReading(true);
    const pause = this.doubtedAt + DOUBT_MS - performance.now();
    if (pause <= 0) void this.read();
    else if (!this.isClosed) this.retry = setTimeout(() => void this.read(), pause).unref();
  }

  private wait(payload: string, position: Position): void {
    if (this.waiting.length < MAX_WAITING) this.waiting.push({ payload, position });
    else this.isStale = true;
  }

  /** Reads missing messages until none is missing. */
  private async read(): Promise<void> {
    this.setReading(true);
    for (;;) {
      this.isStale = false;
      const asked = this.waiting.length;
      const { last, doubted, suspected } = this;
      const isWhole = await this.readPage();
      if (isWhole === undefined) return;
      if (doubted !== undefined || suspected !== undefined || (asked > 0 && isBehind(last!, this.last!)))
        this.doubtedAt = performance.now();
      if (!isWhole) continue;
      if (this.isStale) {
        // The read includes these messages, so there is room for new ones.
        this.waiting.splice(0, asked);
        continue;
      }
      const isDone = this.deliverWaiting(asked);
      if (this.doubted !== undefined || this.suspected !== undefined) return this.readSoon();
      if (isDone) break;
    }
    this.setReading(false);
  }

  /** @returns whether everything has been read; `undefined` if reading ends here, or is repeated later */
  private async readPage(): Promise<boolean | undefined> {
    let page: HistoryRead;
    try {
      if (this.suspected !== undefined) await this.verify(this.suspected);
      page = await this.store.read(this.name, this.last!, PAGE);
    } catch {
      // The link is down, as the status shows. The store has reported any other failure.
      if (!this.isClosed) this.retry = setTimeout(() => void this.read(), RETRY_MS).unref();
      return undefined;
    }
    if (this.isClosed) return undefined;
    const { gap, entries, next } = page;
    const { epoch } = next;
    if (gap !== undefined) this.tellGap(gap, { epoch, offset: next.offset - entries.length });
    for (const { offset, payload } of entries) {
      const wasReported = this.doubted?.position.offset === offset && this.doubted.payload === payload;
      if (!wasReported) this.deliverRead(payload, { epoch, offset });
    }
    this.doubted = undefined;
    this.last = next;
    this.sureTo = next.offset;
    this.lastPayload = entries.at(-1)?.payload;
    this.isOwn = false;
    return isLastPage(page);
  }

  /** @param from - where the channel goes on */
  private tellGap(failure: ReadFailure, from: Position): void {
    this.guard(() => this.output.gap(this.subscription, this.name, failure, from));
    if (from.epoch === BEGINNING.epoch) this.gone = this.last!.epoch;
    this.last = from;
    this.isSilent = false;
  }

  /** A late message of the lost history does not begin the next one. */
  private isNext(last: Position, position: Position): boolean {
    return isNext(last, position) && !(last.epoch === BEGINNING.epoch && position.epoch === this.gone);
  }

  /** @returns whether it is a valid message */
  private deliverRead(payload: string, position: Position): boolean {
    let isMessage = true;
    if (!this.isClosed) this.guard(() => (isMessage = this.deliver(payload, position)));
    return isMessage;
  }

  /** Nobody awaits the read, and later messages must still be delivered if it throws. */
  private guard(run: () => unknown): void {
    try {
      run();
    } catch (error) {
      this.output.failed(error);
    }
  }

  /**
   * @param asked - how many messages waited before the last read: the read includes them, or their epoch is over
   * @returns whether no message was missing among the rest
   */
  private deliverWaiting(asked: number): boolean {
    const { waiting } = this;
    this.waiting = [];
    for (const [index, { payload, position }] of waiting.entries()) {
      if (this.isClosed) continue;
      if (isBehind(this.last!, position)) {
        this.suspect(payload, position);
        continue;
      }
      if (!this.isNext(this.last!, position)) {
        if (index < asked) continue;
        this.waiting = [...waiting.slice(index), ...this.waiting].slice(0, MAX_WAITING);
        this.isStale = true;
        return false;
      }
      if (this.deliverRead(payload, position)) continue;
      this.doubted = { payload, position };
      this.waiting = [...waiting.slice(index + 1), ...this.waiting].slice(0, MAX_WAITING);
      return false;
    }
    return this.waiting.length === 0 || this.deliverWaiting(0);
  }
}

/** Whether a position comes directly after another one. */
export function isNext(last: Position, { epoch, offset }: Position): boolean {
  return (last.epoch === epoch || last.offset + last.epoch.length === 0) && offset === last.offset + 1;
}

/** Whether a position is known to be at or before another one. */
export function isBehind(last: Position, { epoch, offset }: Position): boolean {
  return last.epoch === epoch && offset <= last.offset;
}

export function isSame(one: Position, other: Position): boolean {
  return one.epoch === other.epoch && one.offset === other.offset;
}
