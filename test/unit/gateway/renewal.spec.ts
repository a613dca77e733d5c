import { describe, expect, test } from '@jest/globals';
import { readRenewable, readRenewalQuestion } from '../../../lib/gateway/renewal.js';
import { InvalidMessageError } from '../../../lib/protocol/errors.js';

describe('A question of another node about a renewal', () => {
  test('is read with its sign-in', () => {
    const question = { connection: 'c', auth: { userId: 'ada', scopes: ['read'], expiresAt: 2 } };
    expect(readRenewalQuestion({ ...question, more: 1 })).toEqual(question);
  });

  test.each([
    ['nothing', undefined],
    ['of nobody', { connection: 'c', auth: null }],
    ['of a user that cannot be read', { connection: 'c', auth: { userId: {} } }],
    ['without a connection', { auth: { userId: 'ada' } }],
    ['about a long connection', { connection: 'c'.repeat(101), auth: { userId: 'ada' } }],
  ])('is refused if it is %s', (_what, question) => {
    expect(() => readRenewalQuestion(question)).toThrow(InvalidMessageError);
  });
});

describe('The answer to a renewal', () => {
  test('is the channels of the stream, or nothing if it is not renewed', () => {
    expect(readRenewable(['a', 'b'], 2)).toEqual(['a', 'b']);
    expect(readRenewable(null, 2)).toBeUndefined();
  });

  test.each([
    ['no answer', undefined],
    ['more than a stream may have', ['a', 'b', 'c']],
    ['an invalid name', [1]],
    ['an object', { length: 1 }],
  ])('is refused if it is %s', (_what, answer) => {
    expect(() => readRenewable(answer, 2)).toThrow(InvalidMessageError);
  });
});
