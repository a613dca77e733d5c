import {
  Catch,
  Controller,
  Get,
  Inject,
  Injectable,
  Module,
  ParseIntPipe,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  ValidationPipe,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
  type OnApplicationBootstrap,
  type OnModuleInit,
  type PipeTransform,
} from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR, APP_PIPE, LazyModuleLoader, REQUEST } from '@nestjs/core';
import { Ctx as StockCtx, Payload as StockPayload } from '@nestjs/microservices';
import { beforeEach, describe, expect, test } from '@jest/globals';
import { IsInt } from 'class-validator';
import supertest from 'supertest';
import { EMPTY, Observable, concat, finalize, of, tap, throwError } from 'rxjs';
import {
  Ctx,
  defineChannel,
  MessageRequest,
  MessagingModule,
  MessagingService,
  OnMessage,
  Payload,
  SessionMessages,
  type ListenerFailure,
  type MessageContext,
  type Session,
  AuthorizeChannel,
  Sse,
} from 'nestjs-messaging';
import { startApp } from '../support/apps.js';
import { Queue } from '../support/queue.js';

class Order {
  @IsInt()
  readonly id: number;
  constructor(id: number) {
    this.id = id;
  }
}

const Orders = defineChannel('orders', Order);
const Rooms = defineChannel<string, 'rooms/:roomId'>('rooms/:roomId');

let seen: unknown[] = [];
let calls = new Queue<unknown>();
beforeEach(() => {
  seen = [];
  calls = new Queue();
});

async function start(
  providers: unknown[],
  options: Parameters<typeof MessagingModule.forRoot>[0] = {},
  controllers: unknown[] = [],
) {
  const running = await startApp({
    imports: [MessagingModule.forRoot(options)],
    providers: providers as never[],
    controllers: controllers as never[],
  });
  return { ...running, messaging: running.app.get(MessagingService) };
}

