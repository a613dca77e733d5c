import { describe, expect, test } from '@jest/globals';
import { Branches } from '../../../lib/core/branches.js';
import { BEGINNING, type HistoryRead } from '../../../lib/core/history-store.js';
import type { Position } from '../../../lib/protocol/position.js';

/** A store that has one epoch, with the ends of former ones, and the messages up to an offset. */
function scripted(isTold: boolean) {
  const asked: string[] = [];
  const state = { epoch: 'a', end: 3, former: [] as Position[] };
  const read = async (_channel: string, after: Position | number): Promise<HistoryRead> => {
    const { epoch, end, former } = state;
    const place = after as Position;
    asked.push(`${place.epoch}${place.offset}`);
    const ended = place.epoch === epoch ? Infinity : former.find((each) => each.epoch === place.epoch)?.offset;
    const first = Math.min(place.offset, ended ?? 0);
    const entries = Array.from({ length: end - first }, (_, index) => ({ offset: first + index + 1, payload: '' }));
    const next = { epoch, offset: end };
    const gap = ended === undefined && place.epoch !== '' ? 'epoch' : undefined;
    return { gap, entries, next, end: next, ...(isTold && place.epoch !== epoch && { former }) };
  };
  const branches = new Branches({ read });
  /** The gap, and the offset before the first entry. */
  const readAfter = async (epoch: string, offset: number): Promise<string> => {
    asked.length = 0;
    const { gap, entries, next } = await branches.read('news', { epoch, offset });
    return `${gap ?? 'no gap'} ${next.offset - entries.length}`;
  };
  const become = (epoch: string, end: number, ...former: [epoch: string, offset: number][]): void => {
    Object.assign(state, { epoch, end, former: former.map(([each, offset]) => ({ epoch: each, offset })) });
  };
  return { asked, branches, readAfter, become, state };
}

describe('Branches of a history', () => {
  test('that are lost: a read goes on where they began, in the latest epoch that the store knows', async () => {
    const { asked, readAfter, become } = scripted(true);
    become('c', 9, ['b', 5], ['a', 3]);
    // It has not come as far as the end of its epoch. Nobody here has read in the one before.
    expect(await readAfter('a', 2)).toBe('no gap 2');
    become('d', 6, ['b', 4], ['a', 3]);
    expect(await readAfter('c', 9)).toBe('epoch 4');
    expect(asked).toEqual(['c9', 'b5']);
    become('e', 6, ['a', 3]);
    expect(await readAfter('c', 4)).toBe('epoch 3');
    expect(asked).toEqual(['c4', 'b4', 'a3']);
    expect(await readAfter('c', 1)).toBe('epoch 1');
  });

  test('whose history is replaced between two reads are read anew', async () => {
    const { asked, branches, readAfter, become } = scripted(true);
    become('b', 9, ['a', 5]);
    await readAfter('a', 2);
    become('c', 6, ['a', 4]);
    asked.length = 0;
    const reading = branches.read('news', { epoch: 'b', offset: 9 });
    // The first read has been answered.
    become('d', 1);
    const { gap, next } = await reading;
    expect([gap, next]).toEqual(['epoch', { epoch: 'd', offset: 1 }]);
    expect(asked).toEqual(['b9', 'a5', 'b9', 'a5']);
  });

  test('are known from any read of earlier messages', async () => {
    for (const start of [BEGINNING, { epoch: 'unknown', offset: 7 }]) {
      const { readAfter, become } = scripted(true);
      become('b', 9, ['a', 3]);
      await readAfter(start.epoch, start.offset);
      become('c', 4, ['a', 3]);
      expect(await readAfter('b', 8)).toBe('epoch 3');
    }
  });

  test('that the store does not tell begin where a reader went on, or earlier', async () => {
    const { asked, readAfter, become } = scripted(false);
    become('b', 5, ['a', 3]);
    await readAfter('a', 2);
    become('c', 7, ['b', 5], ['a', 3]);
    await readAfter('b', 5);
    become('d', 4, ['a', 3]);
    expect(await readAfter('c', 7)).toBe('epoch 2');
    expect(asked).toEqual(['c7', 'b5', 'a2']);
  });

  test('end with the history: a read begins with what the new one has', async () => {
    const { asked, readAfter, become, state, branches } = scripted(true);
    become('b', 5, ['a', 3]);
    await readAfter('a', 3);
    become('z', 2);
    expect(await readAfter('b', 5)).toBe('epoch 0');
    expect(asked).toEqual(['b5', 'a3']);
    Object.assign(state, { epoch: BEGINNING.epoch, end: 0 });
    expect(await readAfter('b', 5)).toBe('epoch 0');
    expect(asked).toEqual(['b5']);
    expect(branches.areOne('news', { epoch: 'b', offset: 5 }, { epoch: 'z', offset: 0 })).toBe(false);
  });

  test('are remembered for the last eight epochs, each with the last eight before it', async () => {
    const { asked, readAfter, become } = scripted(true);
    const ends = Array.from({ length: 12 }, (_, index): [string, number] => [`e${12 - index}`, 12 - index]);
    become('x', 20, ...ends);
    await readAfter('e12', 12);
    for (let count = 1; count <= 7; count++) {
      become(`x${count}`, 20, ['e12', 12]);
      await readAfter('e12', 12);
    }
    become('y', 20);
    expect(await readAfter('x', 20)).toBe('epoch 0');
    expect(asked).toHaveLength(1 + 8);
    become('x8', 20, ['e12', 12]);
    await readAfter('e12', 12);
    expect(await readAfter('x', 20)).toBe('epoch 0');
    expect(asked).toHaveLength(1);
  });
});
