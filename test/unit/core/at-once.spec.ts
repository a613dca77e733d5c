import { expect, test } from '@jest/globals';
import { AtOnce } from '../../../lib/core/at-once.js';
import { Deferred } from '../../../lib/core/deferred.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('So many run at a time, in the order of asking, also if some fail', async () => {
  const atOnce = new AtOnce(2);
  const begun: number[] = [];
  const ends = [0, 1, 2, 3].map(() => new Deferred());
  const runs = ends.map(({ promise }, index) =>
    atOnce.run(async () => {
      begun.push(index);
      await promise;
      if (index === 0) throw new Error('failed');
      return index;
    }),
  );
  for (let turns = 0; turns < 5; turns++) await turn();
  expect(begun).toEqual([0, 1]);
  ends[0]!.resolve();
  await expect(runs[0]).rejects.toThrow('failed');
  for (let turns = 0; turns < 5; turns++) await turn();
  expect(begun).toEqual([0, 1, 2]);
  for (const end of ends) end.resolve();
  expect(await Promise.all(runs.slice(1))).toEqual([1, 2, 3]);
});

test('What would run at once leaves the event loop its turns', async () => {
  const atOnce = new AtOnce(2);
  let done = 0;
  const all = Promise.all(Array.from({ length: 20 }, () => atOnce.run(async () => void done++)));
  await turn();
  expect(done).toBeLessThanOrEqual(4);
  await all;
  expect(done).toBe(20);
});
