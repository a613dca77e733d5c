import type { Position } from '../protocol/position.js';
import type { ChannelLog, LogEntry, LogItem, LogRead, ReadBounds } from './channel-log.js';
import { randomNumber } from './random-number.js';
import { MAX_VECTOR_ROWS, SerialVector } from './serial-vector.js';

/** Overhead of an entry in bytes, besides its body: its objects and references. */
export const ENTRY_BYTES = 128;
/** Memory for one poster's latest serial, in bytes. */
const ROW_BYTES = 256;
/** The keep time passes in this many steps; each item is kept for at most one step longer. */
const STEPS = 4;

/** How much the logs of a node keep. */
export interface MemoryLogsOptions {
  /** Prefix of the epochs. */
  readonly node: string;
  /** How long items are kept, if there is room: at least this long, and at most a quarter longer; 0: not at all. In milliseconds. */
  readonly keepMs: number;
  /** Room for all logs, in bytes; `ENTRY_BYTES` are added to each body, and `ROW_BYTES` for each poster. */
  readonly maxBytes: number;
  /** Room for one log, in bytes. */
  readonly maxLogBytes: number;
}

/**
 * The logs that a node keeps in its memory, within a shared limit. At the limit, the largest log forgets first (or one at least half as
 * large): a busy channel never costs a quiet one its messages. One timer serves all logs.
 */
export class MemoryLogs {
  private readonly active = new Set<MemoryLog<unknown>>();
  /** The logs that hold something, by the binary logarithm of their size. */
  private readonly bySize: Set<MemoryLog<unknown>>[] = [];
  private kept = 0;
  private steps = 0;
  private timer: NodeJS.Timeout | undefined = undefined;

  constructor(private readonly options: MemoryLogsOptions) {}

  /** The size of all logs. */
  get bytes(): number {
    return this.kept;
  }

  /**
   * Begins a log. Its own epoch distinguishes it from all others.
   *
   * @param perChannel - whether it belongs to a template, see {@link SerialVector}
   * @param number - different from that of every other log of the node
   */
  open<Body>(perChannel: boolean, number = randomNumber()): MemoryLog<Body> {
    const { node, keepMs, maxLogBytes } = this.options;
    return new MemoryLog(this, node, number, perChannel, keepMs === 0 ? 0 : maxLogBytes);
  }

  /** @internal Lets a log forget by time from now on. */
  activate(log: MemoryLog<unknown>): void {
    this.active.add(log);
    this.timer ??= this.nextStep();
  }

  /** @internal Call it when the size of a log has changed. */
  resize(log: MemoryLog<unknown>, by: number, from: number, to: number): void {
    this.kept += by;
    if (from !== to) {
      this.bySize[from]?.delete(log);
      if (to > 0) (this.bySize[to] ??= new Set()).add(log);
    }
    if (by > 0 && this.kept > this.options.maxBytes) this.makeRoom();
  }

  /** @internal Forgets a log. */
  drop(log: MemoryLog<unknown>): void {
    this.active.delete(log);
    if (this.active.size > 0) return;
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private makeRoom(): void {
    let size = this.bySize.length - 1;
    while (this.kept > this.options.maxBytes) {
      const [largest] = this.bySize[size] ?? [];
      if (largest === undefined) size--;
      else largest.forgetSome();
    }
  }

  private nextStep(): NodeJS.Timeout {
    return setTimeout(() => this.step(), this.options.keepMs / STEPS).unref();
  }

  private step(): void {
    const isTurn = ++this.steps % STEPS === 0;
    for (const log of this.active) {
      log.step(isTurn);
      if (log.isIdle) this.active.delete(log);
    }
    this.timer = this.active.size > 0 ? this.nextStep() : undefined;
  }
}

/** A log in the memory of this node, made by {@link MemoryLogs.open}. An append takes the same time whatever the size of the log. */
export class MemoryLog<Body> implements ChannelLog<Body> {
  readonly epoch: string;
  /** From `head` on: the items with the offsets after `floor`. */
  private items: (LogItem<Body> | undefined)[] = [];
  private head = 0;
  /** Everything up to this offset is forgotten. */
  private floor = 0;
  private last = 0;
  private bytes = 0;
  private rowBytes = 0;
  private sizeClass = 0;
  private readonly postIds = new Map<string, number>();
  /** The last offsets at the latest steps. Items before the first one are old enough to be forgotten. */
  private marks: number[] = [];
  private isActive = false;
  private recent: SerialVector;
  private older: SerialVector;
  /** How many turns ago entries of the vector were forgotten early. */
  private turnsSinceForgotten = Infinity;

  /** @internal */
  constructor(
    private readonly logs: MemoryLogs,
    node: string,
    /** The number of the log on this node. */
    readonly number: number,
    private readonly perChannel: boolean,
    /** Room for its items. */
    readonly maxBytes: number,
  ) {
    this.epoch = `${node}.${number}`;
    this.recent = this.newVector();
    this.older = this.newVector();
  }

  /** The offset of the last item; 0 before there is one. */
  get lastOffset(): number {
    return this.last;
  }

  /** Everything up to this offset is forgotten. */
  get forgottenOffset(): number {
    return this.floor;
  }

  /** @internal Whether there is nothing to forget. */
  get isIdle(): boolean {
    return !this.isActive;
  }

