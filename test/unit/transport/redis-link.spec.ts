import { afterEach, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import type { Socket } from 'node:net';
import { Backoff } from '../../../lib/transport/backoff.js';
import { RedisLink } from '../../../lib/transport/redis-link.js';
import { REDIS_BACKOFF } from '../../../lib/transport/redis-client.js';
import { RedisNodes } from '../../support/redis-nodes.js';

const nodes = new RedisNodes();
afterEach(() => nodes[Symbol.asyncDispose]());

test('a link holds back what a turn sends, however often it is asked to, until the turn ends', async () => {
  const server = await nodes.server();
  const client = new Redis(server.url, { lazyConnect: true });
  const link = new RedisLink({ client, backoff: new Backoff(REDIS_BACKOFF) }, listener);
  nodes.use({ [Symbol.asyncDispose]: () => link.close() });
  // Nothing to hold back yet.
  link.gather();
  await client.connect();
  const socket: Socket = client.stream;
  const answers = [1, 2, 3].map(() => {
    link.gather();
    return client.ping();
  });
  expect(socket.writableCorked).toBe(1);
  expect(await Promise.all(answers)).toEqual(['PONG', 'PONG', 'PONG']);
  expect(socket.writableCorked).toBe(0);
});

const listener = { up: () => undefined, down: () => undefined, changed: () => undefined };