describe('an @OnMessage handler', () => {
  test('of a provider and of a controller gets message and context before the post returns', async () => {
    @Injectable()
    class Provider {
      readonly name = 'provider';
      @OnMessage(Orders)
      handle(order: Order, context: MessageContext) {
        seen.push([this.name, order.id, context.channel]);
      }
    }
    @Controller()
    class TestController {
      readonly name = 'controller';
      @OnMessage('orders')
      handle(order: Order) {
        seen.push([this.name, order.id]);
      }
      @Get('plain')
      plain() {
        return 'still a controller';
      }
    }
    await using running = await start([Provider], {}, [TestController]);

    void running.messaging.postMessage(Orders, new Order(1));

    expect(seen).toEqual([
      ['provider', 1, 'orders'],
      ['controller', 1],
    ]);
    await supertest(running.url).get('/plain').expect(200, 'still a controller');
  });

  test('may be on several channels and on a template, and gets the parameters', async () => {
    @Injectable()
    class Provider {
      @OnMessage(Rooms)
      @OnMessage('announcements')
      handle(text: string, { channel, params }: MessageContext) {
        seen.push([text, channel, { ...params }]);
      }
    }
    await using running = await start([Provider]);
    void running.messaging.postMessage(Rooms.for({ roomId: 7 }), 'hello');
    void running.messaging.postMessage('announcements', 'all');
    expect(seen).toEqual([
      ['hello', 'rooms/7', { roomId: '7' }],
      ['all', 'announcements', {}],
    ]);
  });

  test('is inherited, or replaced by a decorated method that overrides it', async () => {
    abstract class Base {
      abstract readonly name: string;
      @OnMessage('inherited')
      inherited() {
        seen.push(`${this.name} inherited`);
      }
      @OnMessage('overridden')
      overridden() {
        seen.push('must not be called');
      }
    }
    @Injectable()
    class Child extends Base {
      readonly name = 'child';
      @OnMessage('overridden')
      override overridden() {
        seen.push('child overrides');
      }
    }
    await using running = await start([Child]);
    void running.messaging.postMessage('inherited', 1);
    void running.messaging.postMessage('overridden', 1);
    expect(seen).toEqual(['child inherited', 'child overrides']);
  });

  test('of one instance with several tokens is called once', async () => {
    @Injectable()
    class Provider {
      @OnMessage('x')
      handle() {
        seen.push('called');
      }
    }
    await using running = await start([
      Provider,
      { provide: 'alias', useExisting: Provider },
      { provide: 'factory', inject: [Provider], useFactory: (provider: Provider) => provider },
    ]);
    void running.messaging.postMessage('x', 1);
    expect(seen).toEqual(['called']);
  });

  test('of a lazy module hears messages once, from the moment at which the module is loaded', async () => {
    @Injectable()
    class LazyProvider {
      @OnMessage('x')
      handle(message: unknown) {
        seen.push(message);
      }
    }
    @Module({ providers: [LazyProvider] })
    class LazyModule {}
    await using running = await start([]);
    const loader = running.app.get(LazyModuleLoader);
    void running.messaging.postMessage('x', 'before');

    await loader.load(() => LazyModule);
    await loader.load(() => LazyModule);
    void running.messaging.postMessage('x', 'after');

    expect(seen).toEqual(['after']);
  });

  test('of a lazy module that loads more slowly than another one hears once, with a complete instance', async () => {
    const asked = new Queue<string>();
    const names = new Queue<string>();
    @Injectable()
    class LazyProvider {
      constructor(@Inject('NAME') private readonly name: string) {}
      @OnMessage('x')
      handle(message: unknown) {
        seen.push(`${this.name}: ${String(message)}`);
      }
    }
    const useFactory = () => {
      asked.push('for a name');
      return names.next();
    };
    @Module({ providers: [LazyProvider, { provide: 'NAME', useFactory }] })
    class SlowModule {}
    @Module({})
    class FastModule {}
    await using running = await start([]);
    const loader = running.app.get(LazyModuleLoader);

    const loading = loader.load(() => SlowModule);
    await asked.next();
    await loader.load(() => FastModule);
    void running.messaging.postMessage('x', 'before');
    names.push('slow');
    await loading;
    void running.messaging.postMessage('x', 'after');

    expect(seen).toEqual(['slow: after']);
  });

  test('gets posts made during the start of the application once it is ready, in order and once', async () => {
    @Injectable()
    class Early implements OnModuleInit, OnApplicationBootstrap {
      constructor(private readonly messaging: MessagingService) {
        void messaging.postMessage('x', 'constructor');
      }
      onModuleInit() {
        void this.messaging.postMessage('x', 'init');
      }
      onApplicationBootstrap() {
        void this.messaging.postMessage('x', 'bootstrap');
      }
    }
    @Injectable()
    class Handler implements OnModuleInit {
      private isReady = false;
      async onModuleInit() {
        await new Promise((resolve) => setImmediate(resolve));
        this.isReady = true;
      }
      @OnMessage('x')
      handle(message: unknown) {
        seen.push([message, this.isReady]);
      }
    }
    await using running = await start([Early, Handler]);
    void running.messaging.postMessage('x', 'running');
    expect(seen).toEqual([
      ['constructor', true],
      ['init', true],
      ['bootstrap', true],
      ['running', true],
    ]);
  });

  test('that fails, now or later, is logged and reported with its name, and the others run', async () => {
    const failures = new Queue<[unknown, ListenerFailure]>();
    @Injectable()
    class Broken {
      @OnMessage('x')
      now() {
        throw new Error('now');
      }
      @OnMessage('x')
      async later() {
        throw new Error('later');
      }
      @OnMessage('x')
      fine() {
        seen.push('fine');
      }
    }
    await using running = await start([Broken], {
      onListenerError: (error, failure) => failures.push([error, failure]),
    });
    void running.messaging.postMessage('x', 1);
    const [[first, now], [second, later]] = (await failures.take(2)) as [
      [Error, ListenerFailure],
      [Error, ListenerFailure],
    ];
    expect(seen).toEqual(['fine']);
    expect([first.message, now.listener, now.channel]).toEqual(['now', 'Broken.now', 'x']);
    expect([second.message, later.listener]).toEqual(['later', 'Broken.later']);
    expect(running.logger.problems).toEqual([
      'error Listener Broken.now failed on channel "x": now',
      'error Listener Broken.later failed on channel "x": later',
    ]);
  });

  test('has the Observable that it returns subscribed, whose failures are reported like its own', async () => {
    const failures = new Queue<string>();
    const failing = (text: string) =>
      concat(
        of(1).pipe(tap(() => seen.push(text))),
        throwError(() => new Error(text)),
      );
    @Injectable()
    class Streaming {
      @OnMessage('x')
      direct() {
        return failing('direct');
      }
      @OnMessage('x')
      async promised() {
        return failing('promised');
      }
      @OnMessage('x')
      piped(@Payload(ParseIntPipe) id: number) {
        return failing(id === 1 ? 'piped' : 'not piped');
      }
      @OnMessage('x')
      empty() {
        return EMPTY;
      }
      @OnMessage('x')
      pipedEmpty(@Payload(ParseIntPipe) id: number) {
        return id === 1 ? EMPTY : failing('not piped');
      }
    }
    await using running = await start([Streaming], {
      onListenerError: (error, { listener }) => failures.push(`${listener}: ${(error as Error).message}`),
    });
    void running.messaging.postMessage('x', 1);
    const expected = ['Streaming.direct: direct', 'Streaming.piped: piped', 'Streaming.promised: promised'];
    expect((await failures.take(3)).toSorted()).toEqual(expected);
    expect(seen.map(String).toSorted()).toEqual(['direct', 'piped', 'promised']);
    await new Promise((resolve) => setImmediate(resolve));
    expect([failures.pending, running.logger.problems.length]).toEqual([[], 3]);
  });

  test('has its Observables unsubscribed when the application shuts down, and a failure of their end reported', async () => {
    const endless = (name: string) =>
      new Observable<never>(() => calls.push(name)).pipe(
        finalize(() => {
          seen.push(name);
          throw new Error(name);
        }),
      );
    @Injectable()
    class Endless {
      @OnMessage('x')
      direct() {
        return endless('direct');
      }
      @OnMessage('x')
      piped(@Payload(ParseIntPipe) id: number) {
        return endless(id === 1 ? 'piped' : 'not piped');
      }
    }
    const running = await start([Endless]);
    void running.messaging.postMessage('x', 1);
    await calls.take(2);
    await running[Symbol.asyncDispose]();
    expect(seen.map(String).toSorted()).toEqual(['direct', 'piped']);
    expect(running.logger.problems.toSorted()).toEqual([
      'error The end of the Observable of an @OnMessage method failed: direct',
      'error The end of the Observable of an @OnMessage method failed: piped',
    ]);
  });

  test('is not called any more when the application has shut down', async () => {
    @Injectable()
    class Provider {
      @OnMessage('x')
      handle() {
        seen.push('called');
      }
    }
    const running = await start([Provider]);
    await running.app.close();
    await running.messaging.postMessage('x', 1);
    expect(seen).toEqual([]);
  });

  test('on something other than a method is refused at the decorator', () => {
    expect(() => {
      class Wrong {
        @OnMessage('x')
        get value() {
          return 1;
        }
      }
      return Wrong;
    }).toThrow('it decorates methods');
  });

  test('on a class that Nest does not scan is refused at the decorator, like @Sse and @AuthorizeChannel', () => {
    class Provider {}
    const descriptor = { value: () => {} } as TypedPropertyDescriptor<never>;
    const decorators: [string, (target: object, key: string | symbol, descriptor: never) => unknown][] = [
      ['@OnMessage', OnMessage('x')],
      ['@Sse()', Sse('x')],
      ['@AuthorizeChannel', AuthorizeChannel('x')],
    ];
    for (const [name, decorate] of decorators) {
      expect(() => decorate(Provider.prototype, Symbol('hidden'), descriptor as never)).toThrow(
        `${name} on Provider.Symbol(hidden): Nest does not find methods named by a symbol; give it a name`,
      );
      expect(() => decorate(Provider, 'shared', descriptor as never)).toThrow(
        `${name} on Provider.shared: the method is static; Nest calls those of instances`,
      );
    }
  });

  test('on a wrong channel stops the application at its start', async () => {
    @Injectable()
    class Provider {
      @OnMessage('users.*')
      handle() {}
    }
    await expect(start([Provider])).rejects.toThrow('Channel "users.*" contains "*"');
  });
});

