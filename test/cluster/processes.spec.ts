import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeAll, expect, test } from '@jest/globals';
import { RedisServer } from '../support/redis-server.js';
import { SseClient } from '../support/sse-client.js';

const root = path.resolve(import.meta.dirname, '../..');

const processes: ChildProcess[] = [];
beforeAll(() => void execFileSync(process.execPath, ['.ci/prepare.mjs', '--build=lib'], { cwd: root }), 120_000);
afterEach(() => {
  for (const child of processes.splice(0)) child.kill('SIGKILL');
});

/** Starts a server in a separate process. */
async function startServer(adapter: 'express' | 'fastify', redis = '') {
  const script = path.join(root, 'test/support/server-process.mjs');
  const child = spawn(process.execPath, [script, adapter, redis], { stdio: ['ignore', 'pipe', 'pipe'] });
  processes.push(child);
  const errors: string[] = [];
  createInterface(child.stderr).on('line', (line) => errors.push(line));
  const [url] = (await once(createInterface(child.stdout), 'line')) as [string];
  return { child, url, errors, exited: once(child, 'exit') as Promise<[code: number | null, signal: string | null]> };
}

test('three processes joined by Redis deliver each post to all streams in the order of its poster, even after one is killed', async () => {
  await using redis = await RedisServer.start();
  const servers = await Promise.all([
    startServer('express', redis.url),
    startServer('fastify', redis.url),
    startServer('express', redis.url),
  ]);
  const clients = await Promise.all(servers.map(({ url }) => SseClient.connect(`${url}/numbers`)));
  for (const client of clients) await client.comments.next();
  const post = async (server: number, n: number): Promise<unknown> =>
    (await fetch(`${servers[server]!.url}/post/${n}`)).json();
  // Until Redis has confirmed the subscriptions, readers may miss posts of others. The first post that all receive is the start.
  let n = 0;
  const deaf = new Set(clients);
  for (const client of clients) void client.next().then(() => deaf.delete(client));
  while (deaf.size > 0) await post(0, n++);
  await post(0, n++);
  const start = n;

  for (let count = 0; count < 30; count++) expect(await post(count % 3, n++)).toBe(true);
  for (const client of clients) {
    await client.events.until(({ data }) => Number(data) === start - 1);
    const got: number[] = [];
    while (got.length < 30) got.push((await client.next())[1] as number);
    // A server delivers its own posts at once, and those of others as they arrive. The order is per poster.
    for (const poster of [0, 1, 2]) {
      const own = got.filter((number) => (number - start) % 3 === poster);
      expect(own).toEqual(Array.from({ length: 10 }, (_, count) => start + 3 * count + poster));
    }
  }

  servers[2].child.kill('SIGKILL');
  await clients[2]!.ended;
  expect(await post(1, n)).toBe(true);
  for (const client of clients.slice(0, 2)) expect((await client.next())[1]).toBe(n);
  for (const client of clients) await client[Symbol.asyncDispose]();
});

// In a separate process, because Node's warnings do not reach the sandbox of a test.
test.each(['express', 'fastify'] as const)(
  '%s causes no warning about too many listeners, however many streams are open',
  async (adapter) => {
    const server = await startServer(adapter);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (let count = 0; count < 30; count++) {
      const [response] = (await once(http.get(`${server.url}/finite`, { agent }), 'response')) as [
        http.IncomingMessage,
      ];
      response.resume();
      await once(response, 'end');
    }
    agent.destroy();
    const clients = await Promise.all(Array.from({ length: 30 }, () => SseClient.connect(`${server.url}/numbers`)));
    for (const client of clients) await client.comments.next();
    for (const client of clients) await client[Symbol.asyncDispose]();
    server.child.kill('SIGTERM');
    await server.exited;
    expect(server.errors).toEqual([]);
  },
);

test.each(['express', 'fastify'] as const)(
  'SIGTERM soon ends a process on %s, and its open streams in order',
  async (adapter) => {
    const server = await startServer(adapter);
    const clients = await Promise.all(Array.from({ length: 10 }, () => SseClient.connect(`${server.url}/numbers`)));
    for (const client of clients) await client.comments.next();
    const before = performance.now();

    server.child.kill('SIGTERM');

    expect(await server.exited).toEqual([null, 'SIGTERM']);
    // Far above its usual time, far below the 5 seconds for which an HTTP server keeps idle connections.
    expect(performance.now() - before).toBeLessThan(2_000);
    for (const client of clients) {
      await client.ended;
      expect((await client.next())[0]).toBe('messaging:drain');
    }
    expect(server.errors).toEqual([]);
  },
);

test.each(['express', 'fastify'] as const)(
  'a closing worker of node:cluster on %s accepts no more connections, however slow its readers; the other workers do',
  async (adapter) => {
    const script = path.join(root, 'test/support/cluster-process.mjs');
    const child = spawn(process.execPath, [script, adapter], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
    processes.push(child);
    const [url] = (await once(createInterface(child.stdout!), 'line')) as [string];
    const clients: SseClient[] = [];
    const connect = async (): Promise<SseClient> => {
      const client = await SseClient.connect(`${url}/numbers`);
      clients.push(client);
      return client;
    };
    // Connections go to the two workers in turn, so each has one of these two readers, and stalled ones.
    const readers = [await connect(), await connect()];
    for (let count = 0; count < 6; count++) (await connect()).stall();
    const next = (type: string) =>
      Promise.race(readers.map(({ events }) => events.until(({ event }) => event === type)));
    const ended = once(child, 'message');
    child.send('stall');
    await next('message');

    child.send('end');

    // From here on, the worker waits 400 ms for readers that do not read.
    await next('messaging:drain');
    for (let count = 0; count < 30; count++) expect((await connect()).status).toBe(200);
    expect(await ended).toEqual(['SIGTERM', undefined]);
    for (const client of clients) client.abort();
    child.disconnect();
  },
);
