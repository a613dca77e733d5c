import { describe, expect, test } from '@jest/globals';
import { HistoryLedger, HistoryLog, type HistoryLogOptions } from '../support/history-ledger.js';
import type { Finding } from '../support/ledger.js';

// The checker of channels with history in the schedules of faults: it finds every error, and reports nothing else.

const CHANNEL = 'c';
const KEEPS = 4;
/** Numbers above it belong to another poster. */
const OF_ANOTHER = 1_000;

type Given = number | 'gap' | 'trimmed' | 'broker' | `gap ${string}:${number}`;

interface Case {
  /** The history: the numbers of one poster; in each epoch, at offset 1 and following. */
  readonly history?: readonly (readonly number[])[];
  readonly refused?: readonly number[];
  /** Messages that the history drops before the reader with positions has read them. */
  readonly unseen?: readonly number[];
  /** Further posts answered with `true`. */
  readonly accepted?: readonly number[];
  /** The same, of another poster. */
  readonly ofAnother?: readonly number[];
  readonly wipes?: number;
  readonly sinceMs?: number;
  readonly hasEnded?: boolean;
  readonly options?: HistoryLogOptions;
}

/** A reader without positions, beside one that knows the whole history and its positions. */
function check(
  given: readonly Given[],
  {
    history = [[1, 2, 3, 4, 5, 6]],
    refused = [],
    unseen = [],
    accepted = [],
    ofAnother = [],
    wipes = history.length - 1,
    sinceMs = 0,
    hasEnded = false,
    options,
  }: Case = {},
) {
  const ledger = new HistoryLedger(() => KEEPS);
  ledger.wipes = wipes;
  const whole = ledger.add(new HistoryLog('whole', CHANNEL, () => true, 0));
  for (const [epoch, numbers] of history.entries()) {
    if (epoch > 0) whole.gap('epoch', 0);
    for (const [index, n] of numbers.entries()) {
      if (!unseen.includes(n))
        whole.message(posterOf(n), CHANNEL, n, n * 10, { epoch: `e${epoch}`, offset: index + 1 });
      else if (!unseen.includes(n - 1)) whole.gap('trimmed', n * 10);
      ledger.posted(posterOf(n), CHANNEL, n, n * 10, !refused.includes(n));
    }
  }
  for (const n of accepted) ledger.posted('p', CHANNEL, n, n * 10, true);
  for (const n of ofAnother) ledger.posted('q', CHANNEL, n, n * 10, true);
  const log = ledger.add(new HistoryLog('r', CHANNEL, () => true, sinceMs, options));
  for (const [index, each] of given.entries()) {
    if (typeof each === 'number') log.message(posterOf(each), CHANNEL, each, each * 10);
    else if (each.includes(':')) {
      const [epoch, offset] = each.slice('gap '.length).split(':');
      log.gap('epoch', index * 10, { epoch: epoch!, offset: Number(offset) });
    } else log.gap(each === 'gap' ? 'epoch' : each, index * 10);
  }
  log.hasEnded = hasEnded;
  return ledger.check();
}

const posterOf = (n: number): string => (n > OF_ANOTHER ? 'q' : 'p');

const kinds = ({ findings }: { findings: readonly Finding[] }): string[] => findings.map(({ kind }) => kind);

const LONG = [Array.from({ length: 200 }, (_, index) => index + 1)];
const tail = (from: number): number[] => LONG[0]!.slice(from - 1);

