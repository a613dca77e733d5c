import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Listener } from '../../lib/core/listener.js';
import { defineChannel } from '../../lib/protocol/channel.js';
import type { PositionEvent } from '../../lib/protocol/gateway.js';
import type { Position } from '../../lib/protocol/position.js';
import { GatewayNode, type StreamReader } from '../support/gateway-node.js';
import { randomFrom, type Random } from '../support/random.js';
import { SlowBroker, SlowTransport } from '../support/slow-broker.js';
import { turns } from '../support/turns.js';

// Subscriptions, messages, appends, and the answers to reads and to questions for positions take any time each. Readers join at any of these moments, on a
// server and as its clients, some of them at the same position, and leave.

const Kept = defineChannel<string>('history-joins-property/kept', undefined, {
  history: { maxMessages: 100_000, ttlMs: 3_600_000 },
});
const { name } = Kept;
const STEPS = 300;

/** Where a reader begins: with a number of last messages, at a position, or with new ones. */
type Start = number | Position | undefined;

/** Who reads the channel. */
abstract class Joiner {
  readonly wrong: string[] = [];
  /** Up to where it has everything, if that is known. */
  protected at: number | undefined = undefined;
  private first: number | undefined = undefined;
  /** The end of the history when it was told that it is ready. */
  private readyAt: number | undefined = undefined;

  constructor(
    protected readonly start: Start,
    private readonly endOf: () => number,
  ) {
    if (typeof start === 'object') this.at = start.offset;
  }

  abstract readonly isOpen: boolean;
  /** Takes what has come. */
  abstract read(): void;
  abstract leave(): void;

  get position(): number | undefined {
    return this.at;
  }

  protected becameReady(): void {
    this.readyAt ??= this.endOf();
  }

  protected message(offset: number): void {
    if (this.at !== undefined && offset !== this.at + 1) this.wrong.push(`${offset} after ${this.at}`);
    this.at = offset;
    this.first ??= offset;
  }

  protected gap(reason: string | undefined): void {
    this.wrong.push(`a gap: ${reason}`);
  }

  /** What it was given wrong, or not given. */
  faults(): string[] {
    const { start, first, readyAt, wrong } = this;
    const end = this.endOf();
    if (!this.isOpen) return wrong;
    if (readyAt === undefined) return [...wrong, 'it never became ready'];
    const least = typeof start === 'number' ? Math.max(0, readyAt - start) : readyAt;
    if (typeof start !== 'object' && (first ?? this.at ?? Infinity) > least + 1)
      wrong.push(`begins with ${first}, not ${least + 1}`);
    return this.at === end ? wrong : [...wrong, `at ${this.at} of ${end}`];
  }
}

class OnServer extends Joiner {
  private readonly listener: Listener;

  constructor({ hub }: GatewayNode<SlowTransport>, start: Start, endOf: () => number) {
    super(start, endOf);
    const take = (_message: string, { position }: { position: Position }) => this.message(position.offset);
    const gap = ({ reason }: { reason: string }) => this.gap(reason);
    this.listener = hub.listen(Kept, take as never, hub.root, undefined, gap, start);
    void this.listener.ready.then(() => this.becameReady());
  }

  get isOpen(): boolean {
    return !this.listener.closed;
  }

  read(): void {
    // It has taken everything.
  }

  leave(): void {
    this.listener.unsubscribe();
  }
}

class OfServer extends Joiner {
  isOpen = true;
  private readonly reader: StreamReader;
  private seen = 0;

  constructor(node: GatewayNode<SlowTransport>, start: Start, endOf: () => number) {
    super(start, endOf);
    const claimed =
      typeof start === 'object' ? { ...start, epoch: `h.${start.epoch}` } : { epoch: 'last', offset: start! };
    this.reader = node.connect([start === undefined ? name : { channel: name, position: claimed }]);
  }

  read(): void {
    const come = this.reader.events.pending.slice(this.seen);
    this.seen += come.length;
    for (const { event, id, data } of come) {
      if (event === undefined) this.message(Number(id));
      else for (const told of (JSON.parse(data) as PositionEvent).channels) this.told(told);
      if (event === 'messaging:ready') this.becameReady();
    }
  }

  leave(): void {
    this.isOpen = false;
    this.reader.close();
  }

  protected override message(offset: number): void {
    if (this.at === undefined) this.wrong.push(`${offset} before any position`);
    super.message(offset);
  }

  private told({ position, recovered, reason }: PositionEvent['channels'][number]): void {
    if (recovered === false) this.gap(reason);
    const { at } = this;
    if (at !== undefined && position.offset !== at) this.wrong.push(`at ${at}, told ${position.offset}`);
    this.at = position.offset;
  }
}

