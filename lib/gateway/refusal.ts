/**
 * Why the gateway does not do what a client asks for.
 *
 * - `clientLeft`: the session of the request has closed. If its sign-in has ended, the HTTP layer says that instead
 * - `noConnection`: the connection does not exist, or is not the requester's
 * - `tooMuch`: the request asks for more than may be asked for at once
 * - `badAnswer`: the server that holds the connection gave an answer that cannot be read
 */
export type RefusalReason = 'clientLeft' | 'noConnection' | 'tooMuch' | 'badAnswer';

/** The gateway does not do what a client asks for. The HTTP layer chooses the status. */
export class Refusal extends Error {
  constructor(
    readonly reason: RefusalReason,
    message: string,
  ) {
    super(message);
  }
}

/** Why nothing is done for a request whose session has closed. */
export function clientLeft(): Refusal {
  return new Refusal('clientLeft', 'The client has left');
}

/** Why nothing is done to a connection. */
export function noConnection(): Refusal {
  return new Refusal('noConnection', 'There is no such connection');
}
