import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { MessagingModule, MessagingService, defineChannel } from 'nestjs-messaging';
import { MessagingClient, type ClientMessageContext, type MessageGap } from 'nestjs-messaging/client';
import { CLOCK, realClock } from '../../lib/client/clock.js';
import type { Position } from '../../lib/protocol/position.js';
import { MemoryBroker } from '../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../lib/transport/memory-transport.js';
import { startApp } from '../support/apps.js';
import { Queue } from '../support/queue.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';
import { SseClient } from '../support/sse-client.js';

const history = { maxMessages: 1_000, ttlMs: 60_000 };
const Orders = defineChannel<number>('client-history/orders', undefined, { clients: true, history });
const Rooms = defineChannel<number, 'client-history/rooms/:room'>('client-history/rooms/:room', undefined, {
  clients: true,
  history: { maxMessages: 5, ttlMs: 60_000 },
});
const Plain = defineChannel<number>('client-history/plain', undefined, { clients: true });

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

async function serve(at: MemoryBroker | RedisServer, port?: number, maxBufferedBytes = 1_048_576) {
  const link = at instanceof MemoryBroker ? { transport: new MemoryTransport(at) } : { redis: at.url };
  const options = { ...link, gateway: { leaveMs: 0 }, sse: { retryMs: 20, maxBufferedBytes } };
  const running = await startApp({ imports: [MessagingModule.forRoot(options)] }, { port });
  let isOpen = true;
  const close = async (): Promise<void> => {
    if (isOpen) await running[Symbol.asyncDispose]();
    isOpen = false;
  };
  ends.push(close);
  return { url: `${running.url}/messages`, messaging: running.app.get(MessagingService), close };
}

type Server = Awaited<ReturnType<typeof serve>>;

async function post({ messaging }: Server, ...numbers: readonly number[]): Promise<void> {
  for (const number of numbers) expect(await messaging.postMessage(Orders, number)).toBe(true);
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, index) => from + index);

/** A client with early connection attempts, and everything that it receives. */
function clientOf(url: string) {
  const gaps = new Queue<MessageGap>();
  const errors = new Queue<unknown>();
  const statuses = new Queue<string>();
  const client = new MessagingClient({ url, [CLOCK]: { ...realClock, random: () => 0.02 }, onError: errors.push });
  client.onGap(gaps.push);
  client.onStatus(({ state }) => statuses.push(state));
  ends.push(() => client.close());
  const listen = async (replay?: number | 'latest' | Position, channel: string = Orders.name) => {
    const heard = new Queue<string>();
    const contexts: ClientMessageContext[] = [];
    const subscription = await client.subscribe<number>(
      channel,
      (message, context) => {
        contexts.push(context);
        heard.push(`${context.position?.offset}${context.replayed ? ' again' : ''}: ${message}`);
      },
      { replay },
    );
    return { heard, contexts, subscription };
  };
  return { client, gaps, errors, statuses, listen };
}

const told = (from: number, to: number, how = ''): string[] => range(from, to).map((n) => `${n}${how}: ${n}`);

describe('A client of a channel with history', () => {
  test('gets the position of each message, the same as on the server', async () => {
    const a = await serve(new MemoryBroker());
    const { heard, contexts } = await clientOf(a.url).listen();
    const positions = new Queue<Position>();
    await a.messaging.addListener(Orders, (_message, { position }) => positions.push(position!)).ready;
    await post(a, 1);
    expect(await heard.take(1)).toEqual(['1: 1']);
    expect(contexts[0]!.position).toEqual(await positions.next());
  });

  test('gets the messages posted while its server was replaced, once, in order and without a gap', async () => {
    const broker = new MemoryBroker();
    const [first, other] = [await serve(broker), await serve(broker)];
    const { gaps, listen } = clientOf(first.url);
    const { heard } = await listen();
    await post(first, 1, 2);
    expect(await heard.take(2)).toEqual(told(1, 2));
    await first.close();
    await post(other, ...range(3, 600));
    await serve(broker, Number(new URL(first.url).port));
    await post(other, 601);
    expect(await heard.take(599)).toEqual(told(3, 601));
    expect(gaps.pending).toEqual([]);
  });

  test('gets one gap if the history is gone, then all available messages', async () => {
    const broker = new MemoryBroker();
    const [first, other] = [await serve(broker), await serve(broker)];
    const { gaps, listen } = clientOf(first.url);
    const { heard } = await listen();
    await post(first, 1, 2);
    await heard.take(2);
    await first.close();
    broker.wipe();
    await post(other, 1);
    await serve(broker, Number(new URL(first.url).port));
    expect(await heard.take(1)).toEqual(['1: 1']);
    const position = { epoch: expect.not.stringMatching(/^h\./), offset: 0 };
    expect(await gaps.take(1)).toEqual([{ channel: Orders.name, reason: 'epoch', position }]);
    await post(other, 2);
    expect(await heard.take(1)).toEqual(['2: 2']);
    expect(gaps.pending).toEqual([]);
  });
});

