import { isRevoked, type Revocation } from '../protocol/authentication.js';
import { Session, type SessionCloseReason, type SessionOptions } from './session.js';

/** The open sessions of one node. */
export class Sessions {
  private readonly openSessions = new Set<Session>();
  private isClosed = false;

  /** How many sessions are open. */
  get size(): number {
    return this.openSessions.size;
  }

  open(options: SessionOptions = {}): Session {
    const session = new Session(options, this);
    if (this.isClosed) session.end('shutdown');
    else if (!session.closed) this.openSessions.add(session);
    return session;
  }

  /** Called by a session that has closed. */
  forget(session: Session): void {
    this.openSessions.delete(session);
  }

  /** Ends every session whose authentication a revocation withdraws. */
  revoke(revocation: Revocation): void {
    for (const session of this.openSessions) {
      const { auth } = session;
      if (auth !== null && isRevoked(auth, revocation)) session.end('revoked');
    }
  }

  /** Ends all of them; what is opened later is closed from the start. */
  close(reason: SessionCloseReason): void {
    this.isClosed = true;
    for (const session of this.openSessions) session.end(reason);
  }
}
