// How cost grows with the number of channels, nearly all of them idle: of a post in the process, of a message
// over Redis, of one that does not concern the node, of starting to listen, and of memory.
import { EventEmitter } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { MessagingModule, MessagingService, defineChannel } from 'nestjs-messaging';
import type { BenchOptions } from './run.js';
import { startApplication } from './support/application.js';
import { takeTurns } from './support/compare.js';
import { compareFigures, reportFigures, type Measurements } from './support/compare-figures.js';
import { nsOfCall } from './support/growth-calls.js';
import { Cluster, channels, startNode } from './support/growth-cluster.js';
import type { Case } from './support/table.js';

const ROUNDS = 5;
const POINTS = [1, 10, 100, 1_000, 10_000, 100_000];
const CALLS_AT_ONCE = 100;
const POSTS = 10_000;
const IN_FLIGHT = 100;
const ALONG = 'channels, 1 listener each';
const TEMPLATES = [1, 10, 100, 1_000];

class Update {
  readonly weight = 1;
}

const Updates = defineChannel('updates/:number', Update);
const NOBODYS = Updates.for({ number: 'nobody' });
const update = new Update();
let total = 0;

interface PostCase extends Case {
  readonly post: (index: number) => void;
}

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  await comparePosts(rounds);
  await compareTemplates(rounds);
  await compareTemplatesInRedis(rounds);
  await measureListening();
  await measureMessages(rounds);
}

/** Posts in the process; each point has a separate application. */
async function comparePosts(rounds: number): Promise<void> {
  const cases: PostCase[] = [];
  for (const at of POINTS) {
    const emitter = new EventEmitter();
    const messaging = await startMessaging();
    const besideTemplates = await startMessaging();
    const all = Array.from({ length: at }, (_, number) => Updates.for({ number: String(number) }));
    for (const channel of all) {
      emitter.on(channel.name, note);
      messaging.addListener(channel, note);
      besideTemplates.addListener(channel, note);
    }
    for (let number = 0; number < at; number += 100) besideTemplates.addListener(`rooms/${number}/:id`, note);
    const first = all[0]!;
    cases.push(
      { name: 'node EventEmitter, one of them', at, post: () => void emitter.emit(first.name, update) },
      { name: 'node EventEmitter, all in turn', at, post: (index) => void emitter.emit(all[index % at]!.name, update) },
      { name: 'messaging, one of them', at, post: () => void messaging.postMessage(first, update) },
      { name: 'messaging, all in turn', at, post: (index) => void messaging.postMessage(all[index % at]!, update) },
      {
        name: 'messaging, one of them, a template for each 100',
        at,
        post: () => void besideTemplates.postMessage(first, update),
      },
      { name: 'messaging, one that has no listener', at, post: () => void messaging.postMessage(NOBODYS, update) },
    );
  }
  await comparePostCases('A post in the process', ALONG, cases, rounds);
}

/** Posts in the process beside templates that do not match the channel. */
async function compareTemplates(rounds: number): Promise<void> {
  const cases: PostCase[] = [];
  for (const at of TEMPLATES) {
    const messaging = await startMessaging();
    const heard = Updates.for({ number: 'heard' });
    messaging.addListener(heard, note);
    for (let number = 0; number < at; number++) messaging.addListener(`rooms${number}/:id`, note);
    cases.push(
      { name: 'a channel with a listener', at, post: () => void messaging.postMessage(heard, update) },
      { name: 'a channel without one', at, post: () => void messaging.postMessage(NOBODYS, update) },
    );
  }
  await comparePostCases('A post beside templates', 'templates', cases, rounds);
}

/** Redis compares each post with every pattern that any node is subscribed to. */
async function compareTemplatesInRedis(rounds: number): Promise<void> {
  const cluster = await Cluster.start();
  const node = await cluster.join();
  const measurements: Measurements<Case, 'redis'>[] = [];
  let from = 0;
  for (const at of TEMPLATES) {
    await node.call('listenToTemplates', { kind: 'idle', from, to: at });
    from = at;
    const measure = async () => {
      const posts = { to: channels('others', 1_000), count: POSTS, inFlight: IN_FLIGHT };
      return { redis: (await cluster.pass(posts, 0)).redis / POSTS };
    };
    measurements.push(...(await takeTurns([{ name: 'to channels that nobody listens to', at }], rounds, measure)));
  }
  await cluster.stop();
  await reportFigures(
    { redis: { title: 'What a post costs Redis, by templates', unit: 'µs of CPU', along: 'templates' } },
    measurements,
  );
}

