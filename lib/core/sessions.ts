import type { AuthenticationInfo } from '../protocol/authentication.js';
import { isRevoked, type Revocation } from '../protocol/revocation.js';
import { isolate } from './isolate.js';
import type { Reporter } from './reporter.js';
import { MAX_REVOCATIONS, RevocationList } from './revocation-list.js';
import { Session } from './session.js';
import type { SessionInit } from './session-init.js';
import type { SessionCloseReason } from './session-close-reason.js';
import { TimeWheel } from './time-wheel.js';

/** Called with each revocation that this node applies, after the affected sessions have ended. */
export type RevocationListener = (revocation: Revocation) => void;

/**
 * The open sessions of one node, indexed by what is known of their users, so that a revocation looks only at the sessions of its user.
 */
export class Sessions {
  /** Wakes sessions when their time is up. */
  readonly wheel: TimeWheel;
  /** The revocations that still count. */
  readonly revocations: RevocationList;
  /** Sessions whose user is not known yet. */
  private readonly undecided = new Set<Session>();
  private readonly nobodys = new Set<Session>();
  /** A single session up to the second one. */
  private readonly byUser = new Map<string, Session | Set<Session>>();
  private readonly revocationListeners: RevocationListener[] = [];
  private count = 0;
  private isFinding = false;
  private isClosed = false;
  private isUnclearTold = false;

  /**
   * @param reporter - receives failures when a session ends
   * @param revocationTtlMs - how long revocations count
   */
  constructor(
    readonly reporter: Reporter,
    revocationTtlMs?: number,
  ) {
    this.wheel = new TimeWheel(reporter);
    this.revocations = new RevocationList(revocationTtlMs, () =>
      reporter.warn?.(
        'too many revocations',
        `More than ${MAX_REVOCATIONS} revocations are in force: the oldest are forgotten, and sign-ins that they ` +
          'withdrew are let in again. Make revocation.ttlMs shorter',
      ),
    );
  }

  /** How many sessions are open. */
  get size(): number {
    return this.count;
  }

  open(options: SessionInit = {}): Session {
    const session = new Session(options, this);
    if (this.isClosed) session.end('shutdown');
    else if (!session.closed) this.place(session);
    return session;
  }

  /** Called by a session once its user is known; `null`: nobody, although that may change. */
  decided(session: Session, auth: AuthenticationInfo | null): void {
    // A session that is still being opened is indexed later.
    if (!this.undecided.delete(session) && !this.nobodys.delete(session)) return;
    this.count--;
    this.place(session, auth);
  }

  /** Called by a session that has closed. */
  forget(session: Session): void {
    if (this.undecided.delete(session) || this.nobodys.delete(session) || this.forgetUsers(session)) this.count--;
  }

  /** Whether a newly known sign-in is revoked; see {@link RevocationList.verdictOn}. */
  isWithdrawn(auth: AuthenticationInfo, since: number): boolean {
    const verdict = this.revocations.verdictOn(auth, since);
    if (verdict === 'unclear') this.tellUnclear();
    return verdict === 'revoked';
  }

  /** Calls a function with each revocation from now on. Its errors are reported. */
  onRevoked(listener: RevocationListener): void {
    this.revocationListeners.push(listener);
  }

  /** Ends every session whose authentication is withdrawn by a revocation that is already listed. Never throws. */
  revoke(revocation: Revocation): void {
    this.findAll();
    const now = Date.now();
    for (const session of this.ofUser(revocation.userId)) {
      const { known } = session;
      if (known && isRevoked(known, revocation, now)) session.end('revoked');
    }
    for (const listener of this.revocationListeners) {
      isolate(this.reporter, 'What is told of a revocation', () => listener(revocation));
    }
  }

  /** Ends all sessions; later ones are closed from the start. Never throws. */
  close(reason: SessionCloseReason): void {
    this.isClosed = true;
    const users = [...this.byUser.keys()].flatMap((userId) => this.ofUser(userId));
    for (const session of [...this.undecided, ...this.nobodys, ...users]) session.end(reason);
  }

  /** Looks up the users of all open sessions: a listener of an end may at once open a session for the same user. */
  private findAll(): void {
    // A lookup may revoke in turn. The remaining sessions are already queued for it, so the calls do not nest.
    if (this.isFinding) return;
    this.isFinding = true;
    try {
      for (const session of [...this.undecided]) session.find();
    } finally {
      this.isFinding = false;
    }
  }

  private place(session: Session, auth = session.known): void {
    this.count++;
    if (auth === undefined) this.undecided.add(session);
    else if (auth === null) this.nobodys.add(session);
    else this.placeUsers(session, String(auth.userId));
  }

  private placeUsers(session: Session, userId: string): void {
    const others = this.byUser.get(userId);
    if (others === undefined) this.byUser.set(userId, session);
    else if (others instanceof Set) others.add(session);
    else this.byUser.set(userId, new Set([others, session]));
  }

  private forgetUsers(session: Session): boolean {
    const { known } = session;
    if (!known) return false;
    const userId = String(known.userId);
    const others = this.byUser.get(userId);
    if (others === session) return this.byUser.delete(userId);
    if (!(others instanceof Set) || !others.delete(session)) return false;
    if (others.size === 0) this.byUser.delete(userId);
    return true;
  }

  private ofUser(userId: string): Session[] {
    const sessions = this.byUser.get(userId);
    if (sessions === undefined) return [];
    return sessions instanceof Set ? [...sessions] : [sessions];
  }

  /** Only once: it is the same for each sign-in of the application. */
  private tellUnclear(): void {
    if (this.isUnclearTold) return;
    this.isUnclearTold = true;
    this.reporter.warn?.(
      'revoked sign-in without issuedAt',
      'A user whose sign-ins were revoked has come with a sign-in without issuedAt (or iat). It may be a new one, ' +
        'so it is let in. Let "authenticate" return issuedAt, or revoke by authId',
    );
  }
}
