import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { MessagingClient } from 'nestjs-messaging/client';
import { Numbers } from '../support/client-messages.js';
import { ServerProcess } from '../support/client-server-process.js';
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
