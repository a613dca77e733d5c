import type { Position } from '../protocol/position.js';
import type { ReadFailure } from './channel-log.js';
import { BEGINNING, isLastPage, type HistoryRead, type HistoryStore } from './history-store.js';

/** What is read at once. */
const PAGE = { maxEntries: 256, maxBytes: 1024 * 1024 };
/** How many messages wait while those before them are read; what comes on top is read too. */
const MAX_WAITING = 256;
/** After this long it is tried again to read. In milliseconds. */
const RETRY_MS = 500;
/** Between two reads for what only looks like the next messages, and may be anybody's, at least. In milliseconds. */
const DOUBT_MS = 100;

/** Where the messages of a subscription go, in order. */
export interface OrderedOutput {
  /** @returns `false` for what is no message of the channel, which has been reported */
  message(payload: string, subscription: string, channel: string, position: Position): boolean;
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
  /** What was delivered there. */
  private lastPayload: string | undefined = undefined;
  /** Whether nothing was delivered or told yet, so that {@link last} is what the store has said. */
  private isSilent = true;
  private lastAt = performance.now();
  private reading = false;
  /** Whether, when what is being read is there, it has to be looked again. */
  private isStale = false;
  private waiting: { readonly payload: string; readonly position: Position }[] = [];
  /** What came as the next message and was rejected: anybody may have published it in place of that one. */
  private doubted: { readonly payload: string; readonly position: Position } | undefined = undefined;
  private doubtedAt = -Infinity;
  private retry: NodeJS.Timeout | undefined = undefined;
  private isClosed = false;

  /** @param changed - told when {@link isReading} has changed */
  constructor(
    readonly name: string,
    readonly subscription: string,
    private readonly store: HistoryStore,
    private readonly output: OrderedOutput,
    private readonly changed?: (channel: OrderedChannel) => void,
  ) {}

  /** Whether what is missing is being read. */
  get isReading(): boolean {
    return this.reading;
  }

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

  /** What comes waits, until {@link goOn}; to be called while it is not known from where to count. */
  hold(): void {
    this.setReading(true);
  }

  /** Delivers what follows a position; without one, everything from the first message that has come. */
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
    // There were too many of them.
    if (this.isStale) this.check();
  }

  receive(payload: string, position: Position): void {
    this.lastAt = performance.now();
    if (this.isReading) return this.wait(payload, position);
    const { last } = this;
    // The first that is heard: nobody was promised what was before. It may have been on its way when the store was asked.
    if (last === undefined || isNext(last, position) || (this.isSilent && isBehind(last, position))) {
      if (!this.deliver(payload, position) && last !== undefined) this.doubt(payload, position);
      return;
    }
    if (isBehind(last, position)) {
      if (position.offset === last.offset && this.lastPayload !== undefined) this.compareLast(payload);
      return;
    }
    this.wait(payload, position);
    this.readSoon();
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
  isAt(position: Position): boolean {
    const { last } = this;
    // The first that is heard may be one before the place that the store has told.
    return !this.isReading && !this.isSilent && last !== undefined && isSame(last, position);
  }

  isQuietSince(time: number): boolean {
    return this.last !== undefined && !this.isReading && this.lastAt < time;
  }

  /** @param before - when it was quiet last, at least */
  compare(position: Position, before: number): void {
    const { last } = this;
    if (!this.isQuietSince(before) || isSame(last!, position)) return;
    if (position.epoch !== BEGINNING.epoch) void this.read();
  }

  close(): void {
    this.isClosed = true;
    this.waiting = [];
    clearTimeout(this.retry);
  }

  /** @returns whether it is a message of the channel; if not, it is as if it had not come */
  private deliver(payload: string, position: Position): boolean {
    const { last, isSilent } = this;
    this.last = position;
    this.isSilent = false;
    if (this.output.message(payload, this.subscription, this.name, position)) {
      this.lastPayload = payload;
      return true;
    }
    this.last = last;
    this.isSilent = isSilent;
    return false;
  }

  /** Two messages in one place: anybody may have published one of them. What the history has there is delivered, once. */
  private compareLast(payload: string): void {
    const { last, lastPayload } = this;
    if (payload === lastPayload) return;
    const { epoch, offset } = last!;
    this.last = { epoch, offset: offset - 1 };
    this.doubt(lastPayload!, last!);
  }

  /** Goes on with what the history has in its place, which may be the same. What comes meanwhile waits. */
  private doubt(payload: string, position: Position): void {
    this.doubted = { payload, position };
    this.readSoon();
  }

  private setReading(isReading: boolean): void {
    if (this.reading === isReading) return;
    this.reading = isReading;
    this.changed?.(this);
  }

  /** Reads at once, unless what came last in place of the next messages was just now found not to be there. */
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

  /** Reads what is missing, until nothing is. */
  private async read(): Promise<void> {
    this.setReading(true);
    for (;;) {
      this.isStale = false;
      const asked = this.waiting.length;
      const { last, doubted } = this;
      const isWhole = await this.readPage();
      if (isWhole === undefined) return;
      if (doubted !== undefined || (asked > 0 && isBehind(last!, this.last!))) this.doubtedAt = performance.now();
      if (!isWhole) continue;
      if (this.isStale) {
        // They are among what was read; so there is room for what comes.
        this.waiting.splice(0, asked);
        continue;
      }
      if (this.deliverWaiting(asked)) break;
      if (this.doubted !== undefined) return this.readSoon();
    }
    this.setReading(false);
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
    for (const { offset, payload } of entries) {
      const wasReported = this.doubted?.position.offset === offset && this.doubted.payload === payload;
      if (!wasReported) this.deliverRead(payload, { epoch, offset });
    }
    this.doubted = undefined;
    this.last = next;
    this.lastPayload = entries.at(-1)?.payload;
    return isLastPage(page);
  }

  /** @returns whether it is a message of the channel */
  private deliverRead(payload: string, position: Position): boolean {
    let isMessage = true;
    if (!this.isClosed) this.guard(() => (isMessage = this.deliver(payload, position)));
    return isMessage;
  }

  /** Nobody waits for what is read, and what comes after it is to be delivered all the same. */
  private guard(run: () => unknown): void {
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
      if (this.deliverRead(payload, position)) continue;
      this.doubted = { payload, position };
      this.waiting = [...waiting.slice(index + 1), ...this.waiting].slice(0, MAX_WAITING);
      return false;
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

export function isSame(one: Position, other: Position): boolean {
  return one.epoch === other.epoch && one.offset === other.offset;
}
