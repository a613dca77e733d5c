import { AssertionError, deepStrictEqual, match, notStrictEqual, ok, strictEqual } from 'node:assert/strict';
import type { ReadBounds } from '../core/channel-log.js';
import { BEGINNING, type AppendOutcome, type HistoryStore } from '../core/history-store.js';
import { checkSuite, conformanceTrials, type ConformanceTest } from './conformance-test.js';
import {
  BOUNDS,
  HistoriesOnTrial,
  offsetOf,
  payloadsOf,
  plain,
  positionOf,
  type HistoryCheck,
  type HistoryStoreUnderTest,
} from './histories-on-trial.js';
import { CHANGES } from './history-changes-guarantees.js';

/** How {@link historyStoreConformance} tries a store. */
export interface HistoryStoreConformanceOptions {
  /** How long one test may take, in milliseconds. @defaultValue 15_000 */
  readonly testMs?: number | undefined;
}

const TEST_MS = 15_000;

const WHOLE: Readonly<Record<string, HistoryCheck>> = {
  'A history counts offsets from 1, in the order of posting, in one epoch': async (trial) => {
    const [store] = await trial.node();
    deepStrictEqual({ ...(await trial.position(store)) }, BEGINNING);
    deepStrictEqual(await trial.append(store, '1', '2', '3'), [1, 2, 3]);
    deepStrictEqual(await trial.append(store, '4'), [4]);
    const read = await trial.read(store);
    const { epoch } = read.end;
    match(epoch, /^[\x21-\x7e]{1,40}$/);
    const end = { epoch, offset: 4 };
    deepStrictEqual(plain(read), { gap: undefined, entries: ['1 1', '2 2', '3 3', '4 4'], next: end, end });
    const positions = await store.positions([trial.channel, `${trial.channel}/other`]);
    deepStrictEqual(
      positions.map((position) => ({ ...position })),
      [end, BEGINNING],
    );
  },
  'A history hands each message once, with its position, to every subscribed node, including the poster': async (
    trial,
  ) => {
    const { channel } = trial;
    const [a, atA] = await trial.node(channel);
    const [, atB] = await trial.node('rooms/:roomId');
    await trial.append(a, '1', '2');
    await trial.append(a, '3');
    const { epoch } = await trial.position(a);
    const expected = (name: string) => [1, 2, 3].map((offset) => [String(offset), name, channel, { epoch, offset }]);
    deepStrictEqual(await atA.take(3), expected(channel));
    deepStrictEqual(await atB.take(3), expected('rooms/:roomId'));
    deepStrictEqual([atA.pending, atB.pending], [[], []]);
  },
  'A history has one order for all nodes, and keeps the order of the posts of each node': async (trial) => {
    const [a, atA] = await trial.node(trial.channel);
    const [b, atB] = await trial.node(trial.channel);
    const posts = Array.from({ length: 200 }, (_, index) => trial.append(index % 2 === 0 ? a : b, String(index)));
    const offsets = (await Promise.all(posts)).flat();
    deepStrictEqual(
      offsets.toSorted((one, other) => one - other),
      offsets.map((_, index) => index + 1),
    );
    const payloads = (await trial.read(a)).entries.map(({ payload }) => payload);
    for (const at of [atA, atB]) {
      const arrived = await at.take(200);
      deepStrictEqual(
        arrived.map(([payload]) => payload),
        payloads,
      );
    }
    for (const rest of [0, 1]) {
      const ofOne = payloads.map(Number).filter((index) => index % 2 === rest);
      deepStrictEqual(
        ofOne,
        ofOne.toSorted((one, other) => one - other),
      );
    }
  },
  'A history keeps payloads as they are, whatever they contain': async (trial) => {
    const [store, arrivals] = await trial.node(trial.channel);
    const payloads = ['', '\n', 'a\nb', '\0\r\n', 'żółć 🦊', '"\\', '{"history":{"epoch":"a"}}', 'x'.repeat(100_000)];
    await trial.append(store, ...payloads);
    deepStrictEqual(
      (await trial.read(store)).entries.map(({ payload }) => payload),
      payloads,
    );
    deepStrictEqual(
      (await arrivals.take(payloads.length)).map(([payload]) => payload),
      payloads,
    );
  },
  'A history holds one channel, however similar the names of others': async (trial) => {
    const [store] = await trial.node();
    const names = ['rooms/{1}', 'rooms/{}', 'rooms/}{', 'a|b', 'h|a', 'ünï'].map((name) => `${name}/${trial.channel}`);
    for (const name of names) await store.append(name, { payload: name }, BOUNDS);
    for (const name of names) deepStrictEqual(payloadsOf(await store.read(name, BEGINNING)), [`1 ${name}`]);
  },
};

