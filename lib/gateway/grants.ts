import type { Sessions } from '../core/sessions.js';
import type { Timed } from '../core/time-wheel.js';
import { isSameSignIn, type AuthenticationInfo } from '../protocol/authentication.js';
import { isRevoked, type Revocation } from '../protocol/revocation.js';
import type { WithdrawalReason } from '../protocol/gateway.js';
import type { Renewal } from './renewal.js';

/** The owner of subscriptions. */
export interface Grantee {
  /** The channels and templates that it has. */
  readonly names: readonly string[];
  /** Ends subscriptions, and reports it. */
  withdraw(names: readonly string[], reason: WithdrawalReason): unknown;
}

/** The subscriptions that one sign-in was granted on one connection. */
class Grant implements Timed {
  readonly names = new Set<string>();

  constructor(
    private readonly grantee: Grantee,
    readonly auth: AuthenticationInfo,
  ) {}

  timeIsUp(): void {
    this.end('expired');
  }

  end(reason: WithdrawalReason): void {
    this.grantee.withdraw([...this.names], reason);
  }
}

/**
 * Tracks subscriptions on this node that were granted to another sign-in than that of their stream, for example to a short-lived one
 * with more rights. They end with that sign-in; all others end with their stream. Kept here, since few connections have any.
 */
export class Grants {
  private readonly all = new Map<Grantee, Map<string, Grant>>();

  constructor(private readonly sessions: Sessions) {
    sessions.onRevoked((revocation) => this.revoke(revocation));
  }

  /** Whether a sign-in is neither expired nor revoked. It comes from another node, which may not have known. */
  isValid(auth: AuthenticationInfo): boolean {
    const { sessions } = this;
    const { expiresAt = Infinity } = auth;
    return expiresAt > Date.now() && !sessions.isWithdrawn(auth, sessions.revocations.order);
  }

  /** Whether a subscription was granted to another sign-in than that of its stream. */
  has(grantee: Grantee, name: string): boolean {
    return this.authOf(grantee, name) !== undefined;
  }

  /** The other sign-in that a subscription was granted to; `undefined`: it was granted to that of its stream. */
  authOf(grantee: Grantee, name: string): AuthenticationInfo | undefined {
    return this.all.get(grantee)?.get(name)?.auth;
  }

  /** Notes a subscription that was granted to another sign-in. It replaces an earlier grant. */
  note(grantee: Grantee, name: string, auth: AuthenticationInfo): void {
    this.forget(grantee, name);
    let grants = this.all.get(grantee);
    if (grants === undefined) this.all.set(grantee, (grants = new Map<string, Grant>()));
    const grant = findGrant(grants, auth) ?? this.open(grantee, auth);
    grant.names.add(name);
    grants.set(name, grant);
  }

  /** A subscription has ended, or is granted to the sign-in of its stream. */
  forget(grantee: Grantee, name: string): void {
    const grants = this.all.get(grantee);
    const grant = grants?.get(name);
    if (grants === undefined || grant === undefined) return;
    grants.delete(name);
    if (grants.size === 0) this.all.delete(grantee);
    grant.names.delete(name);
    const { expiresAt } = grant.auth;
    if (grant.names.size === 0 && expiresAt !== undefined) this.sessions.wheel.remove(expiresAt, grant);
  }

  /**
   * A stream continues with a new sign-in of its own. Subscriptions that this sign-in may not use end, unless another sign-in was granted
   * them. Subscriptions that arrived too late for the decision end with the previous sign-in.
   */
  renewed(grantee: Grantee, before: AuthenticationInfo, { granted, denied }: Renewal): void {
    const lost = denied.filter((name) => !this.has(grantee, name));
    if (lost.length > 0) grantee.withdraw(lost, 'denied');
    for (const name of granted) this.forget(grantee, name);
    const decided = new Set([...granted, ...denied]);
    for (const name of grantee.names) {
      if (!decided.has(name) && !this.has(grantee, name)) this.note(grantee, name, before);
    }
  }

  private open(grantee: Grantee, auth: AuthenticationInfo): Grant {
    const grant = new Grant(grantee, auth);
    if (auth.expiresAt !== undefined) this.sessions.wheel.add(auth.expiresAt, grant);
    return grant;
  }

  private revoke(revocation: Revocation): void {
    const now = Date.now();
    const revoked = [...this.all.values()].flatMap((grants) => [...new Set(grants.values())]);
    for (const grant of revoked) if (isRevoked(grant.auth, revocation, now)) grant.end('revoked');
  }
}

/** The sign-in that a grant depends on; `undefined` if that is the stream's own. */
export function grantOf(by: AuthenticationInfo | null, own: AuthenticationInfo | null): AuthenticationInfo | undefined {
  return by === null || own === null || isSameSignIn(by, own) ? undefined : by;
}

function findGrant(grants: ReadonlyMap<string, Grant>, auth: AuthenticationInfo): Grant | undefined {
  for (const grant of grants.values()) if (isSameSignIn(grant.auth, auth)) return grant;
  return undefined;
}
