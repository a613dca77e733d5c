import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Delivery } from '../../lib/core/delivery.js';
import { BEGINNING, type HistoryRead, type HistoryStore } from '../../lib/core/history-store.js';
import { Hub } from '../../lib/core/hub.js';
import { Listener } from '../../lib/core/listener.js';
import { OrderedChannel } from '../../lib/core/ordered-channel.js';
import { Replay, type DeliveriesRead, type ReplayStart } from '../../lib/core/replay.js';
import { defineChannel } from '../../lib/protocol/channel.js';
import type { Position } from '../../lib/protocol/position.js';
import { MemoryBroker } from '../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../lib/transport/memory-transport.js';
import { randomFrom, type Random } from '../support/random.js';
import { RecordingReporter } from '../support/recording-reporter.js';

const Kept = defineChannel<number>('replay/kept', undefined, { history: { maxMessages: 10_000, ttlMs: 3_600_000 } });

/** A listener, and whether it has received everything guaranteed. */
class Reader {
  readonly listener: Listener;
  last: Position | undefined;
  gaps = 0;
  count = 0;

  constructor(
    hub: Hub,
    private readonly start: ReplayStart | undefined,
    private readonly act: (reader: Reader) => void,
  ) {
    if (typeof start === 'object') this.last = start;
    this.listener = hub.listen(
      Kept,
      (_message, { position }) => this.take(position!),
      hub.root,
      undefined,
      ({ position }) => this.gap(position),
      start,
    );
  }

  private take(position: Position): void {
    const { last, start } = this;
    if (last !== undefined) {
      if (last.epoch !== '') assert.equal(position.epoch, last.epoch);
      assert.equal(position.offset, last.offset + 1, `after ${last.offset}, begun with ${JSON.stringify(start)}`);
    }
    this.last = position;
    this.count++;
    this.act(this);
  }

  private gap(position: Position | undefined): void {
    assert.ok(position !== undefined, 'a gap without a position');
    this.last = position;
    this.gaps++;
  }
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => void setImmediate(resolve));
}

async function run(random: Random, canLose: boolean, nodeCount: number): Promise<Reader[]> {
  const broker = nodeCount === 1 ? undefined : new MemoryBroker();
  const transports = Array.from({ length: nodeCount }, () => broker && new MemoryTransport(broker));
  const reporter = new RecordingReporter();
  const hubs = transports.map((transport) => new Hub({ reporter, transport }));
  await Promise.all(hubs.map((hub) => hub.start()));
  let readers: Reader[] = [];
  let posts = 0;
  const one = <T>(all: readonly T[]): T => all[random(all.length)]!;
  const post = () => void one(hubs).post(Kept, ++posts);
  const begin = () => {
    const known = readers.flatMap(({ last }) => last ?? []);
    const starts: (ReplayStart | undefined)[] = [undefined, 1, 1 + random(40), { epoch: '', offset: 0 }];
    if (known.length > 0) starts.push(one(known), one(known));
    // Some of them post, some leave.
    const act = (reader: Reader) => {
      if (random(30) === 0) post();
      if (random(500) === 0) reader.listener.unsubscribe();
    };
    readers.push(new Reader(one(hubs), one(starts), act));
  };
  const steps: (() => unknown)[] = [
    post,
    post,
    () => {
      for (let count = random(300); count > 0; count--) post();
    },
    begin,
    begin,
    () => random(4) === 0 && one([...readers, undefined])?.listener.unsubscribe(),
    () => broker?.cut(one(transports)),
    () => broker?.heal(),
    () => canLose && random(6) === 0 && broker?.wipe(),
    () => jest.advanceTimersByTimeAsync(one([100, 600, 15_000])),
    () => turns(random(4)),
    () => turns(1),
  ];
  for (let step = 0; step < 60; step++) await one(steps)();
  // In the end all is well. A wipe without a later post is not known yet.
  broker?.heal();
  await turns(3);
  for (const hub of hubs) assert.equal(await hub.post(Kept, ++posts), true);
  for (let round = 0; round < 8; round++) {
    await jest.advanceTimersByTimeAsync(500);
    await turns(12);
  }
  const end = await hubs[0]!.positionOf(Kept.name);
  readers = readers.filter(({ listener }) => !listener.closed);
  for (const { last } of readers) assert.deepEqual(last, end);
  assert.deepEqual(reporter.listenerFailures, []);
  assert.deepEqual(reporter.callbackFailures, []);
  for (const hub of hubs) await hub.close();
  return readers;
}