/** Reads a little at a time, and late. */
const slow: typeof fetch = async (...asked) => {
  const response = await fetch(...asked);
  const pause = new TransformStream<Uint8Array, Uint8Array>({
    async transform(chunk, controller) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      controller.enqueue(chunk);
    },
  });
  return new Response(response.body!.pipeThrough(pause), response);
};

describe('A client whose missed messages exceed the buffer of its stream', () => {
  test('gets all of them at its own pace, without a gap', async () => {
    const broker = new MemoryBroker();
    const a = await serve(broker, undefined, 65_536);
    const Long = defineChannel<string>('client-history/long', undefined, { clients: true, history });
    const texts = range(1, 400).map((number) => `${number} ${'x'.repeat(5_000)}`);
    for (const text of texts) await a.messaging.postMessage(Long, text);
    const heard = new Queue<string>();
    const gaps = new Queue<MessageGap>();
    const client = new MessagingClient({ url: a.url, fetch: slow });
    ends.push(() => client.close());
    client.onGap(gaps.push);
    await client.subscribe(Long, heard.push, { replay: 1_000 });
    expect(await heard.take(400)).toEqual(texts);
    await a.messaging.postMessage(Long, 'the end');
    expect(await heard.next()).toBe('the end');
    expect(gaps.pending).toEqual([]);
  });
});

describe('Over Redis, a client of a channel with history', () => {
  test('gets every message on other servers, after its own was killed and Redis has restarted with its data', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'client-history-'));
    const redis = await RedisServer.start({ dir });
    ends.push(async () => {
      await redis.stop();
      await rm(dir, { recursive: true });
    });
    const [first, other] = [await serve(redis), await serve(redis)];
    const { gaps, listen } = clientOf(first.url);
    const { heard } = await listen();
    await post(first, 1, 2);
    expect(await heard.take(2)).toEqual(told(1, 2));
    await first.close();
    await post(other, ...range(3, 400));
    await redis.kill();
    await redis.restart();
    await post(other, ...range(401, 500));
    const again = await serve(redis, Number(new URL(first.url).port));
    expect(await heard.take(498)).toEqual(told(3, 500));
    expect(await (await listen(3)).heard.take(3)).toEqual(told(498, 500, ' again'));
    await post(again, 501);
    expect(await heard.take(1)).toEqual(told(501, 501));
    expect(gaps.pending).toEqual([]);
  });

  test('goes on where its epoch began, after a gap, if Redis comes back from a copy without that epoch', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'client-history-'));
    const redis = await RedisServer.start({ args: ['--dir', dir, '--dbfilename', 'copy.rdb'] });
    const probe = new RedisProbe(redis.url);
    ends.push(async () => {
      probe[Symbol.dispose]();
      await redis.stop();
      await rm(dir, { recursive: true });
    });
    const server = await serve(redis);
    const { gaps, listen } = clientOf(server.url);
    const { heard, contexts } = await listen();
    await post(server, 1, 2);
    await probe.redis.save();
    await redis.kill();
    await redis.restart();
    await post(server, 3, 4);
    expect(await heard.take(4)).toEqual(told(1, 4));
    const { position } = contexts.at(-1)!;
    await redis.kill();
    await redis.restart();
    await post(server, 5);
    const gap = { channel: Orders.name, reason: 'epoch', position: { epoch: expect.any(String), offset: 2 } };
    expect(await heard.next()).toBe('3: 5');
    expect(await gaps.next()).toEqual(gap);
    // So does one that comes with the lost position.
    const late = clientOf(server.url);
    expect(await (await late.listen(position)).heard.next()).toBe('3 again: 5');
    expect(await late.gaps.next()).toEqual(gap);
    await post(server, 6);
    expect(await heard.next()).toBe('4: 6');
    expect([gaps.pending, late.gaps.pending]).toEqual([[], []]);
  });
});

