import { MAX_EPOCH_LENGTH, type Position } from './position.js';

/** Where a reader of a channel with history begins: with a number of its last messages (`'latest'`: one), or after a position. */
export type ReplayOption = number | 'latest' | Position;

const EPOCH = /^[\x21-\x7e]*$/;

/** The values that {@link readReplay} accepts, for errors. */
export const REPLAY_FORM = "a whole number of at least 1, 'latest' or a position { epoch, offset }";

/** Reads a {@link ReplayOption}; `undefined` for anything else. */
export function readReplay(value: unknown): number | Position | undefined {
  if (value === 'latest') return 1;
  if (typeof value === 'number') return Number.isSafeInteger(value) && value > 0 ? value : undefined;
  const { epoch, offset } = (value ?? {}) as Partial<Record<keyof Position, unknown>>;
  if (typeof epoch !== 'string' || epoch.length > MAX_EPOCH_LENGTH || !EPOCH.test(epoch)) return undefined;
  return Number.isSafeInteger(offset) && (offset as number) >= 0 ? { epoch, offset: offset as number } : undefined;
}
