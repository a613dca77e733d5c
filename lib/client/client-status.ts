import type { MessagingError } from '../protocol/errors.js';

/** How a client stands with its server. */
export interface ClientStatus {
  /**
   * - `idle`: nothing is subscribed to, so there is no connection; 5 s after the last subscription has ended
   * - `connecting`: a stream is being opened
   * - `open`: messages arrive
   * - `waiting`: the connection was lost; the next attempt is at `retryAt`
   * - `closed`: all subscriptions have ended. For good if `reason` is `close`; else `client.retryNow()` makes it `idle`,
   *   and it may be subscribed with again
   */
  readonly state: 'idle' | 'connecting' | 'open' | 'waiting' | 'closed';
  /** Why it is `closed`, or why it is `waiting` though nothing has failed. */
  readonly reason?: CloseReason | ReturnReason | undefined;
  /**
   * What went wrong last: why it is `waiting` or `closed`. While it is `open`: why the last change of the subscriptions
   * has not got through yet. What `fetch` or `headers` failed by is its `cause`.
   */
  readonly error?: MessagingError | undefined;
  /** When the next attempt is made, in milliseconds since 1970. */
  readonly retryAt?: number;
}

/**
 * Why a client is closed.
 *
 * - `close`: `close()` was called
 * - `end`: the server ended the stream
 * - `revoked`: the sign-in was withdrawn
 * - `refused`: the server does not let this client in (HTTP 204; 401 or 403 twice in a row, so that `headers` may renew
 *   a token)
 * - `misconfigured`: the URL cannot be used, there is no gateway at it, or not one that understands this client (other
 *   HTTP 4xx, from a server that has never let it in)
 */
export type CloseReason = 'close' | 'end' | 'revoked' | 'refused' | 'misconfigured';

/**
 * Why the server has sent a client away, which comes back.
 *
 * - `drain`: it is going away, or the stream has become old
 * - `expired`: the sign-in has expired; `headers` is asked for another one
 */
export type ReturnReason = 'drain' | 'expired';
