import { describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import type { Admission } from '../../lib/core/recovery.js';
import { SerialVector } from '../../lib/core/serial-vector.js';
import { Admissions, positionOwner, nodeOfEpoch } from '../../lib/gateway/admission.js';
import { MAX_NATIVE_ID_LENGTH, NativePosition, type NativePlace } from '../../lib/gateway/native-position.js';
import { InvalidMessageError } from '../../lib/protocol/errors.js';
import { positionFrom, readPosition } from '../../lib/protocol/position.js';

const node = randomUUID();
const admissions = new Admissions(node);
const owner = positionOwner({ userId: 'al' });
const number = fc.oneof(fc.nat(100), fc.maxSafeNat());
const admission: fc.Arbitrary<Admission> = fc.record(
  { log: number, admitted: number, cut: number },
  { requiredKeys: ['log', 'admitted'] },
);
const name = fc.constantFrom('news', 'rooms/1', 'rooms/:roomId', 'żółć 🦊', 'a.b-c~d,e');
const place: fc.Arbitrary<NativePlace> = fc.record({ admission, offset: number });

/** A text with one change: a character inserted, removed or replaced. */
function changed(text: string, at: number, character: string, kind: 'in' | 'out' | 'other'): string {
  const index = at % (text.length + 1);
  return text.slice(0, index) + (kind === 'out' ? '' : character) + text.slice(index + (kind === 'in' ? 0 : 1));
}

const change = fc.tuple(
  fc.nat(),
  fc.oneof(
    fc.constantFrom('0', '1', 'a', 'z', '.', '-', '~', ',', '_'),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
  ),
  fc.constantFrom('in' as const, 'out' as const, 'other' as const),
);

/** The parsed position; `undefined` after a permitted error. */
function readOrError<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof InvalidMessageError) return undefined;
    throw error;
  }
}

describe('Epochs', () => {
  test('give back their contents, for their own channel and no other', () => {
    fc.assert(
      fc.property(name, name, admission, (its, other, given) => {
        const epoch = admissions.epoch(owner, its, given);
        expect(nodeOfEpoch(epoch)).toBe(node);
        expect(admissions.read(owner, its, epoch)).toEqual(given);
        expect(admissions.read(owner, other, epoch)).toEqual(other === its ? given : undefined);
        expect(positionFrom({ epoch, offset: 0 })).toEqual({ epoch, offset: 0 });
      }),
    );
  });

  test('are rejected once anything in them is changed', () => {
    fc.assert(
      fc.property(admission, change, (given, [at, character, kind]) => {
        const epoch = admissions.epoch(owner, 'news', given);
        const forged = changed(epoch, at, character, kind);
        fc.pre(forged !== epoch);
        expect(admissions.read(owner, 'news', forged)).toBeUndefined();
      }),
      { numRuns: 5_000 },
    );
  });

  test('are rejected if they are arbitrary text', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary', maxLength: 300 })), (text) => {
        expect(admissions.read(owner, 'news', text)).toBeUndefined();
        expect(nodeOfEpoch(text)).toBeUndefined();
      }),
    );
  });
});

describe('Positions', () => {
  test('are read from a valid value; any other value causes an error that names the fault', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.anything(),
          fc.record({ epoch: fc.anything(), offset: fc.anything() }),
          fc.record({ epoch: fc.string(), offset: fc.oneof(fc.integer(), fc.double()) }),
        ),
        (value) => {
          const position = readOrError(() => readPosition(value, 'the position'));
          const { epoch = '', offset = -1 } = position ?? {};
          const isOne = /^[!-~]{1,128}$/.test(epoch) && Number.isSafeInteger(offset) && offset >= 0;
          expect(isOne).toBe(position !== undefined);
          expect(positionFrom(value)).toEqual(position);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe('Positions of native streams', () => {
  const stream = fc
    .uniqueArray(fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 20 }), { minLength: 1, maxLength: 40 })
    .chain((names) =>
      fc.tuple(
        fc.constant(names),
        fc.array(fc.option(place, { nil: undefined }), { minLength: names.length, maxLength: names.length }),
        fc.array(fc.tuple(fc.nat(names.length - 1), number), { maxLength: 10 }),
      ),
    );

  test('give back how far each channel was read, and fit into one header', () => {
    fc.assert(
      fc.property(stream, ([names, places, steps]) => {
        const position = NativePosition.begin(admissions, owner, names, places, admissions.nextStream());
        const expected = [...places];
        for (const [index, offset] of steps) {
          const before = expected[index];
          if (before === undefined) continue;
          position.advance(index, offset);
          expected[index] = { ...before, offset };
        }
        const { id } = position;
        fc.pre(id !== undefined);
        expect(id).toMatch(/^[!-~]+$/);
        expect(id.length).toBeLessThanOrEqual(MAX_NATIVE_ID_LENGTH);
        const read = NativePosition.read(id, names.length)!;
        expect(read.places).toEqual(expected);
        expect(read.node).toBe(node);
        expect(read.isOf(admissions, owner, names)).toBe(true);
        expect(NativePosition.read(id, names.length + 1)).toBeUndefined();
      }),
      { numRuns: 500 },
    );
  });

  test('are rejected once anything but an offset is changed', () => {
    fc.assert(
      fc.property(stream, change, ([names, places], [at, character, kind]) => {
        const { id } = NativePosition.begin(admissions, owner, names, places, admissions.nextStream());
        fc.pre(id !== undefined);
        const forged = changed(id, at, character, kind);
        const head = id.slice(0, id.lastIndexOf('~') + 1);
        fc.pre(forged !== id && !forged.startsWith(head));
        expect(NativePosition.read(forged, names.length)?.isOf(admissions, owner, names) ?? false).toBe(false);
      }),
      { numRuns: 3_000 },
    );
  });

  test('are rejected, or read as one that no server has handed out, if they are arbitrary text', () => {
    const hostile = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc.array(fc.constantFrom('~', ',', '.', '-', '0', 'z', node), { maxLength: 60 }).map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(hostile, fc.nat(5), (id, channels) => {
        const names = Array.from({ length: channels }, (_, index) => `rooms/${index}`);
        expect(NativePosition.read(id, channels)?.isOf(admissions, owner, names) ?? false).toBe(false);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('Vectors of serials', () => {
  const rows = fc.array(
    fc.tuple(fc.constantFrom('a', 'b', '__proto__'), fc.constantFrom('1', '2', 'constructor'), number),
  );

  test('mean the same after their journey', () => {
    fc.assert(
      fc.property(rows, fc.boolean(), (noted, perChannel) => {
        const vector = new SerialVector(perChannel);
        for (const row of noted) vector.note(...row);
        const read = SerialVector.read(JSON.parse(JSON.stringify(vector)), 'the vector', perChannel);
        expect(read.toJSON()).toEqual(vector.toJSON());
        for (const [from, channel, serial] of noted) expect(read.covers(from, channel, serial)).toBe(true);
      }),
    );
  });

  test('are read from a valid value; any other value causes an error that names the fault', () => {
    const wrong = fc.oneof(fc.anything(), fc.array(fc.oneof(fc.anything(), fc.array(fc.anything(), { maxLength: 4 }))));
    fc.assert(
      fc.property(wrong, (value) => {
        const vector = readOrError(() => SerialVector.read(value, 'the vector', true));
        expect(vector?.size ?? 0).toBeLessThanOrEqual(Array.isArray(value) ? value.length : 0);
      }),
      { numRuns: 1_000 },
    );
  });
});
