import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { MemoryLogs, type MemoryLog } from '../../../lib/core/memory-log.js';
import type { LogMessage } from '../../../lib/core/channel-log.js';

const KEEP_MS = 60_000;
/** The size of a body without bytes. */
const ENTRY = 128;
/** The size of a poster; most of these logs have one. */
const ROW = 256;

let serial = 0;

function message(bytes = 0, from: Partial<LogMessage<string>> = {}): LogMessage<string> {
  return { kind: 'message', channel: 'news', node: 'a', serial: ++serial, body: '', bytes, ...from };
}

function fill(log: MemoryLog<string>, count: number, bytes = 0): void {
  for (let index = 0; index < count; index++) log.append(message(bytes));
}

/** How many of the latest items remain. */
function kept(log: MemoryLog<string>): number {
  return log.lastOffset - log.forgottenOffset;
}

function logsOf({ maxBytes = 1e9, maxLogBytes = 1e9, keepMs = KEEP_MS } = {}): MemoryLogs {
  return new MemoryLogs({ node: 'node', keepMs, maxBytes, maxLogBytes });
}

describe('Logs in memory', () => {
  test('have one epoch each, which leads to their node', () => {
    const logs = logsOf();
    const opened = Array.from({ length: 100 }, () => logs.open(false));
    expect(new Set(opened.map(({ epoch }) => epoch)).size).toBe(100);
    for (const { epoch, number } of opened) expect(epoch).toBe(`node.${number}`);
  });

  test('have numbers that reveal nothing about how many there are', () => {
    const logs = logsOf();
    const numbers = Array.from({ length: 100 }, () => logs.open(false).number);
    const steps = numbers.slice(1).map((number, index) => Math.abs(number - numbers[index]!));
    expect(Math.min(...steps)).toBeGreaterThan(1_000);
  });

  test('forget their oldest items when they exceed their own room', () => {
    const log = logsOf({ maxLogBytes: 10 * ENTRY }).open<string>(false);
    fill(log, 25);
    expect([log.forgottenOffset, log.lastOffset]).toEqual([15, 25]);
    log.append(message(9 * ENTRY));
    expect([log.forgottenOffset, log.lastOffset]).toEqual([25, 26]);
    log.append(message(20 * ENTRY));
    expect([log.forgottenOffset, log.lastOffset]).toEqual([27, 27]);
  });

  test('do not lose a quiet log because of busy ones', () => {
    const logs = logsOf({ maxBytes: 1_000 * ENTRY });
    const quiet = logs.open<string>(false);
    fill(quiet, 3);
    const busy = [logs.open<string>(false), logs.open<string>(false), logs.open<string>(false)];
    for (let round = 0; round < 5_000; round++) for (const log of busy) log.append(message());
    expect(kept(quiet)).toBe(3);
    expect(logs.bytes).toBeLessThanOrEqual(1_000 * ENTRY);
    expect(logs.bytes).toBeGreaterThan(990 * ENTRY);
    // None of the busy ones has less than half as many as another.
    const counts = busy.map(kept);
    expect(Math.min(...counts) * 2).toBeGreaterThanOrEqual(Math.max(...counts) - 10);
  });

  test('count their content while they forget and close', () => {
    const logs = logsOf({ maxLogBytes: 50 * ENTRY });
    const [first, second] = [logs.open<string>(false), logs.open<string>(false)];
    fill(first, 100, 10);
    fill(second, 7, 1);
    expect(logs.bytes).toBe(kept(first) * (ENTRY + 10) + ROW + 7 * (ENTRY + 1) + ROW);
    first.close();
    expect(logs.bytes).toBe(7 * (ENTRY + 1) + ROW);
    second.close();
    expect(logs.bytes).toBe(0);
  });

  test('hold nothing if nothing is to be kept, and continue to count', () => {
    const log = logsOf({ keepMs: 0 }).open<string>(false);
    fill(log, 3);
    expect(log.position()).toEqual({ epoch: log.epoch, offset: 3 });
    expect(log.read({ epoch: log.epoch, offset: 3 })).toMatchObject({ found: true, entries: [] });
    expect(log.read({ epoch: log.epoch, offset: 2 })).toMatchObject({ found: false, reason: 'trimmed' });
  });

  test('append and forget in the same time, however much they hold', () => {
    const log = logsOf({ maxLogBytes: 60_000 * ENTRY }).open<string>(false);
    fill(log, 60_000);
    const item = message();
    const costOf = (count: number): number => {
      const before = process.cpuUsage();
      for (let index = 0; index < count; index++) log.append(item);
      return process.cpuUsage(before).user;
    };
    costOf(100_000);
    // Moving the held items each time would take 200 µs each.
    expect(costOf(100_000)).toBeLessThan(1_000_000);
    expect(kept(log)).toBe(60_000);
  });

  describe('as time passes', () => {
    beforeEach(() => {
      jest.useFakeTimers();
    });
    afterEach(() => {
      jest.useRealTimers();
    });

    test('keep items for their time, and at most a quarter longer', () => {
      const log = logsOf().open<string>(false);
      log.append(message());
      jest.advanceTimersByTime(KEEP_MS / 3);
      log.append(message());
      jest.advanceTimersByTime((KEEP_MS / 3) * 2);
      expect(kept(log)).toBe(2);
      jest.advanceTimersByTime(KEEP_MS / 4);
      expect(kept(log)).toBe(1);
      jest.advanceTimersByTime(KEEP_MS / 3);
      expect(kept(log)).toBe(0);
      expect(log.position()).toEqual({ epoch: log.epoch, offset: 2 });
    });

    test('need one timer together, and no timer while they are empty', () => {
      const logs = logsOf();
      const [first, second] = [logs.open<string>(false), logs.open<string>(false)];
      expect(jest.getTimerCount()).toBe(0);
      fill(first, 10);
      fill(second, 10);
      expect(jest.getTimerCount()).toBe(1);
      jest.advanceTimersByTime(3 * KEEP_MS);
      expect(jest.getTimerCount()).toBe(0);
      fill(first, 1);
      expect(jest.getTimerCount()).toBe(1);
      expect(kept(first)).toBe(1);
      jest.advanceTimersByTime(3 * KEEP_MS);
      expect(kept(first)).toBe(0);
      fill(second, 1);
      second.close();
      expect(jest.getTimerCount()).toBe(0);
    });

    test('know the serials of posters as long as items are kept, even without room for the items', () => {
      const log = logsOf({ maxLogBytes: 2 * ENTRY }).open<string>(false);
      log.append(message(0, { node: 'b', serial: 7 }));
      jest.advanceTimersByTime(KEEP_MS / 2);
      for (const number of [10, 11, 12]) log.append(message(0, { node: 'a', serial: number }));
      jest.advanceTimersByTime(KEEP_MS / 2);
      const vector = log.vector();
      expect(vector.covers('b', 'news', 7)).toBe(true);
      expect(vector.covers('a', 'news', 12)).toBe(true);
      expect(vector.covers('a', 'news', 13)).toBe(false);
      expect(vector.covers('c', 'news', 0)).toBe(false);
      jest.advanceTimersByTime(3 * KEEP_MS);
      expect(log.vector().size).toBe(0);
    });

    test.each([
      ['posters', false, (number: number) => ({ node: `n${number}` })],
      ['channels of a template', true, (number: number) => ({ channel: `rooms/${number}` })],
    ])('know the latest serials of too many %s, and which ones they do not know', (_what, isTemplate, of) => {
      const log = logsOf({ maxBytes: 10_000_000 }).open<string>(isTemplate);
      const covers = (number: number, upTo: number): boolean | undefined => {
        const { node = 'a', channel = 'news' } = of(number) as { node?: string; channel?: string };
        return log.vector().covers(node, channel, upTo);
      };
      for (let number = 0; number < 10_000; number++) log.append(message(0, { node: 'a', serial: 3, ...of(number) }));
      expect(log.vector().size).toBeLessThanOrEqual(2_000);
      for (const number of [9_000, 9_999]) {
        expect(covers(number, 3)).toBe(true);
        expect(covers(number, 4)).toBe(false);
      }
      for (const number of [0, 7_999, 10_000]) expect(covers(number, 3)).toBeUndefined();
      jest.advanceTimersByTime(2 * KEEP_MS);
      expect(covers(10_000, 3)).toBe(false);
      expect(log.vector().size).toBe(0);
    });

    test('count the bytes of serials, which they forget before the messages of others', () => {
      const logs = logsOf({ maxBytes: 100_000 });
      const quiet = logs.open<string>(false);
      quiet.append(message(0, { node: 'a', serial: 1 }));
      const busy = [logs.open<string>(false), logs.open<string>(false)];
      for (let number = 0; number < 900; number++) {
        for (const log of busy) log.append(message(0, { node: `n${number}`, serial: 1 }));
        expect(logs.bytes).toBeLessThanOrEqual(100_000);
      }
      expect(busy[0]!.vector().covers('n0', 'news', 1)).toBeUndefined();
      expect(busy[0]!.vector().covers('n899', 'news', 1)).toBe(true);
      expect(quiet.vector().covers('a', 'news', 1)).toBe(true);
      expect(quiet.read({ epoch: quiet.epoch, offset: 0 })).toMatchObject({ entries: [{ offset: 1 }] });
      for (const log of [quiet, ...busy]) log.close();
      expect(logs.bytes).toBe(0);
    });
  });

  test('count serials separately for each channel of a template, because they rise in each alone', () => {
    const log = logsOf().open<string>(true);
    log.append(message(0, { channel: 'rooms/2', serial: 5 }));
    expect(log.vector().covers('a', 'rooms/1', 4)).toBe(false);
    expect(log.vector().covers('a', 'rooms/2', 4)).toBe(true);
  });
});
