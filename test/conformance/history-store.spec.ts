import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { filter, firstValueFrom } from 'rxjs';
import {
  BEGINNING,
  type AppendOutcome,
  type HistoryMoment,
  type HistoryRead,
  type HistoryStore,
  type HistoryTime,
} from '../../lib/core/history-store.js';
import type { Transport } from '../../lib/core/transport.js';
import { ConfigurationError } from '../../lib/protocol/errors.js';
import type { Position } from '../../lib/protocol/position.js';
import { MemoryBroker } from '../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../lib/transport/memory-transport.js';
import { RedisTransport } from '../../lib/transport/redis-transport.js';
import { Queue } from '../support/queue.js';
import { RedisServer } from '../support/redis-server.js';

type Received = [payload: string, subscription: string, channel: string, position?: Position | undefined];

interface Broker {
  connect(): Transport;
  /** Forgets all histories. */
  wipe(): Promise<void>;
  close(): Promise<void>;
}

const BOUNDS = { maxMessages: 1_000, ttlMs: 60_000 };

const brokers: [string, () => Promise<Broker>][] = [
  [
    'memory',
    async () => {
      const broker = new MemoryBroker();
      return {
        connect: () => new MemoryTransport(broker),
        wipe: async () => broker.wipe(),
        close: async () => undefined,
      };
    },
  ],
  [
    'Redis',
    async () => {
      const server = await RedisServer.start();
      return {
        connect: () => new RedisTransport(server.url),
        wipe: () => server.restart(),
        close: () => server.kill(),
      };
    },
  ],
];

function offsetOf(outcome: AppendOutcome): number {
  if (outcome.kind !== 'appended') throw new Error(`it is ${outcome.kind}`);
  return outcome.position.offset;
}

function payloadsOf({ entries }: HistoryRead): string[] {
  return entries.map(({ offset, payload }) => `${offset} ${payload}`);
}

