import { createHash } from 'node:crypto';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import { issuedBy, type Revocation } from '../protocol/revocation.js';

/** How many revocations are kept at most. Beyond that, the oldest are forgotten. */
export const MAX_REVOCATIONS = 100_000;
/** How long revocations count by default, in milliseconds. */
const DEFAULT_TTL_MS = 24 * 3_600_000;

/** A revocation that still counts. */
export interface KnownRevocation {
  /** Derived from its content. */
  readonly id: string;
  readonly revocation: Revocation;
  /** How many revocations this node had received before it, since the start. */
  readonly order: number;
}

/** The state of a sign-in. `unclear`: its user or scopes were revoked, and it does not say when it was issued. */
export type RevocationVerdict = 'revoked' | 'unclear' | 'valid';

/**
 * The revocations that still count on one node. They identify withdrawn sign-ins that come back. Old revocations are forgotten.
 */
export class RevocationList {
  /** How many revocations, and other events that affect earlier requests, were noted since the start. */
  order = 0;
  private readonly known = new Map<string, KnownRevocation>();
  /** The latest revocation of each user, sign-in or scope. */
  private readonly latest = new Map<string, KnownRevocation>();

  /**
   * @param ttlMs - how long each revocation counts, in milliseconds
   * @param dropped - called when one is forgotten early, to make room
   */
  constructor(
    readonly ttlMs = DEFAULT_TTL_MS,
    private readonly dropped: () => void = () => {},
  ) {}

  get isEmpty(): boolean {
    return this.known.size === 0;
  }

  /** All revocations that still count, the oldest first. */
  get all(): KnownRevocation[] {
    this.tidy();
    return [...this.known.values()];
  }

  /** Whether a revocation with this id still counts. */
  has(id: string): boolean {
    return this.known.has(id);
  }

  /** @returns `undefined` if it is already known, or too old to count */
  add(revocation: Revocation): KnownRevocation | undefined {
    const id = idOf(revocation);
    if (this.known.has(id) || this.isOver(revocation)) return undefined;
    const added = { id, revocation, order: ++this.order };
    this.known.set(id, added);
    for (const key of keysOf(revocation)) {
      const other = this.latest.get(key);
      if (other === undefined || other.revocation.at <= revocation.at) this.latest.set(key, added);
    }
    this.tidy();
    return added;
  }

  /**
   * Whether a sign-in has been withdrawn.
   *
   * @param since - the {@link order} when its holder came: later revocations apply to it
   * @returns `unclear` if it may be from before or from after a revocation, because it has no issue time
   */
  verdictOn(auth: AuthenticationInfo, since: number): RevocationVerdict {
    if (this.isEmpty) return 'valid';
    const { authId, scopes = [] } = auth;
    const user = userKey(String(auth.userId));
    if (authId !== undefined && this.current(signInKey(user, authId)) !== undefined) return 'revoked';
    const issuedAt = issuedBy(auth, Date.now());
    let verdict: RevocationVerdict = 'valid';
    for (const key of [user, ...scopes.map((scope) => scopeKey(user, scope))]) {
      const withdrawn = this.current(key);
      if (withdrawn === undefined) continue;
      const { order, revocation } = withdrawn;
      if (issuedAt === undefined ? since < order : issuedAt <= revocation.at) return 'revoked';
      if (issuedAt === undefined) verdict = 'unclear';
    }
    return verdict;
  }

  private current(key: string): KnownRevocation | undefined {
    const found = this.latest.get(key);
    return found === undefined || this.isOver(found.revocation) ? undefined : found;
  }

  private isOver({ at }: Revocation): boolean {
    return at + this.ttlMs <= Date.now();
  }

  /** They are in the order of arrival, which is roughly the order of creation. */
  private tidy(): void {
    for (const each of this.known.values()) {
      const isOver = this.isOver(each.revocation);
      if (!isOver && this.known.size <= MAX_REVOCATIONS) return;
      this.known.delete(each.id);
      for (const key of keysOf(each.revocation)) if (this.latest.get(key) === each) this.latest.delete(key);
      if (!isOver) this.dropped();
    }
  }
}

/** Derived from the whole content of a revocation, so that each server computes the same id. */
export function idOf({ userId, authId, scopes, at }: Revocation): string {
  const content = JSON.stringify([userId, authId ?? null, scopes ?? null, at]);
  return createHash('sha256').update(content).digest('base64url');
}

function keysOf({ userId, authId, scopes }: Revocation): string[] {
  const user = userKey(userId);
  if (authId !== undefined) return [signInKey(user, authId)];
  return scopes === undefined ? [user] : scopes.map((scope) => scopeKey(user, scope));
}

/** With the length of the id, so that no id can run into the text after it. */
function userKey(userId: string): string {
  return `${userId.length}:${userId}`;
}

function signInKey(user: string, authId: string): string {
  return `${user} authId ${authId}`;
}

function scopeKey(user: string, scope: string): string {
  return `${user} scope ${scope}`;
}
