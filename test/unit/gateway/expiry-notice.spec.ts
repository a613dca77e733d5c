import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Hub } from '../../../lib/core/hub.js';
import { ExpiryNotice } from '../../../lib/gateway/expiry-notice.js';
import type { StreamForm } from '../../../lib/gateway/stream-form.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

const START = Date.parse('2026-01-01T00:00:00.000Z');
const HOUR_MS = 3_600_000;

beforeEach(() => void jest.useFakeTimers({ now: START }));
afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

/** A session with a sign-in of this duration, and the notices to its client with their times. */
function setup(lastsMs: number | undefined, { canRenew = true } = {}) {
  const { sessions } = new Hub({ reporter: new RecordingReporter() });
  const expiresAt = lastsMs === undefined ? undefined : START + lastsMs;
  const session = sessions.open({ auth: { userId: 'ada', expiresAt } });
  const told: [atMs: number, leftMs: number][] = [];
  const expiring = (leftMs: number): void => void told.push([Date.now() - START, leftMs]);
  const form = (canRenew ? { expiring } : {}) as StreamForm;
  return { session, told, notice: ExpiryNotice.of(session, form, sessions.wheel) };
}

describe('A stream whose sign-in expires', () => {
  test.each([
    [0, 45],
    [0.5, 60],
    [0.999, 75],
  ])('gets the notice a minute before, at a random moment (%p)', (chance, seconds) => {
    jest.spyOn(Math, 'random').mockReturnValue(chance);
    const { told } = setup(HOUR_MS);
    jest.advanceTimersByTime(HOUR_MS - (seconds + 1) * 1_000);
    expect(told).toEqual([]);
    jest.advanceTimersByTime(1_250);
    expect(told).toHaveLength(1);
    expect(told[0]![1] / 1_000).toBeCloseTo(seconds, 0);
  });

  test('gets the notice halfway if its time is short, again after half of the rest, and not in its last second', () => {
    jest.spyOn(Math, 'random').mockReturnValue(0.5);
    const { session, told } = setup(16_000);
    jest.advanceTimersByTime(16_000);
    expect(told).toEqual([
      [8_000, 8_000],
      [12_000, 4_000],
      [14_000, 2_000],
      [15_000, 1_000],
      [15_500, 500],
    ]);
    expect(session.closeReason).toBe('expired');
  });

  test('gets no further notice when the sign-in has been renewed, until the new one expires', () => {
    jest.spyOn(Math, 'random').mockReturnValue(0.5);
    const { session, told, notice } = setup(16_000);
    jest.advanceTimersByTime(9_000);
    expect(session.renew({ userId: 'ada', expiresAt: START + HOUR_MS })).toBe(true);
    notice?.plan();
    jest.advanceTimersByTime(HOUR_MS - 9_000 - 61_000);
    expect(told).toEqual([[8_000, 8_000]]);
    jest.advanceTimersByTime(1_000);
    expect(told[1]).toEqual([HOUR_MS - 60_000, 60_000]);
  });

  test('gets no notice when it has ended, and keeps no timer', () => {
    const { session, told } = setup(16_000);
    session.close();
    jest.advanceTimersByTime(16_000);
    expect([told, jest.getTimerCount()]).toEqual([[], 0]);
  });

  test('gets no notice if none is useful: the sign-in does not expire, ends within a second, or cannot be renewed by its client', () => {
    expect(setup(undefined).notice).toBeUndefined();
    expect(setup(HOUR_MS, { canRenew: false }).notice).toBeUndefined();
    const { told } = setup(999);
    jest.advanceTimersByTime(1_000);
    expect(told).toEqual([]);
  });
});
