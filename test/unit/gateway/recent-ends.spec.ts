import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { RecentEnds } from '../../../lib/gateway/recent-ends.js';

describe('A decision', () => {
  let now = 0;
  beforeEach(() => {
    now = 1_000_000;
    jest.spyOn(performance, 'now').mockImplementation(() => now);
  });
  afterEach(() => void jest.restoreAllMocks());

  test('is overruled by an end of that channel and connection that came after its beginning', () => {
    const ends = new RecentEnds();
    expect(ends.overrule('c', 'news', { tookMs: Infinity })).toBe(false);
    ends.note('c', 'news');
    now += 10;
    expect(ends.overrule('c', 'news', { tookMs: 10 })).toBe(true);
    expect(ends.overrule('c', 'news', { tookMs: 9 })).toBe(false);
    expect(ends.overrule('c', 'other', { tookMs: 10 })).toBe(false);
    expect(ends.overrule('d', 'news', { tookMs: 10 })).toBe(false);
  });

  test('that was repeated is overruled only by a further end, however long it took', () => {
    const ends = new RecentEnds();
    ends.note('c', 'news');
    ends.note('c', 'other');
    const again = { tookMs: 50_000, after: ends.order };
    expect(ends.overrule('c', 'news', again)).toBe(false);
    ends.note('c', 'news');
    expect(ends.overrule('c', 'news', again)).toBe(true);
    expect(ends.overrule('c', 'other', again)).toBe(false);
  });

  test('is overruled if it began before the oldest known end', () => {
    const ends = new RecentEnds();
    ends.note('c', 'news');
    now += 60_001;
    expect(ends.overrule('c', 'other', { tookMs: 60_000 })).toBe(false);
    expect(ends.overrule('c', 'other', { tookMs: 60_001 })).toBe(true);
    expect(ends['ends'].size).toBe(0);

    for (let n = 0; n <= 10_000; n++) ends.note('c', `${n}`);
    expect(ends['ends'].size).toBe(10_000);
    expect(ends.overrule('c', 'other', { tookMs: 0 })).toBe(true);
    expect(ends.overrule('c', 'other', { tookMs: 0, after: ends.order })).toBe(false);
    now += 1;
    expect(ends.overrule('c', 'other', { tookMs: 0 })).toBe(false);
  });
});
