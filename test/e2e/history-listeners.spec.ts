import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Injectable } from '@nestjs/common';
import { afterAll, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { filter, firstValueFrom } from 'rxjs';
import {
  ConfigurationError,
  defineChannel,
  MessagingModule,
  MessagingService,
  OnMessage,
  type MessageContext,
  type Position,
  type RedisTransportOptions,
} from 'nestjs-messaging';
import { startApp } from '../support/apps.js';
import { Queue } from '../support/queue.js';
import { RedisServer } from '../support/redis-server.js';

const Orders = defineChannel<number>('history-listeners/orders', undefined, {
  history: { maxMessages: 1_000, ttlMs: 600_000 },
});
const Rooms = defineChannel<number, 'history-listeners/rooms/:id'>('history-listeners/rooms/:id', undefined, {
  history: { maxMessages: 1_000, ttlMs: 600_000 },
});

let calls = new Queue<string>();
beforeEach(() => void (calls = new Queue()));

@Injectable()
class Ledger {
  @OnMessage(Orders, { replay: 2 })
  note(order: number, { replayed, position }: MessageContext) {
    calls.push(`${position!.offset}: ${replayed ? `(${order})` : order}`);
  }
}

async function server(redis?: RedisServer, providers: (typeof Ledger)[] = [], options: RedisTransportOptions = {}) {
  const { app, ...rest } = await startApp({
    imports: [MessagingModule.forRoot(redis === undefined ? {} : { redis: { port: redis.port, ...options } })],
    providers,
  });
  const messaging = app.get(MessagingService);
  return { ...rest, app, messaging, [Symbol.asyncDispose]: () => app.close() };
}

/** Listens: `offset: n` live, `offset: (n)` from the history. */
async function listen(messaging: MessagingService, replay?: number | 'latest' | Position) {
  const heard = new Queue<string>();
  const { ready } = messaging.addListener(
    Orders,
    (order, { replayed, position }) => heard.push(`${position!.offset}: ${replayed ? `(${order})` : order}`),
    { ...(replay === undefined ? {} : { replay }), onGap: ({ reason }) => heard.push(`gap ${reason}`) },
  );
  await ready;
  return heard;
}

const isReady = (messaging: MessagingService) =>
  firstValueFrom(messaging.status.pipe(filter(({ state }) => state === 'ready')));

describe('Listeners of a channel with history on two servers with Redis', () => {
  let redis: RedisServer;
  let dir: string;
  beforeAll(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'history-'));
    redis = await RedisServer.start({ dir });
  });
  afterAll(async () => {
    await redis.kill();
    await rm(dir, { recursive: true, force: true });
  });

  test('get earlier messages, then new ones, even after a restart of Redis with its data', async () => {
    await using one = await server(redis);
    await isReady(one.messaging);
    expect(await one.messaging.position(Orders)).toEqual({ epoch: '', offset: 0 });
    for (const order of [1, 2, 3]) expect(await one.messaging.postMessage(Orders, order)).toBe(true);
    // The application has started once its handlers have received the earlier messages.
    await using two = await server(redis, [Ledger]);
    expect(calls.pending).toEqual(['2: (2)', '3: (3)']);
    const position = await two.messaging.position(Orders);
    expect(position.offset).toBe(3);
    const heard = await listen(two.messaging, 'latest');
    await one.messaging.postMessage(Orders, 4);
    await two.messaging.postMessage(Orders, 5);
    expect(await calls.take(4)).toEqual(['2: (2)', '3: (3)', '4: 4', '5: 5']);
    expect(await heard.take(3)).toEqual(['3: (3)', '4: 4', '5: 5']);

    await redis.kill();
    await redis.restart();
    await Promise.all([isReady(one.messaging), isReady(two.messaging)]);
    expect(await one.messaging.postMessage(Orders, 6)).toBe(true);
    expect(await heard.take(1)).toEqual(['6: 6']);
    const later = await listen(one.messaging, position);
    expect(await later.take(3)).toEqual(['4: (4)', '5: (5)', '6: (6)']);
    expect(await two.messaging.postMessage(Orders, 7)).toBe(true);
    for (const queue of [heard, later]) expect(await queue.take(1)).toEqual(['7: 7']);
    expect(await calls.take(2)).toEqual(['6: 6', '7: 7']);
    for (const queue of [heard, later, calls]) expect(queue.pending).toEqual([]);
  });

  test('loop over earlier messages at their own pace, then over new ones', async () => {
    await using one = await server(redis);
    await using two = await server(redis);
    const Long = defineChannel<number>('history-listeners/long', undefined, Orders.definition.options);
    const posted = Array.from({ length: 700 }, (_, index) => index + 1);
    await Promise.all(posted.map((order) => one.messaging.postMessage(Long, order)));
    const loop = two.messaging.iterate(Long, { replay: 700, maxBuffered: 5 });
    for (const order of posted) expect(await loop.next()).toEqual({ value: order, done: false });
    const next = loop.next();
    await one.messaging.postMessage(Long, 701);
    expect(await next).toEqual({ value: 701, done: false });
  });
});

