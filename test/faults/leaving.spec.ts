import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { MessagingClient } from 'nestjs-messaging/client';
import { Numbers } from '../support/client-messages.js';
import { FaultyProxy } from '../support/client-proxy.js';
import { ServerProcess } from '../support/client-server-process.js';
import { ClientServer } from '../support/client-servers.js';
import { Queue } from '../support/queue.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { RedisServer } from '../support/redis-server.js';

// How long a server takes to end if Redis does not answer. The times are real ones: the process must be gone before its manager kills it.

const CHANNEL = Numbers.for({ number: 1 });
/** For the ends of connections, and a busy machine. */
const MARGIN_MS = 1_500;

let redis: RedisServer;
beforeEach(async () => void (redis = await RedisServer.start()));
afterEach(() => redis[Symbol.asyncDispose]());

/** Redis answers no command, or accepts no post. */
async function holdBack(what: 'ALL' | 'WRITE'): Promise<void> {
  const admin = new Redis(redis.url);
  await admin.call('CLIENT', 'PAUSE', '20000', what);
  admin.disconnect();
}

/** @returns how long a server with a client takes to end */
async function timeToEnd(leaveMs: number, disturb: () => unknown, others = 0): Promise<number> {
  await using server = await ServerProcess.start({ redis: redis.url, leaveMs });
  const further = [];
  for (let count = 0; count < others; count++) further.push(await ServerProcess.start({ redis: redis.url }));
  const client = new MessagingClient({ url: `${server.url}/messages` });
  await client.subscribe(CHANNEL, () => {});
  await disturb();
  const begun = performance.now();
  await server.end();
  const took = performance.now() - begun;
  client.close();
  for (const each of further) await each.kill();
  return took;
}

describe('a server that shuts down', () => {
  const faults: [string, () => unknown][] = [
    ['hangs', () => redis.pause()],
    ['answers no command', () => holdBack('ALL')],
    ['holds back posts', () => holdBack('WRITE')],
    ['is gone', () => redis.kill()],
  ];

  test.each(faults)('is gone when leaveMs is over, even if Redis %s', async (_what, disturb) => {
    const took = await timeToEnd(500, disturb);
    expect(took).toBeLessThan(500 + MARGIN_MS);
  });

  test.each(faults)('does not stay for clients that cannot go elsewhere, because Redis %s', async (_what, disturb) => {
    const took = await timeToEnd(30_000, disturb);
    expect(took).toBeLessThan(2_000 + MARGIN_MS);
  });

  test('is gone when leaveMs is over, even if Redis hangs, and has passed on posts of other servers before', async () => {
    const took = await timeToEnd(500, () => redis.pause(), 1);
    expect(took).toBeLessThan(500 + MARGIN_MS);
  });
});

describe('the clients of a server that leaves while posts arrive', () => {
  let cluster: RedisCluster;
  beforeAll(async () => void (cluster = await RedisCluster.start(3)));
  afterAll(() => cluster[Symbol.asyncDispose]());

  test.each([
    ['over a Cluster', false],
    ['over a Cluster that shards channels', true],
  ])(
    'lose nothing %s, and have no gap',
    async (_where, isSharded) => {
      const place = { members: cluster.nodes, isSharded };
      await using leaving = await ServerProcess.start({ redis: place, leaveMs: 8_000 });
      await using staying = await ClientServer.start({ redis: place });
      await using proxy = await FaultyProxy.start([leaving.url, staying.url]);
      // Each master has some of these channels.
      const readers = Array.from({ length: 12 }, (_, number) => ({
        channel: Numbers.for({ number }),
        client: new MessagingClient({ url: `${proxy.url}/messages` }),
        numbers: new Queue<number>(),
        got: [] as number[],
        gaps: [] as unknown[],
        drains: 0,
      }));
      for (const reader of readers) {
        reader.client.onGap((gap) => reader.gaps.push(gap));
        reader.client.onStatus(({ reason }) => reason === 'drain' && reader.drains++);
        await reader.client.subscribe(reader.channel, reader.numbers.push);
      }

      let posted = 0;
      using posts = {
        isOver: false,
        [Symbol.dispose]() {
          this.isOver = true;
          for (const { client } of readers) client.close();
        },
      };
      const posting = (async () => {
        for (; !posts.isOver; await wait(2)) {
          const outcomes = readers.map(({ channel }) =>
            staying.messaging.postMessage(channel, posted, { scope: 'auto' }),
          );
          posted++;
          expect(await Promise.all(outcomes)).not.toContain(false);
        }
      })();
      const readUntil = async (last: number): Promise<void> => {
        for (const { numbers, got } of readers) {
          while ((got.at(-1) ?? -1) < last) got.push(await numbers.next());
        }
      };
      await readUntil(20);

      proxy.streamsTo = proxy.changesTo = 1;
      await leaving.end();
      await readUntil(posted + 20);
      posts.isOver = true;
      await posting;
      await readUntil(posted - 1);

      const all = Array.from({ length: posted }, (_, number) => number);
      for (const { got, gaps, drains } of readers) {
        expect({ got, gaps, drains }).toEqual({ got: all, gaps: [], drains: 1 });
      }
    },
    60_000,
  );
});
