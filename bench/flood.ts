// A flood beside good clients: 5,000 connects and 1,000 readers that do not read. From the post to the listeners of the 100 good
// clients, with the flood and without; and whether they lose anything.
import { fork } from 'node:child_process';
import { FloodProcess, type Spawn } from '../test/support/flood-process.js';
import type { BenchOptions } from './run.js';
import { compareFigures } from './support/compare-figures.js';
import type { Case } from './support/table.js';

const ROUNDS = 1;
const GOOD = 100;
const SLOW = 1_000;
const CONNECTS = 5_000;
const POSTING = { count: 300, everyMs: 20 };
const BULK_BYTES = 20_000;
/** As many attackers as would have more than the limits allow. */
const ADDRESSES = 5;
const LIMITS = { maxConnectionsPerAddress: 500, maxOpensPerSecondPerAddress: 50 };

interface FloodCase extends Case {
  readonly connects: number;
  readonly slow: number;
  readonly limits: object;
}

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const cases: FloodCase[] = [
    { name: 'no flood', connects: 0, slow: 0, limits: LIMITS },
    { name: `${CONNECTS} connects and ${SLOW} slow readers`, connects: CONNECTS, slow: SLOW, limits: LIMITS },
    { name: 'the same with the default limits', connects: CONNECTS, slow: SLOW, limits: {} },
  ];
  await compareFigures({
    figures: {
      p50: { title: `From the post to the listener, ${GOOD} good clients, p50`, unit: 'ms' },
      p99: { title: 'p99', unit: 'ms' },
      lost: { title: 'Messages that they lack or have twice, gaps, and ends of their streams', unit: '' },
      refused: { title: 'Requests of the flood that were answered 429', unit: '' },
      turn: { title: 'The longest turn of the event loop', unit: 'ms' },
    },
    cases,
    rounds,
    measure: besideFlood,
  });
}

async function besideFlood({ connects, slow, limits }: FloodCase) {
  await using server = await FloodProcess.start(start, 'server', { adapter: 'Express', limits });
  await using clients = await FloodProcess.start(start, 'clients');
  await using flood = await FloodProcess.start(start, 'flood');
  const { url } = server;
  await clients.call('open', { url, count: GOOD });
  await flood.call('stall', { url, count: slow });
  await server.call('state');
  const [statuses, until] = await Promise.all([
    flood.call('connect', { url, count: connects, atOnce: 200, addresses: ADDRESSES }),
    server.call('post', { ...POSTING, bulkBytes: slow > 0 ? BULK_BYTES : 0 }),
  ]);
  const { maxTurnMs } = await server.call('state');
  const { missing, repeated, cutOff, gaps, p50Ms, p99Ms } = await clients.call('report', { until });
  return {
    p50: p50Ms,
    p99: p99Ms,
    lost: missing + repeated + cutOff + gaps,
    refused: statuses['429'] ?? 0,
    turn: maxTurnMs,
  };
}

const start: Spawn = (flood) =>
  fork(new URL('support/flood-node.js', import.meta.url), { env: { ...process.env, FLOOD: flood } });