test('An outage costs a few lines of the log, however many channels of a template get posts', async () => {
  const redis = await RedisServer.start();
  await using one = await server(redis, [], { publishTimeoutMs: 300 });
  await isReady(one.messaging);
  const error = jest.spyOn(one.logger, 'error');
  await redis.kill();
  const posts = Array.from({ length: 150 }, (_, id) => one.messaging.postMessage(Rooms.for({ id }), id));
  expect(new Set(await Promise.all(posts))).toEqual(new Set([false]));
  expect(one.logger.problems).toEqual([
    expect.stringMatching(/^warn .*; until this ends, messages between this server and the others may be lost$/),
    expect.stringMatching(
      /^error A post failed on channel "history-listeners\/rooms\/\d+": It is not appended: .*every 60 s\)$/,
    ),
  ]);
  const stacks = (error.mock.calls as unknown[][]).flat().filter((text) => /^ +at /m.test(String(text)));
  expect(stacks).toEqual([]);
});

/** Decorates a method with invalid options. */
const decorate = (options: object) => () => {
  class Wrong {
    @OnMessage('any', options)
    handle() {}
  }
  return Wrong;
};

describe('@OnMessage with replay', () => {
  test('gives a handler posts from the start of the application after the earlier messages, once', async () => {
    @Injectable()
    class Early {
      constructor(private readonly messaging: MessagingService) {}

      async onModuleInit() {
        for (const order of [1, 2, 3]) await this.messaging.postMessage(Orders, order);
      }
    }
    await using app = await server(undefined, [Ledger, Early] as never);
    await app.messaging.postMessage(Orders, 4);
    expect(calls.pending.map((text) => text.replace(/[()]/g, ''))).toEqual(['1: 1', '2: 2', '3: 3', '4: 4']);
  });

  test.each<[string, () => unknown, string]>([
    ['a template', () => OnMessage(Rooms, { replay: 1 }), 'replay" needs one channel'],
    ['a channel without history', () => OnMessage('history-listeners/none', { replay: 1 }), 'keeps none'],
    ['more than is kept', () => OnMessage(Orders, { replay: 2_000 }), 'must be at most 1000'],
  ])('of %s ends the start with an error that names the handler', async (_, decorator, text) => {
    @Injectable()
    class Wrong {
      handle() {}
    }
    const { prototype } = Wrong;
    (decorator() as MethodDecorator)(prototype, 'handle', Object.getOwnPropertyDescriptor(prototype, 'handle')!);
    const starting = server(undefined, [Wrong] as never);
    await expect(starting).rejects.toThrow(ConfigurationError);
    await expect(starting).rejects.toThrow(`@OnMessage on Wrong.handle: option "replay"`);
    await expect(starting).rejects.toThrow(text);
  });

  test('accepts no other options and no invalid values', () => {
    expect(decorate({ replay: 'all' })).toThrow(
      `@OnMessage on Wrong.handle: option "replay" must be a whole number of at least 1, 'latest' or a position`,
    );
    expect(decorate({ onGap: () => {} })).toThrow('unknown option "onGap"; the options are: replay');
  });
});
