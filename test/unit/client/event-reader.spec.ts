import { expect, test } from '@jest/globals';
import { readEvents } from '../../../lib/client/event-reader.js';

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
  await readEvents(body, {
    event: ({ event, data }) => events.push([event, data]),
    retry: (ms) => events.push(['retry', ms]),
    heard: () => chunks++,
  });
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

test('passes on what the receiver throws', async () => {
  const body = new Response('data: x\n\n').body!;
  const failure = new Error('no');
  const reading = readEvents(body, {
    event: () => {
      throw failure;
    },
    retry: () => {},
    heard: () => {},
  });
  await expect(reading).rejects.toBe(failure);
});
