import 'reflect-metadata';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { Server } from 'node:http';
import { Controller, Get, Injectable, Module, Post, type DynamicModule, type INestApplication } from '@nestjs/common';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { Test, type TestingModule } from '@nestjs/testing';
import {
  AuthorizeChannel,
  ChannelDeniedError,
  ClientConnections,
  ConfigurationError,
  defineChannel,
  MessagingModule,
  MessagingService,
  OnMessage,
  SessionMessages,
} from 'nestjs-messaging';
import {
  ClientInbox,
  connectClient,
  Inbox,
  inMemory,
  MemoryBroker,
  MESSAGING_OPTIONS,
  MessagingTestingModule,
  recordPosts,
  RedisProxy,
  TcpProxy,
} from 'nestjs-messaging/testing';
import type { MessagingClient } from 'nestjs-messaging/client';
import request from 'supertest';

class Placed {
  constructor(readonly id: number) {}
}

const OrdersPlaced = defineChannel('testing/placed', Placed, { clients: true });
const ShopOrders = defineChannel('testing/shops/:shopId/orders', Placed, {
  history: { maxMessages: 10, ttlMs: 60_000 },
});
const Hidden = defineChannel('testing/hidden');

@Controller('orders')
class OrdersController {
  constructor(private readonly messages: SessionMessages) {}

  @Post()
  async place() {
    return this.messages.postMessage(OrdersPlaced, new Placed(7), { global: true });
  }

  @Get('user')
  user() {
    return { userId: this.messages.session.auth?.userId };
  }
}

@Injectable()
class Revenue {
  count = 0;

  @OnMessage(OrdersPlaced)
  add() {
    this.count++;
  }
}

@Module({ controllers: [OrdersController], providers: [Revenue] })
class OrdersModule {}

/** No Redis runs there. A connection attempt would log a warning, and posts would resolve to `false`. */
const REDIS = 'redis://127.0.0.1:1';
const OPTIONS = { redis: REDIS, authenticate: () => ({ userId: 'ada' }) };

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

const requestOf = (app: INestApplication) => request(app.getHttpServer() as Server);

async function start(imports: (DynamicModule | typeof OrdersModule)[]): Promise<TestingModule> {
  const app = await Test.createTestingModule({ imports }).compile();
  open.push(app);
  return app.init();
}

/** An application whose root module configures Redis, in memory. */
async function startOverridden(messaging: DynamicModule, broker?: MemoryBroker): Promise<INestApplication> {
  @Module({ imports: [messaging, OrdersModule] })
  class AppModule {}
  const testing = await Test.createTestingModule({ imports: [AppModule] })
    .overrideProvider(MESSAGING_OPTIONS)
    .useFactory(inMemory({ broker }))
    .compile();
  const app = testing.createNestApplication();
  open.push(app);
  return app.init();
}

async function startGateway(
  gateway: true | { path?: string; leaveMs?: number } = true,
  prefix?: string,
  adapter?: FastifyAdapter,
  broker?: MemoryBroker,
): Promise<INestApplication> {
  const testing = await Test.createTestingModule({
    imports: [MessagingTestingModule.forRoot({ gateway, broker })],
  }).compile();
  const app = adapter
    ? testing.createNestApplication<NestFastifyApplication>(adapter)
    : testing.createNestApplication();
  if (prefix !== undefined) app.setGlobalPrefix(prefix);
  open.push(app);
  return app;
}

