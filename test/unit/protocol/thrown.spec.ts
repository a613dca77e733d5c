import { describe, expect, test } from '@jest/globals';
import { isAbortError, isErrorOf, thrownText } from '../../../lib/protocol/thrown.js';

const fail = (): never => {
  throw new Error('a trap or a getter threw');
};

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

/** Possible thrown values, and their texts. */
const THROWN: readonly [name: string, thrown: unknown, text: string][] = [
  ['an error', new TypeError('wrong'), 'wrong'],
  ['a text', 'wrong', '"wrong"'],
  ['nothing', undefined, 'undefined'],
  ['null', null, 'null'],
  ['a symbol', Symbol('wrong'), 'Symbol(wrong)'],
  ['an object without a prototype', Object.create(null), 'an object'],
  ['a proxy that throws', new Proxy({}, { get: fail, getPrototypeOf: fail }), 'a value that cannot be read'],
  ['a revoked proxy', revoked(), 'a value that cannot be read'],
  [
    'an error whose message throws',
    Object.defineProperty(new Error(), 'message', { get: fail }),
    'an instance of Error',
  ],
];

describe('for any thrown value', () => {
  test.each(THROWN)('the text is known: %s', (_name, thrown, text) => {
    expect(thrownText(thrown)).toBe(text);
  });

  test.each(THROWN)('the class is known: %s', (name, thrown) => {
    expect(isErrorOf(thrown, Error)).toBe(name.startsWith('an error'));
    expect(isErrorOf(thrown, RangeError)).toBe(false);
    expect(isAbortError(thrown)).toBe(false);
  });

  test('an AbortError is recognised by its name, because its class differs between realms', () => {
    expect(isAbortError(AbortSignal.abort().reason)).toBe(true);
    expect(isAbortError(Object.assign(new Error(), { name: 'AbortError' }))).toBe(true);
  });
});
