import type { Position } from '../protocol/position.js';
import type { ReadFailure } from './channel-log.js';
import { BEGINNING, isLastPage, type HistoryRead, type HistoryStore } from './history-store.js';

/** What is read at once. */
const PAGE = { maxEntries: 256, maxBytes: 1024 * 1024 };
/** How many messages wait while those before them are read; what comes on top is read too. */
const MAX_WAITING = 256;
/** After this long it is tried again to read. In milliseconds. */
const RETRY_MS = 500;

/** Where the messages of a subscription go, in order. */
export interface OrderedOutput {
  message(payload: string, subscription: string, channel: string, position: Position): void;
  /** @param position - from where the channel goes on */
  gap(subscription: string, channel: string, failure: ReadFailure, position: Position): void;
  /** Told of what one of them has thrown. */
  failed(error: unknown): void;
}

/**
 * The messages of one channel as one subscription of this node hears them: each once, in the order of offsets. If there is
 * a hole, or another epoch, what is missing is read from the history before it goes on.
 */
export class OrderedChannel {
  /** Up to where everything is delivered; `undefined` until it is known from where to count. */
  private last: Position | undefined = undefined;
  /** Whether nothing was delivered or told yet, so that {@link last} is what the store has said. */
  private isSilent = true;
  private lastAt = performance.now();
  private isReading = false;
  /** Whether, when what is being read is there, it has to be looked again. */
  private isStale = false;
  private waiting: { readonly payload: string; readonly position: Position }[] = [];
  private retry: NodeJS.Timeout | undefined = undefined;
  private isClosed = false;

  constructor(
    readonly name: string,
    private readonly subscription: string,
    private readonly store: HistoryStore,
    private readonly output: OrderedOutput,
  ) {}

  /** Up to where everything is delivered; `undefined` until it is known from where to count. */
  get position(): Position | undefined {
    return this.last;
  }

  /**
   * It has come so far when it was subscribed to; unless something was heard before.
   *
   * @returns from where it counts
   */
  beginAt(position: Position): Position {
    return (this.last ??= position);
  }

  receive(payload: string, position: Position): void {
    this.lastAt = performance.now();
    if (this.isReading) return this.wait(payload, position);
    const { last } = this;
    // The first that is heard: nobody was promised what was before. It may have been on its way when the store was asked.
    if (last === undefined || isNext(last, position) || (this.isSilent && isBehind(last, position))) {
      return this.deliver(payload, position);
    }
    if (isBehind(last, position)) return;
    this.wait(payload, position);
    void this.read();
  }

  /** Something may have been missed: reads it. */
  check(): void {
    if (this.isReading) this.isStale = true;
    else if (this.last !== undefined) void this.read();
  }

  /** Something may have been missed before the store told where the channel is. */
  checkUntil(position: Position): void {
    // What is forgotten as a whole, after its time, begins anew with the next post.
    if (position.epoch === BEGINNING.epoch || this.last === undefined || isBehind(this.last, position)) return;
    this.check();
  }

  /** Whether everything up to a position is delivered, and nothing else. */
  isAt({ epoch, offset }: Position): boolean {
    const { last } = this;
    // The first that is heard may be one before the place that the store has told.
    return !this.isReading && !this.isSilent && last?.epoch === epoch && last.offset === offset;
  }

  isQuietSince(time: number): boolean {
    return this.last !== undefined && !this.isReading && this.lastAt < time;
  }

  /** @param before - when it was quiet last, at least */
  compare({ epoch, offset }: Position, before: number): void {
    const { last } = this;
    if (!this.isQuietSince(before) || (last!.epoch === epoch && last!.offset === offset)) return;
    if (epoch !== BEGINNING.epoch) void this.read();
  }

  close(): void {
    this.isClosed = true;
    this.waiting = [];
    clearTimeout(this.retry);
  }

  private deliver(payload: string, position: Position): void {
    this.last = position;
    this.isSilent = false;
    this.output.message(payload, this.subscription, this.name, position);
  }

  private wait(payload: string, position: Position): void {
    if (this.waiting.length < MAX_WAITING) this.waiting.push({ payload, position });
    else this.isStale = true;
  }

  /** Reads what is missing, until nothing is. */
  private async read(): Promise<void> {
    this.isReading = true;
    for (;;) {
      this.isStale = false;
      const asked = this.waiting.length;
      const isWhole = await this.readPage();
      if (isWhole === undefined) return;
      if (!isWhole || this.isStale) continue;
      if (this.deliverWaiting(asked)) break;
    }
    this.isReading = false;
  }

  /** @returns whether nothing more is to be read; `undefined` if it ends here, or is tried again later */
  private async readPage(): Promise<boolean | undefined> {
    let page: HistoryRead;
    try {
      page = await this.store.read(this.name, this.last!, PAGE);
    } catch {
      // The link is away, as the status tells; of anything else the store has told.
      if (!this.isClosed) this.retry = setTimeout(() => void this.read(), RETRY_MS).unref();
      return undefined;
    }
    if (this.isClosed) return undefined;
    const { gap, entries, next } = page;
    const { epoch } = next;
    if (gap !== undefined) {
      const from = { epoch, offset: next.offset - entries.length };
      this.last = from;
      this.isSilent = false;
      this.guard(() => this.output.gap(this.subscription, this.name, gap, from));
    }
    for (const { offset, payload } of entries) this.deliverRead(payload, { epoch, offset });
    this.last = next;
    return isLastPage(page);
  }

  private deliverRead(payload: string, position: Position): void {
    if (!this.isClosed) this.guard(() => this.deliver(payload, position));
  }

  /** Nobody waits for what is read, and what comes after it is to be delivered all the same. */
  private guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.output.failed(error);
    }
  }

  /**
   * @param asked - so many came before everything was read: they are among that, or of a numbering that is over
   * @returns whether nothing was missing among the others
   */
  private deliverWaiting(asked: number): boolean {
    const { waiting } = this;
    this.waiting = [];
    for (const [index, { payload, position }] of waiting.entries()) {
      if (this.isClosed || isBehind(this.last!, position)) continue;
      if (!isNext(this.last!, position)) {
        if (index < asked) continue;
        this.waiting = [...waiting.slice(index), ...this.waiting].slice(0, MAX_WAITING);
        this.isStale = true;
        return false;
      }
      this.deliverRead(payload, position);
    }
    return this.waiting.length === 0 || this.deliverWaiting(0);
  }
}

/** Whether a position is that of the message right after another one. */
export function isNext(last: Position, { epoch, offset }: Position): boolean {
  return (last.epoch === epoch || last.offset + last.epoch.length === 0) && offset === last.offset + 1;
}

/** Whether a position is known not to be after another one. */
export function isBehind(last: Position, { epoch, offset }: Position): boolean {
  return last.epoch === epoch && offset <= last.offset;
}
