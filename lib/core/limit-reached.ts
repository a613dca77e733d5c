import type { Limits } from '../protocol/limits.js';

/** What a client is refused by: an option that bounds what clients may do. */
export type LimitName = `limits.${keyof Limits}` | `gateway.${string}`;

/** How soon after a refusal a place may be free again, in milliseconds. */
const FULL_MS = 5_000;

/** A client does too much, or a server has no room. Whoever speaks HTTP gives it a status, 429 or 503. */
export class LimitReached extends Error {
  /**
   * @param limit - the option
   * @param isOfServer - whether it is the server that is full, whoever asks
   * @param message - for the client
   * @param retryAfterMs - when it may ask again
   */
  constructor(
    readonly limit: LimitName,
    readonly isOfServer: boolean,
    message: string,
    readonly retryAfterMs: number,
  ) {
    super(`${message} (${limit})`);
  }
}

/** All places are taken. See {@link LimitReached} for the parameters. */
export function noPlace(limit: LimitName, isOfServer: boolean, message: string): LimitReached {
  return new LimitReached(limit, isOfServer, message, FULL_MS);
}
