// The cost of a history: messages between two nodes over Redis, which keeps them, against posts without history
// and against one pipelined script call for each message by hand; and the memory in Redis.
import type { BenchOptions } from './run.js';
import { compare } from './support/compare.js';
import type { NodeTask } from './support/redis-node.js';
import { Redis } from './support/redis.js';
import { report } from './support/table.js';
import { TwoNodes, type NodesCase } from './support/two-nodes.js';

const ROUNDS = 8;
const MANY: NodeTask = { count: 100_000, inFlight: 1_000 };
const SINGLE: NodeTask = { count: 2_000, inFlight: 1 };
const BY_HAND = 'a script a post';
const PLAIN = 'messaging';
const KEPT = 'with history';

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const redis = await Redis.start();
  const cases: NodesCase[] = [];
  try {
    for (const name of [BY_HAND, PLAIN, KEPT]) cases.push({ name, nodes: await TwoNodes.start(name, redis) });
    for (const { nodes } of cases) await nodes.pass(MANY);
    const used = new Map<string, { nodes: number[]; redis: number[] }>(
      cases.map(({ name }) => [name, { nodes: [], redis: [] }]),
    );
    await compare({
      title: `${MANY.count} messages, ${MANY.inFlight} at a time: time`,
      unit: 'µs each',
      cases: withGoal(cases, BY_HAND, 0.5),
      rounds,
      measure: async ({ name, nodes }) => {
        const before = await redis.cpu();
        const { time, cpu } = await nodes.pass(MANY);
        used.get(name)!.redis.push(((await redis.cpu()) - before) / MANY.count);
        used.get(name)!.nodes.push(cpu / MANY.count);
        return time / MANY.count;
      },
    });
    for (const of of ['nodes', 'redis'] as const) {
      await report({
        title: `${MANY.count} messages, ${MANY.inFlight} at a time: CPU of ${of === 'nodes' ? 'both nodes' : 'Redis'}`,
        unit: 'µs each',
        rows: cases.map(({ name }) => ({ name, samples: used.get(name)![of] })),
      });
    }
    await compare({
      title: 'One after another: time until Redis has accepted it and the other node has got it',
      unit: 'µs each',
      cases: withGoal(
        cases.filter(({ name }) => name !== BY_HAND),
        PLAIN,
        1.5,
      ),
      rounds,
      measure: async ({ nodes }) => (await nodes.pass(SINGLE)).time / SINGLE.count,
    });
  } finally {
    for (const { nodes } of cases) await nodes.stop();
    await redis.stop();
  }
}

function withGoal(cases: readonly NodesCase[], base: string, ratio: number): NodesCase[] {
  return cases.map((each) => (each.name === KEPT ? { ...each, goal: { base, ratio } } : each));
}