describe('Listeners with replay, whenever they come and whatever breaks', () => {
  beforeEach(() => void jest.useFakeTimers({ doNotFake: ['setImmediate', 'queueMicrotask', 'nextTick'] }));
  afterEach(() => void jest.useRealTimers());

  test.each([
    [1, 40],
    [2, 60],
  ])('hear all earlier and new messages once and in order (nodes: %d)', async (nodes, seeds) => {
    let heard = 0;
    for (let seed = 1; seed <= seeds; seed++) {
      for (const { count, gaps } of await run(randomFrom(seed), false, nodes)) {
        expect(gaps).toBe(0);
        heard += count;
      }
    }
    expect(heard).toBeGreaterThan(5_000);
  });

  test('learn which messages the broker has forgotten', async () => {
    let gaps = 0;
    for (let seed = 1; seed <= 60; seed++) {
      for (const reader of await run(randomFrom(seed), true, 2)) gaps += reader.gaps;
    }
    expect(gaps).toBeGreaterThan(10);
  });
});

/** The state of a history in Redis: its messages, and where earlier epochs ended. */
interface State {
  readonly epoch: string;
  readonly messages: readonly number[];
  readonly ends: ReadonlyMap<string, number>;
  /** Whether the next post begins an epoch. */
  readonly isPromoted: boolean;
}

/** A master of Redis, with a replica that may lag behind. Its publications and answers are on their way for a while. */
class Master {
  kept: State = { epoch: '', messages: [], ends: new Map(), isPromoted: true };
  replica = this.kept;
  readonly published: { readonly message: number; readonly position: Position }[] = [];
  readonly questions: (() => void)[] = [];
  posts = 0;
  private epochs = 0;

  post(): void {
    const { kept } = this;
    const last = kept.messages.length;
    const messages = [...kept.messages, ++this.posts];
    if (kept.isPromoted) {
      const ends = new Map(kept.ends).set(kept.epoch, last);
      this.kept = { epoch: `e${++this.epochs}`, messages, ends, isPromoted: false };
    } else this.kept = { ...kept, messages };
    this.published.push({ message: this.posts, position: { epoch: this.kept.epoch, offset: last + 1 } });
  }

  failOver(): void {
    this.kept = { ...this.replica, isPromoted: true };
    this.replica = this.kept;
  }

  wipe(): void {
    this.kept = { epoch: '', messages: [], ends: new Map(), isPromoted: true };
    this.replica = this.kept;
  }

  readonly store = {
    read: (_channel: string, after: Position | number) =>
      new Promise<HistoryRead>((resolve) => this.questions.push(() => resolve(this.read(after)))),
  } as unknown as HistoryStore;

  private read(after: Position | number): HistoryRead {
    const { epoch, messages, ends, isPromoted } = this.kept;
    if (epoch === '') {
      const isNew = typeof after === 'number' || after.epoch === '';
      return { gap: isNew ? undefined : 'epoch', entries: [], next: BEGINNING, end: BEGINNING };
    }
    const last = messages.length;
    let start = typeof after === 'number' ? Math.max(0, last - after) : after.offset;
    let gap: HistoryRead['gap'];
    if (typeof after === 'object' && after.epoch !== '' && after.epoch !== epoch) {
      const ended = ends.get(after.epoch);
      if (ended === undefined) gap = 'epoch';
      start = ended === undefined ? 0 : Math.min(start, ended);
    } else if (start > last) {
      if (!isPromoted) gap = 'future';
      start = isPromoted ? start : 0;
    }
    const entries = messages
      .slice(start, start + 3)
      .map((message, index) => ({ offset: start + 1 + index, payload: String(message) }));
    return { gap, entries, next: { epoch, offset: start + entries.length }, end: { epoch, offset: last } };
  }
}

/** A node with listeners that begin in the past. */
class Node {
  readonly readers: { readonly listener: Listener; readonly heard: (number | 'gap')[] }[] = [];
  private readonly ordered: OrderedChannel;

  constructor(readonly master: Master) {
    this.ordered = new OrderedChannel(Kept.name, Kept.name, master.store, {
      message: (payload, _subscription, _channel, position) => {
        for (const { listener } of this.readers) void listener.tap!(this.deliveryOf(payload, position));
        return true;
      },
      gap: (_subscription, channel, _failure, position) => {
        for (const { listener } of this.readers) void listener.onGap?.({ channel, reason: 'epoch', position });
      },
      failed: (error) => assert.ifError(error),
    });
  }

