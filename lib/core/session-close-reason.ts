/**
 * Why a session closed.
 *
 * - `ended`: by itself or by hand
 * - `revoked`: its authentication was withdrawn
 * - `expired`: its authentication has expired
 * - `disconnected`: the application has ended the client's connection (`ClientConnections.disconnect`)
 * - `reconnect`: likewise, and its client was told to come back
 * - `shutdown`: the application shuts down
 */
export type SessionCloseReason = 'ended' | 'revoked' | 'expired' | 'disconnected' | 'reconnect' | 'shutdown';

/** Is told of the end of a session. An object that exists anyway needs no function per session. */
export interface SessionObserver {
  sessionClosed(reason: SessionCloseReason): void;
}
