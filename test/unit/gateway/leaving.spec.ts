import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Leaving, backWithin, type Leavers } from '../../../lib/gateway/leaving.js';

const LEAVE_MS = 5_000;

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

/** A node that leaves now; says when it is gone. */
function leave(leavers: Partial<Leavers> = {}, hasOthers = Promise.resolve(true)) {
  const leaving = new Leaving({ connections: ['a', 'b'], othersBackMs: 0, ...leavers }, LEAVE_MS, hasOthers);
  let isGone = false;
  void leaving.isOver().then(() => (isGone = true));
  return {
    leaving,
    isGoneAfter: async (ms: number) => {
      await jest.advanceTimersByTimeAsync(ms);
      return isGone;
    },
  };
}

describe('a node that leaves', () => {
  test('stays until each of its clients is back elsewhere and has been quiet for a moment', async () => {
    const { leaving, isGoneAfter } = leave();
    leaving.noteQuestion(['a']);
    expect(await isGoneAfter(1_000)).toBe(false);
    leaving.noteQuestion(['b', 'somebody else']);
    expect(await isGoneAfter(200)).toBe(false);
    // The client has more to ask for.
    leaving.noteQuestion([]);
    expect(await isGoneAfter(200)).toBe(false);
    expect(await isGoneAfter(60)).toBe(true);
  });

  test('goes when its time is over, whoever is still away', async () => {
    const { leaving, isGoneAfter } = leave();
    leaving.noteQuestion(['a']);
    expect(await isGoneAfter(LEAVE_MS - 10)).toBe(false);
    // Not even those who go on asking keep it.
    leaving.noteQuestion([]);
    expect(await isGoneAfter(20)).toBe(true);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('is not kept by those who ask without end', async () => {
    const { leaving, isGoneAfter } = leave({ connections: ['a'] });
    for (let ms = 0; ms < LEAVE_MS - 100; ms += 100) {
      leaving.noteQuestion(['a']);
      expect(await isGoneAfter(100)).toBe(false);
    }
    leaving.noteQuestion(['a']);
    expect(await isGoneAfter(120)).toBe(true);
  });

  test('stays for clients that name no connection until they are to be back', async () => {
    const { isGoneAfter } = leave({ connections: [], othersBackMs: 2_000 });
    expect(await isGoneAfter(1_990)).toBe(false);
    expect(await isGoneAfter(20)).toBe(true);
  });

  test('counts its time from when it has sent its clients away, whatever has kept the application from closing since', async () => {
    const leaving = new Leaving({ connections: ['a'], othersBackMs: 0 }, LEAVE_MS, Promise.resolve(true));
    await jest.advanceTimersByTimeAsync(LEAVE_MS);
    let isGone = false;
    void leaving.isOver().then(() => (isGone = true));
    await jest.advanceTimersByTimeAsync(0);
    expect(isGone).toBe(true);
  });

  test('goes at once if all of its clients came back while the application was closing', async () => {
    const leaving = new Leaving({ connections: ['a'], othersBackMs: 0 }, LEAVE_MS, Promise.resolve(true));
    leaving.noteQuestion(['a']);
    await jest.advanceTimersByTimeAsync(300);
    await leaving.isOver();
    expect(jest.getTimerCount()).toBe(0);
  });

  test('goes at once if there is no other node', async () => {
    const { isGoneAfter } = leave({}, Promise.resolve(false));
    expect(await isGoneAfter(0)).toBe(true);
    expect(jest.getTimerCount()).toBe(0);
  });
});

test.each([
  [5_000, 4_000],
  [1_500, 750],
  [1, 0.5],
])('of the %d ms that a node stays, its clients are to be back after %d', (leaveMs, backMs) => {
  expect(backWithin(leaveMs)).toBe(backMs);
});
