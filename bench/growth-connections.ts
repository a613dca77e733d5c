// How the cost of an event grows with its connections: the server's CPU for each delivery, if many events
// are posted at once and if they come one by one. The cost of a post for none of them does not grow.
import type { BenchOptions } from './run.js';
import { takeTurns } from './support/compare.js';
import { reportFigures, type Measurements } from './support/compare-figures.js';
import { Fanout } from './support/fanout-process.js';
import type { Posting } from './support/fanout-server.js';
import { OURS, type FanoutVariant } from './support/fanout-servers.js';

const ROUNDS = 3;
// Many systems limit a process to 20,000 open files.
const POINTS = [1_000, 2_000, 5_000, 10_000, 15_000];
const BURST: Posting = { events: 100, atOnce: 100, everyMs: 0 };
const POSTS_ELSEWHERE = 100_000;
const WARM_UP: Posting = { events: 20, atOnce: 20, everyMs: 0 };

/** The most connections for a burst; above that it takes many seconds. */
const MOST_IN_BURSTS: Partial<Record<FanoutVariant, number>> = {
  'raw socket(shared buffer)': 2_000,
  'Nest @Sse Express': 2_000,
};
/** And events one by one, for which the coalescer is another raw socket. */
const MOST_ONE_BY_ONE: Partial<Record<FanoutVariant, number>> = {
  'hand-written coalescer': 0,
  'Nest @Sse Express': 5_000,
};
const VARIANTS: readonly FanoutVariant[] = [
  'raw socket(shared buffer)',
  'hand-written coalescer',
  'Nest @Sse Express',
  'messaging @Sse Express, async-local',
  'messaging @Sse Fastify, async-local',
  'messaging gateway',
];

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const fanouts: Fanout[] = [];
  for (const variant of VARIANTS) fanouts.push(await Fanout.start(variant, { connections: 0 }));
  const bursts: Measurements<{ name: string }, 'cpu'>[] = [];
  const spaced: Measurements<{ name: string }, 'cpu'>[] = [];
  const elsewhere: Measurements<{ name: string }, 'cpu'>[] = [];
  let connected = 0;
  for (const at of POINTS) {
    await Promise.all(fanouts.map((fanout) => fanout.connect({ connections: at - connected })));
    connected = at;
    const upTo = (most: Partial<Record<FanoutVariant, number>>) =>
      fanouts.filter(({ name }) => at <= (most[name] ?? Infinity)).map((fanout) => ({ name: fanout.name, at, fanout }));
    for (const { fanout } of upTo(MOST_IN_BURSTS)) await fanout.deliver(WARM_UP);
    bursts.push(...(await takeTurns(upTo(MOST_IN_BURSTS), rounds, ({ fanout }) => cpuOf(fanout, BURST))));
    spaced.push(...(await takeTurns(upTo(MOST_ONE_BY_ONE), rounds, ({ fanout }) => cpuOf(fanout, oneByOne(at)))));
    const ours = upTo({}).filter(({ name }) => OURS.includes(name));
    elsewhere.push(...(await takeTurns(ours, rounds, ({ fanout }) => cpuElsewhere(fanout))));
  }
  for (const fanout of fanouts) await fanout.stop();
  const axes = { along: 'connections', unit: 'ns of CPU a delivery' };
  await reportFigures({ cpu: { title: 'A burst of 100 events to all connections', ...axes } }, bursts);
  await reportFigures({ cpu: { title: 'Events one by one to all connections', ...axes } }, spaced);
  await reportFigures(
    { cpu: { title: 'A post to a channel of no connection', ...axes, unit: 'ns of CPU' } },
    elsewhere,
  );
}

/** So far apart that a server is done with one before the next comes; fewer, the more deliveries each one has. */
function oneByOne(connections: number): Posting {
  return {
    events: Math.max(4, Math.min(15, 60_000 / connections)),
    atOnce: 1,
    everyMs: Math.max(40, connections / 50),
  };
}

async function cpuOf(fanout: Fanout, posting: Posting): Promise<{ cpu: number }> {
  const { serverCpuMs, deliveries } = await fanout.deliver(posting);
  return { cpu: (serverCpuMs * 1e6) / deliveries };
}

async function cpuElsewhere(fanout: Fanout): Promise<{ cpu: number }> {
  return { cpu: ((await fanout.postElsewhere(POSTS_ELSEWHERE)) * 1e6) / POSTS_ELSEWHERE };
}
