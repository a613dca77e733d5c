import 'reflect-metadata';
import {
  Catch,
  Controller,
  Injectable,
  Module,
  ParseIntPipe,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type ModuleMetadata,
  type NestInterceptor,
  type Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  RpcException,
  Transport,
  type AsyncMicroserviceOptions,
} from '@nestjs/microservices';
import { describe, expect, test } from '@jest/globals';
import {
  NEVER,
  Observable,
  concat,
  finalize,
  firstValueFrom,
  lastValueFrom,
  map,
  of,
  throwError,
  timeout,
  timer,
  toArray,
} from 'rxjs';
import {
  ConfigurationError,
  InvalidChannelError,
  Messages,
  MessagingModule,
  MessagingService,
  OnMessage,
  Serializable,
  SessionMessages,
  TransportUnavailableError,
  defineChannel,
  type ListenerFailure,
  type MessagingModuleOptions,
  type Session,
} from 'nestjs-messaging';
import {
  MESSAGING_TRANSPORT,
  MessagingClientProxy,
  MessagingRpcContext,
  MessagingServer,
} from 'nestjs-messaging/microservices';
import { MemoryBroker, MemoryTransport } from 'nestjs-messaging/testing';
import { Hub } from '../../lib/core/hub.js';
import { createApp } from '../support/apps.js';
import { Queue } from '../support/queue.js';

@Serializable()
class UserUpdate {
  constructor(
    readonly id: number,
    readonly name: string,
  ) {}
}

const UserUpdates = defineChannel('user_updates', UserUpdate);

/** An application that serves its handlers and has a client. */
async function serve(controllers: Type[], options: MessagingModuleOptions = {}, metadata: ModuleMetadata = {}) {
  const { app, logger } = await createApp({
    imports: [MessagingModule.forRoot(options)],
    controllers,
    providers: [MessagingClientProxy, ...(metadata.providers ?? [])],
  });
  const server = MessagingServer.of(app);
  app.connectMicroservice({ strategy: server });
  await app.init();
  await app.startAllMicroservices();
  return {
    app,
    logger,
    server,
    messaging: app.get(MessagingService),
    client: app.get(MessagingClientProxy),
    [Symbol.asyncDispose]: () => app.close(),
  };
}

function on(broker: MemoryBroker): MessagingModuleOptions {
  return { transport: new MemoryTransport(broker) };
}

/** The error of an Observable. */
function failureOf(answers: Observable<unknown>): Promise<object> {
  return lastValueFrom(answers).then(
    (value) => Promise.reject(new Error(`It gave ${JSON.stringify(value)}`)),
    (error: object) => error,
  );
}

const fail = (): never => {
  throw new Error('at the end');
};

function allOf<T>(answers: Observable<T>): Promise<T[]> {
  return lastValueFrom(answers.pipe(toArray()));
}

/** Values from outside, as an Observable that reports its subscription and its end. */
class Source {
  readonly events = new Queue<string>();
  private readonly push: ((value: unknown) => void)[] = [];
  readonly values = new Observable<unknown>((subscriber) => {
    this.push.push((value) => subscriber.next(value));
    this.events.push('subscribed');
    return () => this.events.push('released');
  });

  next(value: unknown): void {
    for (const push of this.push) push(value);
  }
}

@Controller()
class Answers {
  @MessagePattern('sum')
  sum(@Payload() numbers: number[]): number {
    return numbers.reduce((total, number) => total + number, 0);
  }

  @MessagePattern({ cmd: 'greet', to: 'all' })
  async greet(name: string): Promise<string> {
    return `Hello ${name}`;
  }

  @MessagePattern('count')
  count(to: number): Observable<number> {
    return new Observable((subscriber) => {
      let next = 1;
      const step = () => {
        subscriber.next(next++);
        if (next <= to) setImmediate(step);
        else subscriber.complete();
      };
      step();
    });
  }

  @MessagePattern('nothing')
  nothing(): void {}

  @MessagePattern('rooms/:room/size')
  size(@Payload() unit: string, @Ctx() context: MessagingRpcContext): unknown {
    return { unit, channel: context.getChannel(), params: { ...context.getParams() } };
  }

  @MessagePattern('fail/rpc')
  failRpc(): void {
    throw new RpcException('no such order');
  }

  @MessagePattern('fail/object')
  async failObject(): Promise<void> {
    throw new RpcException({ code: 404, message: 'no such order' });
  }

  @MessagePattern('fail/plain')
  failPlain(): void {
    throw new Error('password 1234');
  }

