import { expect, test } from '@jest/globals';
import { Backoff } from '../../../lib/transport/backoff.js';

const take = (backoff: Backoff): number[] => Array.from({ length: 10 }, () => backoff.next());

test('waits double from 50 ms to 10 s', () => {
  const shortest = new Backoff(() => 0);
  const longest = new Backoff(() => 1 - Number.EPSILON);
  expect(take(shortest)).toEqual([50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
  expect(take(longest)).toEqual([100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000]);
});

test('waits are spread, so that nodes do not come back together', () => {
  const waits = new Set(
    Array.from({ length: 50 }, () => {
      const backoff = new Backoff();
      for (let attempt = 0; attempt < 9; attempt++) backoff.next();
      return backoff.next();
    }),
  );
  expect(waits.size).toBeGreaterThan(25);
  for (const wait of waits) {
    expect(wait).toBeGreaterThanOrEqual(5_000);
    expect(wait).toBeLessThanOrEqual(10_000);
  }
});

test('waits stay sensible however many attempts there were', () => {
  const backoff = new Backoff(() => 0.5);
  for (let attempt = 0; attempt < 5_000; attempt++) backoff.next();
  expect(backoff.next()).toBe(7_500);
});

test('a success makes the next wait the shortest again', () => {
  const backoff = new Backoff(() => 0);
  for (let attempt = 0; attempt < 5; attempt++) backoff.next();
  backoff.reset();
  expect(backoff.next()).toBe(50);
});
