import { isWhole } from './check-options.js';
import type { Position } from './position.js';

/** Where a reader of a channel with history begins: with a number of its last messages (`'latest'`: one), or after a position. */
export type ReplayOption = number | 'latest' | Position;

/** Of at most `MAX_EPOCH_LENGTH` characters; an empty one is the place before the first message. */
const EPOCH = /^[\x21-\x7e]{0,128}$/;

/** The values that {@link readReplay} accepts, for errors. */
export const REPLAY_FORM = "a whole number of at least 1, 'latest' or a position { epoch, offset }";

/** Reads a {@link ReplayOption}; `undefined` for anything else. */
export function readReplay(value: unknown): number | Position | undefined {
  if (value === 'latest') return 1;
  if (isWhole(value, 1)) return value;
  const { epoch, offset } = (value ?? {}) as Partial<Record<keyof Position, unknown>>;
  return typeof epoch === 'string' && EPOCH.test(epoch) && isWhole(offset, 0) ? { epoch, offset } : undefined;
}