  @MessagePattern('fail/late')
  failLate(): Observable<number> {
    return concat(
      of(1, 2),
      throwError(() => new RpcException('lost')),
    );
  }
}

describe('in one process without Redis', () => {
  test('an event handler hears posts and emits to the channel of its pattern like any listener', async () => {
    const heard = new Queue<unknown[]>();
    @Controller()
    class Users {
      @EventPattern<unknown>('user_updates')
      updated(@Payload() update: UserUpdate, @Ctx() context: MessagingRpcContext) {
        const { origin, node } = context.getMessageContext();
        heard.push(['@EventPattern', update, context.getChannel(), origin, node]);
      }
    }
    @Injectable()
    class Others {
      @OnMessage(UserUpdates)
      updated(update: UserUpdate) {
        heard.push(['@OnMessage', update]);
      }
    }
    await using served = await serve([Users], {}, { providers: [Others] });
    served.messaging.addListener(UserUpdates, (update) => heard.push(['addListener', update]));
    const [ada, bob] = [new UserUpdate(1, 'Ada'), new UserUpdate(2, 'Bob')];

    await served.messaging.postMessage(UserUpdates, ada);
    const posted = await heard.take(3);
    expect(posted).toContainEqual(['@OnMessage', ada]);
    expect(posted).toContainEqual(['addListener', ada]);
    expect(posted).toContainEqual(['@EventPattern', ada, 'user_updates', 'local', served.messaging.node]);
    for (const [, update] of posted) expect(update).toBe(ada);

    // At once, like a post: Nest's own steps before its handlers take a few turns.
    const result = served.client.emit('user_updates', bob);
    expect(heard.pending).toContainEqual(['addListener', bob]);
    expect(await allOf(result)).toEqual([undefined]);
    expect((await heard.take(3)).map(([by]) => by)).toContain('@EventPattern');
    expect(heard.pending).toEqual([]);
  });

  test('all handlers of one pattern run, and each failure is reported with the pattern', async () => {
    const heard = new Queue<string>();
    const failures = new Queue<[unknown, ListenerFailure]>();
    @Controller()
    class Many {
      @EventPattern<unknown>('user_updates')
      first() {
        heard.push('first');
        throw new RpcException('first failed');
      }

      @EventPattern<unknown>('user_updates')
      async second() {
        heard.push('second');
        throw new Error('second failed');
      }

      @EventPattern<unknown>('user_updates')
      third() {
        heard.push('third');
        return throwError(() => new RpcException({ message: 'third failed' }));
      }

      @EventPattern<unknown>(['other', 'user_updates'])
      fourth() {
        heard.push('fourth');
      }
    }
    await using served = await serve([Many], {
      onListenerError: (error, failure) => failures.push([error, failure]),
    });
    await served.messaging.postMessage('user_updates', {});
    expect((await heard.take(4)).toSorted()).toEqual(['first', 'fourth', 'second', 'third']);
    const reported = await failures.take(3);
    expect(reported.map(([error]) => (error as Error).message).toSorted()).toEqual([
      'Internal server error',
      'first failed',
      'third failed',
    ]);
    for (const [error, failure] of reported) {
      expect(error).toBeInstanceOf(Error);
      expect(failure).toMatchObject({ channel: 'user_updates', listener: '@EventPattern("user_updates")' });
    }
    expect(served.logger.problems).toContainEqual(expect.stringContaining('second failed'));
    expect(served.logger.problems.filter((line) => line.includes('first failed'))).toHaveLength(1);
  });

  test('a pattern with parameters listens to all of its channels, and a channel stands for its pattern', async () => {
    const heard = new Queue<string>();
    const Rooms = defineChannel('rooms/:room');
    @Controller()
    class RoomEvents {
      @EventPattern(Rooms)
      said(@Payload() text: string, @Ctx() context: MessagingRpcContext) {
        heard.push(`${text} in ${context.getParams()['room']}`);
      }

      @EventPattern<unknown>('rooms/42')
      one(text: string) {
        heard.push(`${text} in this one`);
      }
    }
    await using served = await serve([RoomEvents]);
    served.client.emit('rooms/42', 'a');
    served.client.emit(Rooms.for({ room: '7' }), 'b');
    expect((await heard.take(3)).toSorted()).toEqual(['a in 42', 'a in this one', 'b in 7']);
    expect(heard.pending).toEqual([]);
  });

  test('a request is answered by the handler of its pattern: a string, an object or a template', async () => {
    await using served = await serve([Answers]);
    const { client } = served;
    expect(await firstValueFrom(client.send('sum', [1, 2, 3]))).toBe(6);
    expect(await firstValueFrom(client.send({ to: 'all', cmd: 'greet' }, 'Ada'))).toBe('Hello Ada');
    expect(await firstValueFrom(client.send('rooms/42/size', 'people'))).toEqual({
      unit: 'people',
      channel: 'rooms/42/size',
      params: { room: '42' },
    });
    expect(await allOf(client.send('nothing', {}))).toEqual([]);
  });

  test('the answers of a stream come in order, even if many streams run at once', async () => {
    await using served = await serve([Answers]);
    const streams = await Promise.all([1, 30, 2].map((to) => allOf(served.client.send('count', to))));
    expect(streams).toEqual([1, 30, 2].map((to) => Array.from({ length: to }, (_, index) => index + 1)));
  });

  test('each subscription to a request sends it again, and nothing is sent without one', async () => {
    let calls = 0;
    @Controller()
    class Calls {
      @MessagePattern('call')
      call() {
        return ++calls;
      }
    }
    await using served = await serve([Calls]);
    const request = served.client.send('call', {});
    expect([await firstValueFrom(request), await firstValueFrom(request)]).toEqual([1, 2]);
  });

  test('an error of a handler is an error of the Observable, in the form of Nest', async () => {
    await using served = await serve([Answers]);
    const { client } = served;
    expect(await failureOf(client.send('fail/rpc', {}))).toEqual({ status: 'error', message: 'no such order' });
    expect(await failureOf(client.send('fail/object', {}))).toEqual({ code: 404, message: 'no such order' });
    expect(await failureOf(client.send('fail/plain', {}))).toEqual({
      status: 'error',
      message: 'Internal server error',
    });
    expect(served.logger.problems).toContainEqual(expect.stringContaining('password 1234'));
    const values: unknown[] = [];
    const late = client.send('fail/late', {}).pipe(map((value) => values.push(value)));
    expect(await failureOf(late)).toEqual({ status: 'error', message: 'lost' });
    expect(values).toEqual([1, 2]);
  });

  test('guards, pipes, interceptors and filters of handlers work', async () => {
    const passed = new Queue<string>();
    class Deny implements CanActivate {
      canActivate(context: ExecutionContext) {
        const [type, data] = [context.getType(), context.switchToRpc().getData<string>()];
        passed.push(`${type} ${data} ${context.switchToRpc().getContext<MessagingRpcContext>().getChannel()}`);
        return data !== 'denied';
      }
    }
    class Double implements NestInterceptor {
      intercept(_context: ExecutionContext, next: CallHandler<number>) {
        return next.handle().pipe(map((value) => value * 2));
      }
    }
    @Catch()
    class Filter implements ExceptionFilter {
      catch(error: Error, _host: ArgumentsHost) {
        return throwError(() => new Error(`filtered: ${error.message}`));
      }
    }
    @Controller()
    @UseGuards(Deny)
    class Enhanced {
      @MessagePattern('double')
      @UseInterceptors(Double)
      @UsePipes(ParseIntPipe)
      double(value: number) {
        return value;
      }

      @MessagePattern('filtered')
      @UseFilters(Filter)
      filtered(@Payload(ParseIntPipe) value: number) {
        return value;
      }

      @EventPattern<unknown>('events')
      event(value: string) {
        passed.push(`event ${value}`);
      }
    }
    await using served = await serve([Enhanced]);
    const { client } = served;
    expect(await firstValueFrom(client.send('double', '21'))).toBe(42);
    expect(await failureOf(client.send('double', 'denied'))).toEqual({
      status: 'error',
      message: 'Forbidden resource',
    });
    expect(await failureOf(client.send('filtered', 'x'))).toEqual({
      status: 'error',
      message: 'filtered: Validation failed (numeric string is expected)',
    });
    expect(await passed.take(3)).toEqual(['rpc 21 double', 'rpc denied double', 'rpc x filtered']);
    client.emit('events', 'denied');
    client.emit('events', 'allowed');
    expect(await passed.take(3)).toEqual(['rpc denied events', 'rpc allowed events', 'event allowed']);
  });

  test('a request-scoped controller has a new instance for each message', async () => {
    let instances = 0;
    @Controller({ scope: Scope.REQUEST })
    class Scoped {
      readonly instance = ++instances;

      @MessagePattern('instance')
      which() {
        return this.instance;
      }

      @EventPattern<unknown>('made')
      made(reply: (instance: number) => void) {
        reply(this.instance);
      }
    }
    await using served = await serve([Scoped]);
    expect(await firstValueFrom(served.client.send('instance', {}))).toBe(1);
    expect(await firstValueFrom(served.client.send('instance', {}))).toBe(2);
    const made = new Queue<number>();
    await served.messaging.postMessage('made', made.push);
    expect(await made.next()).toBe(3);
  });

  test('unsubscribing from a request ends the work of its handler', async () => {
    const source = new Source();
    @Controller()
    class Endless {
      @MessagePattern('endless')
      endless(@Payload() _data: unknown, @Ctx() context: MessagingRpcContext) {
        context.signal.addEventListener('abort', () => source.events.push('aborted'));
        return source.values;
      }
    }
    await using served = await serve([Endless]);
    const values = new Queue<unknown>();
    const subscription = served.client.send('endless', {}).subscribe(values.push);
    expect(await source.events.next()).toBe('subscribed');
    source.next('a');
    expect(await values.next()).toBe('a');
    subscription.unsubscribe();
    expect(await source.events.take(2)).toEqual(['released', 'aborted']);
  });

  test('a request without a handler ends by timeout() and leaves nothing behind', async () => {
    await using served = await serve([Answers]);
    const hub = served.app.get(Hub);
    const before = hub.sessions.size;
    const held: WeakRef<object>[] = [];
    const send = (pattern: string): Observable<unknown> => {
      const data = { pattern };
      held.push(new WeakRef(data));
      return served.client.send(pattern, data);
    };
    for (let round = 0; round < 20; round++) {
      expect(await failureOf(send('nobody').pipe(timeout(1)))).toHaveProperty('name', 'TimeoutError');
      await allOf(send('nothing'));
      await failureOf(send('fail/rpc'));
    }
    for (let turn = 0; turn < 10; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      (globalThis as { gc?: () => void }).gc!();
    }
    expect(held.filter((reference) => reference.deref() !== undefined)).toHaveLength(0);
    // The session of the client's replies.
    expect(hub.sessions.size).toBe(before + 1);
  });

  test('a request-scoped handler and a parameter of @Messages() have a session that ends with the message', async () => {
    const sessions = new Queue<Session>();
    @Controller()
    class Listening {
      constructor(private readonly messages: SessionMessages) {}
      @MessagePattern('listen')
      listen(@Messages() parameter: SessionMessages, @Ctx() context: MessagingRpcContext) {
        this.messages.addListener('x', () => {});
        parameter.addListener('x', () => {});
        sessions.push(this.messages.session);
        return parameter.session === this.messages.session && context.session === parameter.session;
      }
    }
    await using served = await serve([Listening]);
    const allClosed = async (count: number) => {
      for (const session of await sessions.take(count)) {
        if (!session.closed) await new Promise((resolve) => session.signal.addEventListener('abort', resolve));
      }
    };
    expect(await allOf(served.client.send('listen', {}))).toEqual([true]);
    await allClosed(1);
    const hub = served.app.get(Hub);
    const before = hub.sessions.size;
    for (let round = 0; round < 10; round++) await allOf(served.client.send('listen', {}));
    await allClosed(10);
    expect(hub.sessions.size).toBe(before);
  });

  test('closing the client fails the requests that wait, ends their handlers, and leaves it usable', async () => {
    const source = new Source();
    @Controller()
    class Endless extends Answers {
      @MessagePattern('endless')
      endless() {
        return source.values;
      }
    }
    await using served = await serve([Endless]);
    const { client } = served;
    const statuses = new Queue<string>();
    client.status.subscribe(statuses.push);
    const failure = failureOf(client.send('endless', {}));
    expect(await source.events.next()).toBe('subscribed');
    client.close();
    expect(await failure).toMatchObject({ code: 'SESSION_CLOSED' });
    expect(await source.events.next()).toBe('released');
    expect(await firstValueFrom(client.send('sum', [1]))).toBe(1);
    expect(await statuses.take(3)).toEqual(['connected', 'disconnected', 'connected']);
  });

  test('the end of the application fails the requests that wait and ends the work of handlers', async () => {
    const source = new Source();
    @Controller()
    class Endless {
      @MessagePattern('endless')
      endless() {
        return source.values;
      }

      @EventPattern<unknown>('endless_event')
      event() {
        return source.values;
      }
    }
    const served = await serve([Endless]);
    const statuses = new Queue<string>();
    served.server.status.subscribe(statuses.push);
    const failure = failureOf(served.client.send('endless', {}));
    await served.messaging.postMessage('endless_event', {});
    expect(await source.events.take(2)).toEqual(['subscribed', 'subscribed']);
    await served.app.close();
    expect(await failure).toEqual({ status: 'error', message: 'The server shut down before it had answered' });
    expect(await source.events.take(2)).toEqual(['released', 'released']);
    expect(await statuses.take(2)).toEqual(['connected', 'disconnected']);
    expect(await failureOf(served.client.send('endless', {}))).toMatchObject({ code: 'SESSION_CLOSED' });
    expect(served.app.get(Hub).sessions.size).toBe(0);
  });

  test('an error of a handler at the end of its stream is reported, and ends nothing else', async () => {
    @Controller()
    class Handlers {
      @MessagePattern('ask')
      ask(_data: unknown) {
        return timer(0).pipe(finalize(fail));
      }
      @EventPattern('tell')
      tell(_data: unknown) {
        return timer(0).pipe(finalize(fail));
      }
      @MessagePattern('wait')
      wait(_data: unknown) {
        return concat(of(1), NEVER).pipe(finalize(fail));
      }
    }
    const served = await serve([Handlers]);
    const client = served.app.get(MessagingClientProxy);
    expect(await lastValueFrom(client.send('ask', {}))).toBe(0);
    await firstValueFrom(client.send('wait', {}));
    await lastValueFrom(client.emit('tell', {}));
    expect(await lastValueFrom(client.send('ask', {}))).toBe(0);
    await served.app.close();
    expect([...new Set(served.logger.problems)].toSorted()).toEqual([
      'error The end of @EventPattern("tell") failed: at the end',
      'error The end of @MessagePattern("ask") failed: at the end',
      'error The end of @MessagePattern("wait") failed: at the end',
    ]);
  });

  test('data that is null is refused, as by every client of Nest', async () => {
    await using served = await serve([Answers]);
    for (const answers of [served.client.send('sum', null), served.client.emit('sum', undefined)]) {
      expect((await failureOf(answers)).constructor.name).toBe('InvalidMessageException');
    }
  });
});

