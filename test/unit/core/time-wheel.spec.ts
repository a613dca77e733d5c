import { AsyncLocalStorage } from 'node:async_hooks';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { TimeWheel, type Timed } from '../../../lib/core/time-wheel.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

const START = Date.parse('2026-01-01T00:00:00.000Z');
const LONG_MS = 600_000;

beforeEach(() => void jest.useFakeTimers({ now: START }));
afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

/** A wheel, and the times at which it woke each entry. */
function setup() {
  const reporter = new RecordingReporter();
  const wheel = new TimeWheel(reporter);
  const woken: [name: string, afterMs: number][] = [];
  const named = (name: string): Timed => ({ timeIsUp: () => woken.push([name, Date.now() - START]) });
  return { reporter, wheel, woken, named };
}

describe('A wheel', () => {
  test('wakes each object when its time has come, never before, and once', () => {
    const { wheel, woken, named } = setup();
    for (const ms of [7_000, 1, 999, 1_000, 1_001, LONG_MS]) wheel.add(START + ms, named(`${ms}`));
    jest.advanceTimersByTime(2 * LONG_MS);
    expect(woken).toEqual([
      ['1', 250],
      ['999', 1_000],
      ['1000', 1_000],
      ['1001', 1_250],
      ['7000', 7_000],
      ['600000', LONG_MS],
    ]);
  });

  test('wakes objects that are already due with its next look', () => {
    const { wheel, woken, named } = setup();
    wheel.add(START + 60_000, named('later'));
    jest.advanceTimersByTime(10_000);
    wheel.add(START - LONG_MS, named('long over'));
    wheel.add(START + 5_000, named('over'));
    jest.advanceTimersByTime(250);
    expect(woken.map(([name]) => name).toSorted()).toEqual(['long over', 'over']);
    jest.advanceTimersByTime(60_000);
    expect(woken).toHaveLength(3);
  });

  test('does not wake removed objects', () => {
    const { wheel, woken, named } = setup();
    const [gone, there] = [named('gone'), named('there')];
    wheel.add(START + 1_000, gone);
    wheel.add(START + 1_000, there);
    wheel.remove(START + 1_000, gone);
    // It was never on the wheel.
    wheel.remove(START + 2_000, gone);
    jest.advanceTimersByTime(LONG_MS);
    expect(woken).toEqual([['there', 1_000]]);
  });

  test('keeps a timer only while an object waits', () => {
    const { wheel, named } = setup();
    expect(jest.getTimerCount()).toBe(0);
    const one = named('one');
    wheel.add(START + LONG_MS, one);
    wheel.add(START + 2 * LONG_MS, named('two'));
    expect(jest.getTimerCount()).toBe(1);
    jest.advanceTimersByTime(3 * LONG_MS);
    expect(jest.getTimerCount()).toBe(0);
    wheel.add(START + 4 * LONG_MS, one);
    wheel.remove(START + 4 * LONG_MS, one);
    jest.advanceTimersByTime(250);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('follows a clock that is set forward, as after a sleep, and a clock that is set back', () => {
    const { wheel, woken, named } = setup();
    for (const times of [1, 2, 3]) wheel.add(START + times * LONG_MS, named(`${times} x`));
    jest.setSystemTime(START + 2 * LONG_MS);
    jest.advanceTimersByTime(250);
    expect(woken.map(([name]) => name)).toEqual(['1 x', '2 x']);
    jest.setSystemTime(START);
    wheel.add(START + 60_000, named('1 min'));
    jest.advanceTimersByTime(60_250);
    expect(woken.map(([name]) => name)).toEqual(['1 x', '2 x', '1 min']);
    jest.advanceTimersByTime(3 * LONG_MS);
    expect(woken.map(([name]) => name)).toEqual(['1 x', '2 x', '1 min', '3 x']);
  });

  test('wakes the other objects if one fails, and reports the failure', () => {
    const { reporter, wheel, woken, named } = setup();
    const error = new Error('no');
    wheel.add(START + 1_000, {
      timeIsUp: () => {
        throw error;
      },
    });
    wheel.add(START + 1_000, named('other'));
    jest.advanceTimersByTime(1_000);
    expect(woken).toEqual([['other', 1_000]]);
    expect(reporter.callbackFailures).toEqual([{ callback: 'What was to be done at a time', error }]);
  });

  test('wakes an object that is added during a wake, even if its time is over', () => {
    const { wheel, woken, named } = setup();
    wheel.add(START + 1_000, {
      timeIsUp: () => {
        wheel.add(START, named('over'));
        wheel.add(START + 2_000, named('later'));
      },
    });
    jest.advanceTimersByTime(2_000);
    expect(woken).toEqual([
      ['over', 1_250],
      ['later', 2_000],
    ]);
  });

  test('leaves turns of the event loop to others when thousands are due at once', () => {
    const { wheel, woken, named } = setup();
    // Each of them takes a millisecond.
    jest.spyOn(performance, 'now').mockImplementation(() => woken.length);
    let othersAt: number | undefined;
    for (let i = 0; i < 1_000; i++) wheel.add(START + 1_000, named(`${i}`));
    setTimeout(() => setImmediate(() => (othersAt = woken.length)), 1_000);
    jest.advanceTimersByTime(5_000);
    expect(woken).toHaveLength(1_000);
    expect(othersAt).toBeGreaterThan(0);
    expect(othersAt).toBeLessThan(50);
  });

  test('wakes no object in the context of the request that came first', async () => {
    jest.useRealTimers();
    const { wheel } = setup();
    const storage = new AsyncLocalStorage<string>();
    const seen = await storage.run(
      'a request',
      () => new Promise((resolve) => wheel.add(Date.now(), { timeIsUp: () => resolve([storage.getStore()]) })),
    );
    expect(seen).toEqual([undefined]);
  });
});
