import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { DenialTimes } from '../../../lib/gateway/denial-times.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import type { Gap } from '../../../lib/core/gap.js';
import { GatewayNode } from '../../support/gateway-node.js';
import { Queue } from '../../support/queue.js';

// The ways in which a client could learn about forbidden channels.

afterEach(() => GatewayNode.closeAll());

const history = { maxMessages: 10, ttlMs: 60_000 };
const Rooms = defineChannel<string, 'aside/rooms/:roomId'>('aside/rooms/:roomId', undefined, { history });
const Vault = defineChannel<string>('aside/rooms/vault', undefined, { history });

async function readTemplate() {
  const broker = new MemoryBroker();
  const [a, b] = [await GatewayNode.start(broker), await GatewayNode.start(broker)];
  const reader = await b.open(Rooms.name);
  const native = b.get([Rooms.name]);
  await native.ready();
  const post = async (roomId: string, text: string): Promise<void> => {
    expect(await a.hub.post(roomId === 'vault' ? Vault : Rooms.for({ roomId }), text)).toBe(true);
  };
  for (const room of ['vault', 'hall']) await post(room, 'before');
  for (const each of [reader, native]) expect(await each.next(1)).toEqual(['before']);
  const gaps = new Queue<Gap>();
  b.hub.listen(Rooms, () => {}, b.hub.own, 'of the server itself', gaps.push);
  broker.wipe();
  return { readers: [reader, native], post, gaps };
}

describe('A client of a whole template', () => {
  test('gets no gap for a channel that has its own authorizer or definition', async () => {
    const { readers, post, gaps } = await readTemplate();
    await post('vault', 'after');
    expect(await gaps.next()).toEqual({ channel: Rooms.name, reason: 'epoch' });
    await post('lobby', 'last');
    for (const reader of readers) expect(await reader.next(1)).toEqual(['last']);
  });

  test('gets a gap for a loss in a channel that it has, even beside one in a denied channel', async () => {
    const { readers, post, gaps } = await readTemplate();
    await Promise.all([post('vault', 'after'), post('hall', 'after')]);
    await gaps.next();
    for (const reader of readers) expect(await reader.next(2)).toEqual(['gap epoch', 'after']);
  });
});

async function waited(times: DenialTimes, channel: string): Promise<number> {
  let isOver = false;
  void times.wait(channel).then(() => (isOver = true));
  for (let ms = 0; ; ms++) {
    for (let turn = 0; turn < 5; turn++) await Promise.resolve();
    if (isOver) return ms;
    jest.advanceTimersByTime(1);
  }
}

describe('The denial of a channel without an authorizer', () => {
  afterEach(() => void jest.useRealTimers());

  test('waits as long as one of the latest denials by an authorizer, and does not wait if there was none', async () => {
    jest.useFakeTimers();
    const times = new DenialTimes(1_000);
    expect(await waited(times, 'nowhere')).toBe(0);
    for (let count = 0; count < 100; count++) times.note('rooms/:id', 500);
    for (const ms of [20, 30, 40]) for (let count = 0; count < 11; count++) times.note('rooms/:id', ms + 0.5);
    const seen = new Set<number>();
    for (let count = 0; count < 200; count++) seen.add(await waited(times, 'nowhere'));
    expect([...seen].toSorted((one, other) => one - other)).toEqual([20, 30, 40]);
  });

  test('waits no longer than an authorizer may take', async () => {
    jest.useFakeTimers();
    const times = new DenialTimes(1_000);
    times.note('rooms/:id', 60_000);
    expect(await waited(times, 'nowhere')).toBe(1_000);
  });

  test('takes as long as other channels of its template, or else as one known authorizer, the same each time', async () => {
    jest.useFakeTimers();
    const times = new DenialTimes(1_000);
    const places = [10, 20, 30, 40, 50];
    for (const ms of places) times.note(`${ms}/:id`, ms);
    for (const ms of places) expect(await waited(times, `${ms}/closed`)).toBe(ms);
    const seen = new Set<number>();
    for (let index = 0; index < 50; index++) {
      const all = [];
      for (let count = 0; count < 5; count++) all.push(await waited(times, `nowhere-${index}`));
      expect(new Set(all).size).toBe(1);
      seen.add(all[0]!);
    }
    expect(seen.size).toBe(places.length);
  });

  test('takes as long as names with the same beginning, so that the sum of many reveals no more than one', async () => {
    jest.useFakeTimers();
    const times = new DenialTimes(1_000);
    const places = [10, 20, 30, 40, 50];
    for (const ms of places) times.note(`${ms}/:id`, ms);
    const seen = new Set<number>();
    for (let prefix = 0; prefix < 50; prefix++) {
      const all = [];
      for (let index = 0; index < 10; index++) all.push(await waited(times, `nowhere-${prefix}/${index}`));
      expect(new Set(all).size).toBe(1);
      seen.add(all[0]!);
    }
    expect(seen.size).toBe(places.length);
  });

  test('remembers a limited number of authorizers', async () => {
    const times = new DenialTimes(1_000);
    for (let index = 0; index < 2_000; index++) times.note(`rooms/${index}`, 1);
    expect(times['places'].length).toBe(1_000);
  });
});
