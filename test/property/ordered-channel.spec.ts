import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { ReadBounds } from '../../lib/core/channel-log.js';
import { Branches } from '../../lib/core/branches.js';
import { BEGINNING, type HistoryRead, type HistoryStore } from '../../lib/core/history-store.js';
import { OrderedChannel } from '../../lib/core/ordered-channel.js';
import { TransportUnavailableError } from '../../lib/protocol/errors.js';
import type { Position } from '../../lib/protocol/position.js';
import { randomFrom, type Random } from '../support/random.js';

interface Sent {
  readonly payload: string;
  readonly position: Position;
}

/** One numbering: it goes on from an earlier one, or begins. */
interface Epoch {
  readonly parent: string | undefined;
  /** The offset at which it left its parent. */
  readonly from: number;
  /** The offset of its last message. */
  end: number;
}

/** A history as it may become, and its packets on the way: in any order, twice, or never. */
class World {
  readonly onItsWay: Sent[] = [];
  /** Pending questions. Each one looks at the history before its answer arrives. */
  readonly questions: { readonly look: () => void; readonly answer: () => void; readonly fail: () => void }[] = [];
  floor = 0;
  /** All that ever were. */
  private readonly epochs = new Map<string, Epoch>([[BEGINNING.epoch, { parent: undefined, from: 0, end: 0 }]]);
  epoch = this.begin(undefined, 0);

  get offset(): number {
    return this.epochs.get(this.epoch)!.end;
  }

  /** A history without posts since it was wiped does not exist. */
  get end(): Position {
    return this.offset === 0 ? BEGINNING : { epoch: this.epoch, offset: this.offset };
  }

  /** Another epoch of the same history. */
  newEpoch(): void {
    this.epoch = this.begin(this.epoch, this.offset);
  }

  wipe(): void {
    this.floor = 0;
    this.epoch = this.begin(undefined, 0);
  }

  /** A Redis takes over that has an earlier state: of an earlier epoch, perhaps without its latest messages. It appends at once. */
  loseBranch(random: Random): void {
    const former = this.lineage(this.epoch).slice(1);
    if (former.length === 0) return;
    const [epoch, end] = former[random(former.length)]!;
    const from = Math.max(this.epochs.get(epoch)!.from, end - random(3));
    if (from < this.floor) return;
    this.epoch = this.begin(epoch, from);
    this.post();
  }

  post(): void {
    this.epochs.get(this.epoch)!.end++;
    const position = this.end;
    this.onItsWay.push({ payload: this.payloadAt(position), position });
  }

  /** What is, or was, at a position: named by the epoch in which it was posted. */
  payloadAt({ epoch, offset }: Position): string {
    const [owner] = this.lineage(epoch).find(([each]) => offset > this.epochs.get(each)!.from) ?? ['nothing'];
    return `${owner}:${offset}`;
  }

  /** Whether an epoch is another one, or one of those before it. */
  hasCome(former: string, epoch: string): boolean {
    return this.lineage(epoch).some(([each]) => each === former);
  }

  /** Up to which offset two positions come after the same messages. */
  shared(one: Position, other: Position): number {
    const others = new Map(this.lineage(other.epoch));
    const [epoch, end] = this.lineage(one.epoch).find(([each]) => others.has(each)) ?? ['', 0];
    return Math.min(one.offset, other.offset, end, others.get(epoch) ?? 0);
  }

  readonly store = {
    read: (_channel: string, after: Position, page: ReadBounds) =>
      new Promise<HistoryRead>((resolve, reject) => {
        let read: HistoryRead | undefined;
        this.questions.push({
          look: () => (read ??= this.read(after, page)),
          answer: () => resolve(read ?? this.read(after, page)),
          fail: () => reject(new TransportUnavailableError('away')),
        });
      }),
  } as unknown as HistoryStore;

  private begin(parent: string | undefined, from: number): string {
    const epoch = `e${this.epochs.size + 1}`;
    this.epochs.set(epoch, { parent, from, end: from });
    return epoch;
  }

  /** An epoch and those before it, with the offsets up to which they are its own. */
  private lineage(epoch: string): [epoch: string, end: number][] {
    const found: [string, number][] = [];
    let end = this.epochs.get(epoch)!.end;
    for (let next: string | undefined = epoch; next !== undefined;) {
      found.push([next, end]);
      const { parent, from }: Epoch = this.epochs.get(next)!;
      end = Math.min(end, from);
      next = parent;
    }
    return found;
  }

  private read(after: Position, { maxEntries = 3 }: ReadBounds): HistoryRead {
    const { offset, floor, end } = this;
    const { epoch } = end;
    const former = this.lineage(epoch).slice(1);
    const isCurrent = after.epoch === epoch || after.epoch === BEGINNING.epoch;
    const known = isCurrent ? offset : former.find(([each]) => each === after.epoch)?.[1];
    const start = isCurrent ? after.offset : Math.min(after.offset, known ?? 0);
    const isKnown = known !== undefined && start <= offset;
    const gap = !isKnown ? 'epoch' : start < floor ? 'trimmed' : undefined;
    const first = gap === undefined ? start : floor;
    const count = Math.min(3, maxEntries, offset - first);
    const entries = Array.from({ length: count }, (_, index) => first + 1 + index);
    const ends = former.map(([each, to]) => ({ epoch: each, offset: to }));
    return {
      gap,
      entries: entries.map((each) => ({ offset: each, payload: this.payloadAt({ epoch, offset: each }) })),
      next: { epoch, offset: first + count },
      end,
      former: after.epoch === epoch ? undefined : ends,
    };
  }
}

/** Checks deliveries against the guarantee: offsets without a hole, or one gap that covers exactly the missing ones. */
class Judge {
  last: Position;
  gaps = 0;
  delivered = 0;
  /** The epoch of a lost history without a successor. */
  private gone: string | undefined = undefined;
  private isFirst = true;

