import { describe, expect, test } from '@jest/globals';
import { Ledger, ReaderLog, type Finding } from '../support/ledger.js';

// The checker of the schedules of faults: it finds every error, and reports nothing else.

const CHANNEL = 'c';

/** The log of a reader: numbers of the poster `p`, or of another one, and gaps, each 10 ms later. */
function check(
  given: readonly (number | 'gap' | readonly [poster: string, n: number])[],
  {
    accepted = [1, 2, 3, 4, 5, 6],
    causes = 0,
    untilMs = 1_000,
    sinceMs = 0,
    hasEnded = false,
  }: { accepted?: number[]; causes?: number; untilMs?: number; sinceMs?: number; hasEnded?: boolean } = {},
) {
  const ledger = new Ledger();
  const log = ledger.add(new ReaderLog('r', CHANNEL, (channel) => channel === CHANNEL, sinceMs));
  for (const n of accepted) ledger.accepted('p', CHANNEL, n, n * 10);
  ledger.accepted('p', 'another', 1, 10);
  for (const [index, entry] of given.entries()) {
    if (entry === 'gap') log.gap('broker', index * 10);
    else if (typeof entry === 'number') log.message('p', CHANNEL, entry, index * 10);
    else log.message(entry[0], CHANNEL, entry[1], index * 10);
  }
  if (causes > 0) log.causes.push({ fromMs: 0, untilMs, times: causes });
  log.hasEnded = hasEnded;
  return ledger.check();
}

const kinds = ({ findings }: { findings: readonly Finding[] }): string[] => findings.map(({ kind }) => kind);

describe('the checker of the schedules of faults', () => {
  test('finds nothing if each message has come in order and once', () => {
    expect(check([1, 2, 3, 4, 5, 6])).toEqual({
      findings: [],
      counts: { received: 6, told: 0, silent: 0, doubled: 0, disorder: 0, gaps: 0, idleGaps: 0, falseGaps: 0 },
    });
  });

  test('finds messages missing in the middle, at the beginning and at the end', () => {
    expect(check([1, 2, 5, 6]).findings).toEqual([
      {
        kind: 'lost',
        reader: 'r',
        name: CHANNEL,
        what: 'p c: 3–4 (2) of 30–40 ms, between 10 ms and 20 ms; gaps: none',
      },
    ]);
    expect(kinds(check([3, 4, 5, 6]))).toEqual(['lost']);
    expect(kinds(check([1, 2, 3]))).toEqual(['lost']);
    expect(kinds(check([]))).toEqual(['lost']);
    expect(check([1, 6]).counts.silent).toBe(4);
  });

  test('accepts a gap as a report only between the messages around the missing ones', () => {
    expect(check([1, 2, 'gap', 5, 6], { causes: 1 })).toMatchObject({ findings: [], counts: { told: 2, silent: 0 } });
    expect(check([1, 2, 3, 'gap'], { causes: 1 }).findings).toEqual([]);
    expect(check(['gap', 4, 5, 6], { causes: 1 }).findings).toEqual([]);
    expect(kinds(check([1, 'gap', 2, 5, 6], { causes: 1 }))).toEqual(['lost']);
    expect(kinds(check([1, 2, 5, 'gap', 6], { causes: 1 }))).toEqual(['lost']);
  });

  test('checks each poster separately: a gap may come between messages of another poster', () => {
    expect(check([1, 2, ['q', 1], 'gap', ['q', 2], 5, 6], { causes: 1 }).findings).toEqual([]);
    expect(kinds(check([1, 2, ['q', 1], 5, 'gap', ['q', 2], 6], { causes: 1 }))).toEqual(['lost']);
  });

  test('does not expect posts that Redis did not accept, and accepts them if they come', () => {
    expect(check([1, 2, 6], { accepted: [1, 2, 6] }).findings).toEqual([]);
    expect(check([1, 2, 3, 6], { accepted: [1, 2, 6] }).findings).toEqual([]);
  });

  test('does not expect messages from before the reader came or after it left', () => {
    expect(check([4, 5, 6], { sinceMs: 40 }).findings).toEqual([]);
    expect(kinds(check([5, 6], { sinceMs: 40 }))).toEqual(['lost']);
    expect(check([1, 2, 3], { hasEnded: true }).findings).toEqual([]);
    expect(kinds(check([1, 3], { hasEnded: true }))).toEqual(['lost']);
  });

  test('finds a message that comes twice, at once or later', () => {
    expect(kinds(check([1, 2, 2, 3, 4, 5, 6]))).toEqual(['doubled']);
    expect(check([1, 2, 3, 2, 3, 4, 5, 6]).findings).toEqual([
      { kind: 'doubled', reader: 'r', name: CHANNEL, what: 'p c: 2–3 (2)' },
    ]);
  });

  test('finds a message that comes after a later one, and does not count it as lost', () => {
    expect(check([1, 3, 2, 4, 5, 6]).findings).toEqual([
      { kind: 'disorder', reader: 'r', name: CHANNEL, what: 'p c: 2 (1) behind later ones' },
    ]);
  });

  test('finds a gap if nothing has happened, and a gap whose fault came too early', () => {
    expect(kinds(check([1, 2, 3, 'gap', 4, 5, 6]))).toEqual(['false gap']);
    expect(kinds(check([1, 2, 3, 'gap', 4, 5, 6], { causes: 1, untilMs: 20 }))).toEqual(['false gap']);
    expect(check([1, 2, 3, 'gap', 4, 5, 6], { causes: 1 })).toMatchObject({ findings: [], counts: { idleGaps: 1 } });
  });

  test('finds a reported loss without an event that could cause it', () => {
    expect(kinds(check([1, 2, 'gap', 5, 6]))).toEqual(['needless loss']);
  });

  test('finds a loss that is reported twice', () => {
    expect(kinds(check([1, 2, 'gap', 'gap', 5, 6], { causes: 1 }))).toEqual(['doubled gap']);
    expect(kinds(check([1, 2, 'gap', ['q', 1], 'gap', 5, 6], { causes: 1 }))).toEqual(['doubled gap']);
    expect(check([1, 2, 'gap', 'gap', 5, 6], { causes: 2 }).findings).toEqual([]);
  });
});
