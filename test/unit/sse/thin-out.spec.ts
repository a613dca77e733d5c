import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Batch } from '../../../lib/sse/batch.js';
import { Frame, type DropRule } from '../../../lib/sse/frame.js';
import { thinOut } from '../../../lib/sse/thin-out.js';

const frame = (text: string, dropRule?: DropRule) => new Frame(Buffer.from(text), dropRule);
const batchOf = (frames: readonly Frame[]) => frames.reduce((batch, each) => batch.add(each), Batch.empty());
const textsOf = (batch: Batch | undefined) => batch?.frames.map(({ bytes }) => bytes.toString());
const GAP = 'event: messaging:gap\ndata: {"channel":"ticks","reason":"slow-consumer"}\n\n';

const price = (text: string, key: string) => frame(text.repeat(200), { channel: 'prices', key });
const tick = (text: string) => frame(text.repeat(300), { channel: 'ticks' });

const anyFrame = fc
  .record({
    length: fc.integer({ min: 1, max: 200 }),
    channel: fc.constantFrom('a', 'b'),
    rule: fc.constantFrom('keep', 'drop', 'conflate'),
    key: fc.integer({ min: 0, max: 3 }),
  })
  .map(({ length, channel, rule, key }) =>
    frame('x'.repeat(length), rule === 'keep' ? undefined : rule === 'drop' ? { channel } : { channel, key }),
  );

describe('The backlog of a slow reader', () => {
  test('loses the oldest messages of channels that allow it, with a gap in their place, and keeps the others', () => {
    const [old, older] = [frame('1'.repeat(400), { channel: 'ticks' }), frame('2'.repeat(400), { channel: 'ticks' })];
    const latest = frame('3'.repeat(100), { channel: 'ticks' });
    const kept = frame('kept');
    expect(textsOf(thinOut(batchOf([old, kept, older, latest]), 300))).toEqual(['kept', GAP, '3'.repeat(100)]);
  });

  test('continues after the last missing message for a client that comes back after the gap, by the template of that message', () => {
    const message = (id: string, template?: string) => frame(id.repeat(400), { channel: 'ticks', id, template });
    const batch = batchOf([message('1'), message('2', ':all'), message('3'), message('4', ':all'), frame('kept')]);
    expect(textsOf(thinOut(batch, 100))).toEqual([
      'event: messaging:gap\nid: 3\ndata: {"channel":"ticks","reason":"slow-consumer"}\n\n',
      'event: messaging:gap\nid: 4\ndata: {"channel":"ticks","template":":all","reason":"slow-consumer"}\n\n',
      'kept',
    ]);
  });

  test('keeps the latest of messages with one key, in its place, and has no gap', () => {
    const batch = batchOf([price('1', 'A'), price('2', 'B'), price('3', 'A'), price('4', 'A')]);
    expect(textsOf(thinOut(batch, 500))).toEqual(['2'.repeat(200), '4'.repeat(200)]);
  });

  test('that is thinned out repeatedly has one gap, not one for each time', () => {
    let batch = batchOf([tick('1'), tick('2')]);
    for (const text of ['3', '4', '5']) batch = thinOut(batch.add(tick(text)), 800)!;
    expect(textsOf(batch)).toEqual([GAP, '5'.repeat(300)]);
  });

  test('does not confuse equal keys of two channels', () => {
    const [a, b] = [frame('a', { channel: 'a', key: 1 }), frame('b', { channel: 'b', key: 1 })];
    expect(textsOf(thinOut(batchOf([a, b]), 10))).toEqual(['a', 'b']);
  });

  test('is too much if dropping is not enough', () => {
    const kept = [frame('x'.repeat(100)), frame('y'.repeat(100))];
    expect(thinOut(batchOf([...kept, frame('z', { channel: 'ticks' })]), 50)).toBeUndefined();
  });

  test('may be one message longer than the limit, and the other messages are not dropped for it', () => {
    const short = frame('tick', { channel: 'ticks' });
    const long = frame('x'.repeat(1_000));
    expect(textsOf(thinOut(batchOf([short, long, short]), 50))).toEqual(['tick', 'x'.repeat(1_000), 'tick']);
  });

  test('fits afterwards or is given up, keeps its order, and never loses frames that may not be dropped', () => {
    fc.assert(
      fc.property(fc.array(anyFrame, { maxLength: 30 }), fc.integer({ min: 1, max: 3_000 }), (frames, maxBytes) => {
        const thinned = thinOut(batchOf(frames), maxBytes);
        if (thinned === undefined) return;
        const lengths = thinned.frames.map(({ bytes }) => bytes.length);
        expect(thinned.length - Math.max(0, ...lengths)).toBeLessThanOrEqual(maxBytes);
        const left = thinned.frames.filter((each) => frames.includes(each));
        expect(left).toEqual(frames.filter((each) => left.includes(each)));
        expect(left).toEqual(expect.arrayContaining(frames.filter(({ dropRule }) => dropRule === undefined)));
        const gaps = thinned.frames.filter((each) => !frames.includes(each)).map(({ bytes }) => bytes.toString());
        const lost = frames.filter((each) => !left.includes(each) && each.dropRule!.key === undefined);
        expect(gaps).toHaveLength(new Set(lost.map(({ dropRule }) => dropRule!.channel)).size);
      }),
    );
  });
});
