import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { AssertionError } from 'node:assert';
import { randomUUID } from 'node:crypto';
import { historyStoreConformance, MemoryBroker, MemoryTransport } from 'nestjs-messaging/testing';
import { filter, firstValueFrom } from 'rxjs';
import { BEGINNING, type HistoryStore } from '../../lib/core/history-store.js';
import type { Transport, TransportReceiver } from '../../lib/core/transport.js';
import { ConfigurationError } from '../../lib/protocol/errors.js';
import { RedisTransport } from '../../lib/transport/redis-transport.js';
import { RedisServer } from '../support/redis-server.js';

interface Broker {
  connect(): Transport;
  /** Forgets all histories. */
  wipe(): Promise<void>;
  close(): Promise<void>;
}

const BOUNDS = { maxMessages: 10, ttlMs: 60_000 };

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

describe.each(brokers)('The history store over %s', (_, start) => {
  let broker: Broker;
  const open: Transport[] = [];

  beforeAll(async () => {
    broker = await start();
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((transport) => transport.close()));
  });
  afterAll(() => broker.close());

  async function connect(): Promise<HistoryStore> {
    const transport = broker.connect();
    open.push(transport);
    await transport.start(() => undefined);
    await firstValueFrom(transport.status.pipe(filter(({ state }) => state === 'ready')));
    return transport.history!;
  }

  test.each(historyStoreConformance(() => broker))('$name', async ({ run }) => {
    await expect(run()).resolves.toBeUndefined();
  });

  test('keeps at most three times as many messages as requested', async () => {
    const [store, channel] = [await connect(), randomUUID()];
    for (let count = 1; count <= 100; count++) await store.append(channel, { payload: String(count) }, BOUNDS);
    expect((await store.read(channel, BEGINNING)).entries.length).toBeLessThanOrEqual(30);
  });

  test('refuses a reused id with a ConfigurationError if the message differs', async () => {
    const [store, channel] = [await connect(), randomUUID()];
    await store.append(channel, { payload: 'a', id: 'id', digest: 'a' }, BOUNDS);
    expect(await store.append(channel, { payload: 'b', id: 'id', digest: 'b' }, BOUNDS)).toMatchObject({
      kind: 'refused',
      error: expect.any(ConfigurationError),
    });
  });

  test('begins with an epoch that reveals nothing about other histories, or about later posts', async () => {
    const store = await connect();
    const begin = async (): Promise<string> => {
      const channel = `rooms/${randomUUID()}`;
      await store.append(channel, { payload: '1' }, BOUNDS);
      return (await store.positions([channel]))[0]!.epoch;
    };
    const [one, other] = [await begin(), await begin()];
    // By chance, one character in 16.
    const common = one.split('').filter((character, index) => character === other[index]).length;
    expect(common).toBeLessThan(one.length / 2);
  });
});

/** Longer than messages of the suite take to expire. */
const AGE_MS = 1_200;

/** The guarantees that a store breaks; all failures are `AssertionError`s. */
async function failures(wrong: (store: HistoryStore) => Partial<HistoryStore>, testMs = 1_000): Promise<string[]> {
  const broker = new MemoryBroker();
  class Wrong extends MemoryTransport {
    override readonly history: HistoryStore;

    constructor() {
      super(broker);
      const store = new MemoryTransport(broker);
      // The store of a node without listeners has the same histories.
      void store.start(() => undefined);
      this.history = { ...store.history, ...wrong(store.history) };
    }
  }
  return failuresOf(() => new Wrong(), broker, testMs);
}

/** Leaves out tests that wait for messages to expire, unless they are the subject. */
async function failuresOf(connect: () => Transport, broker: MemoryBroker, testMs: number): Promise<string[]> {
  const failed: string[] = [];
  for (const { name, run } of historyStoreConformance(() => ({ connect, wipe: () => broker.wipe() }), { testMs })) {
    if (testMs < AGE_MS && /older than|older ones/.test(name)) continue;
    await run().catch((error: unknown) => {
      if (!(error instanceof AssertionError)) throw error;
      failed.push(name);
    });
  }
  return failed;
}

describe('The suite for history stores rejects a store', () => {
  test('that keeps messages without end, but passes one that only lacks changes', async () => {
    const endless = { maxMessages: 1e6, ttlMs: 1e9 };
    const failed = await failures(
      (store) => ({
        append: (channel, post) => store.append(channel, post, endless),
        changes: undefined,
      }),
      AGE_MS,
    );
    expect(failed).toEqual([
      'A history forgets the oldest of too many messages, and never one of the latest `maxMessages`',
      'A history returns no message older than `ttlMs`, and continues in the same epoch',
    ]);
  });

  test('that ignores ids', async () => {
    const failed = await failures((store) => ({
      append: (channel, { payload }, bounds) => store.append(channel, { payload }, bounds),
    }));
    expect(failed).toEqual([
      expect.stringContaining('with the same id once'),
      expect.stringContaining('refuses a post'),
    ]);
  });

  test('that reports no gaps', async () => {
    const failed = await failures((store) => ({
      read: async (...asked) => ({ ...(await store.read(...asked)), gap: undefined }),
    }));
    expect(failed).toContain('A history reports why messages are missing, and returns the rest');
  });

  test('whose messages have no position', async () => {
    class Bare extends MemoryTransport {
      override start(receiver: TransportReceiver): Promise<void> {
        return super.start((payload, subscription, channel) => receiver(payload, subscription, channel));
      }
    }
    const broker = new MemoryBroker();
    expect(await failuresOf(() => new Bare(broker), broker, 500)).toEqual([
      'A history hands each message once, with its position, to every subscribed node, including the poster',
      'A history appends and delivers posts with the same id once, even among others and from another node',
    ]);
  });

  test('that is missing, or never answers', async () => {
    class Without extends MemoryTransport {
      override readonly history = undefined as never;
    }
    const broker = new MemoryBroker();
    expect(await failuresOf(() => new Without(broker), broker, AGE_MS)).toHaveLength(
      historyStoreConformance(() => ({}) as never).length,
    );
    const failed = await failures(() => ({ append: () => new Promise(() => {}) }), 20);
    expect(failed).toContain('A history counts offsets from 1, in the order of posting, in one epoch');
  });
});
