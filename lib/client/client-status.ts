import type { MessagingError } from '../protocol/errors.js';

/** The state of a client's connection to its server. */
export interface ClientStatus {
  /**
   * - `idle`: there are no subscriptions, so there is no connection; it closes 5 s after the last subscription has ended
   * - `connecting`: the client is opening a stream
   * - `open`: messages arrive
   * - `waiting`: the connection was lost; the next attempt is at `retryAt`
   * - `closed`: all subscriptions have ended. Final if `reason` is `close`; otherwise `client.retryNow()` makes it `idle`,
   *   and you can subscribe again
   */
  readonly state: 'idle' | 'connecting' | 'open' | 'waiting' | 'closed';
  /** Why it is `closed`, or why it is `waiting` without a failure. */
  readonly reason?: CloseReason | ReturnReason | undefined;
  /**
   * The last failure: why it is `waiting` or `closed`. While it is `open`: why the last change of the subscriptions
   * has failed; it is tried again at `retryAt`. Its `cause` is the error of `fetch` or `headers`.
   */
  readonly error?: MessagingError | undefined;
  /** When the client tries next, in milliseconds since 1970. */
  readonly retryAt?: number;
}

/**
 * Why a client is closed.
 *
 * - `close`: `close()` was called
 * - `end`: the server ended the stream
 * - `revoked`: the sign-in was revoked
 * - `refused`: the server does not let this client in (HTTP 204; 401 or 403 twice in a row, so that `headers` may renew
 *   a token)
 * - `misconfigured`: the URL or a header cannot be used, or there is no gateway at the URL that understands this client (other
 *   HTTP 4xx); only if the client has never been open
 */
export type CloseReason = 'close' | 'end' | 'revoked' | 'refused' | 'misconfigured';

/**
 * Why the server has sent away a client, which then comes back.
 *
 * - `drain`: the server shuts down, or the stream has become old
 * - `expired`: the sign-in has expired; the client asks `headers` for another one
 */
export type ReturnReason = 'drain' | 'expired';
