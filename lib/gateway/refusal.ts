import type { Session } from '../core/session.js';

/**
 * Why the gateway does not do what a client asks for.
 *
 * - `clientLeft`: nobody waits for the answer any more
 * - `signedOut`: the sign-in of the request was withdrawn or has expired meanwhile
 * - `noConnection`: the connection does not exist, or is not the requester's
 * - `tooMuch`: the request asks for more than may be asked for at once
 * - `badAnswer`: the server that holds the connection gave an answer that cannot be read
 */
export type RefusalReason = 'clientLeft' | 'signedOut' | 'noConnection' | 'tooMuch' | 'badAnswer';

/** The gateway does not do what a client asks for; whoever speaks HTTP gives it a status. */
export class Refusal extends Error {
  constructor(
    readonly reason: RefusalReason,
    message: string,
  ) {
    super(message);
  }
}

/** Why nothing is done for a request whose session has closed. */
export function closedRefusal({ closeReason }: Session): Refusal {
  return closeReason === 'revoked' || closeReason === 'expired'
    ? new Refusal('signedOut', 'The sign-in was withdrawn or has expired')
    : new Refusal('clientLeft', 'The client has left');
}

/** Why nothing is done to a connection. */
export function noConnection(): Refusal {
  return new Refusal('noConnection', 'There is no such connection');
}
