import 'reflect-metadata';
import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { firstValueFrom } from 'rxjs';
import {
  ClientInbox,
  connectClient,
  createTestMessaging,
  historyStoreConformance,
  Inbox,
  inMemory,
  MemoryBroker,
  MemoryTransport,
  MESSAGING_OPTIONS,
  MessagingTestingModule,
  type MessagingTestingModuleOptions,
  recordPosts,
  RedisProxy,
  TcpProxy,
  transportConformance,
} from 'nestjs-messaging/testing';
import { Test, type TestingModule } from '@nestjs/testing';
import { type Server } from 'node:http';
import { defineChannel, MessagingModule, MessagingService } from 'nestjs-messaging';
import { MessagingClient } from 'nestjs-messaging/client';
import { AppModule, OrderPlaced, Orders, OrdersController, OrdersModule, OrdersPlaced, Revenue } from './orders.js';
import { RedisServer } from '../../support/redis-server.js';

// The examples of docs/testing.md, one after the other; test/types/examples.spec.ts holds them equal.

/* oxlint-disable jest/expect-expect -- the tests of the suites assert by themselves */

let server: RedisServer;
beforeAll(async () => {
  server = await RedisServer.start();
  process.env['REDIS_URL'] = server.url;
});
afterAll(() => server.kill());

test('An order is announced to all servers', async () => {
  await using messaging = await createTestMessaging();
  expect(await new Orders(messaging.service).place(7, 30)).toBe(true);
  expect(messaging.posts.to(OrdersPlaced)).toEqual([new OrderPlaced(7, 30)]);
});

test('A customer is sent the orders', async () => {
  await using messaging = await createTestMessaging();
  const customer = messaging.openSession({ auth: { userId: 'ada' } });
  const controller = new OrdersController(new Orders(messaging.service), customer);
  const next = firstValueFrom(controller.updates());
  await messaging.service.postMessage(OrdersPlaced, new OrderPlaced(7, 30));
  expect(await next).toEqual(new OrderPlaced(7, 30));
});

let orders: TestingModule;

beforeEach(async () => {
  orders = await Test.createTestingModule({ imports: [MessagingTestingModule.forRoot(), OrdersModule] }).compile();
  await orders.init(); // From here on, @OnMessage methods are called.
});

afterEach(() => orders.close());

test('Orders add up', async () => {
  await orders.get(Orders).place(7, 30);
  expect(orders.get(Revenue).total).toBe(30);
});

import request from 'supertest';

test('The controller has its dependencies', async () => {
  const module = await Test.createTestingModule({
    imports: [MessagingTestingModule.forRoot()],
    controllers: [OrdersController],
    providers: [Orders],
  }).compile();
  expect(await module.resolve(OrdersController)).toBeInstanceOf(OrdersController);
  await module.close();
});

test('POST /orders announces the order', async () => {
  const testing = await Test.createTestingModule({ imports: [AppModule] })
    .overrideProvider(MESSAGING_OPTIONS)
    .useFactory(inMemory())
    .compile();
  const app = await testing.createNestApplication().init();
  const posts = recordPosts(app);
  await request(app.getHttpServer() as Server)
    .post('/orders')
    .send({ id: 7, total: 30 })
    .expect(201);
  expect(posts.to(OrdersPlaced)).toEqual([new OrderPlaced(7, 30)]);
  await app.close();
});

test('Each order is announced', async () => {
  const posts = recordPosts(orders);
  void orders.get(Orders).place(7, 30);
  expect((await posts.next(OrdersPlaced)).total).toBe(30);
  expect(posts.to(OrdersPlaced)).toHaveLength(1);
  expect(posts.all).toEqual([{ channel: 'orders_placed', message: new OrderPlaced(7, 30), options: { global: true } }]);
});

test('Listeners get each order', async () => {
  const inbox = new Inbox(orders.get(MessagingService), OrdersPlaced);
  await orders.get(Orders).place(7, 30);
  expect(await inbox.next()).toEqual(new OrderPlaced(7, 30));
  expect(inbox.pending).toEqual([]);
});

async function startServer(options: MessagingTestingModuleOptions) {
  const imports = [MessagingTestingModule.forRoot(options), OrdersModule];
  return (await Test.createTestingModule({ imports }).compile()).init();
}

