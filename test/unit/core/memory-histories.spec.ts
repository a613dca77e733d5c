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
    expect(histories.position('news')).toEqual(position);
    expect(histories.read('news', position)).toMatchObject({ gap: undefined, entries: [] });
    jest.advanceTimersByTime(2 * HOUR);
    expect(histories.position('news')).toBe(BEGINNING);
    histories.clear();
  });

  test('forget the channels with the oldest posts if too many are empty', () => {
    const histories = new MemoryHistories();
    for (let index = 0; index < 100_002; index++) {
      histories.append(`news/${index}`, { payload: '1' }, BOUNDS);
      if (index === 1) jest.advanceTimersByTime(1_000);
    }
    histories.append('kept', { payload: '1' }, { ...BOUNDS, ttlMs: 10 * HOUR });
    // Each sweep goes through all of them.
    jest.advanceTimersByTime(2 * BOUNDS.ttlMs);
    const isKnown = (name: string) => histories.position(name) !== BEGINNING;
    expect(['news/0', 'news/1', 'news/2', 'news/100001', 'kept'].map(isKnown)).toEqual([
      false,
      false,
      true,
      true,
      true,
    ]);
    histories.clear();
  });
});
