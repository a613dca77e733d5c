import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Hub } from '../../lib/core/hub.js';
import type { Listener } from '../../lib/core/listener.js';
import type { ReplayStart } from '../../lib/core/replay.js';
import { defineChannel } from '../../lib/protocol/channel.js';
import type { Position } from '../../lib/protocol/position.js';
import { MemoryBroker } from '../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../lib/transport/memory-transport.js';
import { randomFrom, type Random } from '../support/random.js';
import { RecordingReporter } from '../support/recording-reporter.js';

const Kept = defineChannel<number>('replay/kept', undefined, { history: { maxMessages: 10_000, ttlMs: 3_600_000 } });

/** A listener, and whether it is given what it was promised. */
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
    // Some post themselves, some leave.
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
  // In the end all is well. A wipe that nobody has posted after is not known yet.
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
  ])('hear all of the past and of the present once and in order (nodes: %d)', async (nodes, seeds) => {
    let heard = 0;
    for (let seed = 1; seed <= seeds; seed++) {
      for (const { count, gaps } of await run(randomFrom(seed), false, nodes)) {
        expect(gaps).toBe(0);
        heard += count;
      }
    }
    expect(heard).toBeGreaterThan(5_000);
  });

  test('are told of what the broker has forgotten', async () => {
    let gaps = 0;
    for (let seed = 1; seed <= 60; seed++) {
      for (const reader of await run(randomFrom(seed), true, 2)) gaps += reader.gaps;
    }
    expect(gaps).toBeGreaterThan(10);
  });
});
