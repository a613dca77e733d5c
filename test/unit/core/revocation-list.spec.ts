import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { MAX_REVOCATIONS, RevocationList } from '../../../lib/core/revocation-list.js';
import type { AuthenticationInfo } from '../../../lib/protocol/authentication.js';

const NOON = Date.UTC(2030, 0, 1, 12);

const verdict = (list: RevocationList, auth: AuthenticationInfo, since = list.order) => list.verdictOn(auth, since);

describe('The list of revocations', () => {
  beforeEach(() => void jest.useFakeTimers({ now: NOON }));
  afterEach(() => void jest.useRealTimers());

  test('knows a sign-in revoked by its id, whenever it was issued, and no other', () => {
    const list = new RevocationList();
    list.add({ userId: '7', authId: 'a', at: NOON });
    jest.advanceTimersByTime(10_000);
    expect(verdict(list, { userId: 7, authId: 'a' })).toBe('revoked');
    expect(verdict(list, { userId: '7', authId: 'a', issuedAt: NOON + 5_000 })).toBe('revoked');
    expect(verdict(list, { userId: '7', authId: 'b' })).toBe('valid');
    expect(verdict(list, { userId: '7' })).toBe('valid');
    expect(verdict(list, { userId: '8', authId: 'a' })).toBe('valid');
  });

  test('knows the sign-ins of a user issued before the revocation, and admits later ones', () => {
    const list = new RevocationList();
    list.add({ userId: 'ada', at: NOON });
    jest.advanceTimersByTime(10_000);
    expect(verdict(list, { userId: 'ada', issuedAt: NOON - 1 })).toBe('revoked');
    // In whole seconds, as in a JSON web token: the sign-in may be from before.
    expect(verdict(list, { userId: 'ada', issuedAt: NOON })).toBe('revoked');
    expect(verdict(list, { userId: 'ada', issuedAt: NOON + 1 })).toBe('valid');
    expect(verdict(list, { userId: 'bob', issuedAt: NOON - 1 })).toBe('valid');
  });

  test('knows sign-ins with one of the scopes issued before the revocation', () => {
    const list = new RevocationList();
    list.add({ userId: 'ada', scopes: ['chat', 'admin'], at: NOON });
    jest.advanceTimersByTime(10_000);
    const of = (scopes: string[], issuedAt = NOON - 1) => verdict(list, { userId: 'ada', scopes, issuedAt });
    expect([of(['read']), of(['read', 'admin']), of(['chat']), of(['chat'], NOON + 1)]).toEqual([
      'valid',
      'revoked',
      'revoked',
      'valid',
    ]);
  });

  test('counts a sign-in without an issue time as earlier if its holder came before', () => {
    const list = new RevocationList();
    const before = list.order;
    list.add({ userId: 'ada', at: NOON });
    expect(verdict(list, { userId: 'ada' }, before)).toBe('revoked');
    expect(verdict(list, { userId: 'ada' })).toBe('unclear');
    expect(verdict(list, { userId: 'bob' }, before)).toBe('valid');
  });

  test('does not trust an issue time in the future', () => {
    const list = new RevocationList();
    const before = list.order;
    list.add({ userId: 'ada', at: NOON });
    expect(verdict(list, { userId: 'ada', issuedAt: NOON * 1_000 }, before)).toBe('revoked');
    expect(verdict(list, { userId: 'ada', issuedAt: NOON * 1_000 })).toBe('unclear');
  });

  test('accepts each revocation once, and forgets it after its time', () => {
    const list = new RevocationList(60_000);
    const added = list.add({ userId: 'ada', authId: 'a', at: NOON });
    expect(added).toMatchObject({ order: 1, revocation: { userId: 'ada' } });
    expect(list.add({ userId: 'ada', authId: 'a', at: NOON })).toBeUndefined();
    expect(list.all).toEqual([added]);
    jest.advanceTimersByTime(59_999);
    expect(verdict(list, { userId: 'ada', authId: 'a' })).toBe('revoked');
    jest.advanceTimersByTime(1);
    expect(verdict(list, { userId: 'ada', authId: 'a' })).toBe('valid');
    expect(list.all).toEqual([]);
    expect(list.add({ userId: 'ada', authId: 'a', at: NOON })).toBeUndefined();
  });

  test('uses the latest of a kind, in whichever order they come', () => {
    const list = new RevocationList();
    jest.advanceTimersByTime(10_000);
    list.add({ userId: 'ada', at: NOON + 5_000 });
    list.add({ userId: 'ada', at: NOON });
    expect(verdict(list, { userId: 'ada', issuedAt: NOON + 4_000 })).toBe('revoked');
  });

  test('distinguishes the parts of an id from the text after it', () => {
    const list = new RevocationList();
    list.add({ userId: 'a authId b', at: NOON });
    list.add({ userId: 'c', authId: 'd scope e', at: NOON });
    expect(verdict(list, { userId: 'a', authId: 'b', issuedAt: 0 })).toBe('valid');
    expect(verdict(list, { userId: 'c authId d', scopes: ['e'], issuedAt: 0 })).toBe('valid');
  });

  test('forgets the oldest if there are too many, and reports that', () => {
    const dropped = jest.fn();
    const list = new RevocationList(undefined, dropped);
    for (let index = 0; index <= MAX_REVOCATIONS; index++) list.add({ userId: `user ${index}`, at: NOON });
    expect(dropped).toHaveBeenCalledTimes(1);
    expect(list.all).toHaveLength(MAX_REVOCATIONS);
    expect(verdict(list, { userId: 'user 0', issuedAt: 0 })).toBe('valid');
    expect(verdict(list, { userId: 'user 1', issuedAt: 0 })).toBe('revoked');
  });
});
