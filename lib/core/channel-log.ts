import type { GapReason, Position } from '../protocol/position.js';

/** A message in a log. */
export interface LogMessage<Body> {
  /** Distinguishes it from a {@link LogGap}. */
  readonly kind: 'message';
  /** Where it was posted; what a log of a template holds comes from many channels. */
  readonly channel: string;
  /** The node that posted it; empty if a part that is not of this library did. */
  readonly node: string;
  /**
   * Tells it from the others that its node has published, and rises in each channel. `undefined` if it stayed on its node,
   * or if its node gave it none: it cannot be compared with what another node has.
   */
  readonly serial: number | undefined;
  /** What readers get. The log does not look into it. */
  readonly body: Body;
  /** How much of the log's room the body takes. */
  readonly bytes: number;
  /**
   * The post, if its poster named it: {@link ChannelLog.append} takes a post once. For posts that are tried again when it is
   * unclear what became of them.
   */
  readonly postId?: string | undefined;
}

/** Messages may be missing at this place, for every reader of the log. */
export interface LogGap {
  /** Distinguishes it from a {@link LogMessage}. */
  readonly kind: 'gap';
  /** Why messages may be missing. */
  readonly reason: GapReason;
}

/** One place of a log: a message, or a gap. */
export type LogItem<Body> = LogMessage<Body> | LogGap;

/** An item in its place. */
export interface LogEntry<Body> {
  /** The offset of its position. */
  readonly offset: number;
  /** The message, or the gap. */
  readonly item: LogItem<Body>;
}

/** How much {@link ChannelLog.read} may return at once. */
export interface ReadBounds {
  /** At least one entry is returned, however long it is, so that a reader always makes progress. @defaultValue no bound */
  readonly maxBytes?: number;
  /**
   * How many entries are returned at most.
   * @defaultValue no bound
   */
  readonly maxEntries?: number;
}

/**
 * Why a log cannot tell what came after a position.
 *
 * - `trimmed`: some of it is forgotten
 * - `epoch`: the position is of another log
 * - `future`: the log has not come so far
 */
export type ReadFailure = 'trimmed' | 'epoch' | 'future';

/** The entries after a position, or why they are not known. */
export type LogRead<Body> =
  | {
      /** Whether all items after the position are known. */
      readonly found: true;
      /** The first ones after the position, without a hole. All there are if the last one's offset is that of `end`. */
      readonly entries: readonly LogEntry<Body>[];
      /** How far the log had come when it was read. */
      readonly end: Position;
    }
  | {
      /** Whether all items after the position are known. */
      readonly found: false;
      /** Why they are not. */
      readonly reason: ReadFailure;
      /** How far the log had come when it was read. */
      readonly end: Position;
    };

type MaybePromise<T> = T | Promise<T>;

/**
 * The latest messages of one channel, or of all channels of a template, in one order that all of its readers see.
 *
 * What an implementation guarantees (`channelLogConformance` of `nestjs-messaging/testing` checks it):
 *
 * - **Offsets** begin at 1 and rise by one with each item; an offset is given once. The log assigns
 *   them; the result of an append tells which one it was.
 * - **Epoch**: names the numbering. It stays the same as long as offsets go on, and is another one, never used before, if they
 *   begin anew (the log was lost or deleted). Positions of different epochs are never compared.
 * - **Order**: items appended one after the other have rising offsets, also if the first append has not been answered when
 *   the second is made. Items of different appenders come in any order, but in the same one for all readers.
 * - **Once**: a message with a {@link LogMessage.postId} that the log still holds is not appended again; the result is the
 *   position that it has.
 * - **Reads** see each item whose append was answered before, and never a part of one. They have no holes: the log forgets
 *   from its beginning only, and reports `trimmed` rather than leave one out. A gap is an item like a message; it is never
 *   left out either.
 * - **Time**: items are kept for a time and within a room that the implementation names. Forgetting changes neither epoch
 *   nor offsets, also if nothing is left.
 * - **Failure**: what cannot be reached rejects (with a `TransportUnavailableError`); it is never taken for an empty log. An
 *   append that rejects may have been made all the same: with a `postId` it can be tried again.
 *
 * An implementation in the process is synchronous; one that is elsewhere gives promises.
 */
export interface ChannelLog<Body> {
  /**
   * Puts an item at the end.
   *
   * @returns its position
   */
  append(item: LogItem<Body>): MaybePromise<Position>;

  /**
   * What came after a position.
   *
   * @param after - `offset` 0 asks for everything since the beginning
   */
  read(after: Position, bounds?: ReadBounds): MaybePromise<LogRead<Body>>;

  /** How far the log has come: what is appended from now on comes after it. */
  position(): MaybePromise<Position>;
}