describe('MessagingTestingModule', () => {
  test('stands in for MessagingModule: messages are delivered, global posts are accepted', async () => {
    const app = await start([MessagingTestingModule.forRoot(), OrdersModule]);
    const posts = recordPosts(app);
    expect(await app.get(MessagingService).postMessage(OrdersPlaced, new Placed(1), { global: true })).toBe(true);
    expect(app.get(Revenue).count).toBe(1);
    expect(posts.to(OrdersPlaced)).toEqual([new Placed(1)]);
  });

  test('joins the servers of one broker, and no others', async () => {
    const broker = new MemoryBroker();
    const one = await start([MessagingTestingModule.forRoot({ broker }), OrdersModule]);
    const two = await start([MessagingTestingModule.forRoot({ broker }), OrdersModule]);
    const other = await start([MessagingTestingModule.forRoot(), OrdersModule]);
    const inbox = new Inbox(two.get(MessagingService), OrdersPlaced);
    await inbox.ready;
    await one.get(MessagingService).postMessage(OrdersPlaced, new Placed(1), { global: true });
    expect(await inbox.next()).toEqual(new Placed(1));
    expect(two.get(Revenue).count).toBe(1);
    expect(other.get(Revenue).count).toBe(0);
  });

  test('serves several applications one after the other by one definition', async () => {
    const messaging = MessagingTestingModule.forRoot();
    for (const count of [1, 2]) {
      const app = await start([messaging, OrdersModule]);
      const service = app.get(MessagingService);
      expect([count, await service.postMessage(OrdersPlaced, new Placed(count), { global: true })]).toEqual([
        count,
        true,
      ]);
      await app.close();
    }
  });

  test('refuses redis, and invalid options of MessagingModule', async () => {
    for (const [options, text] of [
      [{ redis: REDIS }, /MessagingTestingModule\.forRoot\(\): option "redis"/],
      [{ broker: 5 }, /option "broker" must be a MemoryBroker/],
      [{ scope: 'no' }, /option "scope"/],
    ] as const) {
      expect(() => MessagingTestingModule.forRoot(options as never)).toThrow(ConfigurationError);
      expect(() => MessagingTestingModule.forRoot(options as never)).toThrow(text);
    }
    await expect(start([MessagingTestingModule.forRoot({ limit: 1 } as never)])).rejects.toThrow(
      /unknown option "limit"/,
    );
  });
});

describe('inMemory()', () => {
  test.each([
    ['forRoot', () => MessagingModule.forRoot(OPTIONS)],
    ['forRootAsync', () => MessagingModule.forRootAsync({ useFactory: async () => OPTIONS })],
    ['forRoot with a local scope', () => MessagingModule.forRoot({ ...OPTIONS, scope: 'async-local' })],
  ])('replaces the Redis of an application that uses %s; its other options stay', async (_, configure) => {
    const app = await startOverridden(configure());
    const posts = recordPosts(app);
    await requestOf(app).post('/orders').expect(201, 'true');
    await requestOf(app).get('/orders/user').expect(200, { userId: 'ada' });
    expect(await posts.next(OrdersPlaced)).toEqual(new Placed(7));
    expect(app.get(Revenue).count).toBe(1);
  });

  test('joins two of its servers by a broker', async () => {
    const broker = new MemoryBroker();
    const one = await startOverridden(MessagingModule.forRoot(OPTIONS), broker);
    const two = await startOverridden(MessagingModule.forRoot(OPTIONS), broker);
    const inbox = new Inbox(two.get(MessagingService), OrdersPlaced);
    await inbox.ready;
    await requestOf(one).post('/orders').expect(201, 'true');
    expect(await inbox.next()).toEqual(new Placed(7));
  });

  test('replaces options of the application', async () => {
    const testing = await Test.createTestingModule({ imports: [MessagingModule.forRoot(OPTIONS), OrdersModule] })
      .overrideProvider(MESSAGING_OPTIONS)
      .useFactory(inMemory({ authenticate: () => ({ userId: 'eve' }) }))
      .compile();
    const app = testing.createNestApplication();
    open.push(app);
    await app.init();
    expect((await requestOf(app).get('/orders/user')).body).toEqual({ userId: 'eve' });
  });

  test('refuses redis', () => {
    expect(() => inMemory({ redis: REDIS } as never)).toThrow(/inMemory\(\): option "redis"/);
  });

  test('keeps the error of a module that is imported without forRoot()', async () => {
    const builder = Test.createTestingModule({ imports: [MessagingModule] });
    const compiled = builder.overrideProvider(MESSAGING_OPTIONS).useFactory(inMemory()).compile();
    await expect(compiled).rejects.toThrow(/import MessagingModule\.forRoot\(\)/);
  });
});

