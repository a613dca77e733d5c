// The cost of sending messages from one node to another over Redis, against PUBLISH and SUBSCRIBE by hand, and
// against nats.js over a NATS server, both with JSON: time and CPU of both nodes per message if many are posted at once, and the time
// of a single message.
import type { BenchOptions } from './run.js';
import { compare } from './support/compare.js';
import type { NodeTask } from './support/redis-node.js';
import { Nats } from './support/nats.js';
import { Redis } from './support/redis.js';
import { report } from './support/table.js';
import { TwoNodes, type NodesCase } from './support/two-nodes.js';

const ROUNDS = 8;
const MANY: NodeTask = { count: 100_000, inFlight: 1_000 };
const SOME: NodeTask = { count: 20_000, inFlight: 10 };
const SINGLE: NodeTask = { count: 2_000, inFlight: 1 };
const NAIVE = 'naive ioredis';
const NATS = 'nats.js';

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const redis = await Redis.start();
  const nats = Nats.isInstalled ? await Nats.start() : undefined;
  const cases: NodesCase[] = [];
  try {
    cases.push({ name: NAIVE, nodes: await TwoNodes.start(NAIVE, redis) });
    if (nats !== undefined) cases.push({ name: NATS, nodes: await TwoNodes.start(NATS, nats) });
    cases.push({
      name: 'messaging',
      nodes: await TwoNodes.start('messaging', redis),
      goal: [{ base: NAIVE, ratio: 0.2 }, ...(nats === undefined ? [] : [{ base: NATS, ratio: 1 }])],
    });
    for (const { nodes } of cases) await nodes.pass(MANY);
    for (const task of [MANY, SOME]) await compareLoad(task, cases, rounds);
    await compare({
      title: 'One after another: time until Redis has accepted it and the other node has got it',
      unit: 'µs each',
      cases: cases.map(({ name, nodes, goal }) => ({
        name,
        nodes,
        ...(goal && { goal: { base: NAIVE, ratio: 1.2 } }),
      })),
      rounds,
      measure: async ({ nodes }) => (await nodes.pass(SINGLE)).time / SINGLE.count,
    });
  } finally {
    for (const { nodes } of cases) await nodes.stop();
    await redis.stop();
    await nats?.stop();
  }
}

/** Time and CPU with this many posts waiting for Redis' answer at a time. */
async function compareLoad(task: NodeTask, cases: readonly NodesCase[], rounds: number): Promise<void> {
  const cpu = new Map<string, number[]>(cases.map(({ name }) => [name, []]));
  await compare({
    title: `${task.count} messages, ${task.inFlight} at a time: time`,
    unit: 'µs each',
    cases,
    rounds,
    measure: async ({ name, nodes }) => {
      const passed = await nodes.pass(task);
      cpu.get(name)!.push(passed.cpu / task.count);
      return passed.time / task.count;
    },
  });
  await report({
    title: `${task.count} messages, ${task.inFlight} at a time: CPU of both nodes`,
    unit: 'µs each',
    rows: cases.map(({ name, goal }) => ({
      name,
      samples: cpu.get(name)!,
      ...(goal && { goal: { base: NAIVE, ratio: 0.25 } }),
    })),
  });
}
