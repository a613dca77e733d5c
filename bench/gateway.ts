// How long a client waits for a change of its open stream's subscriptions: on the server that holds the stream,
// and on another one, which forwards the change through Redis; against an empty route of the same application.
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { BenchOptions } from './run.js';
import { compare } from './support/compare.js';
import { Redis } from './support/redis.js';
import { quantile } from './support/statistics.js';
import { report, type Case } from './support/table.js';

const ROUNDS = 8;
const REQUESTS = 300;
const MANY = 1_000;

interface RequestCase extends Case {
  /** Makes one request and waits for its answer. */
  readonly request: () => Promise<void>;
}

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const redis = await Redis.start();
  const servers: ChildProcess[] = [];
  try {
    const [here, other] = [await startServer(redis, servers), await startServer(redis, servers)];
    const connection = await open(here);
    const subscribe = (url: string) => () =>
      post(`${url}/messages/${connection}/channels`, {
        subscribe: [{ channel: 'bench/1' }],
        unsubscribe: ['bench/1'],
      });
    await compareRoundTrips(rounds, [
      { name: 'empty POST route', request: () => post(`${here}/empty`, { subscribe: [{ channel: 'bench/1' }] }) },
      { name: 'subscribe, same server', request: subscribe(here) },
      { name: 'subscribe, other server', request: subscribe(other) },
    ]);
    const changeMany = (url: string) => async () => {
      const names = Array.from({ length: MANY }, (_, index) => `bench/${index}`);
      const channels = names.map((channel) => ({ channel }));
      await post(`${url}/messages/${connection}/channels`, { subscribe: channels, unsubscribe: names });
    };
    await compare({
      title: `${MANY} subscriptions in one request`,
      unit: 'ms',
      cases: [
        { name: 'same server', request: changeMany(here) },
        { name: 'other server', request: changeMany(other) },
      ],
      rounds,
      measure: async ({ request }: RequestCase) => msOf(request),
    });
  } finally {
    for (const server of servers) server.disconnect();
    await Promise.all(servers.map((server) => once(server, 'exit')));
    await redis.stop();
  }
}

async function compareRoundTrips(rounds: number, cases: readonly RequestCase[]): Promise<void> {
  for (const { request } of cases) for (let count = 0; count < REQUESTS; count++) await request();
  const p99 = new Map<string, number[]>(cases.map(({ name }) => [name, []]));
  await compare({
    title: 'Round trip, p50',
    unit: 'ms',
    cases,
    rounds,
    measure: async ({ name, request }) => {
      const times: number[] = [];
      for (let count = 0; count < REQUESTS; count++) times.push(await msOf(request));
      p99.get(name)!.push(quantile(times, 0.99));
      return quantile(times, 0.5);
    },
  });
  await report({
    title: 'Round trip, p99',
    unit: 'ms',
    rows: [...p99].map(([name, samples]) => ({ name, samples })),
  });
}

async function startServer(redis: Redis, servers: ChildProcess[]): Promise<string> {
  const server = fork(new URL('support/gateway-server.js', import.meta.url), [redis.url]);
  servers.push(server);
  const [port] = (await once(server, 'message')) as [number];
  return `http://127.0.0.1:${port}`;
}

/** Opens a stream, which stays open; returns its connection's id. */
async function open(url: string): Promise<string> {
  const response = await send(`${url}/messages`, { channels: [] });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value = '' } = await reader.read();
    text += value;
    const id = /"connection":"([^"]+)"/.exec(text)?.[1];
    if (id !== undefined) return id;
  }
}

async function post(url: string, body: unknown): Promise<void> {
  const response = await send(url, body);
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
  await response.text();
}

function send(url: string, body: unknown): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
}

async function msOf(request: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await request();
  return performance.now() - start;
}
