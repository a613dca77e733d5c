import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { Returns, pickReturn, returnWindow } from '../../../lib/sse/return-window.js';

describe('clients that are sent away together', () => {
  test.each([
    ['one', 1, undefined, { fromMs: 500, toMs: 1_000 }],
    ['a hundred, within half a second', 100, undefined, { fromMs: 500, toMs: 1_000 }],
    ['2,000, within 6 s', 2_000, undefined, { fromMs: 500, toMs: 6_500 }],
    ['100,000, within half a minute', 100_000, undefined, { fromMs: 500, toMs: 30_000 }],
    ['10,000 that must be back after 4 s', 10_000, 4_000, { fromMs: 500, toMs: 4_000 }],
    ['a hundred with very little time', 100, 300, { fromMs: 150, toMs: 300 }],
  ])('come back after a while: %s', (_title, clients, latestMs, window) => {
    expect(returnWindow(clients, latestMs)).toEqual(window);
  });

  test('come back evenly: of 2,000, the busiest second has at most twice the mean', () => {
    const window = returnWindow(2_000);
    const times = Array.from({ length: 2_000 }, () => pickReturn(window)).toSorted((a, b) => a - b);
    expect(times[0]).toBeGreaterThanOrEqual(window.fromMs);
    expect(times.at(-1)).toBeLessThanOrEqual(window.toMs);
    const meanInSecond = (2_000 / (window.toMs - window.fromMs)) * 1_000;
    const inSecondFrom = (time: number) => times.filter((other) => other >= time && other < time + 1_000).length;
    expect(Math.max(...times.map(inSecondFrom))).toBeLessThan(2 * meanInSecond);
    // Nearly all times are distinct.
    expect(new Set(times).size).toBeGreaterThan(1_900);
  });
});

describe('Clients that are sent away one by one', () => {
  afterEach(() => void jest.useRealTimers());

  test('come back later if there are more of them within a second', () => {
    jest.useFakeTimers();
    const returns = new Returns();
    const next = (count: number) => Array.from({ length: count }, () => returns.next());
    for (let second = 0; second < 3; second++) {
      for (const ms of next(100)) {
        expect(ms).toBeGreaterThanOrEqual(500);
        expect(ms).toBeLessThanOrEqual(1_000);
      }
      jest.advanceTimersByTime(1_000);
    }
    const times = next(2_000);
    expect(Math.max(...times)).toBeGreaterThan(5_000);
    expect(Math.max(...times)).toBeLessThanOrEqual(6_500);
    jest.advanceTimersByTime(999);
    expect(Math.max(...next(2_000))).toBeGreaterThan(11_000);
    jest.advanceTimersByTime(1);
    expect(returns.next()).toBeLessThanOrEqual(1_000);
  });
});
