import type { Position } from '../protocol/position.js';
import type { ReadBounds } from './channel-log.js';
import { newEpoch } from './random-number.js';
import {
  BEGINNING,
  type AppendOutcome,
  type HistoryBounds,
  type HistoryChanges,
  type HistoryEntry,
  type HistoryPost,
  type HistoryRead,
  type HistoryTime,
} from './history-store.js';
import { ConfigurationError } from '../protocol/errors.js';

/** How often old messages are removed from the histories, in milliseconds. */
const SWEEP_MS = 10_000;

/** How long an empty history is remembered without posts and readers, who may come back to it; at least twice its `ttlMs`. */
const KNOWN_MS = 24 * 3_600_000;
/** How many empty histories without readers are remembered. Beyond that, the ones unused for longest are forgotten first. */
const MAX_EMPTY = 100_000;
/** A reader asks for the position more often, in milliseconds. */
const READ_MS = 60_000;

/** How many messages above the bound are kept before they are removed together. */
const MIN_EXCESS = 16;

interface Kept {
  readonly payload: string;
  readonly id: string | undefined;
  readonly digest: string | undefined;
  readonly at: number;
}

/** See `HistoryMoment`. */
interface Moment {
  readonly generation: object;
  readonly at: number;
}

/** The history of one channel. */
interface History {
  readonly epoch: string;
  readonly bounds: HistoryBounds;
  /** The messages with the offsets after `floor`. */
  kept: Kept[];
  floor: number;
  readonly offsetById: Map<string, number>;
  lastAt: number;
  /** When its position was last asked for. */
  askedAt: number;
}

/**
 * The histories of one process, in its memory: for an application without Redis, and for a `MemoryBroker`. The promises of
 * {@link HistoryStore} hold as long as the process lives.
 */
export class MemoryHistories {
  private readonly histories = new Map<string, History>();
  /** Replaced when everything is forgotten. */
  private generation = {};
  private timer: NodeJS.Timeout | undefined = undefined;

  /** See `HistoryStore.append`. If the history has the post already, the result is its existing position. */
  append(
    channel: string,
    { payload, id, digest }: HistoryPost,
    bounds: HistoryBounds,
  ): Exclude<AppendOutcome, { kind: 'unknown' }> & { readonly isKnown?: boolean } {
    const history = this.open(channel, bounds);
    this.trim(history);
    const { epoch, kept, floor, offsetById } = history;
    const known = id === undefined ? undefined : offsetById.get(id);
    if (known !== undefined) {
      if (kept[known - floor - 1]!.digest !== digest) return { kind: 'refused', error: usedTwice(channel, id!) };
      return { kind: 'appended', position: { epoch, offset: known }, isKnown: true };
    }
    history.lastAt = performance.now();
    kept.push({ payload, id, digest, at: history.lastAt });
    const offset = floor + kept.length;
    if (id !== undefined) offsetById.set(id, offset);
    this.trim(history);
    return { kind: 'appended', position: { epoch, offset } };
  }

  /** See `HistoryStore.read`. */
  read(
    channel: string,
    after: Position | number,
    { maxBytes = Infinity, maxEntries = Infinity }: ReadBounds = {},
  ): HistoryRead {
    const history = this.histories.get(channel);
    if (history === undefined) {
      const gap = typeof after === 'number' || after.epoch === '' ? undefined : 'epoch';
      return { gap, entries: [], next: BEGINNING, end: BEGINNING };
    }
    this.trim(history);
    const { epoch, kept, floor } = history;
    const last = floor + kept.length;
    const [gap, first] = startOf(after, history);
    const entries: HistoryEntry[] = [];
    let bytes = 0;
    for (let offset = first + 1; offset <= last && entries.length < maxEntries; offset++) {
      const { payload } = kept[offset - floor - 1]!;
      bytes += Buffer.byteLength(payload);
      if (bytes > maxBytes && entries.length > 0) break;
      entries.push({ offset, payload });
    }
    const end = { epoch, offset: last };
    return { gap, entries, next: { epoch, offset: first + entries.length }, end };
  }

