import type { Revocation } from '../protocol/authentication.js';
import type { Reporter } from './reporter.js';
import { Session, type SessionInit } from './session.js';
import type { SessionCloseReason } from './session-close-reason.js';
import { TimeWheel } from './time-wheel.js';

/** The open sessions of one node. */
export class Sessions {
  private readonly openSessions = new Set<Session>();
  private isClosed = false;
  /** Of what ends, or is told, at a time. */
  readonly wheel: TimeWheel;

  /** @param reporter - told of what fails where a session ends */
  constructor(readonly reporter: Reporter) {
    this.wheel = new TimeWheel(reporter);
  }

  /** How many sessions are open. */
  get size(): number {
    return this.openSessions.size;
  }

  open(options: SessionInit = {}): Session {
    const session = new Session(options, this);
    if (this.isClosed) session.end('shutdown');
    else if (!session.closed) this.openSessions.add(session);
    return session;
  }

  forget(session: Session): void {
    this.openSessions.delete(session);
  }

  /** Ends every session whose authentication a revocation withdraws. Never throws. */
  revoke(revocation: Revocation): void {
    // Of those that are open now: what hears of an end may open a session for the same user at once.
    for (const session of [...this.openSessions]) {
      try {
        session.revoke(revocation);
      } catch (error) {
        // An object that cannot be read is nobody's in particular; it must not keep open what should end.
        this.reporter.callbackFailed({ callback: 'Reading the authentication of a session', error });
        session.end('revoked');
      }
    }
  }

  /** Ends all of them; what is opened later is closed from the start. Never throws. */
  close(reason: SessionCloseReason): void {
    this.isClosed = true;
    for (const session of this.openSessions) session.end(reason);
  }
}
