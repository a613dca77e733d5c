import { createHook } from 'node:async_hooks';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import {
  MAX_BATCH_PAYLOADS,
  joinPayloads,
  maxBatchLength,
  splitPayloads,
} from '../../../lib/transport/payload-batch.js';
import type { PublisherListener } from '../../../lib/transport/post-problem.js';
import { MAX_PENDING_BYTES, RedisPublisher, type PublishLink } from '../../../lib/transport/redis-publisher.js';

afterEach(() => void jest.useRealTimers());

const UNHEARD: PublisherListener = { refused: () => {}, unanswered: () => {}, answered: () => {} };
const MAX_LENGTH = maxBatchLength(1_000);

function join([first, ...others]: readonly string[]): string {
  return joinPayloads(first!, others);
}

/** The payloads of a single payload or a batch. */
function payloadsOf(text: string): string[] {
  return text.startsWith('\n') ? splitPayloads(text, MAX_LENGTH).payloads : [text];
}

/** A link in a brief state that is hard to reach on purpose: its socket has ended, and it has not noticed yet. */
class EndedLink implements PublishLink {
  isUp = true;
  readonly sent: string[] = [];
  private isWritable = false;
  readonly publishing = {
    publish: (_: string, payload: string): Promise<number> => {
      // The text of ioredis 5 and 6.
      if (!this.isWritable) {
        return Promise.reject(new Error("Stream isn't writeable and enableOfflineQueue options is false"));
      }
      this.sent.push(...payloadsOf(payload));
      return Promise.resolve(0);
    },
  };

  overdue(): void {}

  isUnsent(error: Error): boolean {
    return error.message.startsWith("Stream isn't writeable");
  }

  comeBack(): void {
    this.isWritable = true;
    this.isUp = true;
  }
}

test('posts that could not be written are sent, in order, when the link is back', async () => {
  const link = new EndedLink();
  const publisher = new RedisPublisher(5_000, UNHEARD);
  publisher.attach(link);
  const accepted = [publisher.publish('news', '1'), publisher.publish('news', '2')];
  await new Promise(setImmediate);
  link.isUp = false;
  publisher.down();
  accepted.push(publisher.publish('news', '3'));
  link.comeBack();
  publisher.up();
  expect(await Promise.all(accepted)).toEqual([true, true, true]);
  expect(link.sent).toEqual(['1', '2', '3']);
  publisher.close();
});

test('each post waits for its own time', async () => {
  jest.useFakeTimers();
  const publisher = new RedisPublisher(100, UNHEARD);
  const settled: string[] = [];
  const first = publisher.publish('news', '1').then(() => settled.push('first'));
  // The turn ends.
  await Promise.resolve();
  jest.advanceTimersByTime(60);
  const second = publisher.publish('news', '2').then(() => settled.push('second'));
  jest.advanceTimersByTime(40);
  await first;
  expect(settled).toEqual(['first']);
  jest.advanceTimersByTime(60);
  await second;
  publisher.close();
});

/** A link whose Redis answers once the test allows it. */
class SlowLink implements PublishLink {
  isUp = true;
  readonly published: [channel: string, payload: string][] = [];
  private readonly answers: (() => void)[] = [];
  readonly publishing = {
    publish: (channel: string, payload: string): Promise<number> => {
      this.published.push([channel, payload]);
      return new Promise((resolve) => this.answers.push(() => resolve(1)));
    },
  };

  overdue(): void {}

  isUnsent(): boolean {
    return false;
  }

