import { afterEach, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import type { Socket } from 'node:net';
import { Backoff } from '../../../lib/transport/backoff.js';
import { RedisLink } from '../../../lib/transport/redis-link.js';
import { REDIS_BACKOFF } from '../../../lib/transport/redis-client.js';
import { Queue } from '../../support/queue.js';
import { RedisNodes } from '../../support/redis-nodes.js';

const nodes = new RedisNodes();
afterEach(() => nodes[Symbol.asyncDispose]());

test('a link holds back the commands of a turn until the turn ends, however often that is requested', async () => {
  const server = await nodes.server();
  const client = new Redis(server.url, { lazyConnect: true });
  const link = new RedisLink({ client, backoff: new Backoff(REDIS_BACKOFF) }, listener);
  nodes.use({ [Symbol.asyncDispose]: () => link.close() });
  // Nothing is held back yet.
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

test('a link whose answers no longer belong to its commands is replaced, and reports that', async () => {
  const server = await nodes.server();
  const client = new Redis(server.url, { lazyConnect: true });
  const events = new Queue<string>();
  const link: RedisLink = new RedisLink(
    { client, backoff: new Backoff(REDIS_BACKOFF) },
    { up: () => events.push('up'), down: () => events.push('down'), changed: () => events.push(String(link.error)) },
  );
  nodes.use({ [Symbol.asyncDispose]: () => link.close() });
  link.open();
  expect(await events.next()).toBe('up');
  const socket: Socket = client.stream;
  // If Redis ends a subscription, ioredis 5 reads that as the answer to the oldest command, although no command waits.
  socket.emit('data', Buffer.from('+OK\r\n'));
  expect(await events.next()).toBe('down');
  expect(await events.next()).toMatch(
    /Redis at 127\.0\.0\.1:\d+ sent an answer that belongs to no command; the library reconnects/,
  );
  expect(await events.until((event) => event === 'up')).toBeDefined();
});

test('a connection that reports a second error, as a TLS handshake may, does not end the process, even after its link is closed', async () => {
  const server = await nodes.server();
  const client = new Redis(server.url, { lazyConnect: true });
  const events = new Queue<string>();
  const link = new RedisLink(
    { client, backoff: new Backoff(REDIS_BACKOFF) },
    { up: () => events.push('up'), down: () => events.push('down'), changed: () => undefined },
  );
  link.open();
  expect(await events.next()).toBe('up');
  const first: Socket = client.stream;
  first.destroy(new Error('first'));
  expect(await events.take(2)).toEqual(['down', 'up']);
  expect(() => first.emit('error', new Error('second'))).not.toThrow();
  const last: Socket = client.stream;
  await link.close();
  for (const text of ['third', 'fourth']) expect(() => last.emit('error', new Error(text))).not.toThrow();
});

const listener = { up: () => undefined, down: () => undefined, changed: () => undefined };
