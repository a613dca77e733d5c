import type { SessionCloseReason } from '../core/session-close-reason.js';
import type { Returned } from './recovery-wire.js';

/** For the first minute, a client waits no longer than this between two attempts to come back. */
const RECENT_MS = 5_000;
/** How many connections are remembered. */
const MAX_LOST = 10_000;

/** Close reasons after which clients may come back. */
const COMES_BACK: ReadonlySet<SessionCloseReason> = new Set(['ended', 'expired', 'reconnect']);

/** Connections that were lost recently, whose clients may be on their way back. */
export class LostConnections {
  /** When each connection was lost, in that order. */
  private readonly lost = new Map<string, { readonly owner: string; readonly at: number }>();

  /** A connection has ended; its client may or may not have wanted that. */
  note([connection, owner]: Returned, reason: SessionCloseReason): void {
    if (!COMES_BACK.has(reason)) return;
    this.forget(this.lost.size >= MAX_LOST ? 1 : 0);
    this.lost.set(connection, { owner, at: performance.now() });
  }

  /** The clients of these connections are back. */
  returned(connections: readonly Returned[]): void {
    for (const [connection, owner] of connections) {
      if (this.lost.get(connection)?.owner === owner) this.lost.delete(connection);
    }
  }

  /** Connections of the last 5 s whose clients are not back. */
  get recent(): Returned[] {
    this.forget(0);
    return [...this.lost].map(([connection, { owner }]) => [connection, owner]);
  }

  /** @param count - how many of the oldest to forget, however recent */
  private forget(count: number): void {
    const since = performance.now() - RECENT_MS;
    let left = count;
    for (const [connection, { at }] of this.lost) {
      if (left-- <= 0 && at >= since) return;
      this.lost.delete(connection);
    }
  }
}