describe('a request-scoped @OnMessage handler', () => {
  const sessions: Session[] = [];

  @Injectable({ scope: Scope.REQUEST })
  class Scoped {
    constructor(
      private readonly messages: SessionMessages,
      @Inject(REQUEST) private readonly request: MessageRequest<number>,
    ) {}
    @OnMessage('numbers')
    async handle(number: number) {
      const { session } = this.messages;
      sessions.push(session);
      this.messages.addListener('side', (message) => seen.push(message));
      await this.messages.postMessage('side', `side of ${number}`);
      calls.push([number, this.request.message, this.request.context.channel, session.closed]);
    }
  }
  @Controller()
  class ScopedController {
    constructor(private readonly messages: SessionMessages) {}
    @OnMessage('numbers')
    handle(number: number) {
      calls.push(['controller', number, this.messages.session.closed]);
    }
  }

  test('has its own instance and session for each message, which end after the handler', async () => {
    await using running = await start([Scoped]);
    void running.messaging.postMessage('numbers', 1);
    expect(await calls.next()).toEqual([1, 1, 'numbers', false]);
    await new Promise((resolve) => setImmediate(resolve));
    void running.messaging.postMessage('numbers', 2);
    expect(await calls.next()).toEqual([2, 2, 'numbers', false]);
    await new Promise((resolve) => setImmediate(resolve));

    expect(sessions[0]).not.toBe(sessions[1]);
    expect(sessions.map(({ closed }) => closed)).toEqual([true, true]);
    void running.messaging.postMessage('side', 'nobody is left');
    expect(seen).toEqual(['side of 1', 'side of 2']);
  });

  test('may be a controller', async () => {
    await using running = await start([], {}, [ScopedController]);
    void running.messaging.postMessage('numbers', 1);
    expect(await calls.next()).toEqual(['controller', 1, false]);
  });
});