  /** See `HistoryStore.positions`. */
  position(channel: string, at?: HistoryTime): Position {
    const history = this.histories.get(channel);
    if (history === undefined) return BEGINNING;
    history.askedAt = performance.now();
    const { epoch, floor, kept } = history;
    const offset = at === undefined ? floor + kept.length : offsetAt(history, timeOf(at));
    return { epoch, offset };
  }

  /** See `HistoryStore.changes`. */
  changes(since?: HistoryTime): HistoryChanges {
    const { generation } = this;
    const now: Moment = { generation, at: performance.now() };
    if (since === undefined) return { now, channels: [], isWhole: true };
    const isWhole = (since.moment as Moment).generation === generation && timeOf(since) > now.at - KNOWN_MS;
    const changed = [...this.histories].filter(([, { lastAt }]) => lastAt > timeOf(since));
    return { now, channels: changed.map(([channel]) => channel), isWhole };
  }

  /** Forgets everything, epochs too. */
  clear(): void {
    this.histories.clear();
    this.generation = {};
    clearInterval(this.timer);
    this.timer = undefined;
  }

  private open(channel: string, bounds: HistoryBounds): History {
    let history = this.histories.get(channel);
    if (history === undefined) {
      const epoch = newEpoch();
      const lastAt = performance.now();
      history = { epoch, bounds, kept: [], floor: 0, offsetById: new Map(), lastAt, askedAt: -Infinity };
      this.histories.set(channel, history);
      this.timer ??= setInterval(() => this.sweep(), SWEEP_MS).unref();
    }
    return history;
  }

  private sweep(): void {
    const unread: [channel: string, history: History][] = [];
    const now = performance.now();
    for (const entry of this.histories) {
      const [, history] = entry;
      this.trim(history);
      // To readers, another history would be a loss.
      if (history.kept.length === 0 && now - history.askedAt >= READ_MS) unread.push(entry);
    }
    const tooMany = unread.length - MAX_EMPTY;
    if (tooMany > 0) unread.sort(([, one], [, other]) => usedAt(one) - usedAt(other));
    for (const [index, [channel, history]] of unread.entries()) {
      const lifeMs = Math.max(KNOWN_MS, 2 * history.bounds.ttlMs);
      if (index < tooMany || now - usedAt(history) >= lifeMs) this.histories.delete(channel);
    }
  }

  private trim(history: History): void {
    const { kept, bounds, offsetById } = history;
    const oldest = performance.now() - bounds.ttlMs;
    // In larger steps, so that each message moves only a few times.
    const excess = kept.length - bounds.maxMessages;
    let count = excess > Math.max(MIN_EXCESS, bounds.maxMessages / 4) ? excess : 0;
    while (count < kept.length && kept[count]!.at <= oldest) count++;
    if (count === 0) return;
    for (const { id } of kept.slice(0, count)) if (id !== undefined) offsetById.delete(id);
    history.kept = kept.slice(count);
    history.floor += count;
  }
}

/** When somebody last posted to it, or asked for its position. */
function usedAt({ lastAt, askedAt }: History): number {
  return Math.max(lastAt, askedAt);
}

/** The place where reading begins, and why messages are missing before it. */
function startOf(after: Position | number, { epoch, kept, floor }: History): [gap: HistoryRead['gap'], first: number] {
  const last = floor + kept.length;
  if (typeof after === 'number') return [undefined, Math.max(floor, last - after)];
  if (after.epoch !== epoch && after.epoch !== '') return ['epoch', floor];
  if (after.offset > last) return ['future', floor];
  return after.offset < floor ? ['trimmed', floor] : [undefined, after.offset];
}

/** The offset of a history at a time; or an earlier offset, before the messages since then that are missing. */
function offsetAt({ kept, floor, bounds }: History, time: number): number {
  const count = kept.findLastIndex((each) => each.at <= time) + 1;
  // Old messages were removed before that time. A removal by count left `maxMessages` of them.
  const isWhole = time > performance.now() - bounds.ttlMs && kept.length < bounds.maxMessages;
  return count > 0 || floor === 0 || isWhole ? floor + count : floor - 1;
}

function timeOf({ moment, laterMs }: HistoryTime): number {
  return (moment as Moment).at + laterMs;
}

function usedTwice(channel: string, id: string): ConfigurationError {
  return new ConfigurationError(
    `Channel "${channel}": the post with the id "${id}" is in the history already, with another message; give each post an id of its own`,
  );
}
