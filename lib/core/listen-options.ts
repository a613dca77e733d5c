import { callback, checkOptions, type OptionCheck } from '../protocol/check-options.js';
import type { GapListener } from './gap.js';

/** How a channel is listened to. */
export interface ListenOptions {
  /**
   * Called once for each loss: messages from other servers may be missing here, since this server did not hear the channel
   * for a while, for instance because Redis was away. It comes after all messages from before the loss and before those
   * from after it. Losses of one reason with no message between them are told as one. What it throws, or its promise
   * rejects with, is logged and reported.
   */
  onGap?: GapListener;
}

/** The checks of {@link ListenOptions}. */
export const LISTEN_OPTIONS: Record<keyof ListenOptions, OptionCheck> = { onGap: callback };

/**
 * @param path - what the options were given to, as the error names it
 * @throws ConfigurationError that names the option
 */
export function checkListenOptions(options: ListenOptions, path: string): void {
  checkOptions(options, path, LISTEN_OPTIONS);
}