describe('A listener of a client with `replay`', () => {
  test('gets earlier messages first, then new ones', async () => {
    const a = await serve(new MemoryBroker());
    await post(a, 1, 2, 3);
    const { heard } = await clientOf(a.url).listen(2);
    expect(await heard.take(2)).toEqual(told(2, 3, ' again'));
    await post(a, 4);
    expect(await heard.take(1)).toEqual(told(4, 4));
  });

  test('gets the latest message, and all messages after a position', async () => {
    const a = await serve(new MemoryBroker());
    await post(a, 1, 2, 3);
    const { listen } = clientOf(a.url);
    const { heard, contexts } = await listen('latest');
    expect(await heard.take(1)).toEqual(told(3, 3, ' again'));
    const { epoch } = contexts[0]!.position!;
    expect(await (await listen({ epoch, offset: 1 })).heard.take(2)).toEqual(told(2, 3, ' again'));
    expect(await (await listen({ epoch: '', offset: 0 })).heard.take(3)).toEqual(told(1, 3, ' again'));
    expect(heard.pending).toEqual([]);
  });

  test('gets more than one page holds, while others post', async () => {
    const a = await serve(new MemoryBroker());
    await post(a, ...range(1, 700));
    const { heard } = await clientOf(a.url).listen(1_000);
    await post(a, ...range(701, 720));
    const all = await heard.take(720);
    expect(all.map((line) => line.replace(' again', ''))).toEqual(told(1, 720));
  });

  test('gets all messages after the position of an empty channel', async () => {
    const a = await serve(new MemoryBroker());
    const { heard } = await clientOf(a.url).listen(10);
    await post(a, 1, 2);
    expect(await heard.take(2)).toEqual(told(1, 2));
  });

  test('gets a gap if its position is of another history', async () => {
    const a = await serve(new MemoryBroker());
    await post(a, 1, 2);
    const { gaps, listen } = clientOf(a.url);
    const { heard } = await listen({ epoch: 'another', offset: 1 });
    expect(await heard.take(2)).toEqual(told(1, 2, ' again'));
    expect(await gaps.take(1)).toMatchObject([{ reason: 'epoch', position: { offset: 0 } }]);
  });

  test('continues with earlier messages at another server if its own is replaced in the middle', async () => {
    const broker = new MemoryBroker();
    const [first, other] = [await serve(broker), await serve(broker)];
    await post(first, ...range(1, 900));
    const { gaps, listen } = clientOf(first.url);
    const { heard } = await listen(1_000);
    await heard.take(10);
    await first.close();
    await post(other, 901);
    await serve(broker, Number(new URL(first.url).port));
    const rest = await heard.take(891);
    expect(rest.map((line) => line.replace(' again', ''))).toEqual(told(11, 901));
    expect(gaps.pending).toEqual([]);
  });

  test.each([
    [
      'a channel without history',
      Plain.name,
      1,
      '"replay" needs a channel with history; "client-history/plain" keeps none',
    ],
    ['more than the channel keeps', Rooms.for({ room: 1 }).name, 6, '"replay" may be at most 5'],
  ])('is refused with %s', async (_what, channel, replay, text) => {
    const a = await serve(new MemoryBroker());
    const { listen, errors } = clientOf(a.url);
    await expect(listen(replay, channel)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: expect.stringContaining(text),
    });
    expect(errors.pending).toEqual([]);
  });

  test.each([0, -1, 1.5, 'first', null, {}, { epoch: 1, offset: 1 }, { epoch: 'e', offset: -1 }])(
    'is refused at the call with %j',
    async (replay) => {
      const { listen } = clientOf('http://127.0.0.1:1/messages');
      await expect(listen(replay as never)).rejects.toThrow('option "replay" must be a whole number of at least 1');
    },
  );
});

