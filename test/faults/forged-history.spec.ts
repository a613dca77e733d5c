import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Hub } from '../../lib/core/hub.js';
import { defineChannel } from '../../lib/protocol/channel.js';
import type { Position } from '../../lib/protocol/position.js';
import { Queue } from '../support/queue.js';
import { RecordingReporter } from '../support/recording-reporter.js';
import { RedisNodes } from '../support/redis-nodes.js';
import type { RedisServer } from '../support/redis-server.js';

const BOUNDS = { maxMessages: 1_000, ttlMs: 60_000 };
const Forged = defineChannel<number>('forged', undefined, { history: BOUNDS });

let nodes: RedisNodes;
beforeEach(() => {
  nodes = new RedisNodes();
});
afterEach(() => nodes[Symbol.asyncDispose]());

function forged({ epoch, offset }: Position, count: number): string {
  return `\n{"history":{"epoch":"${epoch}","offset":${offset + 1},"count":${count}}}${'\n{"data":1'.repeat(count)}`;
}

/** A node that listens, and what it hears and reports. */
async function listener(server: RedisServer) {
  const reporter = new RecordingReporter();
  const hub = new Hub({ reporter, transport: nodes.create(server.url) });
  nodes.use({ [Symbol.asyncDispose]: () => hub.close() });
  await hub.start();
  const told = new Queue<string>();
  const { ready } = hub.listen(
    Forged,
    (message, { position }) => told.push(`${position!.offset} ${String(message)}`),
    hub.root,
    undefined,
    ({ reason }) => told.push(`gap ${reason}`),
  );
  await ready;
  return { hub, told, rejected: () => reporter.rejections.length };
}

describe('What a neighbour publishes for the next places of a history, and what is no message', () => {
  test('is not taken for those that come there', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    const { hub, told, rejected } = await listener(server);
    expect(await hub.post(Forged, 1)).toBe(true);
    await told.take(1);
    await probe.redis.publish(`messaging:|${Forged.name}`, forged(await hub.positionOf(Forged.name), 3));
    for (const message of [2, 3, 4, 5]) expect(await hub.post(Forged, message)).toBe(true);
    expect(await told.take(4)).toEqual(['2 2', '3 3', '4 4', '5 5']);
    expect(rejected()).toBeGreaterThan(0);
  });

  test('costs few reads, however much it is', async () => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    const { hub, told, rejected } = await listener(server);
    expect(await hub.post(Forged, 1)).toBe(true);
    await told.take(1);
    const line = forged(await hub.positionOf(Forged.name), 1);
    const [start, before] = [performance.now(), await probe.calls('evalsha')];
    let lines = 0;
    for (; rejected() < 4; lines++) await probe.redis.publish(`messaging:|${Forged.name}`, line);
    expect(await hub.post(Forged, 2)).toBe(true);
    expect(await told.take(1)).toEqual(['2 2']);
    const [pauses, overflows] = [(performance.now() - start) / 100, lines / 256];
    // And one for the post.
    expect((await probe.calls('evalsha')) - before).toBeLessThanOrEqual(4 + 2 * (pauses + overflows));
  });

  test('is reported once if the history has it, and those behind it are heard', async () => {
    const server = await nodes.server();
    const [transport] = await nodes.node(server.url);
    const { hub, told, rejected } = await listener(server);
    expect(await hub.post(Forged, 1)).toBe(true);
    await told.take(1);
    for (const payload of ['no', 'message']) await transport.history.append(Forged.name, { payload }, BOUNDS);
    expect(await hub.post(Forged, 4)).toBe(true);
    expect(await told.take(1)).toEqual(['4 4']);
    expect(rejected()).toBe(2);
  });
});

test('A message that a neighbour publishes in the place of the next one hides nothing from listeners, and costs them no second copy', async () => {
  const server = await nodes.server();
  const probe = nodes.probe(server);
  const { hub, told } = await listener(server);
  expect(await hub.post(Forged, 1)).toBe(true);
  await told.take(1);
  const position = await hub.positionOf(Forged.name);
  const lie = (message: number) =>
    `${forged(position, 1).split('\n').slice(0, 2).join('\n')}\n{"pattern":"forged","data":${message}}`;
  await probe.redis.publish(`messaging:|${Forged.name}`, lie(-1));
  expect(await told.take(1)).toEqual(['2 -1']);
  expect(await hub.post(Forged, 2)).toBe(true);
  expect(await told.take(1)).toEqual(['2 2']);
  await probe.redis.publish(`messaging:|${Forged.name}`, lie(-2));
  expect(await hub.post(Forged, 3)).toBe(true);
  expect(await told.take(1)).toEqual(['3 3']);
});
