import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { BEGINNING, type HistoryMoment, type HistoryStore, type HistoryTime } from '../core/history-store.js';
import { payloadsOf, type HistoryCheck } from './histories-on-trial.js';

function ifItHasChanges(check: HistoryCheck): HistoryCheck {
  return async (trial) => {
    const [store] = await trial.node();
    if (store.changes !== undefined) await check(trial);
  };
}

function later(than: HistoryMoment, laterMs = 0): HistoryTime {
  return { moment: than, laterMs };
}

async function momentOf(store: HistoryStore): Promise<HistoryMoment> {
  return (await store.changes!()).now;
}

/** Stores tell moments from posts by the millisecond, so the clock itself has to go on: no event tells of that. */
async function pass(ms = 5): Promise<void> {
  for (const end = performance.now() + ms; performance.now() < end;)
    await new Promise((resolve) => setTimeout(resolve, ms));
}

const ALL: Readonly<Record<string, HistoryCheck>> = {
  'A store lists the channels that any node has posted to since a moment, and drops channels without later posts':
    async (trial) => {
      const { channel } = trial;
      const [a] = await trial.node();
      const [b] = await trial.node();
      const began = await momentOf(b);
      ok(!(await b.changes!(later(began))).channels.includes(channel));
      await trial.append(a, '1');
      const { channels, isWhole } = await b.changes!(later(began));
      deepStrictEqual([channels.includes(channel), isWhole], [true, true]);
      deepStrictEqual((await b.changes!(later(await momentOf(b), 20_000))).channels, []);
      ok((await b.changes!(later(await momentOf(b), -60_000))).channels.includes(channel));
    },
  'A store gives the position of a channel at a moment, from which all later posts can be read': async (trial) => {
    const [store] = await trial.node();
    const before = await momentOf(store);
    await trial.append(store, 'a', 'b');
    await pass();
    const between = await momentOf(store);
    await pass();
    await trial.append(store, 'c');
    await trial.append(store, 'd');
    await pass();
    const after = await momentOf(store);
    for (const [at, entries] of [
      [before, ['1 a', '2 b', '3 c', '4 d']],
      [between, ['3 c', '4 d']],
      [after, []],
    ] as const) {
      const read = await trial.read(store, await trial.position(store, later(at)));
      deepStrictEqual([read.gap, payloadsOf(read)], [undefined, entries]);
    }
    const [never] = await store.positions([`${trial.channel}/never`], later(after));
    deepStrictEqual({ ...never }, BEGINNING);
  },
  'A store gives a position that leads to a gap if messages since the moment are gone, but not if only older ones are':
    async (trial) => {
      const [store] = await trial.node();
      const began = await momentOf(store);
      for (let count = 1; count <= 100; count++) {
        await trial.post(store, { payload: String(count) }, { maxMessages: 5, ttlMs: 60_000 });
      }
      strictEqual((await trial.read(store, await trial.position(store, later(began)))).gap, 'trimmed');
      const short = `${trial.channel}/short`;
      const append = (payload: string) => store.append(short, { payload }, { maxMessages: 5, ttlMs: 1_000 });
      await append('1');
      while ((await store.read(short, BEGINNING)).entries.length > 0);
      const now = await momentOf(store);
      await pass();
      await append('2');
      const [place] = await store.positions([short], later(now));
      const read = await store.read(short, place!);
      deepStrictEqual([read.gap, payloadsOf(read)], [undefined, ['2 2']]);
    },
  'A store reports its changes as incomplete after it has lost them, and as complete again since then': async (
    trial,
  ) => {
    const [store] = await trial.node();
    const began = await momentOf(store);
    await trial.append(store, '1');
    await trial.wipe();
    await trial.append(store, '2');
    const lost = await store.changes!(later(began));
    deepStrictEqual([lost.channels, lost.isWhole], [[trial.channel], false]);
    await trial.append(store, '3');
    const since = await store.changes!(later(lost.now));
    deepStrictEqual([since.channels, since.isWhole], [[trial.channel], true]);
    strictEqual((await store.changes!(later(lost.now, -2 * 24 * 3_600_000))).isWhole, false);
  },
};

/** Those of a store that has `changes`; one without it passes them. */
export const CHANGES = Object.fromEntries(Object.entries(ALL).map(([name, check]) => [name, ifItHasChanges(check)]));
