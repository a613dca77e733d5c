import { RESERVED_PREFIX } from './channel-name.js';
import type { Position } from './position.js';

/** The longest id that is looked at, in characters: prefix, epoch, colon and offset. */
const MAX_PLACE_ID_LENGTH = 80;
/** No id of the application can look like it; offsets as numbers are written. */
const PLACE_ID = new RegExp(`^${RESERVED_PREFIX}([\\x21-\\x7e]{0,40}):(0|[1-9][0-9]{0,15})$`);

/**
 * A place in the history of a channel as the `id` of an event, which a browser sends back as `Last-Event-ID`:
 * `messaging:<epoch>:<offset>`. Without an epoch it is the place before the first message.
 */
export function placeId({ epoch, offset }: Position): string {
  return `${RESERVED_PREFIX}${epoch}:${offset}`;
}

/**
 * Reads what {@link placeId} writes.
 *
 * @returns `undefined` for anything else: it is for the application
 */
export function readPlaceId(id: unknown): Position | undefined {
  if (typeof id !== 'string' || id.length > MAX_PLACE_ID_LENGTH) return undefined;
  const [, epoch, digits] = PLACE_ID.exec(id) ?? [];
  if (epoch === undefined) return undefined;
  const offset = Number(digits);
  return Number.isSafeInteger(offset) && (epoch !== '' || offset === 0) ? { epoch, offset } : undefined;
}