describe('misuse', () => {
  const WRONG: [what: string, pattern: unknown, text: string][] = [
    ['with "*"', 'rooms/*', '("rooms/*"): Channel "rooms/*" contains "*"'],
    ['without a character', '', '(""): Channel "" has 0 characters; a name has 1 to 255'],
    ['of 256 characters', 'x'.repeat(256), 'has 256 characters; a name has 1 to 255'],
    [
      'of the library',
      'messaging:revocations',
      '("messaging:revocations"): Channel "messaging:revocations": names that',
    ],
    ['with a nameless parameter', 'rooms/:', '("rooms/:"): Channel "rooms/:": ":" is no parameter'],
    ['that is null', null, '(null): A channel is a string'],
  ];

  test.each(WRONG)(
    'a pattern %s is refused when the microservice is connected, by an error that names it',
    async (_, pattern, text) => {
      const decorators: [string, MethodDecorator][] = [
        ['EventPattern', EventPattern<unknown>(pattern)],
        ['MessagePattern', MessagePattern(pattern)],
      ];
      for (const [name, decorator] of decorators) {
        @Controller()
        class Wrong {
          @decorator
          handle() {}
        }
        const { app } = await createApp({ imports: [MessagingModule.forRoot()], controllers: [Wrong] });
        const connect = () => app.connectMicroservice({ strategy: MessagingServer.of(app) });
        expect(connect).toThrow(InvalidChannelError);
        expect(connect).toThrow(text);
        expect(connect).toThrow(`@${name}(`);
        await app.close();
      }
    },
  );

  test('a client refuses a wrong pattern at the call, and a template without its parameters', async () => {
    await using served = await serve([]);
    const { client } = served;
    for (const [, pattern, text] of WRONG) {
      // For a missing pattern, Nest fails the Observable instead.
      if (pattern === null) continue;
      expect(() => client.emit(pattern, {})).toThrow(text);
      expect(() => client.send(pattern, {})).toThrow(text);
    }
    expect(() => client.emit('rooms/:room', {})).toThrow('is a template');
    expect(() => client.send('rooms/:room', {})).toThrow(
      'send("rooms/:room"): the pattern is a template; fill in its parameters',
    );
  });

  test('a second handler for the requests of one pattern causes a warning', async () => {
    @Controller()
    class Twice {
      @MessagePattern('twice')
      one() {
        return 1;
      }

      @MessagePattern('twice')
      two() {
        return 2;
      }
    }
    await using served = await serve([Twice]);
    expect(served.logger.problems).toEqual(['warn @MessagePattern("twice") has two handlers; the later one answers']);
    expect(await allOf(served.client.send('twice', {}))).toEqual([2]);
  });

  test('a wrong or missing MessagingService, and server.on(), cause a ConfigurationError', async () => {
    for (const make of [() => new MessagingServer({} as never), () => new MessagingClientProxy(undefined as never)]) {
      expect(make).toThrow(ConfigurationError);
      expect(make).toThrow('takes the MessagingService of the application');
    }
    await using served = await serve([]);
    expect(() => served.server.on()).toThrow(ConfigurationError);
    expect(served.server.unwrap()).toBe(served.messaging);
    expect(served.client.unwrap()).toBe(served.messaging);
  });
});

