import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Hub } from '../../../lib/core/hub.js';
import type { Batch } from '../../../lib/sse/batch.js';
import { ClientFeeds, type FeedMessage } from '../../../lib/gateway/client-feeds.js';
import { Flusher } from '../../../lib/sse/flusher.js';
import type { Frame } from '../../../lib/sse/frame.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

function setup(keepMs = 1_000, maxMissedBytes = 100_000_000) {
  const reporter = new RecordingReporter();
  const hub = new Hub({ reporter });
  const flusher = new Flusher();
  const feeds = new ClientFeeds(hub, reporter, flusher, keepMs, maxMissedBytes);
  const post = (channel: string, message: unknown): void => void hub.post(channel, message);
  const now = (): number => Number(feeds.position.split('.')[1]);
  const isHeard = (name: string): boolean => hub['audience']['channels'].get(name)?.isEmpty === false;
  return { reporter, hub, flusher, feeds, post, now, isHeard };
}

const textOf = ({ bytes }: Frame): string => /"data":"(.*)"\}/.exec(bytes.toString())![1]!;
const textsOf = (messages: readonly FeedMessage[]): string[] => messages.map(({ frame }) => textOf(frame));

describe('What clients are sent', () => {
  test('is numbered in the order in which it goes out, also where a listener posts in between', () => {
    const { hub, feeds, flusher, post } = setup();
    const numbers: number[] = [];
    hub.listen('outer', () => post('inner', 'caused'), hub.root);
    const read = (batch: Batch): void => {
      for (const { bytes } of batch.frames) numbers.push(Number(/^id: (\d+)$/m.exec(bytes.toString())![1]));
    };
    for (const name of ['outer', 'inner']) feeds.join(name, read);
    for (let count = 0; count < 3; count++) post('outer', 'cause');
    flusher.settle();
    expect(numbers).toHaveLength(6);
    expect(numbers.toSorted((one, other) => one - other)).toEqual(numbers);
    expect(new Set(numbers).size).toBe(6);
  });

  test('comes to each reader of a name in the same batch, from when it joined to when it left', () => {
    const { feeds, flusher, post } = setup();
    const batches: Batch[] = [];
    const late: string[] = [];
    const readers = [1, 2].map(() => feeds.join('news', (batch) => batches.push(batch)));
    post('news', 'one');
    feeds.join('news', (batch) => late.push(...batch.frames.map(textOf)));
    post('news', 'two');
    readers[0]!.unsubscribe();
    post('news', 'three');
    flusher.settle();
    expect(batches.map(({ frames }) => frames.map(textOf))).toEqual([['one'], ['one'], ['two'], ['two'], ['three']]);
    expect(batches[0]).toBe(batches[1]);
    expect(late).toEqual(['two', 'three']);
  });

  test('is held back for who has not been released, and not sent him as well', () => {
    const { feeds, flusher, post } = setup();
    const held: FeedMessage[] = [];
    const got: string[] = [];
    const reader = feeds.join('news', (batch) => got.push(...batch.frames.map(textOf)), held);
    post('news', 'held');
    reader.release();
    reader.release();
    post('news', 'sent');
    flusher.settle();
    expect(held.map(({ frame }) => textOf(frame))).toEqual(['held']);
    expect(got).toEqual(['sent']);
  });

  test('that cannot be sent is reported once, however many read', () => {
    const { feeds, flusher, post, reporter } = setup();
    const got: string[] = [];
    for (let count = 0; count < 3; count++) feeds.join('news', (batch) => got.push(...batch.frames.map(textOf)));
    post('news', () => {});
    post('news', 'fine');
    flusher.settle();
    expect(reporter.rejections).toHaveLength(1);
    expect(got).toEqual(['fine', 'fine', 'fine']);
  });
});

