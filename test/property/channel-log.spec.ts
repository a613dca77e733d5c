import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { deepStrictEqual as deepEqual, strictEqual as equal, ok } from 'node:assert/strict';
import type { LogItem } from '../../lib/core/channel-log.js';
import { MemoryLogs } from '../../lib/core/memory-log.js';

// Logs against an obviously correct model: lists of all items, from which some may be missing at the front.

const KEEP_MS = 40_000;
const MAX_BYTES = 4_000;
const MAX_LOG_BYTES = 2_500;
const ENTRY = 128;

type Action =
  | { kind: 'append'; log: number; bytes: number; postId: string | undefined }
  | { kind: 'gap'; log: number }
  | { kind: 'wait'; ms: number }
  | { kind: 'read'; log: number; back: number; maxBytes: number };

const log = fc.nat(2);
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      log,
      bytes: fc.nat(900),
      postId: fc.option(fc.constantFrom('1', '2', '3'), { nil: undefined }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('gap' as const), log }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(KEEP_MS) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('read' as const),
      log,
      back: fc.integer({ min: -2, max: 20 }),
      maxBytes: fc.nat(2_000),
    }),
  },
);

interface Appended {
  readonly item: LogItem<number>;
  readonly at: number;
  readonly bytes: number;
}

/** The logs and their model, which are given the same: of no posters, whose rows would count too. */
class Pair {
  readonly logs = new MemoryLogs({ node: 'node', keepMs: KEEP_MS, maxBytes: MAX_BYTES, maxLogBytes: MAX_LOG_BYTES });
  private readonly real = [0, 1, 2].map(() => this.logs.open<number>(false));
  private readonly model: Appended[][] = [[], [], []];
  private now = 0;
  private posted = 0;

  do(step: Action): void {
    if (step.kind === 'wait') {
      this.now += step.ms;
      jest.advanceTimersByTime(step.ms);
    } else if (step.kind === 'read') this.read(step);
    else if (step.kind === 'gap') this.append(step.log, { kind: 'gap', reason: 'broker' }, 0);
    else {
      const { bytes, postId } = step;
      const body = ++this.posted;
      this.append(
        step.log,
        { kind: 'message', channel: 'news', node: 'a', serial: undefined, body, bytes, postId },
        bytes,
      );
    }
    this.checkRoom();
  }

  close(): void {
    for (const each of this.real) each.close();
  }

  private append(index: number, item: LogItem<number>, bytes: number): void {
    const postId = item.kind === 'message' ? item.postId : undefined;
    const isKnown = ({ item: other }: Appended): boolean => other.kind === 'message' && other.postId === postId;
    const known = postId === undefined ? -1 : this.kept(index).findIndex(isKnown);
    const { forgottenOffset } = this.real[index]!;
    const expected = known < 0 ? this.model[index]!.push({ item, at: this.now, bytes }) : forgottenOffset + known + 1;
    equal(this.real[index]!.append(item).offset, expected);
  }

  private read({ log: index, back, maxBytes }: Action & { kind: 'read' }): void {
    const [real, model] = [this.real[index]!, this.model[index]!];
    const offset = Math.max(0, model.length - back);
    const read = real.read({ epoch: real.epoch, offset }, { maxBytes });
    const end = { epoch: real.epoch, offset: model.length };
    if (offset > model.length) return deepEqual(read, { found: false, reason: 'future', end });
    if (offset < real.forgottenOffset) return deepEqual(read, { found: false, reason: 'trimmed', end });
    let bytes = 0;
    const fitting = model.slice(offset).filter((each, place) => (bytes += each.bytes) <= maxBytes || place === 0);
    const entries = fitting.map(({ item }, place) => ({ offset: offset + place + 1, item }));
    return deepEqual(read, { found: true, entries, end });
  }

  private checkRoom(): void {
    const sizes = [0, 1, 2].map((index) => sizeOf(this.kept(index)));
    equal(
      this.logs.bytes,
      sizes.reduce((one, other) => one + other),
    );
    ok(this.logs.bytes <= MAX_BYTES);
    for (const index of [0, 1, 2]) {
      ok(sizes[index]! <= MAX_LOG_BYTES);
      const oldest = this.kept(index)[0];
      if (oldest !== undefined) ok(this.now - oldest.at <= KEEP_MS * 1.25);
      // Items dropped early were dropped for lack of room: their log was one of the large ones.
      const latest = this.model[index]![this.real[index]!.forgottenOffset - 1];
      if (latest === undefined || this.now - latest.at >= KEEP_MS) continue;
      const young = this.model[index]!.filter(({ at }) => this.now - at <= KEEP_MS * 1.25);
      ok(sizeOf(young) > MAX_BYTES / 3 / 2);
    }
  }

  private kept(index: number): Appended[] {
    return this.model[index]!.slice(this.real[index]!.forgottenOffset);
  }
}

function sizeOf(list: readonly Appended[]): number {
  return list.reduce((sum, { bytes }) => sum + bytes + ENTRY, 0);
}

describe('Logs in memory', () => {
  beforeEach(() => {
    jest.useFakeTimers();
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  test('keep all items, without a hole, for as long as they must and not much longer, within their limits', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
        const pair = new Pair();
        for (const step of actions) pair.do(step);
        pair.close();
        expect(pair.logs.bytes).toBe(0);
        expect(jest.getTimerCount()).toBe(0);
      }),
      { numRuns: 500 },
    );
  });
});
