// All clients of a server lose their connections at once and return at once, to that server or to another one, with
// 60,000 messages kept for them: how long until all are recovered, and for how long the event loop of their new server
// is blocked at most. Node reads all requests that have arrived in one turn: servers without any state show the cost of
// that alone. The clients of the library spread their first attempts over a second, so that is measured too.
import { setTimeout as sleep } from 'node:timers/promises';
import type { BenchOptions } from './run.js';
import { compare } from './support/compare.js';
import type { AnsweringCalls } from './support/answering-server.js';
import { PinnedProcess } from './support/pinned-process.js';
import type { RecoveryCalls } from './support/recovery-server.js';
import { Redis } from './support/redis.js';
import { StormClient } from './support/storm-client.js';
import { report } from './support/table.js';

const ROUNDS = 3;
const CLIENTS = 5_000;
const CHANNELS = 1_000;
const MESSAGES = 60_000;
const SPREAD_MS = 1_000;

type Server = PinnedProcess<RecoveryCalls>;

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const redis = await Redis.start();
  const servers: Server[] = [];
  const answering: PinnedProcess<AnsweringCalls>[] = [];
  const turns = new Map<string, number[]>();
  try {
    for (let count = 0; count < 2; count++)
      servers.push(await PinnedProcess.start('recovery-server.js', undefined, [redis.url]));
    const [former, other] = servers as [Server, Server];
    for (const kind of ['node', 'Nest'])
      answering.push(await PinnedProcess.start('answering-server.js', undefined, [kind]));
    const [node, nest] = answering as [PinnedProcess<AnsweringCalls>, PinnedProcess<AnsweringCalls>];
    const cases = [
      { name: 'Nest, nothing kept', again: () => comeBack(clientsOfNobody(), nest) },
      { name: 'node http, nothing kept', again: () => comeBack(clientsOfNobody(), node) },
      { name: 'messaging, the same server', again: () => storm(former, former) },
      { name: 'messaging, another server', again: () => storm(former, other) },
      { name: 'node http, nothing kept, over a second', again: () => comeBack(clientsOfNobody(), node, SPREAD_MS) },
      { name: 'messaging, the same server, over a second', again: () => storm(former, former, SPREAD_MS) },
      { name: 'messaging, another server, over a second', again: () => storm(former, other, SPREAD_MS) },
    ];
    for (const { name } of cases) turns.set(name, []);
    await compare({
      title: `${CLIENTS} clients come back, until the last one is recovered`,
      unit: 'ms',
      cases,
      rounds,
      measure: async ({ name, again }) => {
        const { tookMs, longestTurnMs } = await again();
        turns.get(name)!.push(longestTurnMs);
        return tookMs;
      },
    });
    await report({
      title: 'The longest turn of the event loop meanwhile',
      unit: 'ms',
      rows: [...turns].map(([name, samples]) => ({ name, samples })),
    });
  } finally {
    await Promise.all([...servers, ...answering].map((server) => server.stop()));
    await redis.stop();
  }
}

interface Storm {
  readonly tookMs: number;
  readonly longestTurnMs: number;
}

async function storm(from: Server, to: Server, spreadMs = 0): Promise<Storm> {
  const fromPort = await from.call('port');
  const clients: StormClient[] = [];
  // In portions, because this is not measured.
  for (let opened = 0; opened < CLIENTS; opened += 100) {
    const some = Array.from({ length: 100 }, (_, index) => clientOf(opened + index));
    await Promise.all(some.map((client) => client.open(fromPort)));
    clients.push(...some);
  }
  for (const client of clients) client.cut();
  await from.call('post', { channels: CHANNELS, each: MESSAGES / CHANNELS });
  const result = await comeBack(clients, to, spreadMs);
  const lost = clients.filter(({ missed }) => missed !== MESSAGES / CHANNELS);
  if (lost.length > 0) throw new Error(`${lost.length} clients got ${lost[0]!.missed} messages`);
  return result;
}

/** @param spreadMs - over how long their attempts are spread, evenly */
async function comeBack(
  clients: readonly StormClient[],
  to: PinnedProcess<AnsweringCalls>,
  spreadMs = 0,
): Promise<Storm> {
  const port = await to.call('port');
  await to.call('watch');
  const start = performance.now();
  const open = async (client: StormClient, index: number): Promise<void> => {
    if (spreadMs > 0) await sleep((index / clients.length) * spreadMs);
    await client.open(port);
  };
  await Promise.all(clients.map(open));
  const tookMs = performance.now() - start;
  const longestTurnMs = await to.call('longestTurnMs');
  for (const client of clients) client.cut();
  return { tookMs, longestTurnMs };
}

function clientOf(number: number): StormClient {
  return new StormClient(`bench/${number % CHANNELS}`);
}

function clientsOfNobody(): StormClient[] {
  return Array.from({ length: CLIENTS }, (_, index) => clientOf(index));
}
