import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { ReadBounds } from '../../lib/core/channel-log.js';
import type { HistoryRead, HistoryStore } from '../../lib/core/history-store.js';
import { OrderedChannel } from '../../lib/core/ordered-channel.js';
import { TransportUnavailableError } from '../../lib/protocol/errors.js';
import type { Position } from '../../lib/protocol/position.js';
import { randomFrom, type Random } from '../support/random.js';

interface Sent {
  readonly payload: string;
  readonly position: Position;
}

/** A history as it may become, and its packets on the way: in any order, twice, or never. */
class World {
  readonly onItsWay: Sent[] = [];
  /** Pending questions. Each one looks at the history before its answer arrives. */
  readonly questions: { readonly look: () => void; readonly answer: () => void; readonly fail: () => void }[] = [];
  /** How often it has begun again. */
  generation = 0;
  offset = 0;
  floor = 0;
  private epochs = 0;
  private readonly generations = new Map<string, number>();
  epoch = this.newEpoch();

  /** Another one for the same numbering. */
  newEpoch(): string {
    const epoch = `e${++this.epochs}`;
    this.generations.set(epoch, this.generation);
    return (this.epoch = epoch);
  }

  wipe(): void {
    this.generation++;
    this.offset = 0;
    this.floor = 0;
    this.newEpoch();
  }

  post(): void {
    const position = { epoch: this.epoch, offset: ++this.offset };
    this.onItsWay.push({ payload: `${this.generation}:${this.offset}`, position });
  }

  generationOf({ epoch }: Position): number {
    return this.generations.get(epoch)!;
  }

  get end(): Position {
    return { epoch: this.epoch, offset: this.offset };
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

  private read(after: Position, { maxEntries = 3 }: ReadBounds): HistoryRead {
    const { epoch, offset, floor, generation } = this;
    const isKnown = this.generationOf(after) === generation && after.offset <= offset;
    const gap = !isKnown ? 'epoch' : after.offset < floor ? 'trimmed' : undefined;
    const first = gap === undefined ? after.offset : floor;
    const count = Math.min(3, maxEntries, offset - first);
    const entries = Array.from({ length: count }, (_, index) => first + 1 + index);
    return {
      gap,
      entries: entries.map((each) => ({ offset: each, payload: `${generation}:${each}` })),
      next: { epoch, offset: first + count },
      end: this.end,
    };
  }
}

/** Checks deliveries against the guarantee: offsets without a hole, or one gap that covers exactly the missing ones. */
class Judge {
  last: Position;
  gaps = 0;
  delivered = 0;
  private isFirst = true;

  constructor(
    private readonly world: World,
    begun: Position,
  ) {
    this.last = begun;
  }

  message(payload: string, position: Position): void {
    const { world, last } = this;
    assert.equal(payload, `${world.generationOf(position)}:${position.offset}`);
    assert.equal(world.generationOf(position), world.generationOf(last));
    // Packets on their way when the channel began may arrive too.
    if (this.isFirst) assert.ok(position.offset <= last.offset + 1);
    else assert.equal(position.offset, last.offset + 1);
    this.isFirst = false;
    this.last = position;
    this.delivered++;
  }

  gap(position: Position): void {
    const { world, last } = this;
    const isTrimmed = world.generationOf(position) === world.generationOf(last) && position.offset > last.offset;
    assert.ok(isTrimmed || world.generationOf(position) > world.generationOf(last));
    this.isFirst = false;
    this.last = position;
    this.gaps++;
  }
}

/** Every answer has been processed. */
async function turn(): Promise<void> {
  for (let count = 0; count < 4; count++) await Promise.resolve();
}

async function run(random: Random, canLose: boolean): Promise<Judge> {
  const world = new World();
  for (let count = random(4); count > 0; count--) world.post();
  const judge = new Judge(world, world.end);
  const channel = new OrderedChannel('orders', 'orders', world.store, {
    message: (payload, _subscription, _channel, position) => {
      judge.message(payload, position);
      return true;
    },
    gap: (_subscription, _channel, _failure, position) => judge.gap(position),
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
  }
  assert.deepEqual([world.generationOf(judge.last), judge.last.offset], [world.generation, world.offset]);
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
});
