import { describe, expect, test } from '@jest/globals';
import type { LogEntry, LogItem, LogRead } from '../../../lib/core/channel-log.js';
import { Cut, Cuts } from '../../../lib/core/cut.js';
import { MemoryLogs, type MemoryLog } from '../../../lib/core/memory-log.js';
import { admissionOf, merge, missedSince, type Missed } from '../../../lib/core/recovery.js';
import { SerialVector } from '../../../lib/core/serial-vector.js';

const GAP = { kind: 'gap', reason: 'broker' } as const;

/** `P7`: node P's message with serial 7; `P`: a message that stayed on P; `-`: a message from foreign code. */
function item(text: string): LogItem<string> {
  if (text === 'gap') return GAP;
  const node = text[0] === '-' ? '' : text[0]!;
  const serial = text.length > 1 ? Number(text.slice(1)) : undefined;
  return { kind: 'message', channel: 'news', node, serial, body: text, bytes: 10 };
}

function entries(after: number, ...texts: string[]): LogEntry<string>[] {
  return texts.map((text, index) => ({ offset: after + index + 1, item: item(text) }));
}

function found(...texts: string[]): Missed<string> {
  return { found: true, entries: entries(0, ...texts) };
}

function vector(heard: Record<string, number>): SerialVector {
  const made = new SerialVector(false);
  for (const [node, serial] of Object.entries(heard)) made.note(node, 'news', serial);
  return made;
}

function here(from: number, ...texts: string[]): LogRead<string> {
  return { found: true, entries: entries(from, ...texts), end: { epoch: 'B', offset: from + texts.length } };
}

function bodies(list: readonly LogEntry<string>[]): string[] {
  return list.map((entry) => (entry.item.kind === 'gap' ? 'gap' : entry.item.body));
}

function filled(...texts: string[]): MemoryLog<string> {
  const log = new MemoryLogs({ node: 'B', keepMs: 60_000, maxBytes: 1e6, maxLogBytes: 1e6 }).open<string>(false);
  for (const text of texts) log.append(item(text));
  return log;
}

describe('A client that comes from another node', () => {
  test('gets the missed messages of that log, then the messages that only this node has', () => {
    const cut = new Cut('B', 10, 14, vector({ P: 2, Q: 5 }));
    const merged = merge(found('P2', 'Q5'), cut, here(10, 'P2', 'Q5', 'P3', 'Q6'), 10);
    expect([bodies(merged.missed), bodies(merged.rest)]).toEqual([
      ['P2', 'Q5'],
      ['P3', 'Q6'],
    ]);
    expect(merged).toMatchObject({ gap: undefined, offset: 12, isCut: false });
  });

  test('has a gap, and nothing twice, if the other node has forgotten the serial of a poster', () => {
    const known = new SerialVector(false, 10, false);
    known.note('P', '', 2);
    const told = SerialVector.read(JSON.parse(JSON.stringify(known)), 'the vector', false);
    const merged = merge(found('P2'), new Cut('B', 10, 13, told), here(10, 'P2', 'Q5', 'P3', 'Q6'), 10);
    expect(bodies(merged.rest)).toEqual(['P3', 'Q6']);
    expect(merged.gap).toBe('node');
    const whole = merge(found('P2'), new Cut('B', 10, 13, told), here(10, 'P2', 'P3'), 10);
    expect([bodies(whole.rest), whole.gap]).toEqual([['P3'], undefined]);
  });

  test('continues from the end if there are no more messages', () => {
    const merged = merge(found('P2'), new Cut('B', 10, 11, vector({ P: 2 })), here(10, 'P2'), 10);
    expect(merged).toMatchObject({ rest: [], offset: 11, isCut: false });
  });

  test('continues by a cut if a message that it already has comes between the others', () => {
    const cut = new Cut('B', 10, 13, vector({ A: 1 }));
    const merged = merge(found('A1'), cut, here(10, 'P1', 'A1', 'P2'), 10);
    expect(bodies(merged.rest)).toEqual(['P1', 'P2']);
    expect(merged).toMatchObject({ offset: 10, isCut: true });
    expect(bodies(cut.owed(entries(11, 'A1', 'P2', 'A2'), 10))).toEqual(['P2', 'A2']);
  });

  test('gets messages that stayed on this node only if it was here already', () => {
    const cut = new Cut('B', 10, 14, vector({}));
    const merged = merge(found(), cut, here(10, 'B', 'P1', 'B', 'B'), 12);
    expect(merged.rest.map(({ offset }) => offset)).toEqual([12, 13, 14]);
  });

  test('gets a gap if foreign messages that it may have read came meanwhile, and gets later ones', () => {
    const merged = merge(found('-'), new Cut('B', 10, 12, vector({})), here(10, '-', 'P1', '-'), 10);
    expect(merged.gap).toBe('node');
    expect(merged.rest.map(({ offset }) => offset)).toEqual([12, 13]);
  });

  test('gets the reason if nothing is known of missed messages, and no message that it may have read', () => {
    const cut = new Cut('B', 10, 12, undefined);
    const merged = merge({ found: false, reason: 'node' }, cut, here(10, 'P1', 'P2', 'P3'), 10);
    expect(merged.gap).toBe('node');
    expect(bodies(merged.rest)).toEqual(['P3']);
  });

  test('gets one gap for a loss on both nodes', () => {
    const cut = new Cut('B', 10, 12, vector({ P: 1 }));
    const both = merge(found('P1', 'gap'), cut, here(10, 'gap', 'P2'), 10);
    expect([bodies(both.missed), both.gap, bodies(both.rest)]).toEqual([['P1', 'gap'], undefined, ['P2']]);
    const unknown = merge({ found: false, reason: 'epoch' }, cut, here(10, 'gap', 'P2'), 10);
    expect([unknown.gap, bodies(unknown.rest)]).toEqual(['epoch', ['P2']]);
  });

  test('gets no gap for a loss of this node before it asked, because the other node has the messages', () => {
    const cut = new Cut('B', 10, 14, vector({ P: 2 }), 12);
    const merged = merge(found('P1', 'P2'), cut, here(10, 'P1', 'gap', 'gap', 'P3'), 10);
    expect([merged.gap, bodies(merged.rest)]).toEqual([undefined, ['gap', 'P3']]);
  });

  test('gets a gap for a later loss of this node in its place', () => {
    const merged = merge(found('P1'), new Cut('B', 10, 13, vector({ P: 1 })), here(10, 'P2', 'gap', 'P3'), 10);
    expect(bodies(merged.rest)).toEqual(['P2', 'gap', 'P3']);
  });

  test('gets a gap if this node has forgotten messages since it asked', () => {
    const forgotten: LogRead<string> = { found: false, reason: 'trimmed', end: { epoch: 'B', offset: 99 } };
    const merged = merge(found('P1'), new Cut('B', 10, 12, vector({ P: 1 })), forgotten, 10);
    expect(bodies(merged.missed)).toEqual(['P1']);
    expect(merged).toMatchObject({ gap: 'trimmed', rest: [], offset: 99, isCut: false });
  });
});

