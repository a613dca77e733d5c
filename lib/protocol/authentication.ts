/** The user of a session: read from {@link AuthenticationClaims}, checked, and frozen. */
export interface AuthenticationInfo {
  /** The user. Numbers and their decimal strings are the same user. */
  readonly userId: string | number;
  /** This one sign-in of the user: a session, a device, a token. */
  readonly authId?: string | undefined;
  /** The scopes of this sign-in. */
  readonly scopes?: readonly string[] | undefined;
  /** When the sign-in was issued, in milliseconds since 1970. */
  readonly issuedAt?: number | undefined;
  /** When the sign-in expires, in milliseconds since 1970. */
  readonly expiresAt?: number | undefined;
}

/** Whether two sign-ins have the same content. */
export function isSameSignIn(one: AuthenticationInfo, other: AuthenticationInfo): boolean {
  return one === other || JSON.stringify(contentOf(one)) === JSON.stringify(contentOf(other));
}

function contentOf({ userId, authId, scopes, issuedAt, expiresAt }: AuthenticationInfo): unknown[] {
  return [String(userId), authId, scopes, issuedAt, expiresAt];
}

/**
 * The user in the form of an application: as {@link AuthenticationInfo}, or with the claims of a JSON web token.
 * At least one of `userId`, `sub` and `id` must be there; the first one that is there counts. Other properties are not
 * looked at.
 */
export interface AuthenticationClaims {
  /** The user. A number and its decimal string are the same user. */
  readonly userId?: string | number | bigint | null | undefined;
  /** In place of `userId`: the token's subject. */
  readonly sub?: string | number | bigint | null | undefined;
  /** In place of `userId`: the id of the application's own user object. */
  readonly id?: string | number | bigint | null | undefined;
  /** This one sign-in of the user, for a revocation of just that. */
  readonly authId?: string | number | bigint | null | undefined;
  /** In place of `authId`: the token's id. */
  readonly jti?: string | number | bigint | null | undefined;
  /** The scopes of this sign-in: a list, or a text with spaces between the scopes. */
  readonly scopes?: readonly string[] | string | null | undefined;
  /** In place of `scopes`, as OAuth calls it. */
  readonly scope?: readonly string[] | string | null | undefined;
  /** Milliseconds since 1970. */
  readonly issuedAt?: number | Date | null | undefined;
  /** In place of `issuedAt`: seconds since 1970. */
  readonly iat?: number | null | undefined;
  /** Milliseconds since 1970. */
  readonly expiresAt?: number | Date | null | undefined;
  /** In place of `expiresAt`: seconds since 1970. */
  readonly exp?: number | null | undefined;
}

/** Withdraws every sign-in of the user. */
export class RevokedAuthenticationUser {
  /** Distinguishes it from the other kinds. */
  readonly kind = 'user';
}

/** Withdraws one sign-in of the user. */
export class RevokedAuthenticationAuthId {
  /** Distinguishes it from the other kinds. */
  readonly kind = 'authId';
  /** @param authId - the `authId` of the {@link AuthenticationInfo} to end; a number and its decimal string are the same */
  constructor(readonly authId: string | number) {}
}

/** Withdraws scopes: every session of the user that holds at least one of them ends. */
export class RevokedAuthenticationScope {
  /** Distinguishes it from the other kinds. */
  readonly kind = 'scope';
  /** The withdrawn scopes. */
  readonly scopes: readonly string[];
  /** @param scopes - one or more scopes */
  constructor(scopes: readonly string[]) {
    this.scopes = scopes;
  }
}

/** The part that `revokeAuthentication` withdraws. */
export type RevokedAuthentication =
  RevokedAuthenticationUser | RevokedAuthenticationAuthId | RevokedAuthenticationScope;
