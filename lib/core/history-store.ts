import { createHash } from 'node:crypto';
import type { EncodedMessage } from '../protocol/codec.js';
import { positionFrom, type Position } from '../protocol/position.js';
import type { ReadBounds, ReadFailure } from './channel-log.js';

/** How much of a channel a history keeps; more is kept only for a while, until the next append. */
export interface HistoryBounds {
  /** How many of the latest messages are kept. */
  readonly maxMessages: number;
  /** How long messages are kept, in milliseconds. */
  readonly ttlMs: number;
}

/** What is to be appended. */
export interface HistoryPost {
  /** The encoded message. The store does not look into it. */
  readonly payload: string;
  /**
   * Given by the poster: as long as the history has it, the post is appended once, however often it is made. The store makes
   * its own tries idempotent without one.
   */
  readonly id?: string | undefined;
  /** Goes with the id: tells whether another post of this id is of the same message. At most 40 visible ASCII characters. */
  readonly digest?: string | undefined;
}

/**
 * What became of an append.
 *
 * - a position: it is in the history, there
 * - `refused`: it is not, and will not be
 * - `unknown`: the store did not answer in time; it may be there, and it may still come
 */
export type AppendOutcome =
  | {
      /** Which outcome it is. */
      readonly kind: 'appended';
      /** Where it is. */
      readonly position: Position;
    }
  | {
      /** Which outcome it is. */
      readonly kind: 'refused';
      /** Why. */
      readonly error: Error;
    }
  | {
      /** Which outcome it is. */
      readonly kind: 'unknown';
      /** Why, for the log. Absent if there is no more to tell, or the store has reported it itself. */
      readonly error?: Error | undefined;
    };

/** A message in its place. */
export interface HistoryEntry {
  /** The offset of its position. */
  readonly offset: number;
  /** The encoded message, as it was appended. */
  readonly payload: string;
}

/** What a history has after a position, or its last messages. */
export interface HistoryRead {
  /** Why messages are missing before the first entry; `undefined`: none are. */
  readonly gap: ReadFailure | undefined;
  /** Without a hole, the oldest first. */
  readonly entries: readonly HistoryEntry[];
  /** Right after the last entry. Without entries: right after the gap, or the requested position in the current epoch. */
  readonly next: Position;
  /** How far the history has come; more is to be read if {@link next} is before it. */
  readonly end: Position;
  /**
   * Where earlier epochs of this history ended, the latest first: up to there its offsets are the same. Only of use if {@link end} is of
   * another epoch than the requested position. Without it, a reader whose epoch is lost later may get a few messages again.
   */
  readonly former?: readonly Position[] | undefined;
}

/** A moment, as the store that has given it knows it; to others it says nothing. */
export type HistoryMoment = object;

/** A time, so many milliseconds after a moment of the store, or before it. */
export interface HistoryTime {
  /** The moment that the store gave. */
  readonly moment: HistoryMoment;
  /** How many milliseconds after it; negative: before it. */
  readonly laterMs: number;
}

/** What a store tells of all its channels. */
export interface HistoryChanges {
  /** When this was so. */
  readonly now: HistoryMoment;
  /** Those that were posted to since; perhaps more. */
  readonly channels: readonly string[];
  /** Whether that is all: the store has not lost what it knew of them, and reaches back so far. */
  readonly isWhole: boolean;
}

/** Whether nothing more is to be read for now. */
export function isLastPage({ next, end }: Pick<HistoryRead, 'next' | 'end'>): boolean {
  return next.epoch === end.epoch && next.offset >= end.offset;
}

/** Where a channel is that nothing was ever posted to, as far as anybody knows. */
export const BEGINNING: Position = { epoch: '', offset: 0 };

/** Reads the place of a history: a position, or {@link BEGINNING}; `undefined` for anything else. */
export function placeFrom(value: unknown): Position | undefined {
  try {
    const { epoch, offset } = Object(value) as Partial<Record<keyof Position, unknown>>;
    if (epoch === BEGINNING.epoch && offset === BEGINNING.offset) return BEGINNING;
  } catch {
    return undefined;
  }
  return positionFrom(value);
}

/**
 * Keeps the histories of channels, and hands what is appended to every node that is subscribed, the poster's too: by the
 * receiver of the transport that it belongs to, with its position.
 *
 * Offsets of a channel begin at 1 and rise by one. The epoch names the numbering: visible ASCII characters, at most 40. If
 * it becomes another one although nothing is lost (another Redis is the master now), offsets go on, and a read after a position of
 * the former one finds where that is in the new one; nothing is a gap then.
 */
export interface HistoryStore {
  /**
   * Puts a post at the end of a history, and publishes it, in one step. Tries again until it is clear what became of it, or
   * its time is over. Appends of one node to one channel keep their order. Never rejects.
   */
  append(channel: string, post: HistoryPost, bounds: HistoryBounds): Promise<AppendOutcome>;

  /**
   * What came after a position; or the last so many messages, of which none counts as missing.
   *
   * @param after - `{ epoch: '', offset: 0 }`, the beginning: all that there is, with a gap if the first is not among it
   * @throws (rejects) TransportUnavailableError if it cannot be known now
   */
  read(channel: string, after: Position | number, page?: ReadBounds): Promise<HistoryRead>;

  /**
   * How far histories have come: `{ epoch: '', offset: 0 }` for those that do not exist. Each node asks every few seconds for the channels
   * that it reads. A store may forget an empty history only if nobody has asked for a while: to readers, another one is a loss.
   *
   * @param at - how far they had come then, to be read on from; if messages since then are gone, a read from there has a gap
   * @returns as many as channels, in their order
   * @throws (rejects) TransportUnavailableError if it cannot be known now
   */
  positions(channels: readonly string[], at?: HistoryTime): Promise<Position[]>;

  /**
   * Which channels were posted to. A store without it costs readers of templates a gap after each outage, since they cannot know which
   * channels had their first message meanwhile.
   *
   * @param since - absent: only the moment is of interest, and no channels are told
   * @throws (rejects) TransportUnavailableError if it cannot be known now
   */
  readonly changes?: ((since?: HistoryTime) => Promise<HistoryChanges>) | undefined;

  /**
   * Looks whether histories can be kept at all.
   *
   * @returns why not; `undefined` also if that cannot be known now
   */
  check?(): Promise<Error | undefined>;
}

/** See {@link HistoryPost.digest}. */
export function digestOf({ type = '', meta = '', data }: EncodedMessage): string {
  return createHash('sha256').update(`${type}\n${meta}\n${data}`).digest('base64url').slice(0, 22);
}