/** @returns how many readers were there at the end */
async function run(random: Random, canCut: boolean): Promise<number> {
  const broker = new SlowBroker();
  const nodes: GatewayNode<SlowTransport>[] = [];
  const startNode = async () => {
    // Its pages, and its memory of what it sent, are small. It soon ends subscriptions that nobody needs.
    const options = { maxBufferedBytes: 4_000, recoveryMs: 300 };
    nodes.push(await GatewayNode.start(new SlowTransport(broker), options));
  };
  const starting = [startNode(), startNode()];
  await broker.deliverAll();
  let posts = 0;
  const one = <T>(all: readonly T[]): T => all[random(all.length)]!;
  const post = () => void one(nodes).hub.post(Kept, `${++posts}`);
  const endOf = () => broker.histories.position(name).offset;
  const readers: Joiner[] = [];
  const unjudged: Joiner[] = [];
  const begin = () => {
    const { epoch, offset } = broker.histories.position(name);
    const starts: Start[] = [undefined, 1 + random(20), 5];
    if (offset > 0) starts.push({ epoch, offset: random(offset + 1) });
    // Where others are: they share reads, and come to the end of the history.
    const others = readers.flatMap(({ position }) => position ?? []);
    if (offset > 0 && others.length > 0) starts.push({ epoch, offset: one(others) }, { epoch, offset });
    const start = one(starts);
    const node = one(nodes);
    for (let count = 1 + random(3); count > 0; count--) {
      readers.push(random(2) === 0 ? new OnServer(node, start, endOf) : new OfServer(node, start, endOf));
    }
  };
  // Others overtake it.
  let slow: unknown = undefined;
  const advance = (most: number) => {
    const ways = broker.ways.filter((way) => way.length > 0 && way !== slow);
    if (ways.length === 0) return;
    const way = one(ways);
    for (let count = Math.min(most, way.length); count > 0; count--) way.shift()!();
  };
  const steps: (() => unknown)[] = [
    post,
    post,
    () => {
      for (let count = random(20); count > 0; count--) post();
    },
    begin,
    () => one([...readers, undefined])?.leave(),
    // It claims a position that others will have rightly.
    () => {
      const { epoch, offset } = broker.histories.position(name);
      if (random(3) === 0) unjudged.push(new OfServer(one(nodes), { epoch, offset: offset + 1 + random(3) }, endOf));
    },
    () => random(10) === 0 && readers.forEach((reader) => reader.leave()),
    // A server that begins while others post, as one does that replaces another.
    () => void (starting.length < 5 && starting.push(startNode())),
    () => canCut && one(broker.nodes).cut(),
    () => one(broker.nodes).heal(),
    () => jest.advanceTimersByTimeAsync(one([1, 20, 100, 500])),
    () => turns(random(3)),
    () => (slow = one([...broker.ways, undefined])),
    ...Array.from({ length: 20 }, () => () => advance(1 + random(8))),
    () => advance(Infinity),
  ];
  for (let step = 0; step < STEPS; step++) {
    await one(steps)();
    if (random(2) === 0) await turns(1);
    for (const reader of readers) reader.read();
  }
  for (const node of broker.nodes) node.heal();
  for (let round = 0; round < 8; round++) {
    // All have come by then, so the last messages come to all of them.
    if (round === 4) post();
    await broker.deliverAll();
    await jest.advanceTimersByTimeAsync(600);
  }
  await broker.deliverAll();
  for (const reader of readers) reader.read();
  expect(readers.flatMap((reader) => reader.faults())).toEqual([]);
  await Promise.all(starting);
  expect(nodes.flatMap(({ reporter }) => [...reporter.callbackFailures, ...reporter.listenerFailures])).toEqual([]);
  await GatewayNode.closeAll();
  return readers.filter(({ isOpen }) => isOpen).length;
}

describe('Readers that join a channel with history while all is on its way', () => {
  beforeEach(() => void jest.useFakeTimers({ doNotFake: ['setImmediate', 'queueMicrotask', 'nextTick'] }));
  afterEach(async () => {
    await GatewayNode.closeAll();
    jest.useRealTimers();
  });

  test.each([
    ['', false],
    [' and subscriptions break', true],
  ])('have each message after their start once and in order%s', async (_, canCut) => {
    let readers = 0;
    for (let seed = 1; seed <= Number(process.env['SEEDS'] ?? 100); seed++) {
      try {
        readers += await run(randomFrom(seed), canCut);
      } catch (error) {
        throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
      }
    }
    expect(readers).toBeGreaterThan(200);
  });
});
