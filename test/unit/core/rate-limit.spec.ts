import { beforeEach, describe, expect, test } from '@jest/globals';
import { keptBytes } from '../../support/kept-memory.js';
import { RateLimit } from '../../../lib/core/rate-limit.js';

const takeAll = (limit: RateLimit, count: number, key = 'a') =>
  Array.from({ length: count }, () => limit.take(key)).filter((waitMs) => waitMs === 0).length;

describe('A rate limit', () => {
  let now = 0;
  const rate = (perSecond: number, maxKeys?: number) => new RateLimit(perSecond, () => now, maxKeys);
  beforeEach(() => void (now = 1_000));

  test.each([1, 3, 7, 50, 500, 1_000])(
    'allows ten seconds’ worth at once, and not one more: %i a second',
    (perSecond) => {
      const limit = rate(perSecond);
      expect(takeAll(limit, perSecond * 10)).toBe(perSecond * 10);
      const waitMs = limit.take('a');
      expect(waitMs).toBeCloseTo(1_000 / perSecond);
      expect(takeAll(limit, 50)).toBe(0);
    },
  );

  test('allows that many times a second on average, once the initial share is used up', () => {
    const limit = rate(5);
    takeAll(limit, 50);
    for (let second = 0; second < 20; second++) {
      now += 1_000;
      expect(takeAll(limit, 50)).toBe(5);
    }
  });

  test('returns the time of the next action, and allows it then', () => {
    const limit = rate(4);
    takeAll(limit, 40);
    const waitMs = limit.take('a');
    now += waitMs - 130;
    expect(limit.take('a')).toBeGreaterThan(0);
    now += 130;
    expect(limit.take('a')).toBe(0);
  });

  test('counts separately for each name', () => {
    const limit = rate(1);
    expect(takeAll(limit, 20, 'a')).toBe(10);
    expect(takeAll(limit, 20, 'b')).toBe(10);
  });

  test('forgets addresses after ten idle seconds, when others come', () => {
    const limit = rate(1);
    for (let n = 0; n < 1_000; n++) limit.take(`early ${n}`);
    expect(limit.size).toBe(1_000);
    now += 10_000;
    for (let n = 0; n < 1_000; n++) limit.take(`late ${n}`);
    expect(limit.size).toBe(1_000);
    now += 10_000;
    for (let n = 0; n < 500; n++) limit.take('late');
    expect(limit.size).toBe(1);
  });

  test('takes bounded memory, however many names there are, and remembers the latest ones', () => {
    const limit = rate(1, 100);
    for (let n = 0; n < 10_000; n++) {
      limit.take(`name ${n}`);
      expect(limit.size).toBeLessThanOrEqual(100);
    }
    expect(takeAll(limit, 20, 'name 9999')).toBe(9);
  });

  test('keeps a key alone, and not the long URL or header that it is a part of', () => {
    const limit = rate(1);
    const bytes = keptBytes(() => {
      for (let count = 0; count < 1_000; count++) {
        const header = `${'x'.repeat(10_000)},192.0.2.${count}-of-a-client`;
        limit.take(header.slice(10_001));
      }
      return limit;
    });
    expect(limit.size).toBe(1_000);
    expect(bytes).toBeLessThan(1_000_000);
  });
});