const READS: typeof WHOLE = {
  'A history returns the messages after a position, in pages of at least one entry': async (trial) => {
    const [store] = await trial.node();
    await trial.append(store, 'aaaa', 'bb', 'cc');
    await trial.append(store, 'dddddddd', 'e');
    const { epoch } = await trial.position(store);
    const isRead = async (after: number, page: ReadBounds, entries: string[]): Promise<void> => {
      const part = await trial.read(store, { epoch, offset: after }, page);
      const next = { epoch, offset: after + entries.length };
      deepStrictEqual(plain(part), { gap: undefined, entries, next, end: { epoch, offset: 5 } });
    };
    await isRead(5, {}, []);
    await isRead(3, {}, ['4 dddddddd', '5 e']);
    await isRead(1, {}, ['2 bb', '3 cc', '4 dddddddd', '5 e']);
    await isRead(0, { maxBytes: 4 }, ['1 aaaa']);
    await isRead(0, { maxBytes: 7 }, ['1 aaaa', '2 bb']);
    await isRead(3, { maxBytes: 4 }, ['4 dddddddd']);
    await isRead(1, { maxEntries: 3 }, ['2 bb', '3 cc', '4 dddddddd']);
  },
  'A history returns its last messages without a gap': async (trial) => {
    const [store] = await trial.node();
    await trial.append(store, 'a', 'b', 'c');
    const end = { ...(await trial.position(store)) };
    const all = ['1 a', '2 b', '3 c'];
    for (const [count, entries] of [
      [0, []],
      [2, all.slice(1)],
      [3, all],
      [99, all],
    ] as const) {
      deepStrictEqual(plain(await trial.read(store, count)), { gap: undefined, entries: [...entries], next: end, end });
    }
  },
  'A history reports why messages are missing, and returns the rest': async (trial) => {
    const [store] = await trial.node();
    await trial.append(store, 'a', 'b');
    const { epoch } = await trial.position(store);
    const end = { epoch, offset: 2 };
    const all = { entries: ['1 a', '2 b'], next: end, end };
    deepStrictEqual(plain(await trial.read(store, { epoch: 'other', offset: 1 })), { gap: 'epoch', ...all });
    deepStrictEqual(plain(await trial.read(store, { epoch, offset: 3 })), { gap: 'future', ...all });
    const none = { entries: [], next: { ...BEGINNING }, end: { ...BEGINNING } };
    const never = `${trial.channel}/never`;
    deepStrictEqual(plain(await store.read(never, BEGINNING)), { gap: undefined, ...none });
    deepStrictEqual(plain(await store.read(never, 5)), { gap: undefined, ...none });
    deepStrictEqual(plain(await store.read(never, end)), { gap: 'epoch', ...none });
  },
};

const BOUNDED: typeof WHOLE = {
  'A history forgets the oldest of too many messages, and never one of the latest `maxMessages`': async (trial) => {
    const [store] = await trial.node();
    const bounds = { maxMessages: 10, ttlMs: 60_000 };
    for (let count = 1; count <= 100; count++) await trial.post(store, { payload: String(count) }, bounds);
    const read = await trial.read(store);
    strictEqual(read.gap, 'trimmed');
    const kept = read.entries.map(({ offset }) => offset);
    deepStrictEqual(
      kept,
      kept.map((_, index) => 101 - kept.length + index),
    );
    ok(kept.length >= 10, `only ${kept.length} are left of the latest 10`);
    const { epoch } = read.next;
    strictEqual((await trial.read(store, { epoch, offset: 90 })).gap, undefined);
    deepStrictEqual(plain(await trial.read(store, { epoch, offset: 1 })), plain(read));
  },
  'A history returns no message older than `ttlMs`, and continues in the same epoch': async (trial) => {
    const [store] = await trial.node();
    const bounds = { maxMessages: 1_000, ttlMs: 1_000 };
    const { epoch } = positionOf(await trial.post(store, { payload: 'a' }, bounds));
    const began = performance.now();
    let read = await trial.read(store);
    while (read.entries.length > 0) read = await trial.read(store);
    ok(performance.now() - began > 800, 'it is gone too early');
    const end = { epoch, offset: 1 };
    deepStrictEqual(plain(read), { gap: 'trimmed', entries: [], next: end, end });
    deepStrictEqual({ ...positionOf(await trial.post(store, { payload: 'b' }, bounds)) }, { epoch, offset: 2 });
    deepStrictEqual(payloadsOf(await trial.read(store, end)), ['2 b']);
    const all = await trial.read(store);
    deepStrictEqual([all.gap, payloadsOf(all)], ['trimmed', ['2 b']]);
  },
  'A history begins another epoch when the store has lost everything': async (trial) => {
    const [store] = await trial.node();
    await trial.append(store, 'a', 'b');
    const before = await trial.position(store);
    await trial.wipe();
    deepStrictEqual({ ...(await trial.position(store)) }, BEGINNING);
    deepStrictEqual(await trial.append(store, 'new'), [1]);
    const read = await trial.read(store, before);
    deepStrictEqual([read.gap, payloadsOf(read)], ['epoch', ['1 new']]);
    notStrictEqual(read.next.epoch, before.epoch);
  },
};

