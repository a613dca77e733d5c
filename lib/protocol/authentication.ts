import { describe } from './channel-name.js';
import { ConfigurationError } from './errors.js';

/** Who is behind a session, as the option `authenticate` of the module tells. */
export interface AuthenticationInfo {
  /** The user. Numbers and their decimal strings are the same user. */
  readonly userId: string | number;
  /** This one sign-in of the user: a session, a device, a token. */
  readonly authId?: string | undefined;
  /** What this sign-in may do. */
  readonly scopes?: readonly string[] | undefined;
  /** When the sign-in was issued, in milliseconds since 1970. */
  readonly issuedAt?: number | undefined;
}

/** Withdraws every sign-in of the user. */
export class RevokedAuthenticationUser {
  readonly kind = 'user';
}

/** Withdraws one sign-in of the user. */
export class RevokedAuthenticationAuthId {
  readonly kind = 'authId';
  /** @param authId - the `authId` of the {@link AuthenticationInfo} to end */
  constructor(readonly authId: string) {}
}

/** Withdraws scopes: every session of the user that holds at least one of them ends. */
export class RevokedAuthenticationScope {
  readonly kind = 'scope';
  readonly scopes: readonly string[];
  /** @param scopes - one or more scopes */
  constructor(scopes: readonly string[]) {
    this.scopes = scopes;
  }
}

/** What `revokeAuthentication` withdraws. */
export type RevokedAuthentication =
  RevokedAuthenticationUser | RevokedAuthenticationAuthId | RevokedAuthenticationScope;

/** A revocation as it travels between servers. */
export interface Revocation {
  readonly userId: string;
  readonly authId?: string;
  readonly scopes?: readonly string[];
}

/**
 * Checks the arguments of `revokeAuthentication`.
 *
 * @throws ConfigurationError for anything but the three forms: a revocation that silently matches nobody
 *   would leave a stream open that somebody believes closed
 */
export function toRevocation(userId: unknown, what: unknown): Revocation {
  if ((typeof userId !== 'string' && typeof userId !== 'number') || userId === '') {
    throw new ConfigurationError(
      `revokeAuthentication: userId must be a non-empty string or a number, not ${describe(userId)}`,
    );
  }
  const user = String(userId);
  if (what instanceof RevokedAuthenticationUser) return { userId: user };
  if (what instanceof RevokedAuthenticationAuthId) {
    if (typeof what.authId !== 'string' || what.authId === '') {
      throw new ConfigurationError(
        `RevokedAuthenticationAuthId: authId must be a non-empty string, not ${describe(what.authId)}`,
      );
    }
    return { userId: user, authId: what.authId };
  }
  if (what instanceof RevokedAuthenticationScope) {
    const scopes: unknown = what.scopes;
    if (!isScopes(scopes) || scopes.length === 0) {
      throw new ConfigurationError('RevokedAuthenticationScope: scopes must be a non-empty array of strings');
    }
    return { userId: user, scopes: [...scopes] };
  }
  throw new ConfigurationError(
    'revokeAuthentication: the second argument is one of new RevokedAuthenticationUser(), ' +
      `new RevokedAuthenticationAuthId(authId), new RevokedAuthenticationScope(scopes), not ${describe(what)}`,
  );
}

/** Whether a value that came over the wire is a {@link Revocation}. */
export function isRevocation(value: unknown): value is Revocation {
  if (typeof value !== 'object' || value === null) return false;
  const { userId, authId, scopes } = value as Record<string, unknown>;
  return (
    typeof userId === 'string' &&
    (authId === undefined || typeof authId === 'string') &&
    (scopes === undefined || isScopes(scopes))
  );
}

/** Whether a revocation ends a session that was authenticated like this. */
export function isRevoked(auth: AuthenticationInfo, revocation: Revocation): boolean {
  if (String(auth.userId) !== revocation.userId) return false;
  if (revocation.authId !== undefined) return auth.authId === revocation.authId;
  if (revocation.scopes !== undefined) return revocation.scopes.some((scope) => auth.scopes?.includes(scope) ?? false);
  return true;
}

function isScopes(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((scope) => typeof scope === 'string');
}
