import { describe, expect, test } from '@jest/globals';
import { exceedsJsonBytes } from '../../../../lib/nest/gateway/json-length.js';

describe('The length of a client’s request', () => {
  test.each<[unknown]>([
    [1],
    [-0.5e-7],
    [true],
    [null],
    ['é\n"\ud800'],
    [[]],
    [{}],
    [[[], {}, [1, [2, null]]]],
    [{ a: 1, 'é"': [{ b: 'c', d: {} }], '': false, 7: 'x' }],
    [Array.from({ length: 300_000 }, () => 1)],
  ])('is the length of its JSON: %#', (value) => {
    const bytes = Buffer.byteLength(JSON.stringify(value));
    expect([exceedsJsonBytes(value, bytes), exceedsJsonBytes(value, bytes - 1)]).toEqual([false, true]);
  });

  test('is known however deeply it is nested', () => {
    const value: unknown = JSON.parse('['.repeat(100_000) + ']'.repeat(100_000));
    expect([exceedsJsonBytes(value, 200_000), exceedsJsonBytes(value, 199_999)]).toEqual([false, true]);
  });
});
