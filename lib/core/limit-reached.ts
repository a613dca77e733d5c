import type { Limits } from '../protocol/limits.js';

/** The option that refuses a client: a bound on what clients may do. */
export type LimitName = `limits.${keyof Limits}` | `gateway.${string}`;

/** How soon after a refusal a place may be free, in milliseconds. */
const FULL_MS = 5_000;

/** A client exceeds its limit, or the server is full. The HTTP layer answers with status 429 or 503. */
export class LimitReached extends Error {
  /**
   * @param limit - the option
   * @param isOfServer - whether the server as a whole is full, not the limit of this client
   * @param message - for the client
   * @param retryAfterMs - when the client may try again
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

/** All places are in use. See {@link LimitReached} for the parameters. */
export function noPlace(limit: LimitName, isOfServer: boolean, message: string): LimitReached {
  return new LimitReached(limit, isOfServer, message, FULL_MS);
}
