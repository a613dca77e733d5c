import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, expect, test } from '@jest/globals';
import { WorkQueue } from '../../../lib/sse/work-queue.js';
import { RecordingReporter } from '../../support/recording-reporter.js';
import { turnsUntil } from '../../support/turns.js';

function setup() {
  const reporter = new RecordingReporter();
  const queue = new WorkQueue(reporter);
  const emptied = () => new Promise<void>((resolve) => (queue.onEmpty = resolve));
  return { reporter, queue, emptied };
}

describe('Work for clients that come at once', () => {
  test('is done in order, a part in each turn of the event loop', async () => {
    const { queue, emptied } = setup();
    const done: number[] = [];
    for (let task = 0; task < 20; task++) {
      queue.add(() => {
        const end = performance.now() + 3;
        while (performance.now() < end);
        done.push(task);
      });
    }
    const turns = await turnsUntil(emptied());
    expect(done).toEqual(Array.from({ length: 20 }, (_, task) => task));
    expect(turns).toBeGreaterThan(4);
  });

  test('counts with all its promise continuations', async () => {
    const { queue, emptied } = setup();
    for (let task = 0; task < 40; task++) {
      queue.add(() => {
        void (async () => {
          for (let step = 0; step < 3; step++) {
            await Promise.resolve();
            const end = performance.now() + 1;
            while (performance.now() < end);
          }
        })();
      });
    }
    const turns = await turnsUntil(emptied());
    expect(turns).toBeGreaterThan(4);
  });

  test('is done in the context of its own caller', async () => {
    const { queue, emptied } = setup();
    const storage = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    for (const context of ['one', 'two']) storage.run(context, () => queue.add(() => seen.push(storage.getStore())));
    queue.add(() => seen.push(storage.getStore()));
    await emptied();
    expect(seen).toEqual(['one', 'two', undefined]);
  });

  test('is reported if it fails, and the other work is done', async () => {
    const { queue, emptied, reporter } = setup();
    const done: string[] = [];
    queue.add(() => {
      throw new Error('broken');
    });
    queue.add(() => done.push('fine'));
    await emptied();
    expect(done).toEqual(['fine']);
    expect(reporter.callbackFailures).toMatchObject([{ error: { message: 'broken' } }]);
  });
});
