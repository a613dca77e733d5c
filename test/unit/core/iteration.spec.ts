import { describe, expect, test } from '@jest/globals';
import { Hub } from '../../../lib/core/hub.js';
import { iterate } from '../../../lib/core/iteration.js';
import type { IterateOptions } from '../../../lib/protocol/iteration.js';
import { ConfigurationError, LimitExceededError } from '../../../lib/protocol/errors.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

function setup(options?: IterateOptions) {
  const hub = new Hub({ reporter: new RecordingReporter() });
  const session = hub.sessions.open();
  const iterable = iterate<number>(hub, 'numbers', session, options);
  return { hub, session, iterable, post: (n: number) => void hub.post('numbers', n) };
}

describe('an iteration', () => {
  test('gives the messages posted since it began, in order, and waits for more', async () => {
    const { iterable, post } = setup();
    const iterator = iterable[Symbol.asyncIterator]();
    post(1);
    const [first, second] = [iterator.next(), iterator.next()];
    post(2);
    expect(await first).toEqual({ value: 1, done: false });
    expect(await second).toEqual({ value: 2, done: false });
  });

  test('ends when the session closes, after the waiting messages', async () => {
    const { iterable, post, session } = setup();
    const taken: number[] = [];
    const loop = (async () => {
      for await (const n of iterable) taken.push(n);
    })();
    post(1);
    post(2);
    session.close();
    await loop;
    expect(taken).toEqual([1, 2]);
  });

  test('stops listening when the loop is left, and ends for good', async () => {
    const { hub, iterable, post, session } = setup();
    const left = (async () => {
      for await (const n of iterable) if (n === 1) break;
    })();
    post(1);
    await left;
    post(1);
    expect(await iterable.next()).toEqual({ value: undefined, done: true });
    for await (const n of iterable) expect(n).toBeUndefined();
    const again = iterate<number>(hub, 'numbers', session)[Symbol.asyncIterator]();
    post(2);
    expect(await again.next()).toEqual({ value: 2, done: false });
    await again.return!();
    await expect(hub.post('numbers', 3)).resolves.toBe(true);
    expect(await again.next()).toEqual({ value: undefined, done: true });
  });

  test('is an iterator that begins with its first next(), as GraphQL and others use one', async () => {
    const { iterable, post } = setup();
    post(0);
    const first = iterable.next();
    post(1);
    expect(await first).toEqual({ value: 1, done: false });
    expect(iterable[Symbol.asyncIterator]()).toBe(iterable);
    post(2);
    for await (const n of iterable) {
      expect(n).toBe(2);
      break;
    }
  });

  test('that is left before it has begun never listens', async () => {
    const { hub, iterable, post } = setup();
    expect(await iterable.return!()).toEqual({ value: undefined, done: true });
    expect(await iterable.next()).toEqual({ value: undefined, done: true });
    expect(hub['audience']['channels'].get('numbers')).toBeUndefined();
    post(1);
  });

  test('ends with an error thrown into it, and answers waiting calls', async () => {
    const { hub, iterable } = setup();
    const waiting = iterable.next();
    await expect(iterable.throw!(new Error('enough'))).rejects.toThrow('enough');
    expect(await waiting).toEqual({ value: undefined, done: true });
    expect(hub['audience']['channels'].get('numbers')).toBeUndefined();
  });

  test('that is too slow fails with an error that names the limit, after the messages that fit', async () => {
    const { iterable, post } = setup({ maxBuffered: 2 });
    const iterator = iterable[Symbol.asyncIterator]();
    [1, 2, 3, 4].forEach(post);
    expect(await iterator.next()).toEqual({ value: 1, done: false });
    expect(await iterator.next()).toEqual({ value: 2, done: false });
    await expect(iterator.next()).rejects.toThrow(LimitExceededError);
    expect(await iterator.next()).toEqual({ value: undefined, done: true });
  });

  test('that may drop the oldest keeps the newest', async () => {
    const { iterable, post } = setup({ maxBuffered: 2, overflow: 'dropOldest' });
    const iterator = iterable[Symbol.asyncIterator]();
    [1, 2, 3, 4].forEach(post);
    expect(await iterator.next()).toEqual({ value: 3, done: false });
    expect(await iterator.next()).toEqual({ value: 4, done: false });
  });

  test('that begins after the session has closed ends at once', async () => {
    const { iterable, session } = setup();
    session.close();
    expect(await iterable[Symbol.asyncIterator]().next()).toEqual({ value: undefined, done: true });
  });

  test.each([{ maxBuffered: 0 }, { maxBuffered: 1.5 }, { overflow: 'ignore' }])('with %j is refused', (options) => {
    expect(() => setup(options as IterateOptions)).toThrow(ConfigurationError);
  });

  test.each<[unknown, string]>([
    [5, 'iterate: the options must be an object, not 5'],
    [null, 'iterate: the options must be an object, not null'],
    [{ maxBufferd: 1 }, 'iterate: unknown option "maxBufferd"; the options are: maxBuffered, overflow, onGap'],
  ])('with %j names the problem', (options, text) => {
    expect(() => setup(options as never)).toThrow(ConfigurationError);
    expect(() => setup(options as never)).toThrow(text);
  });
});
