import 'reflect-metadata';
import { Controller, Injectable, Module, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  ClientProxy,
  ClientsModule,
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  Transport,
} from '@nestjs/microservices';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Observable, firstValueFrom, lastValueFrom, of, timeout, toArray } from 'rxjs';
import {
  MessagingModule,
  MessagingService,
  OnMessage,
  Serializable,
  defineChannel,
  type MessagingModuleOptions,
} from 'nestjs-messaging';
import { MessagingClientProxy, MessagingRpcContext, MessagingServer } from 'nestjs-messaging/microservices';
import { createApp } from '../support/apps.js';
import { Queue } from '../support/queue.js';
import { RedisServer } from '../support/redis-server.js';

let redis: RedisServer;

beforeAll(async () => {
  redis = await RedisServer.start();
});

afterAll(() => redis.kill());

/** An application that serves its handlers on Redis. */
async function serve(controllers: Type[], options: MessagingModuleOptions = {}, providers: Type[] = []) {
  const { app, logger } = await createApp({
    imports: [MessagingModule.forRoot({ redis: redis.url, ...options })],
    controllers,
    providers: [MessagingClientProxy, ...providers],
  });
  const server = MessagingServer.of(app);
  app.connectMicroservice({ strategy: server });
  await app.init();
  await app.startAllMicroservices();
  const [messaging, client] = [app.get(MessagingService), app.get(MessagingClientProxy)];
  return { app, logger, server, messaging, client, [Symbol.asyncDispose]: () => app.close() };
}

/** A client of Nest's built-in Redis transport. */
async function stockClient() {
  const options = { host: '127.0.0.1', port: redis.port };
  const { app } = await createApp({
    imports: [ClientsModule.register([{ name: 'STOCK', transport: Transport.REDIS, options }])],
  });
  await app.init();
  const client = app.get<ClientProxy>('STOCK');
  await client.connect();
  return { client, [Symbol.asyncDispose]: () => app.close() };
}

/** A microservice on Nest's built-in Redis transport. */
async function stockMicroservice(controller: Type) {
  @Module({ controllers: [controller] })
  class StockModule {}
  const app = await NestFactory.createMicroservice(StockModule, {
    logger: false,
    transport: Transport.REDIS,
    options: { host: '127.0.0.1', port: redis.port },
  });
  await app.listen();
  return { app, [Symbol.asyncDispose]: () => app.close() };
}

test('an emit of a stock client reaches @EventPattern, @OnMessage and addListener', async () => {
  @Serializable({ name: 'StockUpdate' })
  class UserUpdate {
    constructor(readonly id: number) {}
  }
  const Updates = defineChannel('stock/updates', UserUpdate);
  const heard = new Queue<[by: string, update: unknown]>();
  @Controller()
  class Users {
    @EventPattern<unknown>('stock/updates')
    updated(@Payload() update: unknown, @Ctx() context: MessagingRpcContext) {
      heard.push([`@EventPattern ${context.getMessageContext().origin} "${context.getMessageContext().node}"`, update]);
    }
  }
  @Injectable()
  class Others {
    @OnMessage(Updates)
    updated(update: UserUpdate) {
      heard.push(['@OnMessage', update]);
    }
  }
  await using served = await serve([Users], { redis: { url: redis.url, interop: true } }, [Others]);
  const subscription = served.messaging.addListener(Updates, (update) => heard.push(['addListener', update]));
  await subscription.ready;
  await using stock = await stockClient();
  await lastValueFrom(stock.client.emit('stock/updates', { id: 7 }));
  const updates = await heard.take(3);
  expect(updates.map(([by]) => by).toSorted()).toEqual(['@EventPattern global ""', '@OnMessage', 'addListener']);
  for (const [, update] of updates) expect(update).toEqual(new UserUpdate(7));
});

test('an object as the pattern of a stock emit means the same channel as in this library', async () => {
  const heard = new Queue<unknown>();
  @Controller()
  class Users {
    @EventPattern({ cmd: 'updated', a: 1 })
    updated(data: unknown) {
      heard.push(data);
    }
  }
  await using served = await serve([Users], { redis: { url: redis.url, interop: true } });
  await using stock = await stockClient();
  await lastValueFrom(stock.client.emit({ a: 1, cmd: 'updated' }, 'from stock'));
  expect(await heard.next()).toBe('from stock');
  served.client.emit({ a: 1, cmd: 'updated' }, 'from us');
  expect(await heard.next()).toBe('from us');
});