test('NestFactory.createMicroservice() makes a microservice without HTTP', async () => {
  const started = new Queue<string>();
  @Module({
    imports: [MessagingModule.forRoot()],
    controllers: [Answers],
    providers: [MessagingClientProxy],
  })
  class AppModule {}
  const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(AppModule, {
    logger: false,
    abortOnError: false,
    inject: [MessagingService],
    useFactory: (messaging: MessagingService) => ({ strategy: new MessagingServer(messaging) }),
  } as AsyncMicroserviceOptions);
  app.status.subscribe(started.push);
  await app.listen();
  expect(await started.take(2)).toEqual(['disconnected', 'connected']);
  expect(await firstValueFrom(app.get(MessagingClientProxy).send('sum', [20, 22]))).toBe(42);
  await app.close();
  expect(await started.next()).toBe('disconnected');
});

test('started before the application, as in a hybrid application, it serves once there is a link', async () => {
  const broker = new MemoryBroker();
  const { app } = await createApp({
    imports: [MessagingModule.forRoot(on(broker))],
    controllers: [Answers],
  });
  const server = MessagingServer.of(app);
  app.connectMicroservice({ strategy: server });
  await app.startAllMicroservices();
  const statuses = new Queue<string>();
  server.status.subscribe(statuses.push);
  await app.listen(0, '127.0.0.1');
  await statuses.until((status) => status === 'connected');
  await using caller = await serve([], on(broker));
  expect(await firstValueFrom(caller.client.send('sum', [20, 22]))).toBe(42);
  await app.close();
});

