import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Messages, MessagingModule, SessionMessages, Sse } from 'nestjs-messaging';
import { MessagingClient } from 'nestjs-messaging/client';
import { Hub } from '../../lib/core/hub.js';
import { defineChannel } from '../../lib/protocol/channel.js';
import type { Position } from '../../lib/protocol/position.js';
import { startApp } from '../support/apps.js';
import { Queue } from '../support/queue.js';
import { RecordingReporter } from '../support/recording-reporter.js';
import { RedisNodes } from '../support/redis-nodes.js';
import type { RedisServer } from '../support/redis-server.js';
import { SseClient } from '../support/sse-client.js';

const BOUNDS = { maxMessages: 1_000, ttlMs: 60_000 };
const Forged = defineChannel<number>('forged', undefined, { history: BOUNDS, clients: true });

let nodes: RedisNodes;
beforeEach(() => {
  nodes = new RedisNodes();
});
afterEach(() => nodes[Symbol.asyncDispose]());

function forged({ epoch, offset }: Position, count: number): string {
  return `\n{"history":{"epoch":"${epoch}","offset":${offset + 1},"count":${count}}}${'\n{"data":1'.repeat(count)}`;
}

/** A node that listens, and everything that it hears and reports. */
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

describe('Forged messages that a neighbour publishes for the next positions of a history, and foreign payloads in it', () => {
  test('do not replace the real messages there', async () => {
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

  test('cost few reads, however many they are', async () => {
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

  test('are reported once if they are in the history, and later messages are heard', async () => {
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

test('A forged message in the next position of a history hides no message from listeners, and doubles none', async () => {
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
  expect(await told.take(2)).toEqual(['gap epoch', '2 2']);
  await probe.redis.publish(`messaging:|${Forged.name}`, lie(-2));
  expect(await hub.post(Forged, 3)).toBe(true);
  expect(await told.take(1)).toEqual(['3 3']);
});

@Controller()
class Streams {
  @Sse('stream')
  stream(@Messages() messages: SessionMessages) {
    return messages.createStream(Forged);
  }
}

/** The messages that clients of a server receive, in each way, among posted and forged ones. */
async function clientsOf(server: RedisServer) {
  const redis = { url: server.url, publishTimeoutMs: 5_000 };
  const started = await startApp({
    imports: [MessagingModule.forRoot({ redis, gateway: true })],
    controllers: [Streams],
  });
  nodes.use(started);
  const client = new MessagingClient({ url: `${started.url}/messages` });
  nodes.use({ [Symbol.asyncDispose]: async () => client.close() });
  const told = { client: new Queue<string>(), native: new Queue<string>(), sse: new Queue<string>() };
  client.onGap(({ reason }) => told.client.push(`gap ${reason}`));
  await client.subscribe(Forged, (message) => told.client.push(String(message)));
  const paths = { native: `/messages?channel=${Forged.name}`, sse: '/stream' };
  for (const [name, path] of Object.entries(paths) as ['native' | 'sse', string][]) {
    const reader = await SseClient.connect(`${started.url}${path}`);
    nodes.use(reader);
    void (async () => {
      for (;;) {
        const { event, data } = await reader.events.next();
        if (event === 'messaging:gap') told[name].push(`gap ${(JSON.parse(data) as { reason: string }).reason}`);
        if (event === 'message') told[name].push(data);
      }
    })();
  }
  return { hub: started.app.get(Hub), told: Object.values(told) };
}

test.each([1, 3])(
  '%i forged messages in the next positions of a history are a gap for clients, who get the real ones',
  async (count) => {
    const server = await nodes.server();
    const probe = nodes.probe(server);
    const { hub, told } = await clientsOf(server);
    const readers = [...told, (await listener(server)).told];
    const ofEach = async (how: string, texts: readonly string[]) => {
      for (const [index, queue] of readers.entries()) {
        const heard = (await queue.take(texts.length)).map((text) => text.replace(/^\d+ /, ''));
        expect([how, index, heard]).toEqual([how, index, texts]);
      }
    };
    expect(await hub.post(Forged, 1)).toBe(true);
    await ofEach('before', ['1']);
    const position = await hub.positionOf(Forged.name);
    const head = forged(position, count).split('\n')[1];
    const lies = Array.from({ length: count }, (_, index) => -1 - index);
    const lines = lies.map((lie) => `\n{"pattern":"forged","data":${lie}}`);
    await probe.redis.publish(`messaging:|${Forged.name}`, `\n${head}${lines.join('')}`);
    await ofEach('forged', lies.map(String));
    for (let message = 2; message <= 5; message++) expect(await hub.post(Forged, message)).toBe(true);
    await ofEach('real', ['gap epoch', '2', '3', '4', '5']);
  },
  30_000,
);
