import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { Heartbeat } from '../../../lib/sse/heartbeat.js';

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

const stream = (beatMs: number) => ({ beatMs, beat: jest.fn() });
type Stream = ReturnType<typeof stream>;

function setup() {
  const streams = new Set<Stream>();
  const heartbeat = new Heartbeat(streams);
  const add = (added: Stream) => {
    streams.add(added);
    heartbeat.added(added);
  };
  const remove = (removed: Stream) => {
    streams.delete(removed);
    heartbeat.removed(removed);
  };
  return { add, remove };
}

test('all streams with one interval share one timer, which ends with the last of them', () => {
  const { add, remove } = setup();
  const [one, two, slow] = [stream(1_000), stream(1_000), stream(3_000)];
  for (const each of [one, two, slow]) add(each);
  expect(jest.getTimerCount()).toBe(2);

  jest.advanceTimersByTime(3_000);
  expect(one.beat).toHaveBeenCalledTimes(3);
  expect(two.beat).toHaveBeenCalledTimes(3);
  expect(slow.beat).toHaveBeenCalledTimes(1);

  remove(one);
  jest.advanceTimersByTime(1_000);
  expect(one.beat).toHaveBeenCalledTimes(3);
  expect(two.beat).toHaveBeenCalledTimes(4);

  remove(two);
  expect(jest.getTimerCount()).toBe(1);
  remove(slow);
  expect(jest.getTimerCount()).toBe(0);
});
