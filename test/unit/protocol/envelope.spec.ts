import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decodeEnvelope, encodeEnvelope, envelopePrefix, hasPrefix } from '../../../lib/protocol/envelope.js';
import { InvalidMessageError } from '../../../lib/protocol/errors.js';
import { splitEnvelope } from '../../../lib/protocol/split-envelope.js';
import { keptBytes } from '../../support/kept-memory.js';
import { ThreadClock } from '../../support/thread-clock.js';

const NODE = '3d5c6a8e-1111-4222-8333-444455556666';
const SENT = { postedAt: 1_795_353_600_000, serial: 17 };
const DATA = '{"text":"a,\\"data\\":1}","data":{"data":[1,2]},"at":"1970-01-01T00:00:00.000Z"}';

function envelope(data = DATA, type?: string, meta?: string, channel = 'rooms/42'): string {
  return encodeEnvelope(channel, envelopePrefix(NODE), SENT, { data, type, meta });
}

function outcomeOf(payload: string): unknown {
  try {
    return decodeEnvelope(payload);
  } catch (error) {
    return error;
  }
}

test('The node and the class of a message keep nothing else of it in memory, for logs keep both', () => {
  const COUNT = 500;
  const bytes = keptBytes(() =>
    Array.from({ length: COUNT }, () => {
      const payload = envelope(JSON.stringify('x'.repeat(65_000)), 'a-class-with-a-long-name');
      const { node, type } = decodeEnvelope(Buffer.from(payload).toString());
      expect([node, type]).toEqual([NODE, 'a-class-with-a-long-name']);
      return { node, type };
    }),
  );
  expect(bytes / COUNT).toBeLessThan(10_000);
});

describe('An envelope after others', () => {
  const given = fc.record({
    channel: fc.constantFrom('rooms/42', 'rooms/43', 'a "b"'),
    node: fc.constantFrom(NODE, NODE.replace(/6$/, '7'), 'n'.repeat(101)),
    postedAt: fc.nat(1_000),
    serial: fc.nat(1_000),
    type: fc.constantFrom(undefined, 'chat', 'user'),
    meta: fc.constantFrom(undefined, '{"at":"Date"}', '{"at":"URL"}'),
    data: fc.constantFrom(DATA, '1', '1}'),
  });

  test('is written as if it were the first', () => {
    fc.assert(
      fc.property(fc.array(given), (all) => {
        for (const { channel, node, postedAt, serial, type, meta, data } of all) {
          const written = encodeEnvelope(channel, envelopePrefix(node), { postedAt, serial }, { data, type, meta });
          const note = meta && (JSON.parse(meta) as unknown);
          const metadata = { v: 1, node, at: postedAt, n: serial, type, meta: note };
          expect(written).toBe(`${JSON.stringify({ metadata, pattern: channel }).slice(0, -1)},"data":${data}}`);
        }
      }),
    );
  });

  test('is read as if it were the first, however much it begins like another one', () => {
    const other = envelope('2', 'other', undefined, 'other');
    const changed = fc.option(fc.tuple(fc.nat(300), fc.constantFrom('', '0', '7', 'x', '"', ',', ':', '}', ' ')));
    fc.assert(
      fc.property(fc.array(fc.tuple(given, changed)), (all) => {
        const payloads = all.map(([{ channel, node, postedAt, serial, ...message }, change]) => {
          const payload = encodeEnvelope(channel, envelopePrefix(node), { postedAt, serial }, message);
          const [at, by] = change ?? [payload.length, ''];
          return payload.slice(0, at) + by + payload.slice(at + 1);
        });
        const asFirst = payloads.map((payload) => {
          decodeEnvelope(other);
          return outcomeOf(payload);
        });
        expect(payloads.map(outcomeOf)).toEqual(asFirst);
      }),
      { numRuns: 500 },
    );
  });

  test('of the same node is known by its first characters', () => {
    const prefix = envelopePrefix(NODE);
    const written = envelope();
    expect(hasPrefix(written, prefix)).toBe(true);
    for (let index = 0; index < prefix.length; index++) {
      expect(hasPrefix(`${written.slice(0, index)}~${written.slice(index + 1)}`, prefix)).toBe(false);
      expect(hasPrefix(written.slice(0, index), prefix)).toBe(false);
    }
  });
});

