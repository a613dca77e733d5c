import type { ReadBounds, ReadFailure } from '../core/channel-log.js';
import { BEGINNING, type HistoryEntry, type HistoryRead } from '../core/history-store.js';
import { quote } from '../protocol/channel-name.js';
import { InvalidMessageError } from '../protocol/errors.js';
import type { Position } from '../protocol/position.js';
import { readList, readText } from '../protocol/wire-reader.js';
import { MAX_BATCH_PAYLOADS, splitCounted } from './payload-batch.js';

// Reads values from the keys of a history. Any client of this Redis may have written them.

const EPOCH = /^[\dA-Za-z]{1,40}$/;
const OFFSET = /^\d{1,16}$/;
const GAPS: readonly unknown[] = ['trimmed', 'epoch', 'future'] satisfies ReadFailure[];

/** How many former epochs a hash lists. */
const MOST_EPOCHS = 64;

/** The maximum size of one read, whatever is requested. */
const MOST: Required<ReadBounds> = { maxEntries: 10_000, maxBytes: 4 * 1024 * 1024 };

/** The bounds of one page. */
export function boundsOf({ maxEntries = Infinity, maxBytes = Infinity }: ReadBounds = {}): Required<ReadBounds> {
  return { maxEntries: Math.min(maxEntries, MOST.maxEntries), maxBytes: Math.min(maxBytes, MOST.maxBytes) };
}

/** @throws InvalidMessageError if the value is not the epoch of a history */
function readEpoch(value: unknown, path: string): string {
  if (typeof value === 'string' && EPOCH.test(value)) return value;
  throw new InvalidMessageError(`${path} has no epoch`);
}

/** @throws InvalidMessageError if the value is not the digits of a whole number */
export function readOffset(value: unknown, path: string): number {
  const text = readText(value, path, 16);
  if (OFFSET.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
  throw new InvalidMessageError(`${path} has no offset`);
}

/** The position of a history, from its hash. A value that this library has not written counts as absent; the next post replaces it. */
export function positionOf(answer: unknown): Position {
  try {
    const [epoch, offset] = readList(answer, 'a position', 2, (item) => item);
    return { epoch: readEpoch(epoch, 'a position'), offset: readOffset(offset, 'a position') };
  } catch {
    return BEGINNING;
  }
}

/**
 * Reads the answer of the read script.
 *
 * @param after - the requested position
 * @throws InvalidMessageError for a value that this library has not written
 */
export function readPage(
  channel: string,
  after: Position | number,
  { maxEntries, maxBytes }: Required<ReadBounds>,
  answer: unknown,
): HistoryRead {
  const path = `The history of channel ${quote(channel)} in Redis`;
  const items = readList(answer, path, Infinity, (item) => item);
  if (items.length === 0) {
    const gap = typeof after === 'number' || after.epoch === '' ? undefined : 'epoch';
    return { gap, entries: [], next: BEGINNING, end: BEGINNING };
  }
  if (items.length === 1) throw new InvalidMessageError(`${path}: ${readText(items[0], path, 200)}`);
  const epoch = readEpoch(items[0], path);
  const end = readOffset(items[1], path);
  const gap = GAPS.includes(items[2]) ? (items[2] as ReadFailure) : undefined;
  const start = readOffset(items[3], path);
  const former = formerEnds(items[4]);
  const entries: HistoryEntry[] = [];
  let bytes = 0;
  let offset = start;
  for (let index = 5; index < items.length; index += 3) {
    const last = readOffset(items[index], path);
    const count = readOffset(items[index + 1], path);
    // Its contents would not match its id.
    if (count > MAX_BATCH_PAYLOADS) throw new InvalidMessageError(`${path}: an entry of ${count} messages is too long`);
    const payloads = splitCounted(readText(items[index + 2], path, Infinity), count);
    for (const payload of payloads.slice(Math.max(0, offset - last + count))) {
      bytes += Buffer.byteLength(payload);
      if (entries.length === maxEntries || (bytes > maxBytes && entries.length > 0)) {
        return { gap, entries, next: { epoch, offset }, end: { epoch, offset: end }, former };
      }
      entries.push({ offset: ++offset, payload });
    }
  }
  return { gap, entries, next: { epoch, offset }, end: { epoch, offset: end }, former };
}

/** Reads from the hash of a history where its former epochs ended. Invalid ones are left out. Returns `undefined` if none is left. */
function formerEnds(value: unknown): Position[] | undefined {
  if (typeof value !== 'string' || value === '') return undefined;
  const ends = value.split(' ', MOST_EPOCHS).flatMap((each) => {
    const end = positionOf(each.split(':'));
    return end === BEGINNING ? [] : [end];
  });
  return ends.length === 0 ? undefined : ends;
}
