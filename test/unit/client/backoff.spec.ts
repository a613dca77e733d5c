import { expect, test } from '@jest/globals';
import { Backoff } from '../../../lib/client/backoff.js';

test('waits anything up to double the last time, from half a second to half a minute', () => {
  const longest = new Backoff(() => 1);
  const waits = Array.from({ length: 8 }, () => longest.next());
  expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  expect(new Backoff(() => 0).next()).toBe(0);
});

test('waits stay sensible however many attempts there were, and are short again after a success', () => {
  const backoff = new Backoff(() => 0.5);
  for (let attempt = 0; attempt < 5_000; attempt++) backoff.next();
  expect(backoff.next()).toBe(15_000);
  backoff.reset();
  expect(backoff.next()).toBe(250);
});