describe('What was sent since a number', () => {
  test('is found by name, in order', () => {
    const { feeds, post, now } = setup();
    for (const name of ['a', 'b', 'c']) feeds.join(name, () => {});
    post('a', 'before');
    const number = now();
    for (const [channel, text] of [
      ['a', 'one'],
      ['b', 'other'],
      ['c', 'two'],
      ['a', 'three'],
    ])
      post(channel!, text);
    const { messages, complete } = feeds.since(number, ['a', 'c']);
    expect(textsOf(messages)).toEqual(['one', 'two', 'three']);
    expect(complete).toEqual(['a', 'c']);
    expect(feeds.since(now(), ['a', 'c'])).toEqual({ messages: [], complete: ['a', 'c'] });
  });

  test('is found though the last reader has left, for as long as messages are kept', () => {
    const { feeds, post, now, isHeard } = setup();
    const reader = feeds.join('news', () => {});
    const number = now();
    reader.unsubscribe();
    post('news', 'to nobody');
    jest.advanceTimersByTime(999);
    expect(textsOf(feeds.since(number, ['news']).messages)).toEqual(['to nobody']);
    expect(isHeard('news')).toBe(true);
    jest.advanceTimersByTime(1);
    expect(feeds.since(number, ['news'])).toEqual({ messages: [], complete: [] });
    expect(isHeard('news')).toBe(false);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('is kept for that long from when the last reader has left', () => {
    const { feeds, post, isHeard } = setup();
    const reader = feeds.join('news', () => {});
    post('news', 'early');
    jest.advanceTimersByTime(900);
    reader.unsubscribe();
    jest.advanceTimersByTime(999);
    expect(isHeard('news')).toBe(true);
    jest.advanceTimersByTime(1_000);
    expect(isHeard('news')).toBe(false);
  });

  test('is kept for 10,000 names at most that nobody reads, of which the oldest goes first', () => {
    const { feeds, isHeard } = setup();
    const names = Array.from({ length: 10_001 }, (_, index) => `rooms/${index}`);
    for (const name of names) feeds.join(name, () => {}).unsubscribe();
    const back = feeds.join('rooms/1', () => {});
    feeds.join('rooms/new', () => {}).unsubscribe();
    expect(['rooms/0', 'rooms/1', 'rooms/2', 'rooms/10000', 'rooms/new'].map(isHeard)).toEqual([
      false,
      true,
      true,
      true,
      true,
    ]);
    feeds.join('rooms/newer', () => {}).unsubscribe();
    expect(['rooms/1', 'rooms/2'].map(isHeard)).toEqual([true, false]);
    back.unsubscribe();
    jest.advanceTimersByTime(2_000);
    expect([feeds['feeds'].size, feeds['idle'].size, jest.getTimerCount()]).toEqual([0, 0, 0]);
  });

  test('is not complete where a message of that name is forgotten, and is where only others are', () => {
    const { feeds, post, now } = setup();
    for (const name of ['busy', 'quiet']) feeds.join(name, () => {});
    const number = now();
    post('busy', 'old');
    jest.advanceTimersByTime(900);
    post('busy', 'new');
    expect(feeds.since(number, ['busy', 'quiet']).complete).toEqual(['busy', 'quiet']);
    jest.advanceTimersByTime(100);
    expect(feeds.since(number, ['busy', 'quiet'])).toEqual({ messages: [], complete: ['quiet'] });
    expect(textsOf(feeds.since(number + 1, ['busy']).messages)).toEqual(['new']);
  });

  test('is not complete where nobody here has listened all the time', () => {
    const { feeds, post, now } = setup();
    const reader = feeds.join('news', () => {});
    const number = now();
    reader.unsubscribe();
    jest.advanceTimersByTime(1_000);
    post('news', 'unheard');
    feeds.join('news', () => {});
    expect(feeds.since(number, ['news']).complete).toEqual([]);
    expect(feeds.since(now(), ['news']).complete).toEqual(['news']);
    expect(feeds.since(now(), ['other']).complete).toEqual([]);
  });

  test('is kept up to 16 MiB, of which the oldest goes first', () => {
    const { feeds, post, now } = setup();
    feeds.join('news', () => {});
    const number = now();
    const text = 'x'.repeat(1024 * 1024);
    for (let count = 0; count < 16; count++) post('news', text);
    const { messages, complete } = feeds.since(number + 1, ['news']);
    expect([messages.length, complete]).toEqual([15, ['news']]);
    expect(feeds.since(number, ['news']).complete).toEqual([]);
  });

  test('is nothing where it is more than a client may be sent', () => {
    const { feeds, post, now } = setup(1_000, 300);
    for (const name of ['news', 'other']) feeds.join(name, () => {});
    const number = now();
    post('news', 'x'.repeat(200));
    post('other', 'x'.repeat(200));
    expect(feeds.since(number, ['news']).complete).toEqual(['news']);
    expect(feeds.since(number, ['news', 'other'])).toEqual({ messages: [], complete: [] });
  });

  test('is nothing where nothing is to be kept', () => {
    const { feeds, post, now, isHeard } = setup(0);
    const reader = feeds.join('news', () => {});
    const number = now();
    expect(feeds.since(number, ['news']).complete).toEqual(['news']);
    post('news', 'gone');
    expect(feeds.since(number, ['news'])).toEqual({ messages: [], complete: [] });
    reader.unsubscribe();
    expect(isHeard('news')).toBe(false);
    jest.advanceTimersByTime(0);
    expect(jest.getTimerCount()).toBe(0);
  });
});
