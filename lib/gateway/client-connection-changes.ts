import type { SessionCloseReason } from '../core/session-close-reason.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import { reservedChannel, type Channel } from '../protocol/channel.js';

/** A client has opened its stream, or the stream has ended. */
export interface ClientConnectionChange {
  /** Whether the stream has opened or ended. */
  readonly kind: 'connected' | 'disconnected';
  /** The id of the connection. */
  readonly connection: string;
  /** Who the client is; `null`: nobody. */
  readonly auth: AuthenticationInfo | null;
  /** Why it has ended; `ended`: the client has left. */
  readonly reason?: SessionCloseReason;
}

/**
 * Tells on each server of the clients that are connected to it through the gateway: who is present, for one. A client
 * that reconnects is told of as gone, then as new.
 *
 * @example
 * ```ts
 * @OnMessage(ClientConnectionChanges)
 * track({ kind, connection, auth }: ClientConnectionChange) {
 *   this.log(kind, connection, auth?.userId);
 * }
 * ```
 */
export const ClientConnectionChanges = reservedChannel<ClientConnectionChange>('connections', undefined, {
  isLocal: true,
}) as Channel<ClientConnectionChange>;
