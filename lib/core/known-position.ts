import { TransportUnavailableError } from '../protocol/errors.js';
import type { Position } from '../protocol/position.js';
import type { Hub } from './hub.js';

/** How long to wait before asking again. In milliseconds. */
const RETRY_MS = 500;

/**
 * Resolves like {@link Hub.follow}, as soon as the position can be known.
 *
 * @param isWanted - whether the position is still needed
 * @returns `undefined` if it is no longer needed, or if there is no history
 */
export async function knownPosition(hub: Hub, channel: string, isWanted: () => boolean): Promise<Position | undefined> {
  while (isWanted()) {
    try {
      return await hub.follow(channel);
    } catch (error) {
      if (!(error instanceof TransportUnavailableError)) return undefined;
      await new Promise<void>((resolve) => void setTimeout(resolve, RETRY_MS).unref());
    }
  }
  return undefined;
}
