import type { HistoryChanges, HistoryTime } from '../core/history-store.js';
import { isChannelName } from '../protocol/channel-name.js';
import { readList, readText, readTuple } from '../protocol/wire-reader.js';
import { readOffset } from './redis-history-read.js';

/** See `HistoryMoment`: of each part of the histories. Masters of a Cluster have clocks of their own. */
class RedisMoment {
  /**
   * @param names - of what tells of changes: another one if that was lost
   * @param times - in milliseconds
   */
  constructor(
    readonly names: readonly string[],
    readonly times: readonly number[],
  ) {}
}

/** A time in one part, as scripts take it. */
export function timeIn(part: number, { moment, laterMs }: HistoryTime): string {
  return String(Math.round((moment as RedisMoment).times[part]! + laterMs));
}

/** The arguments of the script that tells of changes, for some parts. */
export function askedOf(first: number, size: number, since: HistoryTime | undefined): string[] {
  const parts = Array.from({ length: size }, (_, index) => first + index);
  return parts.flatMap((part) =>
    since === undefined ? ['', ''] : [(since.moment as RedisMoment).names[part]!, timeIn(part, since)],
  );
}

/**
 * What the script that tells of changes has answered, for all parts. What others have written there is no channel.
 *
 * @throws InvalidMessageError for what it does not answer
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
