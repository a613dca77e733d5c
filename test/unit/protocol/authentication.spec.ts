import { describe, expect, test } from '@jest/globals';
import { isRevoked } from '../../../lib/protocol/revocation.js';
import { ConfigurationError } from '../../../lib/protocol/errors.js';
import { readAuthentication } from '../../../lib/protocol/read-authentication.js';

class ObjectId {
  toString() {
    return '65f0';
  }
}

describe('Identity claims', () => {
  test.each<[string, object, object]>([
    ['userId', { userId: 'ada', sub: 'x', id: 'y' }, { userId: 'ada' }],
    ['sub, as in the tokens of the guide of Nest', { sub: 7, username: 'ada' }, { userId: 7 }],
    ['id', { userId: null, sub: undefined, id: 'ada' }, { userId: 'ada' }],
    ['a bigint', { id: 2n ** 60n }, { userId: '1152921504606846976' }],
    ['0', { id: 0 }, { userId: 0 }],
    ['authId', { userId: 1, authId: 7, jti: 'x' }, { userId: 1, authId: '7' }],
    ['jti', { userId: 1, jti: 'token' }, { userId: 1, authId: 'token' }],
    ['scopes', { userId: 1, scopes: ['a b', 'c'], scope: 'd' }, { userId: 1, scopes: ['a b', 'c'] }],
    ['scopes in one text', { userId: 1, scopes: 'nonadmin-readonly' }, { userId: 1, scopes: ['nonadmin-readonly'] }],
    ['scope of OAuth', { userId: 1, scope: ' read  write ' }, { userId: 1, scopes: ['read', 'write'] }],
    ['no scopes', { userId: 1, scopes: null }, { userId: 1 }],
    ['iat and exp', { userId: 1, iat: 10, exp: 20.5 }, { userId: 1, issuedAt: 10_000, expiresAt: 20_500 }],
    [
      'issuedAt and expiresAt',
      { userId: 1, issuedAt: 10, iat: 1, expiresAt: new Date(20) },
      { userId: 1, issuedAt: 10, expiresAt: 20 },
    ],
  ])('are read: %s', (_case, claims, auth) => {
    expect(readAuthentication(claims)).toEqual(auth);
  });

  test('are copied, so that checked values cannot change', () => {
    const claims = { userId: 'ada', scopes: ['read'], password: 'secret' };
    const auth = readAuthentication(claims);
    claims.scopes.push('admin');
    expect(auth).toEqual({ userId: 'ada', scopes: ['read'] });
    expect(Object.keys(auth)).toEqual(['userId', 'scopes']);
    expect(Object.isFrozen(auth) && Object.isFrozen(auth.scopes)).toBe(true);
    expect(Object.isFrozen(claims)).toBe(false);
  });

  test.each<[unknown, string]>([
    ['ada', 'it must be an object with a userId, not a string'],
    [true, 'not a boolean'],
    [{}, 'it has no userId, sub or id'],
    [{ name: 'ada' }, 'it has no userId, sub or id'],
    [{ userId: '' }, 'its userId must be a non-empty string, a number or a bigint, not an empty string'],
    [{ userId: NaN, sub: 'ada' }, 'its userId must be a non-empty string, a number or a bigint, not NaN'],
    [{ sub: Infinity }, 'its sub must be a non-empty string, a number or a bigint, not Infinity'],
    [{ id: new ObjectId() }, 'its id must be a non-empty string, a number or a bigint, not an object'],
    [{ id: 1, authId: {} }, 'its authId must be'],
    [{ id: 1, jti: '' }, 'its jti must be'],
    [{ id: 1, scopes: true }, 'its scopes must be an array of strings, or a string with spaces between the scopes'],
    [{ id: 1, scopes: ['a', 1] }, 'not an array of other values'],
    [{ id: 1, scope: { admin: true } }, 'its scope must be'],
    [{ id: 1, iat: '10' }, 'its iat must be a number of seconds since 1970, not a string'],
    [{ id: 1, expiresAt: new Date(NaN) }, 'its expiresAt must be a number of milliseconds since 1970, or a Date'],
  ])('are refused with an error that names them: %j', (claims, text) => {
    expect(() => readAuthentication(claims)).toThrow(ConfigurationError);
    expect(() => readAuthentication(claims)).toThrow(text);
  });

  test('that are numbers are revoked by the number and by its text', () => {
    const auth = readAuthentication({ id: 7, jti: 8, scope: 'read' });
    expect(isRevoked(auth, { userId: '7', authId: '8', at: 0 }, 1)).toBe(true);
    expect(isRevoked(auth, { userId: '7', scopes: ['rea'], at: 0 }, 1)).toBe(false);
  });
});