async function comparePostCases(
  title: string,
  along: string,
  cases: readonly PostCase[],
  rounds: number,
): Promise<void> {
  const measure = async ({ post }: PostCase) => ({ cpu: nsOfCall(post, CALLS_AT_ONCE) });
  await takeTurns(cases, 2, measure);
  await compareFigures({ figures: { cpu: { title, unit: 'ns of CPU', along } }, cases, rounds, measure });
}

/** The cost and the memory of starting to listen, in a process that gets more and more channels. */
async function measureListening(): Promise<void> {
  const cluster = await Cluster.start();
  const nodes = { 'in the process': await startNode(1), 'over Redis': await cluster.join() };
  const times: Measurements<Case, 'time'>[] = [];
  const memory: Measurements<Case, 'memory'>[] = [];
  for (const [name, node] of Object.entries(nodes)) {
    // Otherwise, the first ones would pay for the compiler.
    await node.call('listen', channels('warm', 500));
    const empty = { heap: await node.call('memory'), redis: await cluster.redisMemory() };
    let from = 0;
    for (const at of POINTS) {
      const { ms, redis } = await cluster.spent(() => node.call('listen', { kind: 'idle', from, to: at }));
      times.push({ measured: { name, at }, results: [{ time: (ms * 1_000) / (at - from) }] });
      if (name === 'over Redis')
        times.push({ measured: { name: 'over Redis, its CPU', at }, results: [{ time: redis / (at - from) }] });
      from = at;
      if (at < 1_000) continue;
      memory.push({
        measured: { name: `heap of the node, ${name}`, at },
        results: [{ memory: ((await node.call('memory')) - empty.heap) / at }],
      });
      if (name === 'in the process') continue;
      memory.push({
        measured: { name: 'Redis, for each node', at },
        results: [{ memory: ((await cluster.redisMemory()) - empty.redis) / at }],
      });
    }
  }
  await nodes['in the process'].stop();
  await cluster.stop();
  await reportFigures({ time: { title: 'To begin to listen to a channel', unit: 'µs', along: ALONG } }, times);
  await reportFigures({ memory: { title: 'Memory for a channel', unit: 'bytes', along: ALONG } }, memory);
}

/** Messages over Redis to a node with this many channels. */
async function measureMessages(rounds: number): Promise<void> {
  const cluster = await Cluster.start();
  const node = await cluster.join();
  const measurements: Measurements<Case, 'node' | 'redis'>[] = [];
  let from = 0;
  for (const at of POINTS) {
    await node.call('listen', { kind: 'idle', from, to: at });
    from = at;
    let idleMs = 0;
    const post = async (kind: string, listening: number) => {
      const passed = await cluster.pass({ to: channels(kind, at), count: POSTS, inFlight: IN_FLIGHT }, listening);
      idleMs = passed.ms;
      return passed;
    };
    const cases = [
      { name: 'to all of them in turn', at, pass: () => post('idle', 1) },
      { name: 'to others', at, pass: () => post('others', 0) },
      { name: 'none, for as long', at, pass: () => cluster.spent(() => setTimeout(idleMs)) },
    ];
    const measure = async ({ pass }: (typeof cases)[number]) => {
      const { nodes, redis } = await pass();
      return { node: (nodes[0]! * 1_000) / POSTS, redis: (redis * 1_000) / POSTS };
    };
    await takeTurns(cases, 1, measure);
    measurements.push(...(await takeTurns(cases, rounds, measure)));
  }
  await cluster.stop();
  const axes = { unit: 'ns of CPU', along: ALONG };
  await reportFigures(
    { node: { title: 'What a post of another node costs a node with channels', ...axes } },
    measurements,
  );
  await reportFigures({ redis: { title: 'What a post costs Redis, by channels', ...axes } }, measurements);
}

function note({ weight }: Update): void {
  total += weight;
}

async function startMessaging(): Promise<MessagingService> {
  return (await startApplication({ imports: [MessagingModule.forRoot()] })).get(MessagingService);
}