describe('The text of the data', () => {
  test('is exactly the text written by the node, and costs no second parse', () => {
    for (const [type, meta] of [[], ['chat'], [undefined, '{"at":"Date"}'], ['chat', '{"at":"Date"}']] as const) {
      const payload = envelope(DATA, type, meta);
      expect(splitEnvelope(payload)?.text).toBe(DATA);
      expect(decodeEnvelope(payload)).toEqual({
        data: JSON.parse(DATA) as unknown,
        text: DATA,
        type,
        meta: meta && (JSON.parse(meta) as unknown),
        node: NODE,
        postedAt: SENT.postedAt,
        serial: SENT.serial,
      });
    }
  });

  test('is found whatever the metadata contain', () => {
    // A note that resembles the end of the metadata, names with characters that JSON escapes, a node that numbers nothing.
    const tricky = '{"x":{"a":"Date"},"pattern":"Date","data":"Date"}';
    const data = '{"pattern":"1970-01-01T00:00:00.000Z","data":"1970-01-01T00:00:00.000Z","x":{"a":null}}';
    const unnumbered = envelope(data).replace(',"n":17', '');
    for (const payload of [envelope(data, 'a"b', tricky, 'Date'), envelope(data, undefined, tricky), unnumbered]) {
      expect(decodeEnvelope(payload)).toMatchObject({ text: data, data: JSON.parse(data) as unknown });
    }
  });

  test('never contains more than the value that was read', () => {
    const more = [
      envelope('1,"data":2'),
      envelope('{"a":1},"channel":"other"'),
      envelope('1}').replace(/\}$/, ''),
      `${envelope()} `,
      envelope('1,"metadata":{"v":1,"node":"x","at":1}'),
      envelope(' [1] '),
    ];
    for (const payload of more) {
      const { data, text } = decodeEnvelope(payload);
      expect(JSON.parse(text!)).toEqual(data);
    }
    expect(() => decodeEnvelope(envelope('1}'))).toThrow('it is not JSON');
    expect(() => decodeEnvelope(envelope('1,'))).toThrow('it is not JSON');
  });

  test('is refused if it is nested deeper than any encoder writes', () => {
    const deep = '['.repeat(50_000) + ']'.repeat(50_000);
    expect(() => decodeEnvelope(envelope(deep).replace(',"n":17', ''))).toThrow(InvalidMessageError);
  });

  test('is missing in the packets of a stock client', () => {
    expect(decodeEnvelope('{"pattern":"news","data":{"id":1}}')).toEqual({ data: { id: 1 } });
  });

  test('takes time in proportion to the payload, whatever it contains', () => {
    const payloads = ['},"pattern":"', ',"meta":', '},"pattern":"a","data":'].map((part) =>
      envelope('1', 'chat', `"${part.repeat(80_000)}`),
    );
    const cpu = new ThreadClock();
    const start = cpu.now();
    for (const payload of payloads) expect(() => decodeEnvelope(payload)).toThrow('it is not JSON');
    expect(cpu.now() - start).toBeLessThan(1_000);
  });
});

const read = (metadata: string) => decodeEnvelope(`{"metadata":{"v":1,${metadata}},"pattern":"news","data":1}`);

describe('The metadata', () => {
  test('are read up to their limits', () => {
    expect(read(`"node":"${'n'.repeat(100)}","at":9007199254740991,"n":0,"type":"${'t'.repeat(255)}"`)).toEqual({
      data: 1,
      text: '1',
      node: 'n'.repeat(100),
      postedAt: Number.MAX_SAFE_INTEGER,
      serial: 0,
      type: 't'.repeat(255),
      meta: undefined,
    });
    expect(read('"node":"n","at":0').serial).toBeUndefined();
  });

  test('may have unknown properties', () => {
    const known = { data: 1, text: '1', node: 'n', postedAt: 1, serial: 2, type: undefined, meta: undefined };
    expect(read('"node":"n","at":1,"n":2,"later":{"v":2}')).toEqual(known);
    const packet = '{"metadata":{"v":1,"node":"n","at":1,"n":2},"pattern":"news","data":1';
    expect(decodeEnvelope(`${packet},"later":[1]}`)).toEqual(known);
    expect(decodeEnvelope(`{"later":[1],${packet.slice(1)}}`)).toEqual(known);
  });

  test.each([
    ['"at":1', '"node" in its metadata must be a text of at most 100 characters, not undefined'],
    ['"node":["n"],"at":1', '"node" in its metadata must be a text of at most 100 characters, not an array'],
    [`"node":"${'n'.repeat(101)}","at":1`, '"node" in its metadata'],
    ['"node":"n"', '"at" in its metadata must be a whole number, not undefined'],
    ['"node":"n","at":1e999', '"at" in its metadata must be a whole number, not Infinity'],
    ['"node":"n","at":-1', '"at" in its metadata'],
    ['"node":"n","at":1.5', '"at" in its metadata'],
    ['"node":"n","at":9007199254740992', '"at" in its metadata'],
    ['"node":"n","at":"1"', '"at" in its metadata'],
    ['"node":"n","at":1,"n":1e999', '"n" in its metadata'],
    ['"node":"n","at":1,"n":"1"', '"n" in its metadata'],
    ['"node":"n","at":1,"type":7', '"type" in its metadata'],
    [`"node":"n","at":1,"type":"${'t'.repeat(256)}"`, '"type" in its metadata'],
  ])('are refused: %s', (metadata, problem) => {
    expect(() => read(metadata)).toThrow(problem);
    expect(() => read(metadata)).toThrow(InvalidMessageError);
  });
});
