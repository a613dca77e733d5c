import { expect, test } from '@jest/globals';
import { Backoff } from '../../../lib/transport/backoff.js';

const HALF = { firstMs: 100, longestMs: 10_000, spread: 0.5 };
const FULL = { firstMs: 500, longestMs: 30_000, spread: 1 };

const take = (backoff: Backoff): number[] => Array.from({ length: 10 }, () => Math.round(backoff.next()));

test('waits double, up to the longest', () => {
  const shortest = new Backoff(HALF, () => 0);
  const longest = new Backoff(HALF, () => 1 - Number.EPSILON);
  expect(take(shortest)).toEqual([50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
  expect(take(longest)).toEqual([100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000]);
});

test('waits stay short during the first attempts if that is wanted, and double after them', () => {
  const backoff = new Backoff({ ...HALF, early: { attempts: 5, longestMs: 500 } }, () => 1 - Number.EPSILON);
  expect(take(backoff)).toEqual([100, 200, 400, 500, 500, 1_000, 2_000, 4_000, 8_000, 10_000]);
});

test('waits with full jitter are random between zero and that time', () => {
  const longest = new Backoff(FULL, () => 1 - Number.EPSILON);
  expect(take(longest).slice(0, 8)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  expect(new Backoff(FULL, () => 0).next()).toBe(0);
});

test('waits are spread, so that clients that failed together come back at different times', () => {
  const waits = new Set(
    Array.from({ length: 50 }, () => {
      const backoff = new Backoff(HALF);
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

test('waits stay reasonable, however many attempts there were', () => {
  const [half, full] = [new Backoff(HALF, () => 0.5), new Backoff(FULL, () => 0.5)];
  for (let attempt = 0; attempt < 5_000; attempt++) {
    half.next();
    full.next();
  }
  expect([half.next(), full.next()]).toEqual([7_500, 15_000]);
});

test('a success makes the next wait the shortest again', () => {
  const backoff = new Backoff(HALF, () => 0);
  for (let attempt = 0; attempt < 5; attempt++) backoff.next();
  backoff.reset();
  expect(backoff.next()).toBe(50);
});