  constructor(
    private readonly world: World,
    begun: Position,
  ) {
    this.last = begun;
  }

  message(payload: string, position: Position): void {
    const { world, last } = this;
    assert.equal(payload, world.payloadAt(position));
    if (last.epoch === BEGINNING.epoch) assert.notEqual(position.epoch, this.gone);
    // Packets on their way when the channel began may arrive too.
    if (this.isFirst) assert.ok(position.offset <= last.offset + 1);
    else assert.equal(position.offset, world.shared(last, position) + 1);
    // Without a gap, a channel returns only to where its own epoch ended.
    assert.ok(position.offset > last.offset || this.isFirst || world.hasCome(last.epoch, position.epoch));
    this.isFirst = false;
    this.last = position;
    this.delivered++;
  }

  /** @param at - where the channel was: it may have gone on to an epoch without messages */
  gap(position: Position, at: Position): void {
    const { world, last } = this;
    const shared = world.shared(last, { ...position, offset: Infinity });
    const isTrimmed = position.offset > shared;
    // The channel goes on where the lost branch began, and delivers nothing again.
    const isBranch = position.offset === shared && !world.hasCome(at.epoch, position.epoch);
    assert.ok(isTrimmed || isBranch, `a gap from ${JSON.stringify(last)} to ${JSON.stringify(position)}`);
    if (position.epoch === BEGINNING.epoch) {
      assert.ok(last.epoch !== BEGINNING.epoch && !world.hasCome(last.epoch, world.epoch));
      this.gone = last.epoch;
    }
    this.isFirst = false;
    this.last = position;
    this.gaps++;
  }
}

/** Every answer has been processed. */
async function turn(): Promise<void> {
  for (let count = 0; count < 4; count++) await Promise.resolve();
}

async function run(random: Random, canLose: boolean, canLoseBranches = false): Promise<Judge> {
  const world = new World();
  for (let count = random(4); count > 0; count--) world.post();
  const judge = new Judge(world, world.end);
  const channel = new OrderedChannel('orders', 'orders', new Branches(world.store), {
    message: (payload, _subscription, _channel, position) => {
      judge.message(payload, position);
      return true;
    },
    gap: (_subscription, _channel, _failure, position) => judge.gap(position, channel.position!),
    failed: (error) => {
      throw error;
    },
  });
  channel.beginAt(world.end);
  let isLossKnown = true;
  const take = (index: number) => {
    const [sent] = world.onItsWay.splice(index, 1);
    if (sent === undefined) return;
    const fate = random(10);
    if (fate === 0) isLossKnown = false;
    else channel.receive(sent.payload, sent.position);
    if (fate === 1) world.onItsWay.push(sent);
  };
  const steps: (() => void)[] = [
    () => world.post(),
    () => world.post(),
    () => take(0),
    () => take(0),
    () => take(random(world.onItsWay.length + 1)),
    () => world.questions.shift()?.answer(),
    () => world.questions[0]?.look(),
    () => world.questions[0]?.look(),
    () => world.questions.shift()?.fail(),
    () => jest.advanceTimersByTime(300),
    () => {
      if (!isLossKnown) channel.checkUntil(world.end);
      isLossKnown = true;
    },
    () => random(5) === 0 && world.newEpoch(),
    () => {
      if (!canLoseBranches || random(3) > 0) return;
      world.loseBranch(random);
      isLossKnown = false;
    },
    () => {
      if (!canLose || random(8) > 0) return;
      world.wipe();
      isLossKnown = false;
    },
    () => {
      if (canLose && random(4) === 0) world.floor = Math.max(world.floor, world.offset - random(4));
    },
  ];
  for (let count = 0; count < 80; count++) {
    steps[random(steps.length)]!();
    await turn();
  }
  // In the end all is well, and every loss is known.
  for (const sent of world.onItsWay.splice(0)) channel.receive(sent.payload, sent.position);
  if (!isLossKnown) channel.checkUntil(world.end);
  for (let count = 0; count < 200; count++) {
    for (const { answer } of world.questions.splice(0)) answer();
    jest.advanceTimersByTime(500);
    await turn();
    // Late packets of a lost history may have come after the loss was known.
    if (canLose) channel.compare(world.end, Infinity);
  }
  assert.deepEqual([judge.last.offset, world.shared(judge.last, world.end)], [world.offset, world.offset]);
  assert.equal(world.questions.length, 0);
  return judge;
}

describe('An ordered channel, whatever is lost, late or doubled', () => {
  beforeEach(() => void jest.useFakeTimers({ doNotFake: ['setImmediate', 'queueMicrotask', 'nextTick'] }));
  afterEach(() => void jest.useRealTimers());

  test('delivers each message once and in order, without a gap, if the history is complete', async () => {
    let delivered = 0;
    for (let seed = 1; seed <= 200; seed++) {
      const judge = await run(randomFrom(seed), false);
      expect(judge.gaps).toBe(0);
      delivered += judge.delivered;
    }
    expect(delivered).toBeGreaterThan(2_000);
  });

  test('has a gap wherever messages are missing, and nowhere else, if the history loses some', async () => {
    let gaps = 0;
    for (let seed = 1; seed <= 200; seed++) gaps += (await run(randomFrom(seed), true)).gaps;
    expect(gaps).toBeGreaterThan(100);
  });

  test('goes on where a branch of the history began if that is lost, and delivers nothing before it again', async () => {
    let gaps = 0;
    for (let seed = 1; seed <= 300; seed++) gaps += (await run(randomFrom(seed), seed % 2 === 0, true)).gaps;
    expect(gaps).toBeGreaterThan(100);
  });
});
