/**
 * Why the gateway does not do what a client asks for.
 *
 * - `serverFull`: this server holds as many connections, or decides about as many requests, as it may
 * - `userFull`: it holds as many connections of this user as it may
 * - `clientLeft`: nobody waits for the answer any more
 * - `noConnection`: the connection does not exist, or is not the requester's
 * - `tooMuch`: the request asks for more than may be asked for at once
 * - `badAnswer`: the server that holds the connection gave an answer that cannot be read
 */
export type RefusalReason = 'serverFull' | 'userFull' | 'clientLeft' | 'noConnection' | 'tooMuch' | 'badAnswer';

/** The gateway does not do what a client asks for; whoever speaks HTTP gives it a status. */
export class Refusal extends Error {
  constructor(
    readonly reason: RefusalReason,
    message: string,
  ) {
    super(message);
  }
}