describe('A stream of a client with `replay`', () => {
  test('begins each loop and each observer with earlier messages, then continues with new ones', async () => {
    const server = await serve(new MemoryBroker());
    await post(server, 1, 2, 3);
    const { client } = clientOf(server.url);
    const stream = client.createStream<number>(Orders, { replay: 2 });
    const observed = new Queue<number>();
    stream.subscribe({ next: observed.push });
    expect(await observed.take(2)).toEqual([2, 3]);
    const loop = stream[Symbol.asyncIterator]();
    expect([await loop.next(), await loop.next()].map(({ value }) => value)).toEqual([2, 3]);
    await post(server, 4);
    expect(await loop.next()).toEqual({ value: 4, done: false });
    expect(await observed.take(1)).toEqual([4]);
    await loop.return!();
  });

  test('throws for a wrong `replay` at the call, and ends with an error on a channel without history', async () => {
    const { client } = clientOf((await serve(new MemoryBroker())).url);
    expect(() => client.createStream(Orders, { replay: 0 })).toThrow(
      'createStream: option "replay" must be a whole number of at least 1',
    );
    const loop = client.createStream(Plain, { replay: 1 })[Symbol.asyncIterator]();
    await expect(loop.next()).rejects.toThrow('"replay" needs a channel with history');
  });
});

describe('A second listener of a channel with `replay`', () => {
  test('gets its own earlier messages, which the first one does not hear', async () => {
    const a = await serve(new MemoryBroker());
    const { listen, errors } = clientOf(a.url);
    const first = await listen();
    await post(a, 1, 2, 3);
    expect(await first.heard.take(3)).toEqual(told(1, 3));
    const second = await listen(2);
    expect(await second.heard.take(2)).toEqual(told(2, 3, ' again'));
    await post(a, 4);
    for (const { heard } of [first, second]) expect(await heard.take(1)).toEqual(told(4, 4));
    expect(first.heard.pending).toEqual([]);
    expect(errors.pending).toEqual([]);
  });

  test('misses and doubles nothing while others post', async () => {
    const a = await serve(new MemoryBroker());
    const { listen } = clientOf(a.url);
    const first = await listen();
    await post(a, ...range(1, 300));
    const posting = post(a, ...range(301, 500));
    const others = await Promise.all([listen(1_000), listen(1_000), listen({ epoch: '', offset: 0 })]);
    await posting;
    for (const { heard } of [first, ...others]) {
      expect((await heard.take(500)).map((line) => line.replace(' again', ''))).toEqual(told(1, 500));
      expect(heard.pending).toEqual([]);
    }
  });
});

describe('A request with `replay` and without a listener', () => {
  test('gets earlier messages first, then the position where the channel continues', async () => {
    const a = await serve(new MemoryBroker());
    await post(a, 1, 2, 3);
    const open = (body: object) =>
      SseClient.connect(a.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
    await using client = await open({ channels: [{ channel: Orders.name, replay: 2 }] });
    expect((await client.next())[0]).toBe('messaging:position');
    expect([await client.next(), await client.next()]).toMatchObject([
      ['message', { data: 2 }],
      ['message', { data: 3 }],
    ]);
    expect(await client.next()).toMatchObject([
      'messaging:ready',
      { channels: [{ position: { offset: 3 }, recovered: true }] },
    ]);
    await using other = await open({ channels: [{ channel: Plain.name, replay: 2 }] });
    const error = { channel: Plain.name, error: 'CONFIGURATION', message: expect.stringContaining('keeps none') };
    expect(await other.next()).toMatchObject(['messaging:ready', { channels: [error] }]);
  });
});
