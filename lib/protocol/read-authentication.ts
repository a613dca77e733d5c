import type { AuthenticationClaims, AuthenticationInfo } from './authentication.js';
import { ConfigurationError } from './errors.js';
import { identity } from './identity.js';

/**
 * Reads who somebody is from what an application, or a library that it signs users in with, says of them. The one place
 * where that is done: everything behind it has the checked form.
 *
 * @returns a frozen copy; what was read is left as it is
 * @throws ConfigurationError that names the claim at fault, without its value; and whatever a getter throws
 */
export function readAuthentication(claims: unknown): AuthenticationInfo {
  if (typeof claims !== 'object' || claims === null) {
    throw new ConfigurationError(`it must be an object with a userId, not ${kindOf(claims)}`);
  }
  const { userId, sub, id, authId, jti, scopes, scope, issuedAt, iat, expiresAt, exp } = claims as {
    readonly [claim in keyof AuthenticationClaims]: unknown;
  };
  const user = firstOf({ userId, sub, id }, identity);
  if (user === undefined) throw new ConfigurationError('it has no userId, sub or id');
  const signIn = firstOf({ authId, jti }, identity);
  const granted = firstOf({ scopes, scope }, scopeList);
  const issued = firstOf({ issuedAt }, milliseconds) ?? firstOf({ iat }, seconds);
  const expires = firstOf({ expiresAt }, milliseconds) ?? firstOf({ exp }, seconds);
  return Object.freeze({
    userId: user,
    ...(signIn !== undefined && { authId: String(signIn) }),
    ...(granted !== undefined && { scopes: granted }),
    ...(issued !== undefined && { issuedAt: issued }),
    ...(expires !== undefined && { expiresAt: expires }),
  });
}

/** A list, or OAuth's text of scopes with spaces between them (RFC 6749, 3.3). */
function scopeList(value: unknown): readonly string[] | undefined {
  if (typeof value === 'string') return Object.freeze(value.split(/\s+/).filter((scope) => scope !== ''));
  return isStrings(value) ? Object.freeze([...value]) : undefined;
}
scopeList.expected = 'an array of strings, or a string with spaces between the scopes';

function milliseconds(value: unknown): number | undefined {
  const time = value instanceof Date ? value.getTime() : value;
  return typeof time === 'number' && Number.isFinite(time) ? time : undefined;
}
milliseconds.expected = 'a number of milliseconds since 1970, or a Date';

/** The claims of a JSON web token (RFC 7519, 4.1). */
function seconds(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value * 1_000 : undefined;
}
seconds.expected = 'a number of seconds since 1970';

function isStrings(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

interface Reader<T> {
  (value: unknown): T | undefined;
  readonly expected: string;
}

/** Reads the first of several claims that is there. */
function firstOf<T>(claims: Readonly<Record<string, unknown>>, read: Reader<T>): T | undefined {
  for (const [claim, value] of Object.entries(claims)) {
    if (value === undefined || value === null) continue;
    const result = read(value);
    if (result === undefined)
      throw new ConfigurationError(`its ${claim} must be ${read.expected}, not ${kindOf(value)}`);
    return result;
  }
  return undefined;
}

/** The kind of a value, not the value itself: credentials do not belong in a log. */
function kindOf(value: unknown): string {
  if (value === '') return 'an empty string';
  if (Array.isArray(value)) return 'an array of other values';
  return typeof value === 'number' ? String(value) : typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
