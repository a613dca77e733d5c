import type { AuthenticationInfo } from '../protocol/authentication.js';
import { isRevoked, type Revocation } from '../protocol/revocation.js';
import { isolate } from './isolate.js';
import type { Reporter } from './reporter.js';
import { MAX_REVOCATIONS, RevocationList } from './revocation-list.js';
import { Session } from './session.js';
import type { SessionInit } from './session-init.js';
import type { SessionCloseReason } from './session-close-reason.js';
import { TimeWheel } from './time-wheel.js';

/** Told of a revocation that is applied on this node, after the sessions have ended that it ends. */
export type RevocationListener = (revocation: Revocation) => void;

/**
 * The open sessions of one node. They stand in the index by what is known of who is behind them, so that a revocation looks at
 * those of its user, whatever else is open.
 */
export class Sessions {
  /** Of what ends, or is told, at a time. */
  readonly wheel: TimeWheel;
  /** What has been withdrawn. */
  readonly revocations: RevocationList;
  /** Sessions whose user is not known yet. */
  private readonly undecided = new Set<Session>();
  private readonly nobodys = new Set<Session>();
  /** A set from the second one on. */
  private readonly byUser = new Map<string, Session | Set<Session>>();
  private readonly revocationListeners: RevocationListener[] = [];
  private count = 0;
  private isFinding = false;
  private isClosed = false;
  private isUnclearTold = false;

  /**
   * @param reporter - told of what fails where a session ends
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

  /** Called by a session once it is known who is behind it; `null`: nobody, although that may change. */
  decided(session: Session, auth: AuthenticationInfo | null): void {
    // One that is being opened is placed then.
    if (!this.undecided.delete(session) && !this.nobodys.delete(session)) return;
    this.count--;
    this.place(session, auth);
  }

  /** Called by a session that has closed. */
  forget(session: Session): void {
    if (this.undecided.delete(session) || this.nobodys.delete(session) || this.forgetUsers(session)) this.count--;
  }

  /** Whether a sign-in that has become known is withdrawn; see {@link RevocationList.verdictOn}. */
  isWithdrawn(auth: AuthenticationInfo, since: number): boolean {
    const verdict = this.revocations.verdictOn(auth, since);
    if (verdict === 'unclear') this.tellUnclear();
    return verdict === 'revoked';
  }

  /** Has a function called with each revocation that is applied from now on. What it throws is reported. */
  onRevoked(listener: RevocationListener): void {
    this.revocationListeners.push(listener);
  }

  /** Ends every session whose authentication a revocation withdraws, which is known already. Never throws. */
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

  /** Ends all of them; what is opened later is closed from the start. Never throws. */
  close(reason: SessionCloseReason): void {
    this.isClosed = true;
    const users = [...this.byUser.keys()].flatMap((userId) => this.ofUser(userId));
    for (const session of [...this.undecided, ...this.nobodys, ...users]) session.end(reason);
  }

  /** Finds out who is behind those that are open now: what hears of an end may open a session for the same user at once. */
  private findAll(): void {
    // What says who is behind one may revoke in turn. The others are on their way to be asked then: not each inside the one before.
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

  /** Once: it is the same for each sign-in of the application. */
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
