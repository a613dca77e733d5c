import { createHash } from 'node:crypto';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import { issuedBy, type Revocation } from '../protocol/revocation.js';

/** How many revocations are known at most; of more, the oldest are forgotten. */
export const MAX_REVOCATIONS = 100_000;
/** How long they count, in milliseconds. */
const DEFAULT_TTL_MS = 24 * 3_600_000;

/** A revocation that still counts. */
export interface KnownRevocation {
  /** Made of its content. */
  readonly id: string;
  readonly revocation: Revocation;
  /** How many were known here before it, since the start. */
  readonly order: number;
}

/** What a node knows of a sign-in whose user, or scopes, were withdrawn, and that does not say when it was issued. */
export type RevocationVerdict = 'revoked' | 'unclear' | 'valid';

/**
 * The revocations that still count on one node: whoever comes back with what was withdrawn is known by them. Those that are
 * older than their time are forgotten.
 */
export class RevocationList {
  /** How many have been added since the start, and other things noted that are for requests from before them. */
  order = 0;
  private readonly known = new Map<string, KnownRevocation>();
  /** The latest of each thing that can be withdrawn. */
  private readonly latest = new Map<string, KnownRevocation>();

  /**
   * @param ttlMs - how long each of them counts, in milliseconds
   * @param dropped - called if one is forgotten before its time, to make room
   */
  constructor(
    readonly ttlMs = DEFAULT_TTL_MS,
    private readonly dropped: () => void = () => {},
  ) {}

  get isEmpty(): boolean {
    return this.known.size === 0;
  }

  /** All that still count, the oldest first. */
  get all(): KnownRevocation[] {
    this.tidy();
    return [...this.known.values()];
  }

  /** Whether one of this id still counts. */
  has(id: string): boolean {
    return this.known.has(id);
  }

  /** @returns `undefined` if it is known already, or too old to count */
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
   * Whether a sign-in that becomes known has been withdrawn.
   *
   * @param since - the {@link order} when whoever has it came: what was withdrawn after that is withdrawn from them
   * @returns `unclear` if it may be one from before a revocation, or from after it: it does not say
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

  /** They stand in the order in which they came, which is about that in which they were made. */
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

/** Made of all that a revocation says, so that each server gives it the same. */
export function idOf({ userId, authId, scopes, at }: Revocation): string {
  const content = JSON.stringify([userId, authId ?? null, scopes ?? null, at]);
  return createHash('sha256').update(content).digest('base64url');
}

function keysOf({ userId, authId, scopes }: Revocation): string[] {
  const user = userKey(userId);
  if (authId !== undefined) return [signInKey(user, authId)];
  return scopes === undefined ? [user] : scopes.map((scope) => scopeKey(user, scope));
}

/** With its length, so that no id goes on into what comes behind it. */
function userKey(userId: string): string {
  return `${userId.length}:${userId}`;
}

function signInKey(user: string, authId: string): string {
  return `${user} authId ${authId}`;
}

function scopeKey(user: string, scope: string): string {
  return `${user} scope ${scope}`;
}