  append(item: LogItem<Body>): Position {
    const { epoch, maxBytes } = this;
    if (maxBytes === 0) return { epoch, offset: (this.floor = ++this.last) };
    if (item.kind === 'message' && item.postId !== undefined) {
      const known = this.postIds.get(item.postId);
      if (known !== undefined) return { epoch, offset: known };
      this.postIds.set(item.postId, this.last + 1);
    }
    const offset = ++this.last;
    if (!this.isActive) {
      this.isActive = true;
      this.logs.activate(this);
    }
    this.items.push(item);
    if (item.kind === 'message' && item.serial !== undefined) this.note(item.node, item.channel, item.serial);
    this.resize(sizeOf(item));
    while (this.bytes > maxBytes) this.forgetFirst();
    return { epoch, offset };
  }

  read({ epoch, offset }: Position, { maxBytes = Infinity, maxEntries = Infinity }: ReadBounds = {}): LogRead<Body> {
    const end = this.position();
    if (epoch !== this.epoch || !Number.isSafeInteger(offset)) return { found: false, reason: 'epoch', end };
    if (offset > this.last) return { found: false, reason: 'future', end };
    if (offset < this.floor) return { found: false, reason: 'trimmed', end };
    const entries: LogEntry<Body>[] = [];
    let bytes = 0;
    for (let next = offset + 1; next <= this.last && entries.length < maxEntries; next++) {
      const item = this.items[this.head + next - this.floor - 1]!;
      if (item.kind === 'message') bytes += item.bytes;
      if (bytes > maxBytes && entries.length > 0) break;
      entries.push({ offset: next, item });
    }
    return { found: true, entries, end };
  }

  position(): Position {
    return { epoch: this.epoch, offset: this.last };
  }

  /**
   * How far the posters' messages have reached this log: it counts all messages within the keep time, even those that there was no room
   * for. With too many posters, it knows the latest and reports the others as unknown.
   */
  vector(): SerialVector {
    // Two turns later, messages from before an early loss no longer matter.
    const vector = new SerialVector(this.perChannel, MAX_VECTOR_ROWS, this.turnsSinceForgotten >= 2);
    vector.noteAll(this.older);
    vector.noteAll(this.recent);
    return vector;
  }

  /** Forgets everything. Nothing may be appended any more. */
  close(): void {
    this.forgetTo(this.last);
    this.older = this.recent = this.newVector();
    this.resizeRows();
    this.isActive = false;
    this.logs.drop(this);
  }

  /** @internal Forgets the oldest item or, if they take more memory, the positions of earlier posters. */
  forgetSome(): void {
    if (this.bytes >= this.rowBytes) return this.forgetFirst();
    if (this.older.size > 0) this.older = this.newVector();
    else this.recent = this.newVector();
    this.turnsSinceForgotten = 0;
    this.resizeRows();
  }

  /** @internal Forgets the oldest item. */
  forgetFirst(): void {
    const item = this.items[this.head]!;
    this.items[this.head++] = undefined;
    this.floor++;
    if (item.kind === 'message' && item.postId !== undefined) this.postIds.delete(item.postId);
    // Half of the array at a time, so that each item moves only a few times.
    if (this.head * 2 >= this.items.length) {
      this.items = this.items.slice(this.head);
      this.head = 0;
    }
    this.resize(-sizeOf(item));
  }

  /** @internal A quarter of the keep time has passed; with a turn, all of it. */
  step(isTurn: boolean): void {
    this.marks.push(this.last);
    if (this.marks.length > STEPS) this.forgetTo(this.marks.shift()!);
    if (isTurn) {
      this.turn();
      this.turnsSinceForgotten++;
    }
    if (this.floor < this.last || this.recent.size > 0 || this.older.size > 0) return;
    this.isActive = false;
    this.marks = [];
  }

  private note(node: string, channel: string, serial: number): void {
    const { size } = this.recent;
    if (!this.recent.note(node, channel, serial)) {
      this.turn();
      this.turnsSinceForgotten = 0;
      this.recent.note(node, channel, serial);
    } else if (this.recent.size === size) {
      return;
    }
    this.resizeRows();
  }

  private turn(): void {
    this.older = this.recent;
    this.recent = this.newVector();
    this.resizeRows();
  }

  private newVector(): SerialVector {
    return new SerialVector(this.perChannel, MAX_VECTOR_ROWS / 2);
  }

  private forgetTo(offset: number): void {
    while (this.floor < offset) this.forgetFirst();
  }

  private resize(by: number): void {
    this.bytes += by;
    this.noteSize(by);
  }

  private resizeRows(): void {
    const bytes = (this.older.size + this.recent.size) * ROW_BYTES;
    const by = bytes - this.rowBytes;
    this.rowBytes = bytes;
    if (by !== 0) this.noteSize(by);
  }

  private noteSize(by: number): void {
    const before = this.sizeClass;
    const bytes = this.bytes + this.rowBytes;
    this.sizeClass = bytes === 0 ? 0 : 33 - Math.clz32(bytes / 1024);
    this.logs.resize(this, by, before, this.sizeClass);
  }
}

function sizeOf<Body>(item: LogItem<Body>): number {
  return ENTRY_BYTES + (item.kind === 'message' ? item.bytes : 0);
}
