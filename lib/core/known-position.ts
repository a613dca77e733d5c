import { TransportUnavailableError } from '../protocol/errors.js';
import type { Position } from '../protocol/position.js';
import type { Hub } from './hub.js';

/** After this long it is asked again. In milliseconds. */
const RETRY_MS = 500;

/**
 * See {@link Hub.follow}; as soon as that can be known.
 *
 * @param isWanted - whether anybody still wants to know
 * @returns `undefined` if nobody does, or no history is kept
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
