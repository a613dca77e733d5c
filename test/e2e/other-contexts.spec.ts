import { once } from 'node:events';
import {
  Controller,
  createParamDecorator,
  Get,
  Inject,
  Injectable,
  Post,
  Req,
  Res,
  Scope,
  UseGuards,
  type CanActivate,
  type ExecutionContext,
  type INestApplication,
  type Type,
} from '@nestjs/common';
import { ROUTE_ARGS_METADATA } from '@nestjs/common/constants.js';
import {
  ContextIdFactory,
  ExternalContextCreator,
  ModuleRef,
  type ContextId,
  type ContextIdResolverFn,
  type ContextIdStrategy,
} from '@nestjs/core';
import { ClientProxyFactory, EventPattern, MessagePattern, Transport } from '@nestjs/microservices';
import { WsAdapter } from '@nestjs/platform-ws';
import { Interval, ScheduleModule } from '@nestjs/schedule';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { describe, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { defer, firstValueFrom, lastValueFrom, of, take, toArray } from 'rxjs';
import { WebSocket } from 'ws';
import {
  AuthorizeChannel,
  ConfigurationError,
  Messages,
  MessagingModule,
  MessagingService,
  SessionMessages,
  type AuthenticationInfo,
  type MessagingModuleOptions,
  type Session,
} from 'nestjs-messaging';
import { MessagingClientProxy, MessagingServer } from 'nestjs-messaging/microservices';
import { Hub } from '../../lib/core/hub.js';
import { ADAPTER_NAMES, createApp, startApp } from '../support/apps.js';
import { Queue } from '../support/queue.js';

// Code other than an HTTP handler has no response whose end could end the session.

test('a gateway has a session for each socket, which ends when the socket disconnects', async () => {
  const sessions = new Queue<Session>();
  @WebSocketGateway()
  class Gateway {
    @SubscribeMessage('follow')
    follow(@MessageBody() channel: string, @Messages() messages: SessionMessages) {
      messages.addListener(channel, () => {});
      sessions.push(messages.session);
      return { event: 'following', data: channel };
    }
  }
  await using running = await startApp(
    { imports: [MessagingModule.forRoot()], providers: [Gateway] },
    { configure: (app) => void app.useWebSocketAdapter(new WsAdapter(app)) },
  );
  const follow = async (socket: WebSocket, channel: string) => {
    socket.send(JSON.stringify({ event: 'follow', data: channel }));
    await once(socket, 'message');
    return sessions.next();
  };
  const open = async () => {
    const socket = new WebSocket(running.url.replace('http', 'ws'));
    await once(socket, 'open');
    return socket;
  };
  const [one, two] = [await open(), await open()];
  const first = await follow(one, 'a');
  expect(await follow(one, 'b')).toBe(first);
  const second = await follow(two, 'a');
  expect(second).not.toBe(first);

  one.close();
  if (!first.closed) await once(first.signal, 'abort');
  expect(second.closed).toBe(false);
  two.close();
  if (!second.closed) await once(second.signal, 'abort');
});

test.each(['request', 'async-local'] as const)(
  'a handler of another microservice transport may post by SessionMessages of scope %s',
  async (scope) => {
    const seen = new Queue<unknown>();
    @Controller()
    class Handlers {
      constructor(private readonly messages: SessionMessages) {}
      @MessagePattern('rename')
      rename(name: string) {
        return this.messages.postMessage('names', name);
      }
    }
    const { app } = await createApp({ imports: [MessagingModule.forRoot({ scope })], controllers: [Handlers] });
    app.connectMicroservice({ transport: Transport.TCP, options: { host: '127.0.0.1', port: 0 } });
    await app.init();
    await app.startAllMicroservices();
    const [server] = app.getMicroservices();
    const { port } = server!.unwrap<{ address(): { port: number } }>().address();
    app.get(MessagingService).addListener('names', seen.push);
    const before = app.get(Hub).sessions.size;
    const client = ClientProxyFactory.create({ transport: Transport.TCP, options: { host: '127.0.0.1', port } });
    expect(await firstValueFrom(client.send('rename', 'Ada'))).toBe(true);
    expect(await seen.next()).toBe('Ada');
    // Posting needs no session, so none stays open.
    expect(app.get(Hub).sessions.size).toBe(before);
    client.close();
    await app.close();
  },
);

test('the session of a socket ends when the sign-in set by a guard expires, even if no handler reads it', async () => {
  const sessions = new Queue<Session>();
  let expiresAt = 0;
  @Injectable()
  class SocketGuard implements CanActivate {
    canActivate(context: ExecutionContext) {
      // Counted from now, because a busy machine takes longer to start.
      expiresAt = Date.now() + 300;
      context.switchToWs().getClient<{ user?: unknown }>().user = { userId: 'ada', expiresAt };
      return true;
    }
  }
  @WebSocketGateway()
  class Gateway {
    @UseGuards(SocketGuard)
    @SubscribeMessage('follow')
    follow(@Messages() messages: SessionMessages) {
      messages.addListener('a', () => {});
      sessions.push(messages.session);
    }
  }
  await using running = await startApp(
    { imports: [MessagingModule.forRoot()], providers: [Gateway, SocketGuard] },
    { configure: (app) => void app.useWebSocketAdapter(new WsAdapter(app)) },
  );
  const socket = new WebSocket(running.url.replace('http', 'ws'));
  await once(socket, 'open');
  socket.send(JSON.stringify({ event: 'follow' }));
  const session = await sessions.next();
  if (!session.closed) await once(session.signal, 'abort');
  expect(session.closeReason).toBe('expired');
  expect(Date.now()).toBeGreaterThanOrEqual(expiresAt);
  socket.close();
  await once(socket, 'close');
});

test('a scheduled task posts and listens through MessagingService', async () => {
  const seen = new Queue<unknown>();
  @Injectable()
  class Task {
    private count = 0;
    constructor(private readonly messaging: MessagingService) {}
    @Interval(1)
    async tick() {
      await using messages = this.messaging.openSession();
      messages.addListener('ticks', seen.push);
      await messages.postMessage('ticks', ++this.count);
    }
  }
  await using running = await startApp({
    imports: [MessagingModule.forRoot(), ScheduleModule.forRoot()],
    providers: [Task],
  });
  expect(await seen.take(3)).toEqual([1, 2, 3]);
  await running.app.close();
});

/** Resolves when a session has closed. */
async function closed(session: Session): Promise<void> {
  if (!session.closed) await once(session.signal, 'abort');
}

const noSession = expect.objectContaining({ code: 'NO_SESSION', message: expect.stringContaining('openSession()') });

/** Calls a resolver as @nestjs/graphql does: through the same function of Nest, with the same four arguments. */
function resolverOf(app: INestApplication, token: Type, method: string, isScoped: boolean) {
  const creator = app.get(ExternalContextCreator);
  const params = { exchangeKeyForValue: () => null };
  return async (gqlContext: object): Promise<unknown> => {
    const args = [undefined, { query: 'arguments' }, gqlContext, {}];
    const contextId = isScoped ? ContextIdFactory.getByRequest(gqlContext as never, ['req']) : undefined;
    if (contextId !== undefined) app.get(ModuleRef).registerRequestByContextId(gqlContext, contextId);
    const instance: object = contextId
      ? await app.get(ModuleRef).resolve(token, contextId, { strict: false })
      : app.get(token, { strict: false });
    const handler = (instance as Record<string, (...args: unknown[]) => unknown>)[method]!;
    const call = creator.create(
      instance,
      handler,
      method,
      ROUTE_ARGS_METADATA,
      params,
      contextId,
      undefined,
      undefined,
      'graphql' as never,
    );
    return call(...args);
  };
}

describe('GraphQL', () => {
  describe.each(ADAPTER_NAMES)('over HTTP on %s', (adapter) => {
    test.each<[string, (request: object, response: object) => object]>([
      ['{ req, res }', (req, res) => ({ req, res })],
      ['{ req }', (req) => ({ req, user: 'ada' })],
      ['{ reply }, as of Mercurius', (request) => ({ app: {}, reply: { request } })],
    ])('has one session for all resolvers of a request, in contexts of %s', async (_case, contextOf) => {
      const sessions = new Queue<Session>();
      @Injectable()
      class Resolvers {
        user(@Messages() messages: SessionMessages) {
          messages.addListener('graphql', () => {});
          sessions.push(messages.session);
          return messages.session.auth;
        }
      }
      @Injectable({ scope: Scope.REQUEST })
      class ScopedResolvers {
        constructor(private readonly messages: SessionMessages) {}
        user() {
          sessions.push(this.messages.session);
          return this.messages.session.auth;
        }
      }
      const Field = createParamDecorator((_data: unknown, context: ExecutionContext) => context.getType());
      @Controller()
      class GraphqlRoute {
        @Post('graphql')
        async query(
          @Req() request: { user?: unknown },
          @Res() response: { send: (body: unknown) => void },
          @Field() _type: unknown,
        ) {
          request.user = { sub: 'ada' };
          const gqlContext = contextOf(request, response);
          const results = [
            await resolverOf(running.app, Resolvers, 'user', false)(gqlContext),
            await resolverOf(running.app, ScopedResolvers, 'user', true)(gqlContext),
          ];
          response.send(results);
        }
      }
      await using running = await startApp(
        {
          imports: [MessagingModule.forRoot()],
          controllers: [GraphqlRoute],
          providers: [Resolvers, ScopedResolvers],
        },
        { adapter },
      );
      const before = running.app.get(Hub).sessions.size;
      for (let i = 0; i < 20; i++) {
        const { body } = (await supertest(running.url).post('/graphql').expect(201)) as { body: AuthenticationInfo[] };
        expect(body).toEqual([{ userId: 'ada' }, { userId: 'ada' }]);
        const [one, two] = await sessions.take(2);
        expect(one).toBe(two);
        await closed(one!);
      }
      expect(running.app.get(Hub).sessions.size).toBe(before);
    });
  });

  test('over a WebSocket has a session until the socket closes', async () => {
    const sessions = new Queue<Session>();
    const errors = new Queue<unknown>();
    @WebSocketGateway()
    class Sockets {
      handleConnection(socket: WebSocket) {
        // The shape of a graphql-ws context.
        const gqlContext = { req: { connectionParams: {}, extra: { socket, request: {} } } };
        void resolverOf(running.app, Resolvers, 'followed', false)(gqlContext);
        resolverOf(running.app, Resolvers, 'followed', false)({ req: {} }).catch(errors.push);
      }
    }
    @Injectable()
    class Resolvers {
      followed(@Messages() messages: SessionMessages) {
        messages.addListener('graphql', () => {});
        sessions.push(messages.session);
      }
    }
    await using running = await startApp(
      { imports: [MessagingModule.forRoot()], providers: [Resolvers, Sockets] },
      { configure: (app) => void app.useWebSocketAdapter(new WsAdapter(app)) },
    );
    const socket = new WebSocket(running.url.replace('http', 'ws'));
    await once(socket, 'open');
    const session = await sessions.next();
    expect(session.closed).toBe(false);
    expect(await errors.next()).toEqual(noSession);
    socket.close();
    await closed(session);
  });
});

/** An application with a TCP server, and a client for it. */
async function startTcp(controllers: Type[], options: MessagingModuleOptions = {}) {
  const { app, logger } = await createApp({ imports: [MessagingModule.forRoot(options)], controllers });
  app.connectMicroservice({ transport: Transport.TCP, options: { host: '127.0.0.1', port: 0 } });
  await app.init();
  await app.startAllMicroservices();
  const [server] = app.getMicroservices();
  const { port } = server!.unwrap<{ address(): { port: number } }>().address();
  const client = ClientProxyFactory.create({ transport: Transport.TCP, options: { host: '127.0.0.1', port } });
  return {
    app,
    logger,
    client,
    async [Symbol.asyncDispose]() {
      client.close();
      await app.close();
    },
  };
}

describe('Another microservice transport', () => {
  test.each(['request', 'async-local'] as const)(
    'has a session for each message, by @Messages(), which ends after its handler, in scope %s',
    async (scope) => {
      const sessions = new Queue<Session>();
      @Controller()
      class Handlers {
        @MessagePattern('answer')
        answer(@Messages() messages: SessionMessages) {
          messages.addListener('tcp', () => {});
          sessions.push(messages.session);
          return !messages.session.closed;
        }
        @MessagePattern('stream')
        stream(@Messages() messages: SessionMessages) {
          sessions.push(messages.session);
          return of(1, 2);
        }
        @MessagePattern('fail')
        fail(@Messages() messages: SessionMessages) {
          sessions.push(messages.session);
          throw new Error('broken');
        }
        @EventPattern('event')
        event(@Messages() messages: SessionMessages) {
          sessions.push(messages.session);
        }
        @EventPattern('event')
        async same(@Messages() messages: SessionMessages) {
          await Promise.resolve();
          messages.addListener('tcp', () => {});
          sessions.push(messages.session);
        }
      }
      await using running = await startTcp([Handlers], { scope });
      const { client } = running;
      const before = running.app.get(Hub).sessions.size;
      for (let i = 0; i < 20; i++) {
        expect(await lastValueFrom(client.send('answer', {}))).toBe(true);
        await closed(await sessions.next());
      }
      expect(await lastValueFrom(client.send('stream', {}).pipe(toArray()))).toHaveLength(2);
      await closed(await sessions.next());
      await expect(lastValueFrom(client.send('fail', {}))).rejects.toEqual(expect.anything());
      await closed(await sessions.next());
      await lastValueFrom(client.emit('event', {}), { defaultValue: undefined });
      const events = await sessions.take(2);
      await Promise.all(events.map(closed));
      expect(running.app.get(Hub).sessions.size).toBe(before);
    },
  );

  test('keeps the session of a stream open until the stream ends', async () => {
    const sessions = new Queue<Session>();
    const listening = new Queue<void>();
    @Controller()
    class Handlers {
      @MessagePattern('first')
      first(@Messages() messages: SessionMessages) {
        sessions.push(messages.session);
        return defer(() => {
          queueMicrotask(listening.push);
          return messages.createStream<string>('tcp').pipe(take(1));
        });
      }
    }
    await using running = await startTcp([Handlers]);
    const messaging = running.app.get(MessagingService);
    const answers = lastValueFrom(running.client.send('first', {}).pipe(toArray()));
    const session = await sessions.next();
    await listening.next();
    expect(session.closed).toBe(false);
    await messaging.postMessage('tcp', 'first');
    expect(await answers).toEqual(['first']);
    await closed(session);
  });

  test.each(['request', 'async-local'] as const)(
    'reports that an injected SessionMessages would never end there, in scope %s',
    async (scope) => {
      const errors = new Queue<unknown>();
      @Controller()
      class Handlers {
        constructor(private readonly messages: SessionMessages) {}
        @MessagePattern('listen')
        listen() {
          try {
            this.messages.addListener('tcp', () => {});
          } catch (error) {
            errors.push(error);
          }
          return this.messages.postMessage('tcp', 1);
        }
      }
      await using running = await startTcp([Handlers], { scope });
      const before = running.app.get(Hub).sessions.size;
      expect(await lastValueFrom(running.client.send('listen', {}))).toBe(true);
      expect(await errors.next()).toEqual(noSession);
      expect(running.app.get(Hub).sessions.size).toBe(before);
    },
  );
});

test('a handler of our own microservice server has the session of its message, even in scope async-local', async () => {
  const sessions = new Queue<Session>();
  @Controller()
  class Handlers {
    constructor(private readonly messages: SessionMessages) {}
    @MessagePattern('listen')
    async listen() {
      await new Promise((resolve) => setImmediate(resolve));
      this.messages.addListener('own', () => {});
      sessions.push(this.messages.session);
      return true;
    }
  }
  @Controller()
  class Routes {
    constructor(
      private readonly messages: SessionMessages,
      private readonly client: MessagingClientProxy,
    ) {}
    @Get('ask')
    ask() {
      sessions.push(this.messages.session);
      return this.client.send('listen', {});
    }
  }
  await using running = await startApp(
    {
      imports: [MessagingModule.forRoot({ scope: 'async-local' })],
      controllers: [Handlers, Routes],
      providers: [MessagingClientProxy],
    },
    {
      configure: async (app) => {
        app.connectMicroservice({ strategy: MessagingServer.of(app) });
        await app.startAllMicroservices();
      },
    },
  );
  const asked = supertest(running.url).get('/ask').expect(200);
  const answer = asked.then(({ text }) => text);
  const [ofRequest, ofMessage] = await sessions.take(2);
  expect(ofMessage).not.toBe(ofRequest);
  expect(await answer).toBe('true');
  await closed(ofMessage!);
  await closed(ofRequest!);
});

describe('A durable provider', () => {
  @Injectable({ scope: Scope.REQUEST })
  class Helper {
    constructor(readonly messages: SessionMessages) {}
  }
  @Injectable({ scope: Scope.REQUEST, durable: true })
  class Direct {
    constructor(readonly messages: SessionMessages) {}
  }
  @Injectable({ scope: Scope.REQUEST, durable: true })
  class Indirect {
    @Inject(Helper)
    readonly helper!: Helper;
  }

  test.each<[string, Type, string]>([
    ['SessionMessages', Direct, 'Direct is durable and injects SessionMessages, which belongs to a single request'],
    ['a provider that injects it', Indirect, 'Indirect is durable and injects SessionMessages by way of Helper, which'],
  ])('is refused at the start if it injects %s', async (_case, provider, text) => {
    const { app } = await createApp({ imports: [MessagingModule.forRoot()], providers: [Helper, provider] });
    const error: unknown = await app.init().catch((failure: unknown) => failure);
    expect(error).toBeInstanceOf(ConfigurationError);
    expect((error as Error).message).toContain(text);
    expect((error as Error).message).toContain('openSession()');
    await app.close();
  });

  test('finds the session of each request in scope async-local', async () => {
    class Tenants implements ContextIdStrategy {
      private readonly shared = ContextIdFactory.create();
      attach(contextId: ContextId): ContextIdResolverFn {
        return ({ isTreeDurable }) => (isTreeDurable ? this.shared : contextId);
      }
    }
    @Controller()
    class Routes {
      constructor(private readonly durable: Direct) {}
      @Get()
      get() {
        return { id: this.durable.messages.session.id, isOpen: !this.durable.messages.session.closed };
      }
    }
    ContextIdFactory.apply(new Tenants());
    try {
      await using running = await startApp({
        imports: [MessagingModule.forRoot({ scope: 'async-local' })],
        controllers: [Routes],
        providers: [Direct],
      });
      const get = async () =>
        (await supertest(running.url).get('/').expect(200)).body as { id: string; isOpen: boolean };
      const [one, two] = [await get(), await get()];
      expect([one.isOpen, two.isOpen]).toEqual([true, true]);
      expect(one.id).not.toBe(two.id);
    } finally {
      ContextIdFactory.apply(undefined as never);
    }
  });
});

test('a process that is asked for the stream of another process reports once that redis is missing', async () => {
  @Injectable()
  class Access {
    @AuthorizeChannel('other-process')
    mayRead() {
      return true;
    }
  }
  await using running = await startApp({ imports: [MessagingModule.forRoot({ gateway: true })], providers: [Access] });
  const other = 'a0b1c2d3-0000-4000-8000-000000000000';
  for (let i = 0; i < 10; i++) {
    await supertest(running.url)
      .post(`/messages/${other}.${other}/channels`)
      .send({ subscribe: [{ channel: 'other-process' }] })
      .expect(404);
  }
  const { problems } = running.logger;
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatch(/^warn A client asked this process .* "redis"\. If several processes/);
});
