import { readObject, readText, readWholeNumber } from './wire-reader.js';
import { InvalidMessageError } from './errors.js';

/** A place among the messages of one channel or template. */
export interface Position {
  /** Names the numbering; opaque to clients. */
  readonly epoch: string;
  /** The number of the last message, or gap, before this place. Rises by one with each. */
  readonly offset: number;
}

/**
 * Why messages may be missing.
 *
 * - `broker`: the server's link to Redis was down or deaf
 * - `node`: the server that had them is gone, or does not answer
 * - `trimmed`: they are no longer kept, or are too many to send again
 * - `epoch`: the position is of another numbering, or of none, or nobody had the channel on the server for as long as it keeps
 *   messages
 * - `slow-consumer`: the reader was too slow
 */
export type GapReason = 'broker' | 'node' | 'trimmed' | 'epoch' | 'slow-consumer';

/** The longest epoch, in characters. */
export const MAX_EPOCH_LENGTH = 128;

const EPOCH = /^[\x21-\x7e]+$/;
/** All reasons. */
export const GAP_REASONS = ['broker', 'node', 'trimmed', 'epoch', 'slow-consumer'] as const satisfies GapReason[];

/**
 * @returns a position and nothing else that the value holds
 * @throws InvalidMessageError for anything but an epoch of at most {@link MAX_EPOCH_LENGTH} visible ASCII characters and a
 *   whole number
 */
export function readPosition(value: unknown, path: string): Position {
  const { epoch, offset } = readObject(value, path);
  const text = readText(epoch, `${path}.epoch`, MAX_EPOCH_LENGTH);
  if (!EPOCH.test(text)) throw new InvalidMessageError(`${path}.epoch must be visible ASCII characters`);
  return { epoch: text, offset: readWholeNumber(offset, `${path}.offset`) };
}

/** Like {@link readPosition}, but `undefined` for anything else: a client then has a gap, not a stream that failed. */
export function positionFrom(value: unknown): Position | undefined {
  try {
    return readPosition(value, 'the position');
  } catch {
    return undefined;
  }
}

export function isGapReason(value: unknown): value is GapReason {
  return (GAP_REASONS as readonly unknown[]).includes(value);
}

/** @throws InvalidMessageError for anything but a {@link GapReason} */
export function readGapReason(value: unknown, path: string): GapReason {
  if (isGapReason(value)) return value;
  throw new InvalidMessageError(`${path} must be one of ${GAP_REASONS.join(', ')}`);
}
