import { describe, quote } from '../protocol/channel-name.js';
import { InvalidMessageError, TransportUnavailableError } from '../protocol/errors.js';
import type { Position } from '../protocol/position.js';
import { readList, readName, readObject, readText, readWholeNumber } from '../protocol/wire-reader.js';
import type { ReadBounds, ReadFailure } from './channel-log.js';
import {
  isLastPage,
  placeFrom,
  type AppendOutcome,
  type HistoryBounds,
  type HistoryChanges,
  type HistoryEntry,
  type HistoryPost,
  type HistoryRead,
  type HistoryStore,
  type HistoryTime,
} from './history-store.js';
import { inTime } from './in-time.js';
import type { Reporter } from './reporter.js';

/** How long a store may take to settle a post, in milliseconds: it makes its own retries. */
const APPEND_PATIENCE_MS = 30_000;
/** How long a read may take, in milliseconds. */
const ANSWER_PATIENCE_MS = 5_000;

const FAILURES: readonly unknown[] = ['trimmed', 'epoch', 'future'] satisfies ReadFailure[];

/**
 * Holds the history store of an application's transport to its contract. A thrown error or an invalid answer is reported and counts as
 * unavailable. A store that does not answer in time delays nobody.
 */
export class IsolatedHistoryStore implements HistoryStore {
  readonly changes: HistoryStore['changes'];

  constructor(
    private readonly store: HistoryStore,
    private readonly reporter: Reporter,
  ) {
    if (store.changes !== undefined) this.changes = (since) => this.askForChanges(since);
  }

  async append(channel: string, post: HistoryPost, bounds: HistoryBounds): Promise<AppendOutcome> {
    const ask = () => this.store.append(channel, post, bounds);
    try {
      return await this.ask('append', channel, APPEND_PATIENCE_MS, ask, outcomeFrom);
    } catch {
      return { kind: 'unknown' };
    }
  }

  read(channel: string, after: Position | number, page?: ReadBounds): Promise<HistoryRead> {
    const ask = () => this.store.read(channel, after, page);
    return this.ask('read', channel, ANSWER_PATIENCE_MS, ask, pageFrom);
  }

  positions(channels: readonly string[], at?: HistoryTime): Promise<Position[]> {
    const ask = () => this.store.positions(channels, at);
    return this.ask('positions', channels[0], ANSWER_PATIENCE_MS, ask, (answer) => {
      const positions = readList(answer, 'the answer', channels.length, placeOf);
      if (positions.length === channels.length) return positions;
      throw new InvalidMessageError(`the answer has ${positions.length} positions of ${channels.length} channels`);
    });
  }

  private askForChanges(since: HistoryTime | undefined): Promise<HistoryChanges> {
    return this.ask('changes', undefined, ANSWER_PATIENCE_MS, () => this.store.changes!(since), changesFrom);
  }

  /** @throws (rejects) TransportUnavailableError for every failure; reported first, unless the store itself threw that error */
  private async ask<T>(
    method: keyof HistoryStore,
    channel: string | undefined,
    patienceMs: number,
    ask: () => unknown,
    read: (answer: unknown) => T,
  ): Promise<T> {
    try {
      const answer = await inTime(
        ask(),
        patienceMs,
        () => {
          throw new Error(`it has not answered for ${patienceMs / 1_000} s`);
        },
        { unref: true },
      );
      return read(answer);
    } catch (cause) {
      if (cause instanceof TransportUnavailableError) throw cause;
      const callback = `"history.${method}" of the transport`;
      this.reporter.callbackFailed({ callback, channel, error: cause });
      const of = channel === undefined ? '' : ` for channel ${quote(channel)}`;
      throw new TransportUnavailableError(`${callback} has failed${of}`, { cause });
    }
  }
}

function placeOf(value: unknown, path: string): Position {
  const place = placeFrom(value);
  if (place !== undefined) return place;
  throw new InvalidMessageError(`${path} must be a position { epoch, offset }, not ${describe(value)}`);
}

function outcomeFrom(answer: unknown): AppendOutcome {
  const { kind, position, error } = readObject(answer, 'the outcome');
  if (kind === 'appended') return { kind, position: placeOf(position, 'the position of the outcome') };
  if (kind === 'refused') return { kind, error: error instanceof Error ? error : new Error(describe(error)) };
  if (kind === 'unknown') return error instanceof Error ? { kind, error } : { kind };
  throw new InvalidMessageError(`the kind of the outcome must be appended, refused or unknown, not ${describe(kind)}`);
}

function changesFrom(answer: unknown): HistoryChanges {
  const { now, channels, isWhole } = readObject(answer, 'the answer');
  if (typeof now !== 'object' || now === null)
    throw new InvalidMessageError('now must be a moment, an object of the store');
  if (typeof isWhole !== 'boolean') throw new InvalidMessageError('isWhole must be true or false');
  return { now, channels: readList(channels, 'channels', Infinity, readName), isWhole };
}

function pageFrom(answer: unknown): HistoryRead {
  const { gap, entries: given, next: after, end: last, former: ends } = readObject(answer, 'the answer');
  const [next, end] = [placeOf(after, 'next'), placeOf(last, 'end')];
  if (gap !== undefined && !FAILURES.includes(gap)) {
    throw new InvalidMessageError(`gap must be one of ${FAILURES.join(', ')}, not ${describe(gap)}`);
  }
  const entries = readList(given, 'entries', Infinity, entryFrom);
  const first = next.offset - entries.length + 1;
  if (first < 1 || entries.some(({ offset }, index) => offset !== first + index)) {
    throw new InvalidMessageError('the offsets of entries must rise by one up to that of next');
  }
  const former = ends === undefined ? undefined : readList(ends, 'former', Infinity, placeOf);
  const page = { gap: gap as ReadFailure | undefined, entries, next, end, former };
  // Otherwise it would be read forever.
  if (entries.length > 0 || isLastPage(page)) return page;
  throw new InvalidMessageError('there must be an entry if next is before end');
}

function entryFrom(value: unknown, path: string): HistoryEntry {
  const { offset, payload } = readObject(value, path);
  return {
    offset: readWholeNumber(offset, `${path}.offset`),
    payload: readText(payload, `${path}.payload`, Infinity),
  };
}
