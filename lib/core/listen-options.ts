import { describe, quote } from '../protocol/channel-name.js';
import { callback, checkOptions, type OptionCheck } from '../protocol/check-options.js';
import { ConfigurationError } from '../protocol/errors.js';
import type { Position } from '../protocol/position.js';
import type { GapListener } from './gap.js';
import { placeFrom } from './history-store.js';
import type { Hub } from './hub.js';
import type { Heard } from './listener.js';
import type { ReplayStart } from './replay.js';

/** Options of a listener. */
export interface ListenOptions {
  /**
   * Called once for each loss: messages from other servers may be missing here, because this server did not hear the channel
   * for a while, for instance while Redis was away. The call comes after all messages from before the loss and before those
   * from after it. Losses of one reason with no message between them are reported as one. If it throws or rejects, the
   * error is logged and reported.
   * @defaultValue none
   */
  onGap?: GapListener | undefined;
  /**
   * Starts with earlier messages of a channel with history: a number of its last messages (1 to the channel's `maxMessages`), the
   * latest one, or all after a position (of `context.position` or `messages.position(channel)`). They come first, in order.
   * New messages follow, without a hole and without duplicates. `context.replayed` is `true` for the earlier ones. Messages
   * after a position that are no longer kept are one gap.
   * @defaultValue only new messages
   */
  replay?: number | 'latest' | Position | undefined;
}

const REPLAY = `a whole number of at least 1, 'latest' or a position { epoch, offset }`;

/** The checks of {@link ListenOptions}. */
export const LISTEN_OPTIONS: Record<keyof ListenOptions, OptionCheck> = {
  onGap: callback,
  replay: (value) => (readReplay(value) === undefined ? REPLAY : undefined),
};

/**
 * @param path - the owner of the options, as the error names it
 * @param only - the only option allowed; absent: all of them
 * @throws ConfigurationError that names the option
 */
export function checkListenOptions(options: ListenOptions, path: string, only?: keyof ListenOptions): void {
  checkOptions(options, path, only === undefined ? LISTEN_OPTIONS : { [only]: LISTEN_OPTIONS[only] });
}

/**
 * The place where a listener begins, by its option `replay`.
 *
 * @param path - as in {@link checkListenOptions}
 * @returns `undefined`: with new posts only
 * @throws ConfigurationError that names the channel, if it keeps no history or fewer messages than requested
 */
export function replayStart(
  hub: Hub,
  heard: Heard,
  replay: ListenOptions['replay'],
  path: string,
): ReplayStart | undefined {
  if (replay === undefined) return undefined;
  const { maxMessages } = hub.historyFor(heard, `${path}: option "replay"`);
  const start = readReplay(replay);
  if (start !== undefined && (typeof start !== 'number' || start <= maxMessages)) return start;
  const expected = typeof start === 'number' ? `at most ${maxMessages}, the channel's history.maxMessages` : REPLAY;
  throw new ConfigurationError(
    `${path}: option "replay" of channel ${quote(heard.channel)} must be ${expected}, not ${describe(replay)}`,
  );
}

function readReplay(value: unknown): ReplayStart | undefined {
  if (value === 'latest') return 1;
  if (typeof value === 'number') return Number.isSafeInteger(value) && value > 0 ? value : undefined;
  return placeFrom(value);
}