describe('the checker of channels with history', () => {
  test('finds nothing if each message has come in order and once', () => {
    expect(check([1, 2, 3, 4, 5, 6])).toEqual({
      findings: [],
      counts: { received: 12, told: 0, silent: 0, doubled: 0, disorder: 0, gaps: 0, idleGaps: 0, falseGaps: 0 },
    });
  });

  test('finds messages missing in the middle, at the beginning and at the end', () => {
    expect(check([1, 2, 5, 6]).findings).toEqual([
      { kind: 'lost', reader: 'r', name: CHANNEL, what: 'c: 2 from 1:3 to 1:4, at 50 ms' },
    ]);
    expect(kinds(check([3, 4, 5, 6]))).toEqual(['lost']);
    expect(kinds(check([1, 2, 3]))).toEqual(['lost']);
    expect(kinds(check([]))).toEqual(['lost']);
    expect(check([1, 6]).counts.silent).toBe(4);
  });

  test('does not expect messages from before the reader came or after it left', () => {
    expect(check([4, 5, 6], { sinceMs: 40 }).findings).toEqual([]);
    expect(kinds(check([5, 6], { sinceMs: 40 }))).toEqual(['lost']);
    expect(check([1, 2, 3], { hasEnded: true }).findings).toEqual([]);
    expect(kinds(check([1, 3], { hasEnded: true }))).toEqual(['lost']);
  });

  test('finds messages that come twice or late', () => {
    expect(kinds(check([1, 2, 2, 3, 4, 5, 6]))).toEqual(['doubled']);
    expect(check([1, 3, 2, 4, 5, 6]).findings).toEqual([
      { kind: 'lost', reader: 'r', name: CHANNEL, what: 'c: 1 from 1:2 to 1:2, at 30 ms' },
      { kind: 'disorder', reader: 'r', name: CHANNEL, what: 'c: p 2 at 1:2, at 20 ms' },
    ]);
  });

  test('finds a message that the history has twice, and a message with different positions for two readers', () => {
    expect(kinds(check([1, 2, 3], { history: [[1, 2, 3, 2]] }))).toContain('doubled');
    const ledger = new HistoryLedger(() => KEEPS);
    for (const [reader, numbers] of [
      ['one', [1, 2]],
      ['other', [2, 1]],
    ] as const) {
      const log = ledger.add(new HistoryLog(reader, CHANNEL, () => true, 0));
      for (const [index, n] of numbers.entries()) log.message('p', CHANNEL, n, 0, { epoch: 'e', offset: index + 1 });
    }
    expect(ledger.check().findings).toContainEqual({
      kind: 'doubled',
      reader: 'everybody',
      name: CHANNEL,
      what: '1:1: p 1 and p 2 are both there',
    });
  });

  test('accepts no gap if nothing was wiped and no limit exceeded, even if messages are missing', () => {
    expect(kinds(check([1, 2, 'gap', 3, 4, 5, 6]))).toEqual(['false gap']);
    expect(kinds(check([1, 2, 'broker', 3, 4, 5, 6]))).toEqual(['false gap']);
    expect(kinds(check([1, 2, 'trimmed', 5, 6]))).toEqual(['needless loss', 'doubled gap']);
    expect(kinds(check([1, 2, 3, 4, 5, 6, 'gap']))).toEqual(['false gap']);
    expect(kinds(check([1, 'broker', 5, 6]))).toEqual(['false gap']);
  });

  test('accepts one gap after a wipe if all messages of the next history come', () => {
    const history = [
      [1, 2, 3, 4],
      [7, 8, 9],
    ];
    expect(check([1, 2, 'gap', 7, 8, 9], { history })).toMatchObject({ findings: [], counts: { told: 2, silent: 0 } });
    expect(check([1, 2, 3, 4, 'gap', 7, 8, 9], { history }).findings).toEqual([]);
    expect(check([1, 2, 'gap e1:0', 7, 8, 9], { history }).findings).toEqual([]);
    expect(kinds(check([1, 2, 'gap e1:1', 7, 8, 9], { history }))).toEqual(['false gap']);
    expect(kinds(check([1, 2, 7, 8, 9], { history }))).toEqual(['lost']);
    expect(kinds(check([1, 2, 'gap', 'gap', 7, 8, 9], { history }))).toEqual(['doubled gap']);
    expect(kinds(check([1, 2, 'gap', 8, 9], { history }))).toEqual(['needless loss']);
    expect(check([1, 2, 'gap'], { history, hasEnded: true }).findings).toEqual([]);
    expect(kinds(check([1, 'gap', 2, 7, 8, 9], { history }))).toEqual(['false gap', 'lost']);
  });

  test('does not expect messages that were wiped before a reader had any', () => {
    const history = [
      [1, 2],
      [3, 4],
    ];
    expect(check([3, 4], { history }).findings).toEqual([]);
    expect(kinds(check([4], { history }))).toEqual(['lost']);
    expect(kinds(check([3, 4], { history: [[1, 2, 3, 4]] }))).toEqual(['lost']);
    expect(kinds(check([2, 3, 4], { history }))).toEqual(['lost']);
  });

  test('accepts a post that was repeated after a wipe in both histories, but never twice in one', () => {
    const history = [
      [1, 2, 3],
      [3, 4],
    ];
    expect(check([1, 2, 3, 'gap', 3, 4], { history }).findings).toEqual([]);
    expect(check([1, 2, 'gap', 3, 4], { history }).findings).toEqual([]);
    expect(kinds(check([1, 2, 3, 'gap', 4], { history }))).toEqual(['needless loss']);
    expect(kinds(check([1, 2, 3, 'gap', 3, 4, 3], { history }))).toEqual(['doubled']);
  });

  test('accepts a repeated post in the next history, if a gap of a template does not say that it began', () => {
    const options = { isTemplate: true };
    const [a, b, c] = [OF_ANOTHER + 1, OF_ANOTHER + 2, OF_ANOTHER + 3];
    const history = [
      [1, 2, 3, a, 4, b, c],
      [3, 4, 5, 6],
    ];
    const found = (...given: Given[]): string[] => kinds(check(given, { history, options }));
    // 3 is the one of the next history.
    expect(found(1, 2, 'broker', 3, 4, 5, 6)).toEqual([]);
    expect(found(1, 2, 3, a, 'broker', 3, 4, 5, 6)).toEqual([]);
    expect(found(1, 2, 3, a, 4, b, c, 'broker', 3, 4, 5, 6)).toEqual([]);
    // 3 is the one of the former history.
    expect(found(1, 'broker', 3, a, 4, b, c, 'broker', 3, 4, 5, 6)).toEqual([]);
    expect(found(1, 'broker', 3, a, 'broker', 4, 5, 6)).toEqual([]);
    // Something is missing behind either of them.
    expect(found(1, 2, 'broker', 3, 5, 6)).toEqual(['lost']);
    expect(found(1, 2, 'broker', 3, 6)).toEqual(['lost']);
    expect(found(1, 2, 'broker', 3, 4, 6)).toEqual(['lost']);
    expect(found(1, 2, 'broker', 3, 4, 5)).toEqual(['lost']);
    expect(found(1, 2, 'broker', 3)).toEqual(['lost']);
    expect(found(1, 2, 'broker', 3, b, 'broker', 3, 4, 5, 6)).toEqual(['lost']);
    expect(found(1, 2, 3, 4, 5, 6)).toEqual(['lost', 'lost']);
    expect(check([1, 'broker', 2], { history: [[1, 2, a, b], [2]], options }).findings).toEqual([]);
  });

  test('finds a history that began again without a wipe', () => {
    expect(
      kinds(
        check([1, 2, 'gap', 3, 4], {
          history: [
            [1, 2],
            [3, 4],
          ],
          wipes: 0,
        }),
      ),
    ).toContain('needless loss');
  });

  test('does not treat a new epoch as a new history if offsets continue', () => {
    const ledger = new HistoryLedger(() => KEEPS);
    const [knows, other] = ['knows', 'other'].map((reader) =>
      ledger.add(new HistoryLog(reader, CHANNEL, () => true, 0)),
    );
    for (const n of [1, 2, 3]) {
      knows!.message('p', CHANNEL, n, n, { epoch: n < 3 ? 'e' : 'f', offset: n });
      other!.message('p', CHANNEL, n, n);
    }
    expect(ledger.check().findings).toEqual([]);
  });

  test('follows a history that branches because a replica takes over without the latest messages: their readers keep them', () => {
    const ledger = new HistoryLedger(() => KEEPS);
    const [had, other, blind] = ['had', 'other', 'blind'].map((reader) =>
      ledger.add(new HistoryLog(reader, CHANNEL, () => true, 0)),
    ) as [HistoryLog, HistoryLog, HistoryLog];
    const give = (log: HistoryLog, n: number, epoch: string, offset: number): void =>
      log.message('p', CHANNEL, n, n, log === blind ? undefined : { epoch, offset });
    for (const n of [1, 2, 3, 4, 5, 6]) ledger.posted('p', CHANNEL, n, n, true);
    for (const log of [had, other, blind]) for (const n of [1, 2]) give(log, n, 'e', n);
    // 3 and 4 belong to the tail; 4 was tried again.
    for (const log of [had, blind]) for (const n of [3, 4]) give(log, n, 'e', n);
    for (const log of [had, other, blind]) for (const [index, n] of [4, 5, 6].entries()) give(log, n, 'f', 3 + index);
    expect(ledger.check().findings).not.toEqual([]);
    ledger.canBranch = true;
    expect(ledger.check().findings).toEqual([]);
    give(other, 5, 'f', 4);
    expect(kinds(ledger.check())).toEqual(['doubled']);
  });

  test('accepts a gap if more messages came than are kept, and all kept ones come', () => {
    expect(check([1, 2, 'trimmed', ...tail(190)], { history: LONG }).findings).toEqual([]);
    expect(kinds(check([1, 2, 'trimmed', ...tail(198)], { history: LONG }))).toEqual(['needless loss', 'doubled gap']);
    expect(kinds(check([1, 2, 'trimmed', 'trimmed', ...tail(190)], { history: LONG }))).toEqual(['doubled gap']);
  });

  test('finds an accepted post that nobody has, unless it may have been wiped', () => {
    expect(check([1, 2, 4, 5], { history: [[1, 2, 4, 5]], accepted: [3] }).findings).toEqual([
      { kind: 'lost', reader: 'everybody', name: CHANNEL, what: 'p 3 was answered true' },
    ]);
    const history = [
      [1, 2],
      [4, 5],
    ];
    expect(check([1, 2, 'gap', 4, 5], { history, accepted: [3] }).findings).toEqual([]);
    expect(kinds(check([1, 2, 3], { history: [[1, 2, 3]], accepted: [4] }))).toEqual(['lost']);
  });

  test('accepts a post without a reader, even the first one, if the history dropped it before any reader was back', () => {
    const history = [[1, 2, 3, 4, 5, 6, 7, 8]];
    expect(kinds(check([4, 5, 6, 7, 8], { history, unseen: [1, 2, 3], sinceMs: 40 }))).toEqual([]);
    expect(kinds(check(['trimmed', 4, 5, 6, 7, 8], { history, unseen: [1, 2, 3] }))).toEqual([]);
    expect(kinds(check([4, 5, 6, 7, 8], { history, unseen: [1, 2, 3] }))).toEqual(['lost']);
    expect(kinds(check([1, 2, 'trimmed', 5, 6, 7, 8], { history, unseen: [3, 4] }))).toEqual([]);
    expect(kinds(check([4, 5, 6, 7, 8], { history, unseen: [1, 2, 3], wipes: 1 }))).toEqual([]);
    const longer = [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]];
    const last = { history: longer, unseen: [4, 5, 6], ofAnother: [9] };
    expect(kinds(check([1, 2, 3, 'trimmed', 7, 8, 9, 10], last))).toEqual([]);
    expect(kinds(check([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], { history: longer, ofAnother: [9] }))).toEqual(['lost']);
  });

  test('accepts messages that only one reader had before the history dropped them, with a gap for each loss around them', () => {
    const options = { history: [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]], unseen: [2, 3, 4, 5, 6] };
    expect(kinds(check([1, 'trimmed', 4, 'trimmed', 7, 8, 9, 10, 11], options))).toEqual([]);
    expect(kinds(check([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], options))).toEqual([]);
    expect(kinds(check([1, 'trimmed', 5, 6, 7, 8, 9, 10, 11], options))).toEqual([]);
    expect(kinds(check([1, 2, 7, 8, 9, 10, 11], options))).toEqual(['lost']);
    expect(kinds(check([1, 'trimmed', 'trimmed', 4, 'trimmed', 7, 8, 9, 10, 11], options))).toEqual(['doubled gap']);
    const wiped = [
      [1, 2],
      [5, 6],
    ];
    expect(kinds(check([1, 2, 3, 'gap', 5, 6], { history: wiped }))).toEqual([]);
    expect(kinds(check([1, 2, 3, 6], { history: wiped }))).toEqual(['lost']);
    expect(kinds(check([1, 'trimmed', 4, 4, 'trimmed', 7, 8, 9, 10, 11], options))).toEqual(['doubled']);
  });

  test('accepts a post that returned false either for all readers or for none', () => {
    expect(check([1, 2, 3], { history: [[1, 2, 3]], refused: [2] }).findings).toEqual([]);
    expect(kinds(check([1, 3], { history: [[1, 2, 3]], refused: [2] }))).toEqual(['lost']);
    // At the end, no reader waits for it.
    expect(check([1, 2], { history: [[1, 2, 3]], refused: [3] }).findings).toEqual([]);
  });

  test('finds posts of one poster that are out of order', () => {
    expect(kinds(check([1, 3, 2], { history: [[1, 3, 2]] }))).toEqual(['disorder']);
  });

  test('lets a reader of a template have gaps without missing messages after a wipe, but finds gaps without a cause', () => {
    const options = { isTemplate: true };
    const wiped = { options, wipes: 1 };
    expect(check([1, 2, 'broker', 3, 4, 5, 6], wiped)).toMatchObject({ findings: [], counts: { idleGaps: 1 } });
    expect(kinds(check([1, 2, 'broker', 3, 4, 5, 6], { options }))).toEqual(['false gap']);
    expect(kinds(check([1, 2, 'broker', 4, 5, 6], { options }))).toEqual(['false gap']);
    expect(kinds(check([1, 2, 4, 5, 6], wiped))).toEqual(['lost']);
    expect(check([1, 2, 'broker', 4, 5, 6], wiped).findings).toEqual([]);
  });
});