describe.each(brokers)('A history over %s', (_, start) => {
  let broker: Broker;
  let channel: string;
  const open: Transport[] = [];

  beforeAll(async () => {
    broker = await start();
  });
  beforeEach(() => {
    channel = `rooms/${randomUUID()}`;
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((transport) => transport.close()));
  });
  afterAll(() => broker.close());

  async function node(...names: string[]): Promise<[HistoryStore, Queue<Received>, Transport]> {
    const transport = broker.connect();
    open.push(transport);
    const received = new Queue<Received>();
    await transport.start((...args) => received.push(args));
    await ready(transport);
    await Promise.all(names.map((name) => transport.subscribe(name)));
    return [transport.history!, received, transport];
  }

  async function append(store: HistoryStore, ...payloads: string[]): Promise<number[]> {
    const outcomes = await Promise.all(payloads.map((payload) => store.append(channel, { payload }, BOUNDS)));
    return outcomes.map(offsetOf);
  }

  test('gives offsets from 1 on, in the order of posting, and one epoch', async () => {
    const [store] = await node();
    expect(await store.positions([channel])).toEqual([BEGINNING]);
    expect(await append(store, '1', '2', '3')).toEqual([1, 2, 3]);
    expect(await append(store, '4')).toEqual([4]);
    const { entries, gap, next, end } = await store.read(channel, BEGINNING);
    expect(entries).toEqual([1, 2, 3, 4].map((offset) => ({ offset, payload: String(offset) })));
    expect(gap).toBeUndefined();
    expect(next).toEqual(end);
    expect(next.epoch).toMatch(/^[\x21-\x7e]{1,40}$/);
    expect(await store.positions([channel, 'rooms/other'])).toEqual([end, BEGINNING]);
  });

  test('reaches every node that is subscribed, the poster too, once, with its position', async () => {
    const [a, atA] = await node(channel);
    const [, atB] = await node('rooms/:roomId');
    await append(a, '1', '2');
    await append(a, '3');
    const { epoch } = (await a.positions([channel]))[0]!;
    const expected = [1, 2, 3].map((offset) => [String(offset), channel, channel, { epoch, offset }]);
    expect(await atA.take(3)).toEqual(expected);
    expect(await atB.take(3)).toEqual(
      expected.map(([payload, , , position]) => [payload, 'rooms/:roomId', channel, position]),
    );
  });

  test('has one order for all nodes', async () => {
    const [a, atA] = await node(channel);
    const [b, atB] = await node(channel);
    const posts = Array.from({ length: 200 }, (__, index) => append(index % 2 === 0 ? a : b, `${index}`));
    const offsets = (await Promise.all(posts)).flat();
    expect(offsets.toSorted((x, y) => x - y)).toEqual(offsets.map((__, index) => index + 1));
    const payloads = (await a.read(channel, BEGINNING)).entries.map(({ payload }) => payload);
    for (const at of [atA, atB]) expect((await at.take(200)).map(([payload]) => payload)).toEqual(payloads);
    for (const rest of [0, 1]) {
      const ofOne = payloads.map(Number).filter((index) => index % 2 === rest);
      expect(ofOne).toEqual(ofOne.toSorted((x, y) => x - y));
    }
  });

  test('keeps what is posted as it is, whatever is in it', async () => {
    const [store, received] = await node(channel);
    const payloads = [
      '',
      '\n',
      'a\nb',
      '\0\r\n',
      'żółć 🦊',
      '"\\',
      '\n{"history":{"epoch":"a","offset":1,"count":1}}\nx',
      'x'.repeat(100_000),
    ];
    await append(store, ...payloads);
    expect((await store.read(channel, BEGINNING)).entries.map(({ payload }) => payload)).toEqual(payloads);
    expect((await received.take(payloads.length)).map(([payload]) => payload)).toEqual(payloads);
  });

  test('keeps channels apart, whatever their names', async () => {
    const [store] = await node();
    const names = ['rooms/{1}', 'rooms/{}', 'rooms/}{', 'a|b', 'h|a', 'ünï'].map((name) => `${name}/${channel}`);
    for (const name of names) await store.append(name, { payload: name }, BOUNDS);
    for (const name of names) expect(payloadsOf(await store.read(name, BEGINNING))).toEqual([`1 ${name}`]);
  });

  test('gives what came after a position, and the last messages, in pages', async () => {
    const [store] = await node();
    await append(store, 'aaaa', 'bb', 'cc');
    await append(store, 'dddddddd', 'e');
    const { epoch } = (await store.positions([channel]))[0]!;
    const end = { epoch, offset: 5 };
    const read = async (after: number, page = {}): Promise<string[]> => {
      const part = await store.read(channel, { epoch, offset: after }, page);
      expect(part).toMatchObject({ gap: undefined, end, next: { epoch, offset: after + part.entries.length } });
      return payloadsOf(part);
    };
    expect(await read(5)).toEqual([]);
    expect(await read(3)).toEqual(['4 dddddddd', '5 e']);
    expect(await read(1)).toEqual(['2 bb', '3 cc', '4 dddddddd', '5 e']);
    expect(await read(0, { maxBytes: 4 })).toEqual(['1 aaaa']);
    expect(await read(0, { maxBytes: 7 })).toEqual(['1 aaaa', '2 bb']);
    expect(await read(3, { maxBytes: 4 })).toEqual(['4 dddddddd']);
    expect(await read(1, { maxEntries: 3 })).toEqual(['2 bb', '3 cc', '4 dddddddd']);
    expect(payloadsOf(await store.read(channel, 2))).toEqual(['4 dddddddd', '5 e']);
    expect(payloadsOf(await store.read(channel, 4))).toEqual(['2 bb', '3 cc', '4 dddddddd', '5 e']);
    expect(await store.read(channel, 99)).toMatchObject({ gap: undefined, next: end });
    expect(await store.read(channel, 0)).toMatchObject({ gap: undefined, entries: [], next: end });
  });

  test('says why messages are missing, and gives what there is', async () => {
    const [store] = await node();
    await append(store, '1', '2');
    const { epoch } = (await store.positions([channel]))[0]!;
    const all = { entries: [{ offset: 1 }, { offset: 2 }], next: { epoch, offset: 2 } };
    expect(await store.read(channel, { epoch: 'other', offset: 1 })).toMatchObject({ ...all, gap: 'epoch' });
    expect(await store.read(channel, { epoch, offset: 3 })).toMatchObject({ ...all, gap: 'future' });
    const none = { entries: [], next: BEGINNING, end: BEGINNING };
    expect(await store.read('rooms/none', BEGINNING)).toEqual({ ...none, gap: undefined });
    expect(await store.read('rooms/none', 5)).toEqual({ ...none, gap: undefined });
    expect(await store.read('rooms/none', { epoch, offset: 2 })).toEqual({ ...none, gap: 'epoch' });
  });

  test('forgets the oldest of too many messages', async () => {
    const [store] = await node();
    const bounds = { maxMessages: 10, ttlMs: 60_000 };
    for (let count = 1; count <= 100; count++) await store.append(channel, { payload: String(count) }, bounds);
    const read = await store.read(channel, BEGINNING);
    expect(read.gap).toBe('trimmed');
    const kept = read.entries.map(({ offset }) => offset);
    expect(kept).toEqual(kept.map((__, index) => 101 - kept.length + index));
    expect(kept.length).toBeGreaterThanOrEqual(10);
    expect(kept.length).toBeLessThanOrEqual(30);
    const { epoch } = read.next;
    expect((await store.read(channel, { epoch, offset: 90 })).gap).toBeUndefined();
    expect(await store.read(channel, { epoch, offset: 1 })).toEqual(read);
  });

  test('gives none that is too old, and goes on in the same epoch', async () => {
    const [store] = await node();
    const bounds = { maxMessages: 1_000, ttlMs: 1_000 };
    const first = await store.append(channel, { payload: '1' }, bounds);
    const began = performance.now();
    let read = await store.read(channel, BEGINNING);
    while (read.entries.length > 0) read = await store.read(channel, BEGINNING);
    expect(performance.now() - began).toBeGreaterThan(800);
    const { epoch } = (first as { position: Position }).position;
    expect(read).toEqual({ gap: 'trimmed', entries: [], next: { epoch, offset: 1 }, end: { epoch, offset: 1 } });
    const second = await store.append(channel, { payload: '2' }, bounds);
    expect(second).toEqual({ kind: 'appended', position: { epoch, offset: 2 } });
    expect(payloadsOf(await store.read(channel, { epoch, offset: 1 }))).toEqual(['2 2']);
    expect(await store.read(channel, BEGINNING)).toMatchObject({ gap: 'trimmed', entries: [{ offset: 2 }] });
  });

  test('appends a post of one id once, also among others and by another node, and publishes it once', async () => {
    const [a] = await node();
    const [b, atB] = await node(channel);
    const post = (store: HistoryStore, payload: string, id?: string): Promise<AppendOutcome> =>
      store.append(
        channel,
        { payload, id, digest: id === undefined ? undefined : `of ${payload}`.replace(' ', '-') },
        BOUNDS,
      );
    const outcomes = await Promise.all([
      post(a, '1'),
      post(a, '2', 'x'),
      post(a, '2', 'x'),
      post(a, '3', 'y'),
      post(a, '4'),
    ]);
    expect(outcomes.map(offsetOf)).toEqual([1, 2, 2, 3, 4]);
    expect(offsetOf(await post(b, '2', 'x'))).toBe(2);
    expect((await Promise.all([post(b, '3', 'y'), post(b, '5')])).map(offsetOf)).toEqual([3, 5]);
    expect((await a.read(channel, BEGINNING)).entries.map(({ payload }) => payload)).toEqual(['1', '2', '3', '4', '5']);
    expect((await atB.take(5)).map(([payload, , , position]) => `${payload} at ${position!.offset}`)).toEqual(
      [1, 2, 3, 4, 5].map((offset) => `${offset} at ${offset}`),
    );
  });

  test('refuses a post whose id has been used for another message, and names both; others with it are appended', async () => {
    const [store] = await node();
    const post = (payload: string, id?: string): Promise<AppendOutcome> =>
      store.append(channel, { payload, id, digest: id && payload }, BOUNDS);
    await post('1', 'the id');
    const [second, refused, third] = await Promise.all([post('2'), post('other', 'the id'), post('3')]);
    expect([second, third].map(offsetOf)).toEqual([2, 3]);
    expect(refused.kind).toBe('refused');
    const { error } = refused as { error: Error };
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain(channel);
    expect(error.message).toContain('the id');
    expect(payloadsOf(await store.read(channel, BEGINNING))).toEqual(['1 1', '2 2', '3 3']);
  });

  test('begins with an epoch that says nothing of other histories, nor of what is appended to them', async () => {
    const [store] = await node();
    const begin = async (): Promise<string> => {
      channel = `rooms/${randomUUID()}`;
      await append(store, '1');
      return (await store.positions([channel]))[0]!.epoch;
    };
    const [one, other] = [await begin(), await begin()];
    // By chance, one character in 16.
    const common = one.split('').filter((character, index) => character === other[index]).length;
    expect(common).toBeLessThan(one.length / 2);
  });

  describe('tells of changes', () => {
    test('which channels were posted to since a moment, by any node, and those before it not for ever', async () => {
      const [a] = await node();
      const [b] = await node();
      const began = await moment(b);
      expect((await b.changes!(later(began))).channels).not.toContain(channel);
      await append(a, '1');
      expect(await b.changes!(later(began))).toMatchObject({
        channels: expect.arrayContaining([channel]),
        isWhole: true,
      });
      expect((await b.changes!(later(await moment(b), 20_000))).channels).toEqual([]);
      expect((await b.changes!(later(await moment(b), -60_000))).channels).toContain(channel);
    });

    test('how far a channel had come then, from where all is read that was posted since', async () => {
      const [store] = await node();
      const before = await moment(store);
      await append(store, '1', '2');
      await pass(5);
      const between = await moment(store);
      await pass(5);
      await append(store, '3');
      await append(store, '4');
      await pass(5);
      const after = await moment(store);
      const readAt = async (at: HistoryMoment): Promise<string[]> => {
        const [position] = await store.positions([channel], later(at));
        const read = await store.read(channel, position!);
        expect(read.gap).toBeUndefined();
        return payloadsOf(read);
      };
      expect(await readAt(before)).toEqual(['1 1', '2 2', '3 3', '4 4']);
      expect(await readAt(between)).toEqual(['3 3', '4 4']);
      expect(await readAt(after)).toEqual([]);
      expect(await store.positions(['rooms/never'], later(after))).toEqual([BEGINNING]);
    });

    test('a place before a gap if messages since then are gone, and no such place if older ones are', async () => {
      const [store] = await node();
      const bounds = { maxMessages: 5, ttlMs: 60_000 };
      const began = await moment(store);
      for (let count = 1; count <= 100; count++) await store.append(channel, { payload: String(count) }, bounds);
      const [lost] = await store.positions([channel], later(began));
      expect((await store.read(channel, lost!)).gap).toBe('trimmed');
      const other = `${channel}/short`;
      await store.append(other, { payload: '1' }, { maxMessages: 5, ttlMs: 1_000 });
      let page = await store.read(other, BEGINNING);
      while (page.entries.length > 0) page = await store.read(other, BEGINNING);
      const now = await moment(store);
      await pass(5);
      await store.append(other, { payload: '2' }, { maxMessages: 5, ttlMs: 1_000 });
      const [whole] = await store.positions([other], later(now));
      expect(await store.read(other, whole!)).toMatchObject({ gap: undefined, entries: [{ offset: 2 }] });
    });

    test('that it does not know them if it has lost them, and those since then again', async () => {
      const [store, , transport] = await node();
      const began = await moment(store);
      await append(store, '1');
      await broker.wipe();
      await ready(transport);
      await append(store, '2');
      const lost = await store.changes!(later(began));
      expect(lost).toMatchObject({ channels: [channel], isWhole: false });
      await append(store, '3');
      expect(await store.changes!(later(lost.now))).toMatchObject({ channels: [channel], isWhole: true });
      expect((await store.changes!(later(lost.now, -2 * 24 * 3_600_000))).isWhole).toBe(false);
    });
  });

  test('begins another epoch when everything is lost', async () => {
    const [store, , transport] = await node();
    await append(store, '1', '2');
    const [before] = await store.positions([channel]);
    await broker.wipe();
    await ready(transport);
    expect(await store.positions([channel])).toEqual([BEGINNING]);
    expect(await append(store, 'new')).toEqual([1]);
    const read = await store.read(channel, before!);
    expect(read).toMatchObject({ gap: 'epoch', entries: [{ offset: 1, payload: 'new' }] });
    expect(read.next.epoch).not.toBe(before!.epoch);
  });
});

function later(than: HistoryMoment, laterMs = 0): HistoryTime {
  return { moment: than, laterMs };
}

async function moment(store: HistoryStore): Promise<HistoryMoment> {
  return (await store.changes!()).now;
}

/** Stores tell moments from posts by the millisecond, so the clock itself has to go on: no event tells of that. */
async function pass(ms: number): Promise<void> {
  for (const end = performance.now() + ms; performance.now() < end;)
    await new Promise((resolve) => setTimeout(resolve, ms));
}

async function ready(transport: Transport): Promise<void> {
  await firstValueFrom(transport.status.pipe(filter(({ state }) => state === 'ready')));
}
