// Clients that join a channel with history, all at once or within a few seconds, and ask for its last 50 messages: how often the
// server reads and encodes the history for them, how long until all clients have it, and for how long the server's event loop is
// blocked at most. A stateless server shows the cost of that many requests alone. The clients are in two processes; a process may
// have 20,000 open files here.
import { Redis as Client } from 'ioredis';
import { machineClock } from '../test/support/machine-clock.js';
import type { BenchOptions } from './run.js';
import type { AnsweringCalls } from './support/answering-server.js';
import { compareFigures } from './support/compare-figures.js';
import type { HerdCalls } from './support/herd-clients.js';
import type { HistoryCalls } from './support/history-server.js';
import { PinnedProcess } from './support/pinned-process.js';
import { Redis } from './support/redis.js';

const ROUNDS = 3;
const CLIENTS = 10_000;
const PROCESSES = 2;
const KEPT = 100;
const REPLAY = 50;
/** The longest wait of the library's clients between two attempts, in the first minute. */
const SPREAD_MS = 5_000;

export const processes = 1;

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const redis = await Redis.start();
  const counter = new Client(redis.url);
  const server = await PinnedProcess.start<HistoryCalls>('history-server.js', undefined, [redis.url]);
  const node = await PinnedProcess.start<AnsweringCalls>('answering-server.js', undefined, ['node']);
  const herds = await Promise.all(
    Array.from({ length: PROCESSES }, () => PinnedProcess.start<HerdCalls>('herd-clients.js', undefined, [])),
  );
  let number = 0;

  const herd = async (to: PinnedProcess<AnsweringCalls>, messages: number, spreadMs: number) => {
    const port = await to.call('port');
    await to.call('watch');
    const start = machineClock();
    const channel = `bench/${number}`;
    const task = { port, clients: CLIENTS / PROCESSES, channel, replay: REPLAY, messages, spreadMs };
    const joined = await Promise.all(herds.map((clients) => clients.call('join', task)));
    const turn = await to.call('longestTurnMs');
    await Promise.all(herds.map((clients) => clients.call('cut')));
    const came = joined.reduce((sum, each) => sum + each.messages, 0);
    if (came !== CLIENTS * messages) throw new Error(`${came} messages came in place of ${CLIENTS * messages}`);
    return { took: Math.max(...joined.map(({ doneAt }) => doneAt)) - start, turn };
  };
  const ofNode = async (spreadMs: number) => ({ ...(await herd(node, 0, spreadMs)), reads: 0, joins: 0 });
  const ofServer = async (spreadMs: number) => {
    await server.call('post', { from: ++number, channels: 1, each: KEPT, atOnce: 1 });
    await counter.config('RESETSTAT');
    await server.call('countJoins', REPLAY);
    const result = await herd(server, REPLAY, spreadMs);
    return { ...result, reads: await scripts(counter), joins: await server.call('joins') };
  };
  const cases = [
    { name: 'node http, nothing kept', measure: () => ofNode(0) },
    { name: 'messaging', measure: () => ofServer(0) },
    { name: 'node http, nothing kept, over 5 s', measure: () => ofNode(SPREAD_MS) },
    { name: 'messaging, over 5 s', measure: () => ofServer(SPREAD_MS) },
  ];
  await compareFigures({
    figures: {
      took: { title: `${CLIENTS} clients join with replay: ${REPLAY}, until the last one has them`, unit: 'ms' },
      turn: { title: 'The longest turn of the event loop meanwhile', unit: 'ms' },
      reads: { title: 'Scripts that Redis ran meanwhile, reads among them', unit: 'scripts' },
      joins: { title: 'How often the messages are put together', unit: 'times' },
    },
    cases,
    rounds,
    measure: ({ measure }) => measure(),
  });
  counter.disconnect();
  await Promise.all([server, node, ...herds].map((each) => each.stop()));
  await redis.stop();
}

/** Since the last reset. */
async function scripts(redis: Client): Promise<number> {
  const stats = await redis.info('commandstats');
  return Number(/^cmdstat_evalsha:calls=(\d+)/m.exec(stats)?.[1] ?? 0);
}
