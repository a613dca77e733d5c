import { describe, expect, test } from '@jest/globals';
import { Hub } from '../../../lib/core/hub.js';
import type { Session } from '../../../lib/core/session.js';
import { ChannelStream } from '../../../lib/core/stream.js';
import type { Batch } from '../../../lib/sse/batch.js';
import { StreamFeeds } from '../../../lib/sse/stream-feeds.js';
import { Flusher } from '../../../lib/sse/flusher.js';
import { WorkQueue } from '../../../lib/sse/work-queue.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

function setup() {
  const reporter = new RecordingReporter();
  const hub = new Hub({ reporter });
  const flusher = new Flusher();
  const feeds = new StreamFeeds({ hub, flusher, queue: new WorkQueue(reporter) });
  const post = (channel: string, message: unknown) => void hub.post(channel, message);
  const read = (channel: string, sendAll: (batch: Batch) => void, session: Session = hub.root) =>
    feeds.read(new ChannelStream(hub, hub.heard(channel), session), {
      sendAll,
      complete: () => {},
      next: () => true,
      drained: () => Promise.resolve(),
      resumesAfter: undefined,
    });
  /** A stream of channels, and one text for each batch sent. */
  const join = (channels: readonly string[], session: Session = hub.root) => {
    const batches: Batch[] = [];
    const sent: string[] = [];
    const take = (batch: Batch) => {
      batches.push(batch);
      sent.push(batch.frames.map(({ bytes }) => textOf(bytes)).join(' '));
    };
    return { batches, sent, readings: channels.map((channel) => read(channel, take, session)) };
  };
  return { reporter, hub, flusher, post, read, join };
}

const textOf = (frame: Buffer) => String(JSON.parse(/^data: (.*)$/m.exec(frame.toString())![1]!));

describe('Feeds', () => {
  test('give all readers of a channel its posts, the same batch to each, once', () => {
    const { flusher, post, join } = setup();
    const streams = [join(['news']), join(['news'])];
    post('news', 'one');
    post('news', 'two');
    expect(streams.map(({ sent }) => sent)).toEqual([[], []]);
    flusher.settle();
    flusher.settle();
    expect(streams.map(({ sent }) => sent)).toEqual([['one two'], ['one two']]);
    expect(streams[0]!.batches[0]).toBe(streams[1]!.batches[0]);
  });

  test('keep the order of posts to several channels for a reader of all of them', () => {
    const { flusher, post, join } = setup();
    const both = join(['news', 'weather']);
    const one = join(['weather']);
    post('news', 'n1');
    post('weather', 'w1');
    post('weather', 'w2');
    post('news', 'n2');
    flusher.settle();
    expect(both.sent).toEqual(['n1', 'w1 w2', 'n2']);
    expect(one.sent).toEqual(['w1 w2']);
  });

  test('give a reader no post from before it came, and every post made before it left', () => {
    const { hub, flusher, post, join } = setup();
    const session = hub.sessions.open();
    const first = join(['news']);
    const leaving = join(['news']);
    const ending = join(['news'], session);
    post('news', '1');
    const late = join(['news']);
    post('news', '2');
    leaving.readings[0]!.unsubscribe();
    post('news', '3');
    session.close();
    post('news', '4');
    flusher.settle();
    expect(first.sent.join(' ')).toBe('1 2 3 4');
    expect(late.sent.join(' ')).toBe('2 3 4');
    expect(leaving.sent.join(' ')).toBe('1 2');
    expect(ending.sent.join(' ')).toBe('1 2 3');
  });

  test('write a message as it was at the post', () => {
    const { flusher, post, join } = setup();
    const { sent } = join(['news']);
    const message = ['as posted'];
    post('news', message);
    message[0] = 'changed';
    flusher.settle();
    expect(sent).toEqual(['as posted']);
  });

  test('report a message that cannot be written once, and continue with the others', () => {
    const { reporter, flusher, post, join } = setup();
    const streams = [join(['news']), join(['news'])];
    post('news', () => {});
    post('news', 'good');
    flusher.settle();
    expect(reporter.rejections.map(({ channel }) => channel)).toEqual(['news']);
    expect(streams.map(({ sent }) => sent)).toEqual([['good'], ['good']]);
  });

  test('deliver posts made during delivery', () => {
    const { flusher, post, read, join } = setup();
    const { sent } = join(['answers']);
    read('questions', () => post('answers', 'yes'));
    post('questions', 'really?');
    flusher.settle();
    expect(sent).toEqual(['yes']);
  });

  test('listen to a channel only while it has a reader', () => {
    const { hub, join } = setup();
    const streams = [join(['news']), join(['news'])];
    for (const { readings } of streams) {
      expect(hub['audience']['channels'].get('news')).toBeDefined();
      readings[0]!.unsubscribe();
    }
    expect(hub['audience']['channels'].get('news')).toBeUndefined();
    join(['news']);
    expect(hub['audience']['channels'].get('news')).toBeDefined();
  });
});
