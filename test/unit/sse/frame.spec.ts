import { describe, expect, test } from '@jest/globals';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import fc from 'fast-check';
import { ConfigurationError } from '../../../lib/protocol/errors.js';
import { COMMENT_FRAME, END_FRAME, drainFrame, encodeFrame } from '../../../lib/sse/frame.js';

/** The events that a browser reads from bytes in pieces. */
function parse(bytes: Buffer, cuts: readonly number[] = []): { events: EventSourceMessage[]; retries: number[] } {
  const events: EventSourceMessage[] = [];
  const retries: number[] = [];
  const parser = createParser({ onEvent: (event) => events.push(event), onRetry: (retry) => retries.push(retry) });
  const decoder = new TextDecoder();
  const ends = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].toSorted((a, b) => a - b);
  let start = 0;
  for (const end of [...ends, bytes.length]) {
    parser.feed(decoder.decode(bytes.subarray(start, end), { stream: true }));
    start = end;
  }
  return { events, retries };
}

describe('a frame', () => {
  test('has these bytes', () => {
    const fields = { event: 'UserUpdate', id: 'e:1', retryMs: 1500.4, data: '{"a":1}' };
    expect(encodeFrame(fields).toString()).toBe('event: UserUpdate\nid: e:1\nretry: 1500\ndata: {"a":1}\n\n');
    expect(encodeFrame({ data: 'x' }).toString()).toBe('data: x\n\n');
    expect(END_FRAME.toString()).toBe('event: messaging:end\nid: messaging:end\ndata: {}\n\n');
    expect(drainFrame(700).toString()).toBe('event: messaging:drain\nretry: 700\ndata: {}\n\n');
    expect(COMMENT_FRAME.toString()).toBe(':\n');
  });

  test.each(['a\nb', 'a\rb', 'a\r\nevent: evil', 'a\0b'])('refuses an event name or id such as %j', (value) => {
    expect(() => encodeFrame({ event: value, data: '' })).toThrow(ConfigurationError);
    expect(() => encodeFrame({ id: value, data: '' })).toThrow(
      'The field "id" of an event must not contain CR, LF or NUL',
    );
  });

  test('arrives as it was written, with any content and however the network splits it', () => {
    const field = fc.string({ minLength: 1 }).filter((text) => !/[\r\n\0]/.test(text) && text.trimStart() === text);
    // Text without lone surrogates, which UTF-8 cannot encode; includes line breaks of all three kinds.
    const data = fc
      .array(fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('\n', '\r', '\r\n', 'data: x', ':')))
      .map((parts) => parts.join(''));
    const frame = fc.record({ event: field, id: field, data });
    fc.assert(
      fc.property(
        fc.array(frame, { minLength: 1, maxLength: 5 }),
        fc.array(fc.nat(), { maxLength: 20 }),
        (frames, cuts) => {
          const bytes = Buffer.concat(frames.flatMap((fields) => [encodeFrame(fields), COMMENT_FRAME]));
          expect(parse(bytes, cuts).events).toEqual(
            frames.map((fields) => ({ ...fields, data: fields.data.replace(/\r\n|\r/g, '\n') })),
          );
        },
      ),
      { numRuns: 1_000 },
    );
  });
});
