import type { HistoryChanges, HistoryTime } from '../core/history-store.js';
import { isChannelName } from '../protocol/channel-name.js';
import { readList, readText, readTuple } from '../protocol/wire-reader.js';
import { readOffset } from './redis-history-read.js';

/** See `HistoryMoment`: a time for each part of the histories, since the masters of a Cluster have separate clocks. */
class RedisMoment {
  /**
   * @param names - of the records of changes; a lost record gets another name
   * @param times - in milliseconds
   */
  constructor(
    readonly names: readonly string[],
    readonly times: readonly number[],
  ) {}
}

/** A time in one part, as an argument of scripts. */
export function timeIn(part: number, { moment, laterMs }: HistoryTime): string {
  return String(Math.round((moment as RedisMoment).times[part]! + laterMs));
}

/** The arguments of the changes script, for some parts. */
export function askedOf(first: number, size: number, since: HistoryTime | undefined): string[] {
  const parts = Array.from({ length: size }, (_, index) => first + index);
  return parts.flatMap((part) =>
    since === undefined ? ['', ''] : [(since.moment as RedisMoment).names[part]!, timeIn(part, since)],
  );
}

/**
 * Reads the answers of the changes script, for all parts. Entries that others have written are not channels.
 *
 * @throws InvalidMessageError for an invalid answer
 */
export function readChanges(answers: readonly unknown[]): HistoryChanges {
  const path = 'the answer of changes';
  const names: string[] = [];
  const times: number[] = [];
  const channels: string[] = [];
  let isWhole = true;
  for (const answer of answers) {
    const [name, time, found, whole] = readTuple(answer, path, 4);
    names.push(readText(name, path, Infinity));
    times.push(readOffset(time, path));
    for (const each of readList(found, path, Infinity, (item) => item)) if (isName(each)) channels.push(each);
    isWhole &&= whole === 1;
  }
  return { now: new RedisMoment(names, times), channels, isWhole };
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && isChannelName(value);
}