describe('The missed messages of a client in its own log', () => {
  const bounds = { maxBytes: 1_000 };

  test('are all messages after its position', () => {
    const log = filled('P1', 'P2', 'gap', 'P3');
    const missed = missedSince(log, new Cuts(), { log: log.number, admitted: 0 }, 1, bounds);
    expect(missed.found && bodies(missed.entries)).toEqual(['P2', 'gap', 'P3']);
  });

  test.each([
    ['without an admission', undefined, 1, 'epoch'],
    ['of another log', { log: 2, admitted: 0 }, 1, 'epoch'],
    ['from before it was admitted', { admitted: 2 }, 1, 'epoch'],
    ['beyond the end of the log', { admitted: 0 }, 5, 'epoch'],
    ['with an unknown cut', { admitted: 2, cut: 7 }, 1, 'epoch'],
  ])('are unknown for a position %s', (_, admission, offset, reason) => {
    const log = filled('P1', 'P2', 'P3', 'P4');
    const its = admission && { log: log.number, ...admission };
    expect(missedSince(log, new Cuts(), its, offset, bounds)).toEqual({ found: false, reason });
  });

  test('are a gap if some are forgotten, or they are too many', () => {
    const log = filled('P1', 'P2', 'P3', 'P4');
    const since = (offset: number) =>
      missedSince(log, new Cuts(), { log: log.number, admitted: 0 }, offset, { maxBytes: 25 });
    expect(since(1)).toEqual({ found: false, reason: 'trimmed' });
    expect(since(2)).toMatchObject({ found: true });
    log.forgetFirst();
    log.forgetFirst();
    log.forgetFirst();
    expect(since(2)).toEqual({ found: false, reason: 'trimmed' });
    expect(since(3)).toMatchObject({ found: true });
  });

  test('are counted by the cut of the client until it has read further', () => {
    const log = filled('P1', 'A1', 'P2');
    const cuts = new Cuts();
    const cut = new Cut('B', 0, 3, vector({ A: 1 }));
    const read = log.read({ epoch: log.epoch, offset: 0 });
    const merged = merge(found('A1'), cut, read, 0);
    const admission = admissionOf(merged, cut, 0, log, cuts);
    expect(admission).toEqual({ log: log.number, admitted: 0, cut: expect.any(Number) });
    expect(admissionOf(merged, cut, 0, log, cuts)).toEqual(admission);
    log.append(item('A2'));
    const since = (offset: number): Missed<string> => missedSince(log, cuts, admission, offset, bounds);
    expect([0, 1, 3].map((offset) => [offset, since(offset)])).toMatchObject([
      [0, { found: true, entries: [{ offset: 1 }, { offset: 3 }, { offset: 4 }] }],
      [1, { found: true, entries: [{ offset: 3 }, { offset: 4 }] }],
      [3, { found: true, entries: [{ offset: 4 }] }],
    ]);
  });
});

describe('Cuts', () => {
  test('are kept as long as a position may need them', () => {
    const cuts = new Cuts();
    const [first, second] = [new Cut('B', 0, 10, undefined), new Cut('B', 0, 20, undefined)];
    const [one, two] = [cuts.keep(first, 0, 0), cuts.keep(second, 25, 0)];
    expect([cuts.get(one, 9), cuts.get(one, 10), cuts.get(two, 24), cuts.get(two, 25)]).toEqual([
      first,
      undefined,
      second,
      undefined,
    ]);
    cuts.keep(new Cut('B', 30, 40, undefined), 0, 10);
    expect([cuts.get(one, 10), cuts.get(two, 24)]).toEqual([undefined, second]);
  });

  test('are at most a thousand: a position with an older one is unknown', () => {
    const cuts = new Cuts();
    const numbers = Array.from({ length: 1_001 }, (_, index) => cuts.keep(new Cut('B', 0, index + 1, undefined), 0, 0));
    expect(cuts.get(numbers[0]!, 0)).toBe('lost');
    expect(cuts.get(numbers[0]!, 1)).toBeUndefined();
    expect(cuts.get(numbers[1]!, 0)).toBeInstanceOf(Cut);
  });

  test('have numbers that reveal nothing about how many clients have come from elsewhere', () => {
    const cuts = new Cuts();
    const [one, other] = [1, 2].map((to) => cuts.keep(new Cut('B', 0, to, undefined), 0, 0));
    expect(Math.abs(one! - other!)).toBeGreaterThan(1_000);
  });
});