test('An order on one server is announced on the other', async () => {
  const broker = new MemoryBroker();
  const [one, two] = [await startServer({ broker }), await startServer({ broker })];
  const inbox = new Inbox(two.get(MessagingService), OrdersPlaced);
  await inbox.ready; // No later post of another server can be missed.
  await one.get(Orders).place(7, 30);
  expect(await inbox.next()).toEqual(new OrderPlaced(7, 30));
  await Promise.all([one.close(), two.close()]);
});

test('A page gets each order', async () => {
  const testing = await Test.createTestingModule({ imports: [AppModule] })
    .overrideProvider(MESSAGING_OPTIONS)
    .useFactory(inMemory())
    .compile();
  const app = testing.createNestApplication();
  const client = await connectClient(app, { headers: { authorization: 'Bearer a-token' } });
  const inbox = new ClientInbox(client, OrdersPlaced);
  await inbox.ready; // The server has confirmed the subscription.
  await app.get(Orders).place(7, 30);
  expect(await inbox.next()).toEqual(new OrderPlaced(7, 30));
  await app.close(); // The client closes with it.
});

async function createServer(broker: MemoryBroker) {
  const messaging = MessagingTestingModule.forRoot({ broker, gateway: { leaveMs: 4_000 } });
  return (await Test.createTestingModule({ imports: [messaging, OrdersModule] }).compile()).createNestApplication();
}

test('A page misses no order during a deployment', async () => {
  const broker = new MemoryBroker();
  const [one, two] = [await createServer(broker), await createServer(broker)];
  const inbox = new ClientInbox(await connectClient([one, two]), OrdersPlaced);
  await inbox.ready;
  const closed = one.close();
  await two.get(Orders).place(7, 30);
  await closed;
  await two.get(Orders).place(8, 20);
  expect(await inbox.take(2)).toEqual([new OrderPlaced(7, 30), new OrderPlaced(8, 20)]);
  await two.close();
});

test('GET /orders/updates sends each order', async () => {
  const imports = [MessagingTestingModule.forRoot(), OrdersModule];
  const app = (await Test.createTestingModule({ imports }).compile()).createNestApplication();
  await app.listen(0, '127.0.0.1');
  const response = await fetch(`${await app.getUrl()}/orders/updates`);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  await app.get(Orders).place(7, 30);
  let text = '';
  while (!text.includes('"total":30')) text += (await reader.read()).value;
  expect(text).toContain('data: {"id":7,"total":30}');
  await reader.cancel();
  await app.close();
});

const OrderLog = defineChannel('order_log', OrderPlaced, {
  clients: true,
  history: { maxMessages: 100, ttlMs: 3_600_000 },
});

test('A page learns that orders were missed, and gets the whole history', async () => {
  const broker = new MemoryBroker();
  const link = new MemoryTransport(broker);
  const messaging = MessagingTestingModule.forRoot({ transport: link, gateway: true });
  const app = (await Test.createTestingModule({ imports: [messaging] }).compile()).createNestApplication();
  const other = await startServer({ broker });
  const client = await connectClient(app);
  const [placed, logged] = [new ClientInbox(client, OrdersPlaced), new ClientInbox(client, OrderLog)];
  await Promise.all([placed.ready, logged.ready]);

  broker.cut(link); // The other server still reaches the broker.
  await other.get(Orders).place(7, 30);
  await other.get(MessagingService).postMessage(OrderLog, new OrderPlaced(7, 30), { global: true });
  broker.heal();

  expect(await placed.gaps.next()).toMatchObject({ reason: 'broker' });
  expect(await logged.next()).toEqual(new OrderPlaced(7, 30));
  expect(logged.gaps.pending).toEqual([]);
  await Promise.all([app.close(), other.close()]);
});

test('A page learns that a history was lost', async () => {
  const broker = new MemoryBroker();
  const messaging = MessagingTestingModule.forRoot({ broker, gateway: true });
  const app = (await Test.createTestingModule({ imports: [messaging] }).compile()).createNestApplication();
  const inbox = new ClientInbox(await connectClient(app), OrderLog);
  await inbox.ready;
  const service = app.get(MessagingService);
  await service.postMessage(OrderLog, new OrderPlaced(7, 30), { global: true });
  broker.wipe(); // Like a Redis that restarts without its data.
  await service.postMessage(OrderLog, new OrderPlaced(8, 20), { global: true });
  expect(await inbox.take(2)).toEqual([new OrderPlaced(7, 30), new OrderPlaced(8, 20)]);
  expect(await inbox.gaps.next()).toMatchObject({ reason: 'epoch' });
  await app.close();
});

