import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { BEGINNING } from '../../../lib/core/history-store.js';
import { MemoryHistories } from '../../../lib/core/memory-histories.js';

const BOUNDS = { maxMessages: 10, ttlMs: 60_000 };
const HOUR = 3_600_000;

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

describe('Histories in memory', () => {
  test('know the offset of a channel for a day after its last message, and then nothing', () => {
    const histories = new MemoryHistories();
    histories.append('news', { payload: '1' }, BOUNDS);
    const position = histories.position('news');
    jest.advanceTimersByTime(23 * HOUR);
    expect(histories.read('news', position)).toMatchObject({ gap: undefined, entries: [], next: position });
    jest.advanceTimersByTime(2 * HOUR);
    expect(histories.position('news')).toBe(BEGINNING);
    histories.clear();
  });

  test('know the offset of a channel as long as somebody asks for it, and a day longer', () => {
    const histories = new MemoryHistories();
    histories.append('news', { payload: '1' }, BOUNDS);
    const position = histories.position('news');
    for (let hours = 0; hours < 60; hours += 20) {
      jest.advanceTimersByTime(20 * HOUR);
      expect(histories.position('news')).toEqual(position);
    }
    jest.advanceTimersByTime(23 * HOUR);
    expect(histories.read('news', position)).toMatchObject({ gap: undefined, entries: [], next: position });
    expect(histories.append('news', { payload: '2' }, BOUNDS)).toMatchObject({ position: { ...position, offset: 2 } });
    expect(histories.read('news', position)).toMatchObject({ gap: undefined, entries: [{ offset: 2 }] });
    jest.advanceTimersByTime(25 * HOUR);
    expect(histories.position('news')).toBe(BEGINNING);
    histories.clear();
  });

  test('forget the channels that were unused for longest if too many are empty, but none that has readers', () => {
    const histories = new MemoryHistories();
    for (let index = 0; index < 100_002; index++) {
      histories.append(`news/${index}`, { payload: '1' }, BOUNDS);
      if (index === 1) jest.advanceTimersByTime(1_000);
    }
    histories.append('kept', { payload: '1' }, { ...BOUNDS, ttlMs: 10 * HOUR });
    histories.append('one more', { payload: '1' }, BOUNDS);
    const isKnown = (name: string) => histories.position(name) !== BEGINNING;
    // Each sweep goes through all of them.
    for (let ms = 0; ms < 2 * BOUNDS.ttlMs; ms += BOUNDS.ttlMs / 2) {
      expect(isKnown('news/0')).toBe(true);
      jest.advanceTimersByTime(BOUNDS.ttlMs / 2);
    }
    expect(['news/0', 'news/1', 'news/2', 'news/100001', 'one more', 'kept'].map(isKnown)).toEqual([
      true,
      false,
      false,
      true,
      true,
      true,
    ]);
    histories.clear();
  });
});
