import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { Heartbeat } from '../../../lib/sse/heartbeat.js';

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

const connection = () => ({ beat: jest.fn() });

test('all connections with one interval share one timer, which ends with the last of them', () => {
  const heartbeat = new Heartbeat();
  const [one, two, slow] = [connection(), connection(), connection()];
  const removeOne = heartbeat.add(one, 1_000);
  const removeTwo = heartbeat.add(two, 1_000);
  const removeSlow = heartbeat.add(slow, 3_000);
  expect(jest.getTimerCount()).toBe(2);

  jest.advanceTimersByTime(3_000);
  expect(one.beat).toHaveBeenCalledTimes(3);
  expect(two.beat).toHaveBeenCalledTimes(3);
  expect(slow.beat).toHaveBeenCalledTimes(1);

  removeOne();
  jest.advanceTimersByTime(1_000);
  expect(one.beat).toHaveBeenCalledTimes(3);
  expect(two.beat).toHaveBeenCalledTimes(4);

  removeTwo();
  removeTwo();
  expect(jest.getTimerCount()).toBe(1);
  removeSlow();
  expect(jest.getTimerCount()).toBe(0);
});

test('an interval of 0 means none', () => {
  const idle = connection();
  new Heartbeat().add(idle, 0)();
  expect(jest.getTimerCount()).toBe(0);
});
