import { describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { Admissions, MAX_OWNER_LENGTH, nodeOfEpoch, positionOwner } from '../../../lib/gateway/admission.js';
import { NativeProof, admissionFor } from '../../../lib/gateway/claim.js';
import { MAX_NATIVE_ID_LENGTH, NativePosition } from '../../../lib/gateway/native-position.js';
import { MAX_EPOCH_LENGTH } from '../../../lib/protocol/position.js';

const node = randomUUID();
const admissions = new Admissions(node);
const owner = positionOwner({ userId: 'al' });
const admission = { log: 3, admitted: 40 };
const epoch = admissions.epoch(owner, 'news', admission);

describe('The epoch of a client', () => {
  it('leads any node to its origin, and only that node can read it', () => {
    expect(nodeOfEpoch(epoch)).toBe(node);
    expect(admissions.read(owner, 'news', epoch)).toEqual(admission);
    expect(new Admissions(node).read(owner, 'news', epoch)).toBeUndefined();
    expect(new Admissions(randomUUID()).read(owner, 'news', epoch)).toBeUndefined();
  });

  it('names the cut by which its positions are counted, if it came from another node', () => {
    const cut = { ...admission, cut: 0 };
    expect(admissions.read(owner, 'news', admissions.epoch(owner, 'news', cut))).toEqual(cut);
  });

  it('is the same each time, so that a client that comes back keeps its admission', () => {
    expect(admissions.epoch(owner, 'news', admission)).toBe(epoch);
  });

  it('fits into a position, however large its numbers are', () => {
    const largest = { log: 2 ** 53 - 1, admitted: 2 ** 53 - 1, cut: 2 ** 53 - 1 };
    const text = admissions.epoch(owner, 'news', largest);
    expect(text.length).toBeLessThanOrEqual(MAX_EPOCH_LENGTH);
    expect(admissions.read(owner, 'news', text)).toEqual(largest);
  });

  it('is accepted from its own user only, and is not longer for a longer id', () => {
    const long = positionOwner({ userId: 'x'.repeat(10_000) });
    expect(long.length).toBeLessThanOrEqual(MAX_OWNER_LENGTH);
    for (const other of [positionOwner({ userId: 'eve' }), positionOwner(null), long]) {
      expect(admissions.read(other, 'news', epoch)).toBeUndefined();
      const its = admissions.epoch(other, 'news', admission);
      expect(admissions.read(other, 'news', its)).toEqual(admission);
      expect(admissions.read(owner, 'news', its)).toBeUndefined();
    }
    expect(positionOwner({ userId: 7 })).toBe(positionOwner({ userId: '7', authId: 'another sign-in' }));
  });

  it.each([
    ['of another channel', 'rooms/1', epoch],
    ['for an earlier admission', 'news', epoch.replace('.14.', '.0.')],
    ['for another log', 'news', epoch.replace('.3.', '.4.')],
    ['with a cut added', 'news', epoch.replace('.14.', '.14-1.')],
    ['without its end', 'news', epoch.slice(0, -1)],
    ['with a longer end', 'news', `${epoch}A`],
    ['with another end', 'news', epoch.slice(0, -1) + (epoch.endsWith('A') ? 'B' : 'A')],
    ['without a node', 'news', epoch.slice(node.length)],
    ['of the former wire format', 'news', `${node}.40`],
    ['that is empty', 'news', ''],
  ])('is rejected: one %s', (_, name, forged) => {
    expect(admissions.read(owner, name, forged)).toBeUndefined();
  });
});

describe('The position of a native stream', () => {
  const names = ['news', 'rooms/1', 'rooms/:roomId'];
  const begin = () =>
    NativePosition.begin(
      admissions,
      owner,
      names,
      [{ admission, offset: 41 }, undefined, { admission: { log: 4, admitted: 0 }, offset: 0 }],
      admissions.nextStream(),
    );

  it('contains how far each channel has been read, in one id', () => {
    const position = begin();
    position.advance(0, 99);
    position.advance(2, 7);
    const read = NativePosition.read(position.id!, 3)!;
    expect(read.node).toBe(node);
    expect(read.places).toEqual([
      { admission, offset: 99 },
      undefined,
      { admission: { log: 4, admitted: 0 }, offset: 7 },
    ]);
    expect(read.isOf(admissions, owner, names)).toBe(true);
    expect(read.id).toBe(position.id);
  });

  it('continues from the last read position, even on another node, until that node has its own position', () => {
    const elsewhere = NativePosition.read(begin().id!, 3)!;
    elsewhere.advance(2, 8);
    const back = NativePosition.read(elsewhere.id!, 3)!;
    expect(back.places[2]).toEqual({ admission: { log: 4, admitted: 0 }, offset: 8 });
    expect(back.isOf(admissions, owner, names)).toBe(true);
  });

  it('is rejected for other channels, in another order, with other admissions or of another node', () => {
    const { id } = begin();
    const read = NativePosition.read(id!, 3)!;
    expect(read.isOf(admissions, owner, ['news', 'rooms/1', 'rooms/:id'])).toBe(false);
    expect(read.isOf(admissions, owner, ['rooms/:roomId', 'rooms/1', 'news'])).toBe(false);
    expect(read.isOf(admissions, positionOwner({ userId: 'eve' }), names)).toBe(false);
    expect(read.isOf(new Admissions(node), owner, names)).toBe(false);
    expect(read.isOf(new Admissions(randomUUID()), owner, names)).toBe(false);
    expect(NativePosition.read(id!.replace('3.14', '3.0'), 3)!.isOf(admissions, owner, names)).toBe(false);
  });

  it('reveals nothing about how many streams there are', () => {
    expect(Math.abs(admissions.nextStream() - admissions.nextStream())).toBeGreaterThan(1_000);
  });

  it('contains nothing about channels that the stream did not have', () => {
    const id = begin().id!;
    const asked = ['news', 'x'.repeat(300), 'rooms/:roomId'];
    const proof = new NativeProof(id, asked);
    expect(proof.names).toEqual(['news', '', 'rooms/:roomId']);
    expect(admissionFor('news', owner, { proof }, admissions)).toEqual(admission);
    expect([...proof.claims.keys()]).toEqual(['news', 'rooms/:roomId']);
  });

  it.each([['x'.repeat(300)], [''], ['a\0b']])(
    'belongs to no node if it contains a channel that the stream cannot have had, %#',
    (name) => {
      const proof = new NativeProof(begin().id!, [name, 'rooms/1', 'rooms/:roomId']);
      expect(proof.position).toBeUndefined();
      expect([...proof.claims.values()].map((claim) => claim.node)).toEqual([undefined, undefined, undefined]);
    },
  );

  it('has no id if the id would be too long for a header', () => {
    const many = Array.from({ length: 400 }, (_, index) => `rooms/${index}`);
    const places = many.map(() => ({ admission: { log: 9, admitted: 9 }, offset: 9 }));
    const position = NativePosition.begin(admissions, owner, many, places, admissions.nextStream());
    expect(position.id!.length).toBeLessThan(MAX_NATIVE_ID_LENGTH);
    many.forEach((_, index) => position.advance(index, 2 ** 53 - 1));
    expect(position.id).toBeUndefined();
  });

  it.each([
    ['nothing', ''],
    ['an id of the application', 'order-17'],
    ['one for fewer channels', NativePosition.begin(admissions, owner, ['news'], [undefined], 1).id!],
    ['one without a node', begin().id!.slice(node.length)],
    ['one with an offset that is not a number', begin().id!.replace(/~[^~]*$/, '~15,,x!')],
    ['one with an offset that is too large', begin().id!.replace(/~[^~]*$/, '~15,,zzzzzzzzzzz')],
    ['one with a position that the stream does not have', begin().id!.replace(/~[^~]*$/, '~15,1,0')],
    ['one without an offset', begin().id!.replace(/~[^~]*$/, '~15,,')],
    ['one with a zero before a number', begin().id!.replace(/~[^~]*$/, '~015,,0')],
    ['one with text after it', `${begin().id!}~`],
    ['one with a line break', `${begin().id!}\n`],
  ])('is not %s', (_, id) => {
    expect(NativePosition.read(id, 3)).toBeUndefined();
  });

  it('is not read if it is longer than any real one', () => {
    expect(NativePosition.read(`${begin().id!}${'0'.repeat(MAX_NATIVE_ID_LENGTH)}`, 3)).toBeUndefined();
  });
});

describe('A position in a history, in the Last-Event-ID of a native EventSource', () => {
  const NODE = '0b0c5d1e-1111-4222-8333-444455556666';

  it.each([
    ['e1', true],
    ['a!b', true],
    ['', true],
    ['%0Aevent: forged', false],
    ['%0D', false],
    ['caf%C3%A9', false],
    ['e'.repeat(41), false],
    ['%zz', false],
  ])('with the epoch %j is accepted: %j', (name, isTaken) => {
    const position = NativePosition.read(`${NODE}.1~~AAAAAAAAAAAAAAAA~5!${name}`, 1);
    expect(position !== undefined).toBe(isTaken);
    // It is sent in the stream.
    expect(position?.id ?? '').not.toMatch(/[^\x21-\x7e]/);
  });
});