test('A page that was offline gets the orders that it missed', async () => {
  const imports = [MessagingTestingModule.forRoot({ gateway: true }), OrdersModule];
  const app = (await Test.createTestingModule({ imports }).compile()).createNestApplication();
  await app.listen(0, '127.0.0.1');
  const network = await TcpProxy.start(await app.getUrl());
  const client = new MessagingClient({ url: new URL('/messages', network.url) });
  const inbox = new ClientInbox(client, OrdersPlaced);
  await inbox.ready;
  const offline = new Promise<void>((resolve) => client.onStatus(({ state }) => state === 'waiting' && resolve()));
  network.refuse();
  await offline;
  await app.get(Orders).place(7, 30);
  network.accept();
  expect(await inbox.next()).toEqual(new OrderPlaced(7, 30));
  client.close();
  await network[Symbol.asyncDispose]();
  await app.close();
});

async function startOverRedis(redis: string) {
  const imports = [MessagingModule.forRoot({ redis }), OrdersModule];
  return (await Test.createTestingModule({ imports }).compile()).init();
}

test('A listener learns that it may have missed orders while Redis was away', async () => {
  const proxy = await RedisProxy.start(process.env['REDIS_URL']);
  const app = await startOverRedis(proxy.url);
  const inbox = new Inbox(app.get(MessagingService), OrdersPlaced);
  await inbox.ready;
  proxy.cut();
  expect(await inbox.gaps.next()).toMatchObject({ reason: 'broker' });
  await app.close();
  await proxy[Symbol.asyncDispose]();
});

const HOUR_MS = 3_600_000;

function fakeClock() {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate', 'clearImmediate'] });
}

afterEach(() => {
  jest.useRealTimers();
});

test('Orders older than an hour are gone', async () => {
  fakeClock();
  await using messaging = await createTestMessaging();
  await messaging.service.postMessage(OrderLog, new OrderPlaced(7, 30), { global: true });
  await jest.advanceTimersByTimeAsync(HOUR_MS);
  await messaging.service.postMessage(OrderLog, new OrderPlaced(8, 20), { global: true });
  const inbox = new Inbox(messaging.service, OrderLog, { replay: 10 });
  expect(await inbox.next()).toEqual(new OrderPlaced(8, 20));
});

test('A sign-in ends after an hour', async () => {
  fakeClock();
  await using messaging = await createTestMessaging();
  const auth = { userId: 'ada', expiresAt: Date.now() + HOUR_MS };
  const { session } = messaging.openSession({ auth });
  await jest.advanceTimersByTimeAsync(HOUR_MS - 1_000);
  expect(session.closed).toBe(false);
  await jest.advanceTimersByTimeAsync(1_250);
  expect(session.closed).toBe(true);
});

test('A page renews its sign-in before it expires', async () => {
  fakeClock();
  const messaging = MessagingTestingModule.forRoot({
    gateway: true,
    authenticate: ({ headers }) => ({ userId: 'ada', expiresAt: Number(headers.authorization) }),
  });
  const app = (await Test.createTestingModule({ imports: [messaging] }).compile()).createNestApplication();
  let signIns = 0;
  let renew!: () => void;
  const renewed = new Promise<void>((resolve) => (renew = resolve));
  const headers = () => {
    if (++signIns === 2) renew();
    return { authorization: String(Date.now() + HOUR_MS) };
  };
  const inbox = new ClientInbox(await connectClient(app, { headers }), OrdersPlaced);
  await inbox.ready;
  await jest.advanceTimersByTimeAsync(HOUR_MS - 5_000);
  await renewed;
  await jest.advanceTimersByTimeAsync(60_000); // The first sign-in has expired.
  await app.get(MessagingService).postMessage(OrdersPlaced, new OrderPlaced(7, 30));
  expect(await inbox.next()).toEqual(new OrderPlaced(7, 30));
  await app.close();
});

function startBroker() {
  const broker = new MemoryBroker(); // Yours.
  return {
    connect: () => new MemoryTransport(broker),
    cut: () => broker.cut(),
    heal: () => broker.heal(),
    wipe: () => broker.wipe(), // Forgets all histories; for historyStoreConformance alone.
  };
}

test.each(transportConformance(startBroker))('$name', ({ run }) => run());
test.each(historyStoreConformance(startBroker))('$name', ({ run }) => run());