describe('A client in the process', () => {
  test.each([
    ['at its default', () => startGateway()],
    ['under a global prefix', () => startGateway({ path: '/live/' }, 'api')],
    ['on Fastify', () => startGateway(true, undefined, new FastifyAdapter())],
  ])('finds the gateway %s, makes the application listen, and awaits the next message', async (_, make) => {
    const app = await make();
    using client = await connectClient(app);
    await using inbox = new ClientInbox(client, OrdersPlaced);
    await inbox.ready;
    for (const id of [1, 2, 3]) await app.get(MessagingService).postMessage(OrdersPlaced, new Placed(id));
    expect(await inbox.next()).toEqual(new Placed(1));
    const { message, context } = await inbox.nextReceived();
    expect([message, context.channel]).toEqual([new Placed(2), 'testing/placed']);
    expect(await inbox.take(1)).toEqual([new Placed(3)]);
    expect(inbox.pending).toEqual([]);
  });

  test('leaves an application that listens unchanged, and accepts a path', async () => {
    const app = await startGateway();
    await app.listen(0, '127.0.0.1');
    const url = await app.getUrl();
    using client = await connectClient(app, { path: 'messages' });
    await new ClientInbox(client, OrdersPlaced).ready;
    expect(await app.getUrl()).toBe(url);
  });

  test('gets the error of a refused channel, whether the test waits for the channel or for a message', async () => {
    const app = await startGateway();
    using client = await connectClient(app);
    const inbox = new ClientInbox(client, Hidden);
    const early = inbox.next();
    await expect(inbox.ready).rejects.toThrow(ChannelDeniedError);
    await expect(early).rejects.toThrow(ChannelDeniedError);
    await expect(inbox.next()).rejects.toThrow(ChannelDeniedError);
  });

  test.each([
    [
      'the server takes the channel away',
      (app: INestApplication) => app.get(ClientConnections).unsubscribe({ userId: 'ada' }, OrdersPlaced),
      ChannelDeniedError,
    ],
    [
      'the client ends its subscriptions',
      (_: INestApplication, client: MessagingClient) => client.unsubscribe(OrdersPlaced),
      'ClientInbox of testing/placed: its subscription has ended',
    ],
  ])('ends the waiting of its inbox with the reason if %s', async (_, end, reason) => {
    const gateway = { leaveMs: 0 };
    const testing = await Test.createTestingModule({
      imports: [MessagingTestingModule.forRoot({ gateway, authenticate: () => ({ userId: 'ada' }) })],
    }).compile();
    const app = testing.createNestApplication();
    open.push(app);
    using client = await connectClient(app, { onError: () => {} });
    const inbox = new ClientInbox(client, OrdersPlaced);
    await inbox.ready;
    await app.get(MessagingService).postMessage(OrdersPlaced, new Placed(1));
    expect(await inbox.next()).toEqual(new Placed(1));
    const [message, messages, gap] = [inbox.next(), inbox.take(2), inbox.gaps.next()];
    await end(app, client);
    for (const waiting of [message, messages, gap]) await expect(waiting).rejects.toThrow(reason);
    await expect(inbox.next()).rejects.toThrow(reason);
  });

  test.each([
    ['MessagingTestingModule', (broker: MemoryBroker) => MessagingTestingModule.forRoot({ broker, gateway: true })],
    ['inMemory()', () => MessagingModule.forRoot({ redis: REDIS, gateway: true })],
  ])(
    'hears another server of the broker by %s, and its own server closes without waiting for it',
    async (_, configure) => {
      const broker = new MemoryBroker();
      const [one, two] = await Promise.all(
        [1, 2].map(async () => {
          const builder = Test.createTestingModule({ imports: [configure(broker), OrdersModule] });
          if (configure.length === 0) builder.overrideProvider(MESSAGING_OPTIONS).useFactory(inMemory({ broker }));
          const app = (await builder.compile()).createNestApplication();
          open.push(app);
          return app.init();
        }),
      );
      using client = await connectClient(one!);
      const inbox = new ClientInbox(client, OrdersPlaced);
      await inbox.ready;
      await requestOf(two!).post('/orders').expect(201);
      expect(await inbox.next()).toEqual(new Placed(7));
      const began = performance.now();
      await one!.close();
      // By default, a server stays 8 s for clients that it sends to another one.
      expect(performance.now() - began).toBeLessThan(4_000);
    },
  );

  test('has an inbox with the gaps of its own channel or template among the messages, until it is disposed of', async () => {
    const broker = new MemoryBroker();
    @Injectable()
    class Access {
      @AuthorizeChannel(ShopOrders, { all: true })
      any() {
        return true;
      }
    }
    const imports = [MessagingTestingModule.forRoot({ gateway: true, broker })];
    const testing = await Test.createTestingModule({ imports, providers: [Access] }).compile();
    const app = testing.createNestApplication();
    open.push(app);
    const client = await connectClient(app);
    const [placed, shops] = [new ClientInbox(client, OrdersPlaced), new ClientInbox(client, ShopOrders)];
    await Promise.all([placed.ready, shops.ready]);
    broker.cut();
    broker.heal();
    expect(await placed.gaps.next()).toMatchObject({ channel: 'testing/placed', reason: 'broker' });
    const service = app.get(MessagingService);
    await service.postMessage(ShopOrders.for({ shopId: 1 }), new Placed(1), { global: true });
    expect(await shops.next()).toEqual(new Placed(1));
    broker.wipe();
    await service.postMessage(ShopOrders.for({ shopId: 1 }), new Placed(2), { global: true });
    expect(await shops.gaps.next()).toMatchObject({ channel: ShopOrders.name, reason: 'epoch' });
    expect([placed.gaps.pending, shops.gaps.pending]).toEqual([[], []]);
    await placed[Symbol.asyncDispose]();
    const told = new Promise((resolve) => client.onGap(resolve));
    await service.postMessage(ShopOrders.for({ shopId: 1 }), new Placed(3), { global: true });
    broker.wipe();
    await service.postMessage(ShopOrders.for({ shopId: 1 }), new Placed(4), { global: true });
    await told;
    expect(placed.gaps.pending).toEqual([]);
    client.close();
  });

  test.each([
    ['Express', undefined],
    ['Fastify', () => new FastifyAdapter()],
  ])('closes with its application on %s', async (_, adapter) => {
    const app = await startGateway(true, undefined, adapter?.());
    const client = await connectClient(app);
    const inbox = new ClientInbox(client, OrdersPlaced);
    await inbox.ready;
    const closed = new Promise<void>((resolve) => {
      client.onStatus(({ state }) => state === 'closed' && resolve());
    });
    const [message, gap] = [inbox.next(), inbox.gaps.next()];
    void inbox.next();
    await app.close();
    await closed;
    expect(client.status).toMatchObject({ state: 'closed', reason: 'close' });
    await expect(message).rejects.toThrow('ClientInbox of testing/placed: its client was closed');
    await expect(gap).rejects.toThrow('ClientInbox of testing/placed: its client was closed');
  });

  test('of two servers moves to the other one when its own closes, and misses nothing', async () => {
    const broker = new MemoryBroker();
    const gateway = { leaveMs: 4_000 };
    const [one, two] = [
      await startGateway(gateway, undefined, undefined, broker),
      await startGateway(gateway, undefined, undefined, broker),
    ];
    const client = await connectClient([one, two]);
    const gaps: unknown[] = [];
    client.onGap((gap) => gaps.push(gap));
    const inbox = new ClientInbox(client, OrdersPlaced);
    await inbox.ready;
    const closed = one.close();
    // Whether the client has left by then or not: together, the servers have all of its messages.
    for (const id of [1, 2, 3]) {
      await two.get(MessagingService).postMessage(OrdersPlaced, new Placed(id), { global: true });
    }
    await closed;
    await two.get(MessagingService).postMessage(OrdersPlaced, new Placed(4), { global: true });
    expect(await inbox.take(4)).toEqual([1, 2, 3, 4].map((id) => new Placed(id)));
    expect(gaps).toEqual([]);
    expect(client.status.state).toBe('open');
    await two.close();
  });

  test('cannot be made of a closed application, alone or among others', async () => {
    const [one, other] = [await startGateway(), await startGateway()];
    await one.init();
    await one.close();
    for (const apps of [one, [other, one]]) {
      await expect(connectClient(apps)).rejects.toThrow('connectClient(): the application is closed; connect before');
    }
  });

  test('cannot be made without an application', async () => {
    await expect(connectClient([])).rejects.toThrow(/at least one application/);
  });

  test.each<[string, unknown, unknown, string]>([
    ['a number', [7], {}, 'give it an application, as createNestApplication() makes it, not 7'],
    ['nothing', [undefined], {}, 'not undefined'],
    ['options that are not an object', [], 7, 'the options must be an object, not 7'],
    ['a path that is not a text', [], { path: 7 }, 'option "path" must be a string, not 7'],
  ])('cannot be made of %s', async (_, others, options, text) => {
    const made = connectClient([await startGateway(), ...(others as [])], options as object);
    await expect(made).rejects.toThrow(ConfigurationError);
    await expect(made).rejects.toThrow(`connectClient(): ${text}`.replace('connectClient(): not', 'not'));
  });

  test('has no inbox of anything but a client, a channel and options', async () => {
    const app = await startGateway();
    using client = await connectClient(app);
    expect(() => new ClientInbox(app as never, OrdersPlaced)).toThrow(
      'new ClientInbox(): give it a MessagingClient, as connectClient() makes it, not',
    );
    expect(() => new ClientInbox(undefined as never, OrdersPlaced)).toThrow(ConfigurationError);
    expect(() => new Inbox(app as never, OrdersPlaced)).toThrow(
      'new Inbox(): give it the MessagingService or SessionMessages to listen with, not',
    );
    const inbox = new ClientInbox(client, OrdersPlaced, { replai: true } as never);
    await expect(inbox.next()).rejects.toThrow('unknown option "replai"');
    for (const count of [-1, 0.5, NaN, Infinity, '2' as never]) {
      await expect(inbox.take(count)).rejects.toThrow('take(): option "count" must be a whole number of at');
    }
  });

  test('has no proxy with a wrong target, mode, way, delay or connection', async () => {
    await expect(TcpProxy.start('x')).rejects.toThrow('TcpProxy.start(): the target must be a URL with a port');
    await expect(TcpProxy.start(1, 'x' as never)).rejects.toThrow('TcpProxy.start(): option "mode" must be one of');
    await using proxy = await TcpProxy.start(1);
    expect(() => proxy.retarget('nix')).toThrow('retarget(): the target must be a URL with a port');
    expect(() => proxy.mute('sideways' as never)).toThrow('mute(): option "way" must be one of "up", "down", "both"');
    for (const wrong of [NaN, -1, 0.5, Infinity, 2 ** 31, '5', undefined]) {
      expect(() => (proxy.delayMs = wrong as never)).toThrow('TcpProxy: option "delayMs" must be a whole number of at');
    }
    expect(() => (proxy.mode = 'fail' as never)).toThrow('TcpProxy: option "mode" must be one of "pass",');
    expect([proxy.delayMs, proxy.mode]).toEqual([0, 'pass']);
    for (const wrong of [NaN, -1, 0.5, Infinity, '5']) {
      expect(() => proxy.cut(wrong as never)).toThrow('cut(): option "connection" must be a whole number of at');
      expect(() => proxy.mute('up', wrong as never)).toThrow(
        'mute(): option "connection" must be a whole number of at',
      );
    }
    await using redis = await RedisProxy.start('redis://127.0.0.1:1');
    expect(() => redis.dropNext({} as never)).toThrow('dropNext(): give it a channel or its name, not an object');
    await expect(redis.wipe(7 as never)).rejects.toThrow('wipe(): option "prefix" must be a string, not 7');
  });

  test('has proxies that end all waiting when they are disposed of', async () => {
    const [tcp, redis] = [await TcpProxy.start(1), await RedisProxy.start('redis://127.0.0.1:1')];
    const [connection, dropped] = [tcp.connections.next(), redis.dropNext(OrdersPlaced)];
    await Promise.all([tcp[Symbol.asyncDispose](), redis[Symbol.asyncDispose]()]);
    await expect(connection).rejects.toThrow('TcpProxy: it was disposed of');
    await expect(dropped).rejects.toThrow('RedisProxy: it was disposed of before a message of testing/placed came');
  });

  test('cannot be made for an application without a gateway', async () => {
    const app = (
      await Test.createTestingModule({ imports: [MessagingTestingModule.forRoot()] }).compile()
    ).createNestApplication();
    open.push(app);
    await expect(connectClient(app)).rejects.toThrow(/the application has no gateway/);
  });
});

// `nest g controller` writes such a spec. docs/testing.md quotes these errors of Nest.
describe('A spec that Nest generates for a class that injects SessionMessages', () => {
  test('fails until the module for tests is imported', async () => {
    const compiled = Test.createTestingModule({ controllers: [OrdersController] }).compile();
    await expect(compiled).rejects.toThrow(
      /^Nest can't resolve dependencies of the OrdersController \(\?\).*SessionMessages/s,
    );
  });

  test('fails with get(), and passes with resolve()', async () => {
    const imports = [MessagingTestingModule.forRoot()];
    const module = await Test.createTestingModule({ imports, controllers: [OrdersController] }).compile();
    const problem = await Promise.resolve()
      .then(() => module.get<OrdersController, { messages?: unknown }>(OrdersController))
      .then(
        // Of NestJS before 11.1.9.
        ({ messages }) => messages === undefined && 'It has no SessionMessages',
        ({ message }: Error) => message,
      );
    expect(problem).toMatch(
      /^OrdersController is marked as a scoped provider\..*use "resolve\(\)" instead\.$|^It has no SessionMessages$/s,
    );
    expect(await module.resolve(OrdersController)).toBeInstanceOf(OrdersController);
    await module.close();
  });
});
