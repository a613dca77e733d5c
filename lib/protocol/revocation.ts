import {
  RevokedAuthenticationAuthId,
  RevokedAuthenticationScope,
  RevokedAuthenticationUser,
  type AuthenticationInfo,
  type RevokedAuthentication,
} from './authentication.js';
import { RESERVED_PREFIX, describe } from './channel-name.js';
import { ConfigurationError } from './errors.js';
import { identity } from './identity.js';
import { readList, readObject, readText, readWholeNumber } from './wire-reader.js';

/** The channel that carries revocations between servers, without the prefix of the library's own channels. */
export const REVOCATIONS_NAME = 'revocations';
export const REVOCATIONS = RESERVED_PREFIX + REVOCATIONS_NAME;

/** The longest id or scope, which applications choose. */
const MAX_TEXT_LENGTH = 10_000;
const MAX_SCOPES = 10_000;

/** A revocation as it is kept, and as it travels between servers. */
export interface Revocation {
  readonly userId: string;
  readonly authId?: string;
  readonly scopes?: readonly string[];
  /** When it was made, in milliseconds since 1970. */
  readonly at: number;
}

/**
 * Checks the arguments of `revokeAuthentication`.
 *
 * @throws ConfigurationError for anything but the three forms, and for more than other servers read: a revocation that silently matches
 *   nobody would leave a stream open that somebody believes closed
 */
export function toRevocation(userId: unknown, what: unknown, at: number): Revocation {
  if (identity(userId) === undefined) {
    throw new ConfigurationError(`revokeAuthentication: userId must be ${identity.expected}, not ${describe(userId)}`);
  }
  const user = checkLength(String(userId), 'revokeAuthentication: userId');
  if (what instanceof RevokedAuthenticationUser) return { userId: user, at };
  if (what instanceof RevokedAuthenticationAuthId) {
    if (identity(what.authId) === undefined) {
      throw new ConfigurationError(
        `RevokedAuthenticationAuthId: authId must be ${identity.expected}, not ${describe(what.authId)}`,
      );
    }
    return { userId: user, authId: checkLength(String(what.authId), 'RevokedAuthenticationAuthId: authId'), at };
  }
  if (what instanceof RevokedAuthenticationScope) {
    const scopes: unknown = what.scopes;
    if (!isScopes(scopes) || scopes.length === 0) {
      throw new ConfigurationError('RevokedAuthenticationScope: scopes must be a non-empty array of strings');
    }
    if (scopes.length > MAX_SCOPES) {
      throw new ConfigurationError(
        `RevokedAuthenticationScope: ${scopes.length} scopes; a call takes at most ${MAX_SCOPES}`,
      );
    }
    for (const scope of scopes) checkLength(scope, 'RevokedAuthenticationScope: a scope');
    return { userId: user, scopes: [...scopes], at };
  }
  throw new ConfigurationError(
    'revokeAuthentication: the second argument is one of new RevokedAuthenticationUser(), ' +
      `new RevokedAuthenticationAuthId(authId), new RevokedAuthenticationScope(scopes), not ${describe(what)}`,
  );
}

/** The second argument of the `revokeAuthentication` call that made a revocation. */
export function withdrawnBy({ authId, scopes }: Revocation): RevokedAuthentication {
  if (authId !== undefined) return new RevokedAuthenticationAuthId(authId);
  return scopes === undefined ? new RevokedAuthenticationUser() : new RevokedAuthenticationScope(scopes);
}

/**
 * Reads a revocation that another server has posted.
 *
 * @param postedAt - when it was posted, in milliseconds since 1970: servers of earlier versions send no other time
 * @throws InvalidMessageError for anything else
 */
export function readRevocation(value: unknown, postedAt: number): Revocation {
  const { userId, authId, scopes, at } = readObject(value, 'a revocation');
  return {
    userId: readText(userId, 'its user', MAX_TEXT_LENGTH),
    ...(authId !== undefined && { authId: readText(authId, 'its sign-in', MAX_TEXT_LENGTH) }),
    ...(scopes !== undefined && {
      scopes: readList(scopes, 'its scopes', MAX_SCOPES, (scope, path) => readText(scope, path, MAX_TEXT_LENGTH)),
    }),
    at: readWholeNumber(at ?? postedAt, 'its time'),
  };
}

/**
 * Whether a revocation withdraws a sign-in that was known before the revocation was. One sign-in is withdrawn whenever it was
 * issued; a user, or scopes, if it was issued by then, or if nobody says when it was.
 *
 * @param now - in milliseconds since 1970: what would be issued later than that says nothing
 */
export function isRevoked(auth: AuthenticationInfo, revocation: Revocation, now: number): boolean {
  const { userId, authId, scopes, at } = revocation;
  if (String(auth.userId) !== userId) return false;
  if (authId !== undefined) return auth.authId === authId;
  if (scopes !== undefined && !scopes.some((scope) => auth.scopes?.includes(scope) ?? false)) return false;
  const issuedAt = issuedBy(auth, now);
  return issuedAt === undefined || issuedAt <= at;
}

/** When a sign-in was issued, in milliseconds since 1970; `undefined` if that is not known, or would be in the future. */
export function issuedBy({ issuedAt }: AuthenticationInfo, now: number): number | undefined {
  return issuedAt !== undefined && issuedAt <= now ? issuedAt : undefined;
}

function checkLength(text: string, name: string): string {
  if (text.length <= MAX_TEXT_LENGTH) return text;
  throw new ConfigurationError(`${name} has ${text.length} characters; at most ${MAX_TEXT_LENGTH} are possible`);
}

function isScopes(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((scope) => typeof scope === 'string');
}