describe('with scope async-local an @OnMessage handler', () => {
  test('finds the session of its message in all functions that it calls, and that session ends after the handler', async () => {
    @Injectable()
    class Deep {
      constructor(readonly messages: SessionMessages) {}
    }
    @Injectable()
    class Handler {
      constructor(private readonly deep: Deep) {}
      @OnMessage('x')
      async handle() {
        await new Promise((resolve) => setImmediate(resolve));
        calls.push(this.deep.messages.session);
      }
    }
    await using running = await start([Deep, Handler], { scope: 'async-local' });
    void running.messaging.postMessage('x', 1);
    void running.messaging.postMessage('x', 2);
    const [first, second] = (await calls.take(2)) as [Session, Session];
    expect(first).not.toBe(second);
    await new Promise((resolve) => setImmediate(resolve));
    expect([first.closed, second.closed]).toEqual([true, true]);
  });
});

describe('the parameters of an @OnMessage handler', () => {
  test('follow @Payload and @Ctx, ours or those of Nest microservices, with their pipes', async () => {
    @Injectable()
    class Provider {
      @OnMessage('a')
      ours(@Ctx() context: MessageContext, @Payload() payload: unknown, @Payload('n') property: unknown) {
        seen.push([context.channel, payload, property]);
      }
      @OnMessage('b')
      async stock(@StockCtx() context: MessageContext, @StockPayload('n', ParseIntPipe) n: number) {
        calls.push([context.channel, n]);
      }
      @OnMessage('c')
      async piped(@Payload('n', ParseIntPipe) n: number) {
        calls.push(n);
      }
    }
    await using running = await start([Provider]);
    void running.messaging.postMessage('a', { n: 1 });
    expect(seen).toEqual([['a', { n: 1 }, 1]]);
    void running.messaging.postMessage('b', { n: '2' });
    expect(await calls.next()).toEqual(['b', 2]);
    void running.messaging.postMessage('c', { n: '3' });
    expect(await calls.next()).toBe(3);
  });
});

