import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { Rotation } from '../../../lib/sse/rotation.js';

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

const HOUR_MS = 3_600_000;

/** Streams that end when told, and the times of their ends. */
function setup(maxAgeMs: number | undefined, { areRead = true } = {}) {
  const streams = new Set<{ endsAt: number; rotate(): void; cutOff(): void }>();
  const rotation = new Rotation(streams, maxAgeMs);
  const ended: number[] = [];
  const cutOff: number[] = [];
  const remove = (stream: { endsAt: number; rotate(): void; cutOff(): void }) => {
    streams.delete(stream);
    rotation.removed();
  };
  const add = () => {
    const stream = {
      endsAt: rotation.pickEnd(),
      rotate: () => {
        if (!areRead) return;
        ended.push(performance.now());
        remove(stream);
      },
      cutOff: () => {
        cutOff.push(performance.now());
        remove(stream);
      },
    };
    streams.add(stream);
    rotation.added();
    return () => remove(stream);
  };
  return { add, ended, cutOff };
}

test('a stream lasts between half and all of the longest time', () => {
  const { add, ended } = setup(HOUR_MS);
  const begun = performance.now();
  for (let count = 0; count < 1_000; count++) add();
  jest.advanceTimersByTime(HOUR_MS + 5_000);
  expect(ended).toHaveLength(1_000);
  expect(ended[0]! - begun).toBeGreaterThanOrEqual(HOUR_MS / 2);
  expect(ended.at(-1)! - begun).toBeLessThanOrEqual(HOUR_MS + 5_000);
});

test('streams that began together end evenly over half of the time: no minute has twice the mean', () => {
  const { add, ended } = setup(HOUR_MS);
  const begun = performance.now();
  for (let count = 0; count < 3_000; count++) add();
  jest.advanceTimersByTime(HOUR_MS + 5_000);
  const minutes = new Map<number, number>();
  for (const at of ended) {
    const minute = Math.floor((at - begun) / 60_000);
    minutes.set(minute, (minutes.get(minute) ?? 0) + 1);
  }
  expect(Math.max(...minutes.values())).toBeLessThan(200);
});

test('a short time is respected as well', () => {
  const { add, ended } = setup(100);
  const begun = performance.now();
  add();
  jest.advanceTimersByTime(120);
  expect(ended).toHaveLength(1);
  expect(ended[0]! - begun).toBeLessThanOrEqual(120);
});

test('one timer serves all streams, and ends with the last of them', () => {
  const { add } = setup(HOUR_MS);
  const [removeFirst, removeSecond] = [add(), add()];
  expect(jest.getTimerCount()).toBe(1);
  removeFirst();
  expect(jest.getTimerCount()).toBe(1);
  removeSecond();
  expect(jest.getTimerCount()).toBe(0);
  add();
  expect(jest.getTimerCount()).toBe(1);
});

test('without a longest time there is no timer, and streams do not end', () => {
  const { add, ended } = setup(undefined);
  add();
  expect(jest.getTimerCount()).toBe(0);
  jest.advanceTimersByTime(100 * HOUR_MS);
  expect(ended).toEqual([]);
});

test('a stream whose reader does not read its end is cut off a minute later', () => {
  const { add, ended, cutOff } = setup(HOUR_MS, { areRead: false });
  add();
  jest.advanceTimersByTime(HOUR_MS + 70_000);
  expect(ended).toEqual([]);
  expect(cutOff).toHaveLength(1);
});
