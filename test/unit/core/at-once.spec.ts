import { expect, test } from '@jest/globals';
import { AtOnce } from '../../../lib/core/at-once.js';
import { Deferred } from '../../../lib/core/deferred.js';
import { Hub } from '../../../lib/core/hub.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('A limited number of tasks runs at a time, in the order of asking, even if some fail', async () => {
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

test('Pages of a history that could be read immediately leave the event loop its turns', async () => {
  const hub = new Hub({ reporter: new RecordingReporter() });
  const Orders = defineChannel<number>('at-once/orders', undefined, { history: { maxMessages: 10, ttlMs: 60_000 } });
  void hub.post(Orders, 1);
  let done = 0;
  const all = Promise.all(Array.from({ length: 200 }, () => hub.readHistory(Orders.name, 1).then(() => done++)));
  await turn();
  expect(done).toBeLessThanOrEqual(32);
  await all;
  expect(done).toBe(200);
  await hub.close();
});