const IDS: typeof WHOLE = {
  'A history appends and delivers posts with the same id once, even among others and from another node': async (
    trial,
  ) => {
    const [a] = await trial.node();
    const [b, atB] = await trial.node(trial.channel);
    const post = (store: HistoryStore, payload: string, id?: string): Promise<AppendOutcome> =>
      trial.post(store, { payload, id, digest: id && `of-${payload}` });
    const together = [post(a, '1'), post(a, '2', 'x'), post(a, '2', 'x'), post(a, '3', 'y'), post(a, '4')];
    deepStrictEqual((await Promise.all(together)).map(offsetOf), [1, 2, 2, 3, 4]);
    strictEqual(offsetOf(await post(b, '2', 'x')), 2);
    deepStrictEqual((await Promise.all([post(b, '3', 'y'), post(b, '5')])).map(offsetOf), [3, 5]);
    deepStrictEqual(payloadsOf(await trial.read(a)), ['1 1', '2 2', '3 3', '4 4', '5 5']);
    deepStrictEqual(
      (await atB.take(5)).map(([payload, , , position]) => `${payload} at ${position?.offset}`),
      ['1 at 1', '2 at 2', '3 at 3', '4 at 4', '5 at 5'],
    );
    deepStrictEqual(atB.pending, []);
  },
  'A history refuses a post that reuses an id for another message, names channel and id, and appends the posts around it':
    async (trial) => {
      const [store] = await trial.node();
      const post = (payload: string, id?: string): Promise<AppendOutcome> =>
        trial.post(store, { payload, id, digest: id && payload });
      await post('1', 'the id');
      const [second, refused, third] = await Promise.all([post('2'), post('other', 'the id'), post('3')]);
      deepStrictEqual([second, third].map(offsetOf), [2, 3]);
      if (refused.kind !== 'refused') throw new AssertionError({ message: `append() says "${refused.kind}"` });
      ok(refused.error instanceof Error, 'the refusal has no error');
      ok(refused.error.message.includes(trial.channel), refused.error.message);
      ok(refused.error.message.includes('the id'), refused.error.message);
      deepStrictEqual(payloadsOf(await trial.read(store)), ['1 1', '2 2', '3 3']);
    },
};

const GUARANTEES: typeof WHOLE = { ...WHOLE, ...READS, ...BOUNDED, ...IDS, ...CHANGES };

/**
 * What every `HistoryStore` has to pass, for any test runner. What its transport must do besides, `transportConformance` tries. Tests of
 * `changes` are passed by a store without it.
 *
 * @example
 * ```ts
 * test.each(historyStoreConformance(() => myStores))('$name', ({ run }) => run());
 * ```
 *
 * @param start - gives what is tested, once for each test; it may be the same store each time
 * @throws ConfigurationError for a start that is not a function, and for wrong options
 */
export function historyStoreConformance(
  start: () => HistoryStoreUnderTest | Promise<HistoryStoreUnderTest>,
  options: HistoryStoreConformanceOptions = {},
): ConformanceTest[] {
  checkSuite('historyStoreConformance', start, options, 'testMs');
  const { testMs = TEST_MS } = options;
  return conformanceTrials(GUARANTEES, 'history store', async () => new HistoriesOnTrial(await start()), testMs);
}