  /** Forwards the next published message, unless it is lost on its way. */
  hear(isLost: boolean): void {
    const next = this.master.published.shift();
    if (next !== undefined && !isLost) this.ordered.receive(String(next.message), next.position);
  }

  check(): void {
    this.ordered.check();
  }

  begin(hub: Hub, start: ReplayStart): void {
    const heard: (number | 'gap')[] = [];
    const of = { channel: Kept.name, definition: undefined, segments: undefined };
    const tap = ({ message }: Delivery) => heard.push(Number(message));
    const listener = Listener.tapping(of, tap, hub.root, 'reader', { onGap: () => void heard.push('gap') });
    const source = {
      reporter: new RecordingReporter(),
      readHistory: async (channel: string, after: ReplayStart): Promise<DeliveriesRead> => {
        const { entries, ...read } = await this.master.store.read(channel, after);
        const from = { epoch: read.next.epoch, offset: read.next.offset - entries.length };
        const deliveries = entries.map((each) => this.deliveryOf(each.payload, { ...from, offset: each.offset }));
        return { ...read, from, deliveries };
      },
      hasHeard: (_channel: string, position: Position) => {
        this.ordered.beginAt(position);
        return this.ordered.isAt(position);
      },
      deliver: (delivery: Delivery, _listener: Listener, to: Listener['tap']) => void to!(delivery),
    };
    const replay = new Replay(source, listener, start);
    this.readers.push({ listener, heard });
    replay.begin();
  }

  private deliveryOf(payload: string, position: Position): Delivery {
    return new Delivery(
      Number(payload),
      Kept.name,
      { origin: 'global', node: 'a', codec: undefined as never, position },
      0,
      0,
    );
  }
}

async function failOvers(hub: Hub, random: Random, canWipe: boolean): Promise<number> {
  const master = new Master();
  const node = new Node(master);
  const steps: (() => unknown)[] = [
    () => master.post(),
    () => master.post(),
    () => {
      for (let count = random(8); count > 0; count--) master.post();
    },
    () => (master.replica = master.kept),
    () => random(3) === 0 && master.failOver(),
    () => canWipe && random(8) === 0 && master.wipe(),
    () => node.hear(random(5) === 0),
    () => node.hear(false),
    () => node.hear(false),
    () => master.questions.shift()?.(),
    () => master.questions.shift()?.(),
    () => random(2) === 0 && node.begin(hub, 1 + random(12)),
    () => random(4) === 0 && node.check(),
  ];
  for (let step = 0; step < 150; step++) {
    await steps[random(steps.length)]!();
    if (random(2) === 0) await turns(1);
  }
  master.post();
  while (master.published.length > 0 || master.questions.length > 0) {
    node.hear(false);
    master.questions.shift()?.();
    await jest.advanceTimersByTimeAsync(100);
    await turns(1);
  }
  for (const { heard } of node.readers) {
    const log = JSON.stringify({ heard, kept: master.kept.messages });
    const since = heard.slice(heard.lastIndexOf('gap') + 1) as number[];
    if (since.length === heard.length)
      assert.deepEqual(
        since,
        [...new Set(since)].toSorted((a, b) => a - b),
        `once, in order: ${log}`,
      );
    const { messages } = master.kept;
    // Messages lost by a failover are in no history, but some readers may have heard them.
    const owed = messages.slice(messages.findIndex((message) => message >= since[0]!));
    assert.deepEqual(
      since.filter((message) => messages.includes(message)),
      owed,
      `all that is kept: ${log}`,
    );
  }
  return node.readers.length;
}

describe('Listeners with replay, while a replica takes over with or without the latest messages', () => {
  beforeEach(() => void jest.useFakeTimers({ doNotFake: ['setImmediate', 'queueMicrotask', 'nextTick'] }));
  afterEach(() => void jest.useRealTimers());

  test.each([false, true])(
    'hear each message once and in order, and all kept ones (wiped at times: %s)',
    async (canWipe) => {
      const hub = new Hub({ reporter: new RecordingReporter() });
      let readers = 0;
      for (let seed = 1; seed <= 200; seed++) {
        try {
          readers += await failOvers(hub, randomFrom(seed), canWipe);
        } catch (error) {
          throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
        }
      }
      expect(readers).toBeGreaterThan(300);
    },
  );
});
