import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Flusher, MAX_DELAY_MS } from '../../../lib/sse/flusher.js';

let now = 0;
beforeEach(() => {
  now = 1_000;
  jest.useFakeTimers({ doNotFake: ['performance'] });
  jest.spyOn(performance, 'now').mockImplementation(() => now);
});
afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

/** Lets time pass, for timers and the clock. */
function pass(ms: number): void {
  now += ms;
  jest.advanceTimersByTime(ms);
}

/** A connection whose flush takes this long. */
function connection(costMs = 0) {
  return { flushes: 0, flush() { this.flushes++; now += costMs; } }; // prettier-ignore
}

describe('A flusher', () => {
  test('flushes at the end of the turn if writing costs nothing', () => {
    const flusher = new Flusher();
    const [a, b] = [connection(), connection()];
    flusher.add(a);
    flusher.add(b);
    expect([a.flushes, b.flushes]).toEqual([0, 0]);
    pass(0);
    expect([a.flushes, b.flushes]).toEqual([1, 1]);
    flusher.add(a);
    pass(0);
    expect([a.flushes, b.flushes]).toEqual([2, 1]);
  });

  test('rests after a flush for its duration, so that more goes out together', () => {
    const flusher = new Flusher();
    const slow = connection(8);
    flusher.add(slow);
    pass(0);
    flusher.add(slow);
    pass(7);
    expect(slow.flushes).toBe(1);
    pass(1);
    expect(slow.flushes).toBe(2);
  });

  test('does not rest if nothing came for as long', () => {
    const flusher = new Flusher();
    const slow = connection(8);
    flusher.add(slow);
    pass(0);
    pass(8);
    flusher.add(slow);
    pass(0);
    expect(slow.flushes).toBe(2);
  });

  test('never rests longer than its limit', () => {
    const flusher = new Flusher();
    const slow = connection(500);
    flusher.add(slow);
    pass(0);
    flusher.add(slow);
    pass(MAX_DELAY_MS - 1);
    expect(slow.flushes).toBe(1);
    pass(1);
    expect(slow.flushes).toBe(2);
  });

  test('leaves frames that come during a flush to the next flush', () => {
    const flusher = new Flusher();
    const second = connection();
    const first = { flush: () => flusher.add(second) };
    flusher.add(first);
    pass(0);
    expect(second.flushes).toBe(0);
    pass(1);
    expect(second.flushes).toBe(1);
  });

  test('starts new batches after each flush', () => {
    const flusher = new Flusher();
    const { start } = flusher;
    flusher.add(connection());
    expect(flusher.start).toBe(start);
    pass(0);
    expect(flusher.start).not.toBe(start);
  });
});