describe('the enhancers of an @OnMessage handler', () => {
  @Injectable()
  class Prefix {
    readonly text = 'injected';
  }
  @Injectable()
  class OnlyEven implements CanActivate {
    canActivate(context: ExecutionContext) {
      seen.push(['guard', context.getType<string>(), context.getClass().name, context.getHandler().name]);
      return context.switchToRpc().getData<number>() % 2 === 0;
    }
  }
  @Injectable()
  class Doubling implements PipeTransform {
    constructor(private readonly prefix: Prefix) {}
    transform(value: number) {
      return `${this.prefix.text} ${value * 2}`;
    }
  }
  @Injectable()
  class Logging implements NestInterceptor {
    intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
      seen.push(['before', context.switchToRpc().getContext<MessageContext>().channel]);
      return next.handle().pipe(tap((result) => calls.push(['after', result])));
    }
  }
  @Catch()
  class Catching implements ExceptionFilter {
    catch(error: Error) {
      calls.push(['filter', error.message]);
    }
  }

  @Injectable()
  @UseFilters(Catching)
  class Guarded {
    @OnMessage('guarded')
    @UseGuards(OnlyEven)
    @UseInterceptors(Logging)
    handle(@Payload(Doubling) text: string) {
      seen.push(['handle', text]);
      return 'result';
    }
    @OnMessage('broken')
    broken() {
      throw new Error('broken');
    }
  }

  test('run around it: guards, pipes with injected parts, interceptors and filters', async () => {
    await using running = await start([Guarded, Prefix]);
    void running.messaging.postMessage('guarded', 4);
    expect(await calls.next()).toEqual(['after', 'result']);
    expect(seen).toEqual([
      ['guard', 'message', 'Guarded', 'handle'],
      ['before', 'guarded'],
      ['handle', 'injected 8'],
    ]);
    void running.messaging.postMessage('guarded', 3);
    expect(await calls.next()).toEqual(['filter', 'Forbidden resource']);
    void running.messaging.postMessage('broken', 1);
    expect(await calls.next()).toEqual(['filter', 'broken']);
    expect(running.logger.problems).toEqual([]);
  });

  test('do so for a request-scoped handler too', async () => {
    @Injectable({ scope: Scope.REQUEST })
    @UseFilters(Catching)
    class ScopedGuarded {
      @OnMessage('guarded')
      @UseGuards(OnlyEven)
      @UsePipes(Doubling)
      handle(@Payload() text: string) {
        calls.push(text);
      }
    }
    await using running = await start([ScopedGuarded, Prefix]);
    void running.messaging.postMessage('guarded', 4);
    expect(await calls.next()).toBe('injected 8');
    void running.messaging.postMessage('guarded', 5);
    expect(await calls.next()).toEqual(['filter', 'Forbidden resource']);
  });

  test('give the message to the pipes of an undecorated handler and of its class, and the context to no pipe', async () => {
    class Raw {
      @IsInt() n!: number;
    }
    @Injectable()
    class OfMethod {
      @OnMessage('raw')
      @UsePipes(new ValidationPipe({ transform: true }))
      handle(message: Raw, context: MessageContext) {
        calls.push([message instanceof Raw, context.channel]);
      }
    }
    @Injectable()
    @UsePipes(Doubling)
    class OfClass {
      @OnMessage('doubled')
      handle(text: unknown) {
        calls.push(text);
      }
    }
    const failures = new Queue<string>();
    await using running = await start([OfMethod, OfClass, Prefix], {
      onListenerError: (error) => failures.push((error as Error).message),
    });
    void running.messaging.postMessage('raw', { n: 'x' });
    expect(await failures.next()).toBe('Bad Request Exception');
    void running.messaging.postMessage('raw', { n: 1 });
    expect(await calls.next()).toEqual([true, 'raw']);
    void running.messaging.postMessage('doubled', 4);
    expect(await calls.next()).toBe('injected 8');
  });

  test('that refuse a message are reported if no filter catches the error', async () => {
    @Injectable()
    class Validated {
      @OnMessage(Orders)
      handle(@Payload(new ValidationPipe()) order: Order) {
        seen.push(order);
      }
    }
    const failures = new Queue<string>();
    await using running = await start([Validated], {
      validateOnPost: false,
      onListenerError: (error) => failures.push((error as Error).message),
    });
    void running.messaging.postMessage(Orders, new Order('x' as never));
    expect(await failures.next()).toBe('Bad Request Exception');
    expect(seen).toEqual([]);
    expect(running.logger.problems).toEqual([
      'error Listener Validated.handle failed on channel "orders": Bad Request Exception',
    ]);
  });

  test('do not include global ones, which belong to requests', async () => {
    const refuse = { canActivate: () => false };
    const explode = {
      transform: () => {
        throw new Error('global pipe');
      },
      intercept: () => {
        throw new Error('global interceptor');
      },
    };
    @Catch()
    class GlobalFilter implements ExceptionFilter {
      catch() {
        seen.push('global filter');
      }
    }
    @Injectable()
    class Provider {
      @OnMessage('plain')
      plain(@Payload() payload: unknown) {
        seen.push(payload);
      }
      @OnMessage('guarded')
      @UseGuards(OnlyEven)
      guarded(payload: unknown) {
        calls.push(payload);
      }
    }
    await using running = await start([
      Provider,
      { provide: APP_GUARD, useValue: refuse },
      { provide: APP_PIPE, useValue: explode },
      { provide: APP_INTERCEPTOR, useValue: explode },
      { provide: APP_FILTER, useClass: GlobalFilter },
    ]);
    void running.messaging.postMessage('plain', 'heard');
    void running.messaging.postMessage('guarded', 2);
    expect(await calls.next()).toBe(2);
    expect(seen[0]).toBe('heard');
    expect(seen).not.toContain('global filter');
  });
});
