import { describe, expect, test } from '@jest/globals';
import { SeenOnce } from '../../../lib/core/seen-once.js';

const NOW = 1_700_000_000_000;

describe('The record of seen ids', () => {
  test('reports an id as new once, in a window of time around now', () => {
    const seen = new SeenOnce(1_000);
    expect([seen.add('a', NOW, NOW), seen.add('b', NOW, NOW), seen.add('a', NOW, NOW + 999)]).toEqual([
      'new',
      'new',
      'repeated',
    ]);
    for (const at of [NOW - 1_000, NOW + 1_000]) expect(seen.add(`of ${at}`, at, NOW)).toBe('new');
    for (const at of [NOW - 1_001, NOW + 1_001, NaN]) expect(seen.add(`of ${at}`, at, NOW)).toBe('out of time');
  });

  test('never reports it as new again, at any time', () => {
    const seen = new SeenOnce(5_000);
    for (let now = NOW; now < NOW + 30_000; now += 250) {
      const at = now + 4_900 - (now % 9_800);
      expect(seen.add(`${now}`, at, now)).toBe('new');
      for (let later = now; later < now + 12_000; later += 1_000) {
        expect(seen.add(`${now}`, at, later)).not.toBe('new');
      }
    }
  });

  test('forgets it after its time, so it stays small', () => {
    const seen = new SeenOnce(2_000);
    for (let now = NOW; now < NOW + 100_000; now += 10) seen.add(`${now}`, now, now);
    expect(seen.count).toBeLessThanOrEqual(301);
  });

  test('is bounded: if there are too many ids, old ones are refused and new ones accepted', () => {
    const seen = new SeenOnce(60_000, 100);
    for (let index = 0; index < 1_000; index++) {
      const now = NOW + index * 100;
      expect(seen.add(`${index}`, now, now)).toBe('new');
      expect(seen.count).toBeLessThanOrEqual(100);
    }
    const now = NOW + 100_000;
    expect(seen.add('0', NOW + 50_000, now)).toBe('out of time');
    expect(seen.add('999', NOW + 99_900, now)).toBe('repeated');
  });

  test('works if the clock of this machine is set back', () => {
    const seen = new SeenOnce(1_000);
    expect(seen.add('a', NOW, NOW)).toBe('new');
    const back = NOW - 3_600_000;
    expect([seen.add('b', back, back), seen.add('b', back, back)]).toEqual(['new', 'repeated']);
  });

  test('has as much room as before after the clock was set back', () => {
    const seen = new SeenOnce(1_000, 10);
    for (let index = 0; index < 20; index++) seen.add(`${index}`, NOW, NOW);
    const back = NOW - 3_600_000;
    for (let index = 0; index < 10; index++) expect(seen.add(`again ${index}`, back, back)).toBe('new');
    expect(seen.count).toBe(10);
  });
});