  /** Answers the first publication. */
  async answer(): Promise<void> {
    this.answers.shift()!();
    await turn();
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function start(timeoutMs = 5_000) {
  const link = new SlowLink();
  const publisher = new RedisPublisher(timeoutMs, UNHEARD);
  publisher.attach(link);
  return { link, publisher };
}

describe('Posts', () => {
  test('of one turn go in one PUBLISH, at its end', async () => {
    const { link, publisher } = start();
    const accepted = ['1', '2', '3'].map((payload) => publisher.publish('news', payload));
    expect(link.published).toEqual([]);
    await Promise.resolve();
    expect(link.published).toEqual([['news', '\n1\n2\n3']]);
    await link.answer();
    expect(await Promise.all(accepted)).toEqual([true, true, true]);
    publisher.close();
  });

  test('that come alone go as they are', async () => {
    const { link, publisher } = start();
    void publisher.publish('news', '1');
    await Promise.resolve();
    expect(link.published).toEqual([['news', '1']]);
    publisher.close();
  });

  test('to several channels keep their order over all channels', async () => {
    const { link, publisher } = start();
    for (const [index, channel] of ['a', 'a', 'b', 'a', 'a'].entries()) {
      void publisher.publish(channel, String(index + 1));
    }
    await Promise.resolve();
    expect(link.published).toEqual([
      ['a', '\n1\n2'],
      ['b', '3'],
      ['a', '\n4\n5'],
    ]);
    publisher.close();
  });

  test('for readers that know no batches, or with a line break, go alone and in order', async () => {
    const { link, publisher } = start();
    void publisher.publish('news', '1');
    void publisher.publish('news', 'for others', true);
    void publisher.publish('news', '2');
    void publisher.publish('news', 'two\nlines', true);
    void publisher.publish('news', '3');
    await Promise.resolve();
    expect(link.published.map(([, payload]) => payload)).toEqual(['1', 'for others', '2', 'two\nlines', '3']);
    publisher.close();
  });

  test('wait while Redis has not answered earlier ones, and leave together with its answer', async () => {
    const { link, publisher } = start();
    void publisher.publish('news', '1');
    await Promise.resolve();
    void publisher.publish('news', '2');
    await Promise.resolve();
    void publisher.publish('news', '3');
    await Promise.resolve();
    expect(link.published).toHaveLength(1);
    await link.answer();
    expect(link.published[1]).toEqual(['news', '\n2\n3']);
    publisher.close();
  });

  test('wait for an answer no longer than a millisecond', () => {
    jest.useFakeTimers({ doNotFake: ['queueMicrotask'] });
    const { link, publisher } = start();
    void publisher.publish('news', 'x'.repeat(64 * 1024));
    expect(link.published).toHaveLength(1);
    void publisher.publish('news', '2');
    jest.advanceTimersByTime(0);
    expect(link.published).toHaveLength(1);
    jest.advanceTimersByTime(1);
    expect(link.published[1]).toEqual(['news', '2']);
    publisher.close();
  });

  test('leave at once if they are long together', () => {
    const { link, publisher } = start();
    const payload = 'x'.repeat(1_000);
    for (let count = 0; count < 100; count++) void publisher.publish('news', payload);
    expect(link.published).toHaveLength(1);
    expect(payloadsOf(link.published[0]![1])).toHaveLength(66);
    publisher.close();
  });

  test('wait up to a number of bytes, whatever their characters', async () => {
    const publisher = new RedisPublisher(100, UNHEARD);
    void publisher.publish('news', '€'.repeat(MAX_PENDING_BYTES / 3));
    await Promise.resolve();
    expect(await publisher.publish('news', 'more')).toBe(false);
    publisher.close();
  });

  test('leave at once if they are long together, in bytes as soon as one batch has shown how long the characters are', () => {
    const { link, publisher } = start();
    for (let count = 0; count < 1_000; count++) void publisher.publish('news', '€'.repeat(100));
    const [first, second] = link.published.map(([, text]) => Buffer.byteLength(text));
    expect(first).toBeGreaterThan(3 * 64 * 1024);
    expect(second).toBeLessThan(66 * 1024);
    publisher.close();
  });

  test('leave at once if they are many, however short', () => {
    const { link, publisher } = start();
    for (let count = 0; count <= MAX_BATCH_PAYLOADS; count++) void publisher.publish('news', 'x');
    expect(link.published.map(([, payload]) => payloadsOf(payload).length)).toEqual([MAX_BATCH_PAYLOADS]);
    publisher.close();
  });

  test('of different turns, made while the link is down, each have their own time', () => {
    jest.useFakeTimers({ doNotFake: ['queueMicrotask'] });
    const publisher = new RedisPublisher(100, UNHEARD);
    void publisher.publish('news', '1');
    publisher['flush']();
    void publisher.publish('news', '2');
    expect(publisher['waiting']).toHaveLength(2);
    publisher.close();
  });

  test('made just before the end are still sent', () => {
    const { link, publisher } = start();
    void publisher.publish('news', 'last');
    publisher.close();
    expect(link.published).toEqual([['news', 'last']]);
  });
});

describe('A batch', () => {
  const payload = fc.string().filter((text) => !text.includes('\n'));

  test('is split into its original payloads', () => {
    fc.assert(
      fc.property(fc.array(payload, { minLength: 2 }), (payloads) => {
        const text = join(payloads);
        expect(splitPayloads(text, text.length)).toEqual({ payloads, isCut: false });
      }),
    );
  });

  test('that exceeds the limit yields its complete payloads within the limit, and is cut', () => {
    fc.assert(
      fc.property(fc.array(payload, { minLength: 2 }), fc.nat(), (payloads, bound) => {
        const text = join(payloads);
        const maxLength = bound % text.length;
        const { payloads: taken, isCut } = splitPayloads(text, maxLength);
        expect(isCut).toBe(true);
        expect(taken).toEqual(payloads.slice(0, taken.length));
        const next = join(['', ...payloads.slice(0, taken.length + 1)]).length - 1;
        expect(next).toBeGreaterThan(maxLength);
      }),
    );
  });

  test('of a million line breaks, which blocked the event loop for 12 s, is cut after the maximum number of payloads', () => {
    const { payloads, isCut } = splitPayloads('\n'.repeat(1_000_000), maxBatchLength(1_048_576));
    expect(payloads).toHaveLength(MAX_BATCH_PAYLOADS);
    expect(isCut).toBe(true);
  });

  test('with the longest message after as much as it may follow is whole', () => {
    const long = 'x'.repeat(1_000);
    const text = join([...Array.from({ length: 1_023 }, () => 'y'.repeat(64)), long]);
    expect(splitPayloads(text, maxBatchLength(1_000)).isCut).toBe(false);
  });
});

test('a post that waits for an answer keeps the process alive until its time is over', async () => {
  const timers = new Map<number, NodeJS.Timeout>();
  let isWatching = true;
  const hook = createHook({
    init: (id, type, _trigger, resource) =>
      void (isWatching && type === 'Timeout' && timers.set(id, resource as NodeJS.Timeout)),
    destroy: (id) => void timers.delete(id),
  }).enable();
  const publisher = new RedisPublisher(5, UNHEARD);
  const accepted = publisher.publish('news', '1');
  isWatching = false;
  expect([...timers.values()].map((timer) => timer.hasRef())).toEqual([true]);
  expect(await accepted).toBe(false);
  while (timers.size > 0) await new Promise(setImmediate);
  hook.disable();
  publisher.close();
});