test('a handler for another transport is not served, and a handler for this transport is', async () => {
  const heard = new Queue<string>();
  @Controller()
  class Choosy {
    @EventPattern<unknown>('user_updates', Transport.REDIS)
    redis() {
      heard.push('redis');
    }

    @EventPattern<unknown>('user_updates', MESSAGING_TRANSPORT)
    messaging() {
      heard.push('messaging');
    }
  }
  await using served = await serve([Choosy]);
  await served.messaging.postMessage('user_updates', {});
  await served.messaging.postMessage('user_updates', {});
  expect(await heard.take(2)).toEqual(['messaging', 'messaging']);
});

describe('between two servers', () => {
  test('an emit reaches the handlers of both once, and arrives as an instance of its class', async () => {
    const broker = new MemoryBroker();
    const heard = new Queue<unknown>();
    @Controller()
    class Users {
      @EventPattern(UserUpdates)
      updated(@Payload() update: UserUpdate, @Ctx() context: MessagingRpcContext) {
        heard.push([update, context.getMessageContext().origin]);
      }
    }
    await using one = await serve([Users], on(broker));
    await using two = await serve([Users], on(broker));
    const ada = new UserUpdate(1, 'Ada');
    await lastValueFrom(one.client.emit(UserUpdates, ada));
    expect(await heard.take(2)).toEqual([
      [ada, 'local'],
      [ada, 'global'],
    ]);
    await lastValueFrom(two.client.emit('user_updates', new UserUpdate(2, 'Bob')));
    expect((await heard.take(2)).map((entry) => (entry as unknown[])[1])).toEqual(['local', 'global']);
    expect(heard.pending).toEqual([]);
  });

  test('a request, its stream and its error are answered by the server that has a handler for it', async () => {
    const broker = new MemoryBroker();
    @Controller()
    class Echo extends Answers {
      @MessagePattern('echo')
      echo(data: unknown) {
        return data;
      }
    }
    await using caller = await serve([], on(broker));
    await using answerer = await serve([Echo], on(broker));
    const { client } = caller;
    const data = { at: new Date(7), tags: new Map([['a', 1n]]), who: new UserUpdate(1, 'Ada') };
    const echoed = await firstValueFrom(client.send<typeof data>('echo', data));
    expect(echoed).toEqual(data);
    expect(echoed.who).toBeInstanceOf(UserUpdate);
    expect(await allOf(client.send('count', 20))).toHaveLength(20);
    expect(await failureOf(client.send('fail/object', {}))).toEqual({ code: 404, message: 'no such order' });
    expect(await allOf(client.send('nothing', {}))).toEqual([]);
    expect(answerer.logger.problems).toEqual([]);
  });

  test('of several servers that answer, the first one is heard, and the streams of the others end', async () => {
    const broker = new MemoryBroker();
    const sources = [new Source(), new Source()] as const;
    const endless = (source: Source) => {
      @Controller()
      class Endless {
        @MessagePattern('endless')
        endless() {
          return source.values;
        }
      }
      return Endless;
    };
    await using caller = await serve([], on(broker));
    await using first = await serve([endless(sources[0])], on(broker));
    await using second = await serve([endless(sources[1])], on(broker));
    const values = new Queue<unknown>();
    const subscription = caller.client.send('endless', {}).subscribe(values.push);
    for (const source of sources) expect(await source.events.next()).toBe('subscribed');
    sources[1].next('from the second');
    sources[0].next('from the first');
    expect(await values.next()).toBe('from the second');
    expect(await sources[0].events.next()).toBe('released');
    sources[1].next('more');
    expect(await values.next()).toBe('more');
    subscription.unsubscribe();
    expect(await sources[1].events.next()).toBe('released');
    expect(values.pending).toEqual([]);
    for (const { logger } of [first, second]) expect(logger.problems).toEqual([]);
  });

  test('the end of a server fails its unfinished requests at the caller', async () => {
    const broker = new MemoryBroker();
    const source = new Source();
    @Controller()
    class Endless {
      @MessagePattern('endless')
      endless() {
        return source.values;
      }
    }
    await using caller = await serve([], on(broker));
    const answerer = await serve([Endless], on(broker));
    const failure = failureOf(caller.client.send('endless', {}));
    await source.events.next();
    await answerer.app.close();
    expect(await failure).toEqual({ status: 'error', message: 'The server shut down before it had answered' });
  });

  test('an answer that cannot be sent is an error for the caller, and reported on the answering server', async () => {
    const failures = new Queue<unknown>();
    const onListenerError = (error: unknown) => failures.push(error);
    @Controller()
    class Unsendable {
      @MessagePattern('unsendable')
      unsendable() {
        return of(1, () => {}, 2);
      }
    }
    const broker = new MemoryBroker();
    await using caller = await serve([], on(broker));
    await using answerer = await serve([Unsendable], { ...on(broker), onListenerError });
    const values: unknown[] = [];
    const answers = caller.client.send('unsendable', {}).pipe(map((value) => values.push(value)));
    expect(await failureOf(answers)).toEqual({ status: 'error', message: 'Internal server error' });
    expect(values).toEqual([1]);
    expect(await failures.next()).toMatchObject({ code: 'UNSERIALIZABLE' });
    expect(answerer.logger.problems).toHaveLength(1);
    expect(() => caller.client.emit('x', { f: () => {} })).toThrow('cannot be sent');
    expect(await failureOf(caller.client.send('x', { f: () => {} }))).toMatchObject({ code: 'UNSERIALIZABLE' });
  });

  test('while the broker is away, this server answers its own requests, and an emit fails because it reached no other server', async () => {
    const broker = new MemoryBroker();
    const heard = new Queue<unknown>();
    @Controller()
    class Users extends Answers {
      @EventPattern<unknown>('user_updates')
      updated(update: unknown) {
        heard.push(update);
      }
    }
    await using served = await serve([Users], on(broker));
    const statuses = new Queue<string>();
    served.server.status.subscribe(statuses.push);
    broker.cut();
    expect(await firstValueFrom(served.client.send('sum', [1, 1]))).toBe(2);
    // Without a subscriber, its failure is unobserved and must not end the process.
    served.client.emit('user_updates', 1);
    expect(await failureOf(served.client.emit('user_updates', 2))).toBeInstanceOf(TransportUnavailableError);
    expect(await heard.take(2)).toEqual([1, 2]);
    broker.heal();
    expect(await statuses.take(3)).toEqual(['connected', 'reconnecting', 'connected']);
    await lastValueFrom(served.client.emit('user_updates', 3));
  });

  test('a request with an immediate answer costs one message each way', async () => {
    const broker = new MemoryBroker();
    const outside = new MemoryTransport(broker);
    const travelled = new Queue<string>();
    await outside.start((_payload, _subscription, channel) => travelled.push(channel));
    await outside.subscribe('messaging:request/:pattern');
    await outside.subscribe('messaging:reply/:client');
    await using served = await serve([Answers], on(broker));
    for (let count = 0; count < 2; count++) await allOf(served.client.send('sum', [1]));
    await outside.publish('messaging:request/end', '{}');
    const channels = (await travelled.take(5)).map((channel) => channel.split('/')[0]);
    expect(channels).toEqual([
      'messaging:request',
      'messaging:reply',
      'messaging:request',
      'messaging:reply',
      'messaging:request',
    ]);
    await outside.close();
  });

  test('it starts, and sends requests, only when it can miss nothing any more', async () => {
    const held = new Map<string, () => void>();
    const asked = new Queue<string>();
    class SlowSubscriptions extends MemoryTransport {
      override async subscribe(name: string): Promise<void> {
        await super.subscribe(name);
        if (name.startsWith('messaging:revocations')) return;
        asked.push(name);
        await new Promise<void>((resolve) => held.set(name, resolve));
      }
    }
    const { app } = await createApp({
      imports: [MessagingModule.forRoot({ transport: new SlowSubscriptions(new MemoryBroker()) })],
      controllers: [Answers],
      providers: [MessagingClientProxy],
    });
    const server = MessagingServer.of(app);
    app.connectMicroservice({ strategy: server });
    await app.init();
    const patterns = server.getHandlers().size;
    const done: string[] = [];
    const started = app.startAllMicroservices().then(() => done.push('started'));
    const names = await asked.take(patterns);
    const last = names.pop()!;
    for (const name of names) held.get(name)!();
    const answered = firstValueFrom(app.get(MessagingClientProxy).send('sum', [1])).then(() => done.push('answered'));
    const replies = await asked.next();
    await new Promise((resolve) => setImmediate(resolve));
    expect(done).toEqual([]);
    held.get(last)!();
    await started;
    expect(done).toEqual(['started']);
    held.get(replies)!();
    await answered;
    expect(done).toEqual(['started', 'answered']);
    await app.close();
  });

  test('a closing server waits until its callers know', async () => {
    const broker = new MemoryBroker();
    class SlowPublisher extends MemoryTransport {
      override async publish(channel: string, payload: string): Promise<boolean> {
        for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
        return super.publish(channel, payload);
      }
    }
    const source = new Source();
    @Controller()
    class Endless {
      @MessagePattern('endless')
      endless() {
        return source.values;
      }
    }
    await using caller = await serve([], on(broker));
    const answerer = await serve([Endless], { transport: new SlowPublisher(broker) });
    const failure = failureOf(caller.client.send('endless', {}));
    await source.events.next();
    await answerer.app.close();
    expect(await failure).toHaveProperty('message', 'The server shut down before it had answered');
  });

  test('anything but a request or a reply is reported and disturbs nothing', async () => {
    const broker = new MemoryBroker();
    const failures = new Queue<unknown>();
    await using served = await serve([Answers], {
      ...on(broker),
      onListenerError: (error, { channel }) => failures.push([channel, (error as Error).message]),
    });
    const outside = new MemoryTransport(broker);
    await outside.start(() => {});
    const packets = [
      1,
      'x',
      null,
      {},
      { id: 1, replyTo: 'a' },
      { id: 'a', replyTo: 'a/*' },
      { id: 'a', stop: true, except: 1 },
    ];
    for (const data of packets) {
      await outside.publish('messaging:request/sum', JSON.stringify({ pattern: 'messaging:request/sum', data }));
      expect(await failures.next()).toEqual(['messaging:request/sum', 'what arrived is no request']);
    }
    expect(await firstValueFrom(served.client.send('sum', [1]))).toBe(1);
    await outside.close();
  });

  test('a request that the broker delivers twice is handled once', async () => {
    const broker = new MemoryBroker();
    const source = new Source();
    @Controller()
    class Endless extends Answers {
      @MessagePattern('endless')
      endless() {
        return source.values;
      }
    }
    await using served = await serve([Endless], on(broker));
    const outside = new MemoryTransport(broker);
    await outside.start(() => {});
    const packet = { pattern: 'messaging:request/endless', data: { id: 'a', replyTo: 'b', data: 1 } };
    await outside.publish(packet.pattern, JSON.stringify(packet));
    await outside.publish(packet.pattern, JSON.stringify(packet));
    expect(await firstValueFrom(served.client.send('sum', [1]))).toBe(1);
    expect(await source.events.next()).toBe('subscribed');
    expect(source.events.pending).toEqual([]);
    await outside.close();
  });
});
