// A server of events in a separate process: forked with the name of a variant, the time between heartbeats, and in a cluster
// the URL of a Redis. It reports its port, posts events on request, and reports the cost.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { machineClock as clock } from '../../test/support/machine-clock.js';
import { PriceChange } from './fanout-event.js';
import { FANOUT_SERVERS, type FanoutVariant } from './fanout-servers.js';
import { answerCalls } from './pinned-process.js';

/** The events to post, and their times. */
export interface Posting {
  readonly events: number;
  /** How many at once. */
  readonly atOnce: number;
  /** Time between two batches; 0: each in the next turn of the event loop. */
  readonly everyMs: number;
  /** How many bytes longer than usual an event is. */
  readonly extraBytes?: number;
}

/** The memory of a process after garbage collection, in bytes. */
export interface Memory {
  readonly rss: number;
  readonly heapUsed: number;
}

const [variant, heartbeatMs, redis] = process.argv.slice(2) as [FanoutVariant, string, string?];
const server = await FANOUT_SERVERS[variant](redis, Number(heartbeatMs));
if (!server.http.listening) await once(server.http, 'listening');
let seq = 0;

const calls = {
  port: () => server.outside?.port ?? (server.http.address() as AddressInfo).port,
  connections: () => promisify(server.http.getConnections.bind(server.http))(),
  clock,
  post,
  memory,
  cpu,
  idle,
  postElsewhere,
};

/** The functions that such a server offers. */
export type ServerCalls = typeof calls;

answerCalls(calls);

/** @returns when the first event was posted */
async function post({ events, atOnce, everyMs, extraBytes = 0 }: Posting): Promise<number> {
  const filler = extraBytes === 0 ? undefined : 'x'.repeat(extraBytes);
  const start = clock();
  let posted = 0;
  for (let go = 0; posted < events; go++) {
    // A late server has made its clients wait since the scheduled time of the event.
    const due = start + go * everyMs;
    if (everyMs > 0) await setTimeout(Math.max(0, due - clock()));
    else if (go > 0) await setImmediate();
    for (let left = Math.min(atOnce, events - posted); left > 0; left--, posted++)
      server.post(new PriceChange(seq++, everyMs > 0 ? due : clock(), filler));
  }
  return start;
}

/** In microseconds, of all threads. */
function cpu(): number {
  if (server.outside !== undefined) return server.outside.cpu();
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** @returns the microseconds of CPU used in this many milliseconds without posts */
async function idle(ms: number): Promise<number> {
  const before = cpu();
  await setTimeout(ms);
  return cpu() - before;
}

/** @returns the microseconds of CPU for this many posts that no client receives */
function postElsewhere(posts: number): number {
  const event = new PriceChange(0, 0);
  const before = cpu();
  for (let left = posts; left > 0; left--) server.postElsewhere!(event);
  return cpu() - before;
}

async function memory(): Promise<Memory> {
  for (let times = 0; times < 3; times++) {
    await setTimeout(50);
    gc!();
  }
  const { rss, heapUsed } = process.memoryUsage();
  return { rss, heapUsed };
}
