import { expect, test } from '@jest/globals';

import { createParser } from 'eventsource-parser';
import { readEvents, type StreamEvent } from '../../../lib/client/event-reader.js';
import { FAILING_CANCELS } from '../../support/failing-cancels.js';
import { Queue } from '../../support/queue.js';
import { randomFrom } from '../../support/random.js';

/** Reads bytes in chunks that end at these places. */
async function read(bytes: Buffer, ends: readonly number[]): Promise<{ events: unknown[]; chunks: number }> {
  const events: unknown[] = [];
  let chunks = 0;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      let start = 0;
      for (const end of [...ends, bytes.length]) {
        controller.enqueue(bytes.subarray(start, end));
        start = end;
      }
      controller.close();
    },
  });
  const receiver = {
    event: ({ event, data }: StreamEvent) => events.push([event, data]),
    retry: (ms: number) => events.push(['retry', ms]),
    heard: () => chunks++,
  };
  await readEvents(body, receiver, new AbortController().signal);
  return { events, chunks };
}

const TEXT =
  '\uFEFF: hello\nevent: messaging:ready\nretry: 7\ndata: {"a":\ndata: 1}\n\n:\n\ndata: Grüße 👋 €\n\nretry: x\nid: 1\ndata:x\n\n:\ndata: cut off';
const EVENTS = [
  ['retry', 7],
  ['messaging:ready', '{"a":\n1}'],
  [undefined, 'Grüße 👋 €'],
  [undefined, 'x'],
];

test.each([
  ['LF', '\n'],
  ['CRLF', '\r\n'],
  ['CR', '\r'],
])('reads the same events however the bytes are cut, with lines that end in %s', async (_, lineEnd) => {
  const bytes = Buffer.from(TEXT.replaceAll('\n', lineEnd));
  for (let end = 0; end <= bytes.length; end++) expect((await read(bytes, [end])).events).toEqual(EVENTS);
  const single = await read(
    bytes,
    Array.from({ length: bytes.length - 1 }, (__, index) => index + 1),
  );
  expect(single).toEqual({ events: EVENTS, chunks: bytes.length });
});

test('reads any text exactly like a library that follows the standard', async () => {
  const random = randomFrom(7);
  const pieces = [
    'data',
    'event',
    'id',
    'retry',
    ':',
    ': ',
    ' ',
    '\n',
    '\r',
    '\r\n',
    '\n\n',
    '12',
    'x',
    '\0',
    'é',
    '👋',
  ];
  for (let round = 0; round < 2_000; round++) {
    const text = `${Array.from({ length: 40 }, () => pieces[random(pieces.length)]).join('')}\n\n`;
    const expected: unknown[] = [];
    const parser = createParser({
      onEvent: ({ event, data }) => expected.push([event, data]),
      onRetry: (ms) => expected.push(['retry', ms]),
    });
    parser.feed(text);
    const bytes = Buffer.from(text);
    const cut = random(bytes.length);
    expect([text, (await read(bytes, [cut])).events]).toEqual([text, expected]);
  }
});

test('passes on errors of the receiver', async () => {
  const body = new Response('data: x\n\n').body!;
  const failure = new Error('no');
  const receiver = {
    event: () => {
      throw failure;
    },
    retry: () => {},
    heard: () => {},
  };
  const reading = readEvents(body, receiver, new AbortController().signal);
  await expect(reading).rejects.toBe(failure);
});

test('ends and releases the body when the signal is aborted, whatever the source of the body', async () => {
  const controller = new AbortController();
  const cancelled = new Queue<unknown>();
  const body = new ReadableStream<Uint8Array>({ cancel: cancelled.push });
  const reading = readEvents(body, { event: () => {}, retry: () => {}, heard: () => {} }, controller.signal);
  controller.abort();
  await reading;
  expect(cancelled.pending).toHaveLength(1);
});

test('releases the body of a foreign fetch that comes when the signal has been aborted', async () => {
  const cancelled = new Queue<unknown>();
  const body = new ReadableStream<Uint8Array>({ cancel: cancelled.push });
  await readEvents(body, { event: () => {}, retry: () => {}, heard: () => {} }, AbortSignal.abort());
  expect(cancelled.pending).toHaveLength(1);
});

test.each(FAILING_CANCELS)(
  'ends when the signal is aborted, although cancelling the body of a foreign fetch %s',
  async (_, cancel) => {
    const controller = new AbortController();
    const body = { getReader: () => ({ read: () => Promise.resolve({ done: true }), cancel }) };
    await readEvents(body as never, { event: () => {}, retry: () => {}, heard: () => {} }, controller.signal);
    // What a listener of the signal throws, Node throws again where nobody can catch it.
    const uncaught = new Queue<unknown>();
    process.on('uncaughtException', uncaught.push).on('unhandledRejection', uncaught.push);
    controller.abort();
    await new Promise((resolve) => void setImmediate(resolve));
    process.off('uncaughtException', uncaught.push).off('unhandledRejection', uncaught.push);
    expect(uncaught.pending).toEqual([]);
  },
);