test('with redis.interop, and for a channel with interop, stock event handlers get posts and emits', async () => {
  const heard = new Queue<[string, unknown]>();
  @Controller()
  class Stock {
    @EventPattern<unknown>('interop/module')
    everything(data: unknown) {
      heard.push(['module', data]);
    }

    @EventPattern<unknown>('interop/channel')
    one(data: unknown) {
      heard.push(['channel', data]);
    }
  }
  const ForStock = defineChannel('interop/channel', undefined, { interop: true });
  await using stock = await stockMicroservice(Stock);
  expect(await firstValueFrom(stock.app.status)).toBe('connected');
  await using all = await serve([], { redis: { url: redis.url, interop: true } });
  await using some = await serve([]);

  expect(await all.messaging.postMessage('interop/module', { by: 'post' }, { global: true })).toBe(true);
  expect(await heard.next()).toEqual(['module', { by: 'post' }]);
  await lastValueFrom(all.client.emit('interop/module', { by: 'emit' }));
  expect(await heard.next()).toEqual(['module', { by: 'emit' }]);

  // This post does not reach it: neither the module nor the channel, named by a string, has the option.
  await lastValueFrom(some.client.emit('interop/module', { by: 'nobody' }));
  await some.messaging.postMessage(ForStock, { by: 'post' }, { global: true });
  expect(await heard.next()).toEqual(['channel', { by: 'post' }]);
  await lastValueFrom(some.client.emit(ForStock, { by: 'emit' }));
  expect(await heard.next()).toEqual(['channel', { by: 'emit' }]);
  expect(heard.pending).toEqual([]);
});

test('requests are answered by another server, streams in order, even after an outage of Redis', async () => {
  @Controller()
  class Answers {
    @MessagePattern('redis/sum')
    sum(numbers: number[]) {
      return numbers.reduce((total, number) => total + number, 0);
    }

    @MessagePattern('redis/count/:from')
    count(@Payload() to: number, @Ctx() context: MessagingRpcContext): Observable<number> {
      const from = Number(context.getParams()['from']);
      return of(...Array.from({ length: to }, (_, index) => from + index));
    }
  }
  await using caller = await serve([]);
  await using answerer = await serve([Answers]);
  const { client } = caller;
  const callerStatus = new Queue<string>();
  const answererStatus = new Queue<string>();
  client.status.subscribe(callerStatus.push);
  answerer.server.status.subscribe(answererStatus.push);

  expect(await firstValueFrom(client.send('redis/sum', [20, 22]))).toBe(42);
  const hundred = Array.from({ length: 100 }, (_, index) => 5 + index);
  expect(await lastValueFrom(client.send('redis/count/5', 100).pipe(toArray()))).toEqual(hundred);

  await redis.kill();
  for (const statuses of [callerStatus, answererStatus]) await statuses.until((status) => status === 'reconnecting');
  const unanswered = firstValueFrom(client.send('redis/sum', [1]).pipe(timeout(50)));
  await expect(unanswered).rejects.toHaveProperty('name', 'TimeoutError');
  await redis.restart();
  for (const statuses of [callerStatus, answererStatus]) await statuses.until((status) => status === 'connected');
  expect(await firstValueFrom(client.send('redis/sum', [1, 2]))).toBe(3);
});

test('an application starts without waiting for a Redis that is away, and answers its own requests', async () => {
  @Controller()
  class Answers {
    @MessagePattern('alone')
    alone() {
      return 'answered';
    }
  }
  await redis.kill();
  await using served = await serve([Answers]);
  expect(await firstValueFrom(served.client.send('alone', {}))).toBe('answered');
  const statuses = new Queue<string>();
  served.server.status.subscribe(statuses.push);
  await redis.restart();
  await statuses.until((status) => status === 'connected');
  await using other = await serve([]);
  expect(await firstValueFrom(other.client.send('alone', {}))).toBe('answered');
});

test.each<[string, () => void | Promise<void>, () => void | Promise<unknown>]>([
  ['hangs', () => redis.pause(), () => redis.resume()],
  ['is gone', () => redis.kill(), () => redis.restart()],
])(
  'a server with an open request closes soon if Redis %s, however long posts may wait',
  async (what, disturb, mend) => {
    const asked = new Queue<void>();
    @Controller()
    class Answers {
      @MessagePattern('never')
      never() {
        asked.push();
        return new Promise(() => {});
      }
    }
    const served = await serve([Answers], { redis: { url: redis.url, publishTimeoutMs: 100_000 } });
    served.client.send('never', {}).subscribe({ error: () => {} });
    await asked.next();
    const statuses = new Queue<string>();
    served.server.status.subscribe(statuses.push);
    await disturb();
    if (what === 'is gone') await statuses.until((status) => status === 'reconnecting');
    const begun = performance.now();
    await served.app.close();
    // Far above the 0.7 s that it takes, far below the time until the link of a Redis that hangs is cut.
    expect(performance.now() - begun).toBeLessThan(3_000);
    await mend();
  },
);

test('with a secret, a request of a server that has it is answered, and a request of a neighbour reaches no handler', async () => {
  const asked: unknown[] = [];
  @Controller()
  class Doubles {
    @MessagePattern('secret/double')
    double(@Payload() number: number) {
      asked.push(number);
      return number * 2;
    }
  }
  const secret = 'a secret of the servers, and of nobody else';
  await using answering = await serve([Doubles], { secret });
  await using client = await serve([], { secret: [secret] });
  await using neighbour = await serve([]);
  neighbour.client.send('secret/double', 1).subscribe({ error: () => undefined });
  expect(await neighbour.messaging.postMessage('secret/any', 1, { global: true })).toBe(true);
  expect(await firstValueFrom(client.client.send('secret/double', 2))).toBe(4);
  expect(asked).toEqual([2]);
  // In one process, the latest application has the log.
  const told = [answering, client, neighbour].flatMap(({ logger }) => logger.problems).join('\n');
  expect(told).toContain('it is not signed (option "secret")');
});
