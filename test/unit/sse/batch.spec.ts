import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Batch } from '../../../lib/sse/batch.js';
import { Frame } from '../../../lib/sse/frame.js';

const frame = (text: string) => new Frame(Buffer.from(text));
const bytesOf = (all: readonly Frame[]) => Buffer.concat(all.map(({ bytes }) => bytes));
const frames = fc.array(fc.string({ unit: 'grapheme', minLength: 1 }).map(frame), { minLength: 1, maxLength: 20 });
const batchOf = (from: Batch, all: readonly Frame[]) => all.reduce((batch, each) => batch.add(each), from);

describe('A batch', () => {
  test('has the bytes of its frames in their order', () => {
    fc.assert(
      fc.property(frames, (all) => {
        const batch = batchOf(Batch.empty(), all);
        expect(batch.bytes).toEqual(bytesOf(all));
        expect(batch.length).toBe(batch.bytes.length);
      }),
    );
  });

  test('is one chunk of a response: its length in hexadecimal, its bytes, and line ends', () => {
    fc.assert(
      fc.property(frames, (all) => {
        const bytes = bytesOf(all);
        const chunk = batchOf(Batch.empty(), all).chunk;
        const head = Buffer.from(`${bytes.length.toString(16)}\r\n`);
        expect(chunk).toEqual(Buffer.concat([head, bytes, Buffer.from('\r\n')]));
      }),
    );
  });

  test('is the same object for all callers that add the same frames to the same batch', () => {
    const start = Batch.empty();
    const [a, b] = [frame('a'), frame('b')];
    const one = start.add(a).add(b);
    const other = start.add(a).add(b);
    expect(other).toBe(one);
    expect(other.chunk).toBe(one.chunk);
  });

  test('may be extended by another batch, and is the same object for all callers that add that one', () => {
    fc.assert(
      fc.property(frames, frames, (head, tail) => {
        const one = batchOf(Batch.empty(), head);
        const other = batchOf(Batch.empty(), tail);
        expect(one.addAll(other).bytes).toEqual(bytesOf([...head, ...tail]));
        expect(one.addAll(other)).toBe(one.addAll(other));
        expect(one.addAll(one).bytes).toEqual(bytesOf([...head, ...head]));
      }),
    );
  });

  test('differs for another frame, and leaves the first batch unchanged', () => {
    fc.assert(
      fc.property(frames, frames, frames, (head, tail, otherTail) => {
        const shared = batchOf(Batch.empty(), head);
        const one = batchOf(shared, tail);
        const other = batchOf(shared, otherTail);
        expect(one.bytes).toEqual(bytesOf([...head, ...tail]));
        expect(other.bytes).toEqual(bytesOf([...head, ...otherTail]));
        expect(shared.bytes).toEqual(bytesOf(head));
      }),
    );
  });
});
