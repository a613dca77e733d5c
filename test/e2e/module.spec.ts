import { once } from 'node:events';
import http from 'node:http';
import {
  All,
  Controller,
  Delete,
  Get,
  Inject,
  Injectable,
  Module,
  Post,
  Scope,
  type ModuleMetadata,
  type OnApplicationBootstrap,
  type Type,
} from '@nestjs/common';
import { LazyModuleLoader, ModuleRef, NestFactory, REQUEST } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { describe, expect, jest, test } from '@jest/globals';
import supertest from 'supertest';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import {
  AuthorizeChannel,
  ConfigurationError,
  defineChannel,
  Message,
  Messages,
  MessageSource,
  MessagingModule,
  MessagingService,
  messagesFrom,
  OnMessage,
  Serializable,
  SessionClosedError,
  SessionMessages,
  sourceRef,
  type GatewayOptions,
  type MessagingModuleOptions,
  type MessagingOptions,
  type MessagingOptionsFactory,
  type Session,
} from 'nestjs-messaging';
import { ADAPTER_NAMES, createApp, startApp } from '../support/apps.js';
import { MemoryBroker, MemoryTransport } from 'nestjs-messaging/testing';
import { declaredClasses } from '../../lib/protocol/declared-classes.js';
import { Queue } from '../support/queue.js';

const Ticks = defineChannel<number>('ticks');

/** Resolves when a session has closed. */
async function closed(session: Session): Promise<void> {
  if (!session.closed) await once(session.signal, 'abort');
}

/** The body of an answer, with the known type of its route. */
function bodyOf(response: { body: unknown }): Record<string, unknown> {
  return response.body as Record<string, unknown>;
}

const authenticateByHeader = ({ headers }: { headers: Record<string, string> }) =>
  headers['x-user'] ? { userId: headers['x-user'] } : null;
/** The log of an application's start, with a gateway and a controller. */
const warnings = async (controller: Type, options: GatewayOptions | true = true) => {
  const imports = [MessagingModule.forRoot({ gateway: options })];
  // Fastify itself refuses a second route.
  await using running = await startApp({ imports, controllers: [controller] }, { adapter: 'Express' });
  return running.logger.problems;
};
const sharedRoute = (label: string, route: string) =>
  `warn ${label} and the gateway both answer ${route}, so one of them is never reached. ` +
  "Move the gateway with MessagingModule.forRoot({ gateway: { path: '…' } })";
const brokenSink = () => {
  throw new Error('sink is broken');
};

const withoutStatus = Object.assign(new MemoryTransport(new MemoryBroker()), { status: 'ready' });

/** The error of a start with these options. */
async function startupError(metadata: ModuleMetadata): Promise<Error> {
  try {
    const { app } = await createApp(metadata);
    await app.close();
  } catch (error) {
    return error as Error;
  }
  throw new Error('The application started');
}

describe('the options', () => {
  test.each<[unknown, string]>([
    [{ redsi: 'redis://x' }, 'unknown option "redsi"'],
    [{ gatway: true }, 'onListenerError, scope, global, gateway'],
    [{ sse: { heartbeat: 1 } }, 'MessagingModule: sse: unknown option "heartbeat"'],
    [
      { sse: { heartbeatMs: -1 } },
      'MessagingModule: sse: option "heartbeatMs" must be a whole number of at least 0, in milliseconds, not -1',
    ],
    [{ types: ['User'] }, 'MessagingModule: types[0] must be a class, not "User"'],
    [{ sse: { heartbeatMs: 2 ** 31 } }, 'option "heartbeatMs" must be'],
    [
      { sse: { maxBufferedBytes: '1 MB' } },
      'option "maxBufferedBytes" must be a whole number of at least 1, in bytes, not "1 MB"',
    ],
    [{ sse: { maxConnectionAgeMs: 0 } }, 'option "maxConnectionAgeMs" must be a whole number of at least 1, in'],
    [{ limits: { maxMessageBytes: 0 } }, 'MessagingModule: limits: option "maxMessageBytes" must be'],
    [{ limits: [] }, 'MessagingModule: limits: the options must be an object, not an array'],
    [{ prefix: 'a*' }, 'option "prefix" must be'],
    [{ authenticate: 'user' }, 'option "authenticate" must be a function'],
    [{ onListenerError: {} }, 'option "onListenerError" must be a function'],
    [{ limits: { maxSubscriptionsPerConnection: 1.5 } }, 'option "maxSubscriptionsPerConnection" must be'],
    [{ transport: {} }, 'option "transport" must be a Transport (it has no method "start"), not an object'],
    [
      {
        transport: new (class {
          publish() {}
          start() {}
          subscribe() {}
        })(),
      },
      '(it has no method "unsubscribe")',
    ],
    [{ transport: withoutStatus }, 'option "transport" must be a Transport (its "status" is no Observable)'],
    [{ redis: 'redis://x', transport: new MemoryTransport(new MemoryBroker()) }, 'give either "redis" or "transport"'],
    [{ redis: 6379 }, 'redis'],
    ['redis://x', 'the options must be an object'],
  ])('%j stop the application at its start with an error that names the option', async (options, text) => {
    const error = await startupError({
      imports: [MessagingModule.forRootAsync({ useFactory: () => options as MessagingOptions })],
    });
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain(text);
  });

  test.each<[unknown, string]>([
    [{ scope: 'session' }, `option "scope" must be 'request' or 'async-local', not "session"`],
    [{ global: 'yes' }, 'option "global" must be true or false'],
  ])('are refused at the call with %j', (options, text) => {
    expect(() => MessagingModule.forRoot(options as MessagingModuleOptions)).toThrow(text);
  });

  test('of forRootAsync need exactly one source', () => {
    expect(() => MessagingModule.forRootAsync({})).toThrow(
      'exactly one of useFactory, useClass and useExisting, not 0',
    );
    expect(() => MessagingModule.forRootAsync({ useFactory: () => ({}), useFactry: 1 } as never)).toThrow(
      'unknown option "useFactry"',
    );
  });

  const unreadable = Object.defineProperty({}, 'redis', {
    enumerable: true,
    get: () => {
      throw new Error('no configuration');
    },
  });

  test.each<[string, () => unknown]>([
    ['must be an object, not 5', () => 5],
    ['must be an object, not null', () => null],
    ['must be an object, not an array', () => []],
    ['must be an object, not a function', () => () => 1],
    ['cannot be read', () => unreadable],
  ])('that %s are refused at the call', (text, make) => {
    expect(() => MessagingModule.forRoot(make() as never)).toThrow(ConfigurationError);
    expect(() => MessagingModule.forRoot(make() as never)).toThrow(`MessagingModule.forRoot(): the options ${text}`);
  });

  test('scope and global cannot come from a factory, which runs too late for them', async () => {
    const error = await startupError({
      imports: [MessagingModule.forRootAsync({ useFactory: () => ({ scope: 'async-local' }) as MessagingOptions })],
    });
    expect(error.message).toContain('option "scope" must be known before a factory runs');
  });

  test.each(['useClass', 'useExisting'])('of %s need a method that returns them', async (way) => {
    @Injectable()
    class Settings {}
    @Module({ providers: [Settings], exports: [Settings] })
    class SettingsModule {}
    const options = { imports: [SettingsModule], [way]: Settings };
    const error = await startupError({ imports: [MessagingModule.forRootAsync(options)] });
    expect(error).toEqual(
      new ConfigurationError(
        'MessagingModule.forRootAsync(): useClass and useExisting need a method "createMessagingOptions", ' +
          'which an instance of Settings does not have',
      ),
    );
  });

  test('may come from useFactory with injected parts, from useClass and from useExisting', async () => {
    const failures: unknown[] = [];
    @Injectable()
    class Settings implements MessagingOptionsFactory {
      createMessagingOptions = () =>
        Promise.resolve({ onListenerError: (error: unknown) => failures.push((error as Error).message) });
    }
    @Module({ providers: [Settings], exports: [Settings] })
    class SettingsModule {}
    const ways = [
      MessagingModule.forRootAsync({
        imports: [SettingsModule],
        inject: [Settings],
        useFactory: (settings: Settings) => settings.createMessagingOptions(),
      }),
      MessagingModule.forRootAsync({ useClass: Settings }),
      MessagingModule.forRootAsync({ imports: [SettingsModule], useExisting: Settings }),
    ];
    for (const [index, way] of ways.entries()) {
      await using running = await startApp({ imports: [way] });
      const messaging = running.app.get(MessagingService);
      messaging.addListener('x', () => {
        throw new Error(`failure ${index}`);
      });
      await messaging.postMessage('x', 1);
    }
    expect(failures).toEqual(['failure 0', 'failure 1', 'failure 2']);
  });

  test('of a log that fails itself do not stop the library from isolating a failing listener', async () => {
    const warning = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    await using running = await startApp({ imports: [MessagingModule.forRoot()] });
    const messaging = running.app.get(MessagingService);
    running.logger.error = () => {
      throw new Error('disk is full');
    };
    const seen: unknown[] = [];
    messaging.addListener('x', () => {
      // Not even convertible to a string.
      throw Object.create(null) as Error;
    });
    messaging.addListener('x', (message) => seen.push(message));

    await messaging.postMessage('x', 1);
    await messaging.postMessage('x', 2);

    expect(seen).toEqual([1, 2]);
    expect(warning).toHaveBeenCalledWith('The log of the application failed: disk is full', {
      type: 'MessagingWarning',
    });
    warning.mockRestore();
  });

  test('onListenerError that fails itself is logged and stops no listener', async () => {
    await using running = await startApp({ imports: [MessagingModule.forRoot({ onListenerError: brokenSink })] });
    const messaging = running.app.get(MessagingService);
    const seen: unknown[] = [];
    messaging.addListener('x', () => {
      throw new Error('listener is broken');
    });
    messaging.addListener('x', (message) => seen.push(message));

    await messaging.postMessage('x', 1);
    await running.app.close();

    expect(seen).toEqual([1]);
    expect(running.logger.problems).toEqual([
      'error Listener anonymous listener failed on channel "x": listener is broken',
      'error onListenerError failed: sink is broken',
    ]);
  });
});

describe('the module', () => {
  test('that is configured twice in one application stops it at its start', async () => {
    @Module({ imports: [MessagingModule.forRoot()] })
    class FeatureModule {}
    const error = await startupError({ imports: [MessagingModule.forRoot(), FeatureModule] });
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain('MessagingModule is configured 2 times');
  });

  test('imported without forRoot() stops the application at its start and names the missing line', async () => {
    const error = await startupError({ imports: [MessagingModule] });
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain(
      'MessagingModule has no options: import MessagingModule.forRoot(), once, in the root module',
    );
  });

  test('without a gateway warns once of authorizers that are never asked', async () => {
    @Injectable()
    class Access {
      @AuthorizeChannel(Ticks)
      mayRead(): boolean {
        return true;
      }
    }
    await using running = await startApp({ imports: [MessagingModule.forRoot()], providers: [Access] });
    expect(running.logger.problems).toEqual([
      'warn @AuthorizeChannel on Access.mayRead is never called, because clients have no gateway to subscribe through. ' +
        'Open one with MessagingModule.forRoot({ gateway: true })',
    ]);
    await using open = await startApp({ imports: [MessagingModule.forRoot({ gateway: true })], providers: [Access] });
    expect(open.logger.problems).toEqual([]);
  });

  test('with a gateway warns once of a route of the application that has the same method and path', async () => {
    @Controller('messages')
    class MessagesController {
      @Get()
      list(): void {}
      @Post()
      add(): void {}
    }
    expect(await warnings(MessagesController)).toEqual([sharedRoute('MessagesController.list', 'GET /messages')]);
    expect(await warnings(MessagesController, { path: 'live' })).toEqual([]);

    @Controller()
    class Other {
      @Delete('messages')
      clear(): void {}
      @Get('messages/:id')
      one(): void {}
      @Post('/messages/:id/channels/')
      channels(): void {}
    }
    expect(await warnings(Other)).toEqual([sharedRoute('Other.channels', 'POST /messages/:/channels')]);
    expect(await warnings(Other, { path: 'live' })).toEqual([]);

    @Controller({ path: 'messages', host: 'other.example' })
    class OnOtherHost {
      @All()
      all(): void {}
    }
    expect(await warnings(OnOtherHost)).toEqual([]);
  });

  test('of a server without shutdown hooks warns once that it listens without them, except in tests', async () => {
    const runner = { ...process.env };
    delete process.env['JEST_WORKER_ID'];
    delete process.env['NODE_ENV'];
    try {
      const { app, logger } = await createApp({ imports: [MessagingModule.forRoot()] });
      const warned = new Queue<unknown>();
      logger.warn = warned.push;
      await app.listen(0, '127.0.0.1');
      expect(await warned.next()).toContain('Call app.enableShutdownHooks() before app.listen()');
      await app.close();
    } finally {
      Object.assign(process.env, runner);
    }
  });

  test('imported as the same object by two modules exists once', async () => {
    const messaging = MessagingModule.forRoot();
    @Module({ imports: [messaging] })
    class FeatureModule {}
    await using running = await startApp({ imports: [messaging, FeatureModule] });
    expect(running.app.get(MessagingService)).toBeDefined();
  });

  test('that is not global is visible only to modules that import it', async () => {
    @Injectable()
    class Feature {
      constructor(readonly messaging: MessagingService) {}
    }
    @Module({ providers: [Feature] })
    class FeatureModule {}
    const error = await startupError({ imports: [MessagingModule.forRoot({ global: false }), FeatureModule] });
    expect(error.message).toContain('MessagingService');
  });

  test('of two applications in one process delivers to its own listeners only', async () => {
    await using one = await startApp({ imports: [MessagingModule.forRoot()] });
    await using two = await startApp({ imports: [MessagingModule.forRoot()] });
    const seen: string[] = [];
    one.app.get(MessagingService).addListener(Ticks, () => seen.push('one'));
    two.app.get(MessagingService).addListener(Ticks, () => seen.push('two'));

    await one.app.get(MessagingService).postMessage(Ticks, 1);

    expect(seen).toEqual(['one']);
  });

  test('works without HTTP, in an application context', async () => {
    @Module({ imports: [MessagingModule.forRoot()] })
    class WorkerModule {}
    const app = await NestFactory.createApplicationContext(WorkerModule, { logger: false });
    const messaging = app.get(MessagingService);
    const seen: unknown[] = [];
    const subscription = messaging.addListener(Ticks, (tick) => seen.push(tick));
    await subscription.ready;
    await messaging.postMessage(Ticks, 1);
    await app.close();
    await messaging.postMessage(Ticks, 2);
    expect(seen).toEqual([1]);
    expect(subscription.closed).toBe(true);
  });

  test('works in a testing module that is compiled but not initialised', async () => {
    const testing = await Test.createTestingModule({ imports: [MessagingModule.forRoot()] }).compile();
    const messages = await testing.resolve(SessionMessages);
    const seen: unknown[] = [];
    messages.addListener('x', (message) => seen.push(message));
    await testing.get(MessagingService).postMessage('x', 1);
    expect(seen).toEqual([1]);
    await testing.close();
  });

  test('without Redis is ready at once', async () => {
    await using running = await startApp({ imports: [MessagingModule.forRoot()] });
    expect(await firstValueFrom(running.app.get(MessagingService).status)).toEqual({ state: 'ready' });
  });
});

describe('MessagingService', () => {
  test('opens its own sessions, which end by close(), by using, and by a signal', async () => {
    await using running = await startApp({ imports: [MessagingModule.forRoot()] });
    const messaging = running.app.get(MessagingService);
    const controller = new AbortController();
    const seen: unknown[] = [];
    const byHand = messaging.openSession({ auth: { userId: 'ada' } });
    const bySignal = messaging.openSession({ signal: controller.signal });
    byHand.addListener('x', () => seen.push('by hand'));
    bySignal.addListener('x', () => seen.push('by signal'));
    {
      await using byUsing = messaging.openSession();
      byUsing.addListener('x', () => seen.push('by using'));
      await messaging.postMessage('x', 1);
    }
    controller.abort();
    byHand.session.close();
    await messaging.postMessage('x', 2);
    expect(seen).toEqual(['by hand', 'by signal', 'by using']);
    expect(() => byHand.addListener('x', () => {})).toThrow(SessionClosedError);
    expect(() => byHand.createStream('x')).toThrow(SessionClosedError);
    expect(() => byHand.iterate('x')).toThrow(SessionClosedError);
    await expect(byHand.postMessage('x', 3)).resolves.toBe(true);
  });

  test('opens no session with options that would never end it', async () => {
    await using running = await startApp({ imports: [MessagingModule.forRoot()] });
    const messaging = running.app.get(MessagingService);
    const misuses: [unknown, string][] = [
      [5, 'openSession: the options must be an object, not 5'],
      [null, 'openSession: the options must be an object, not null'],
      [{ sginal: new AbortController().signal }, 'openSession: unknown option "sginal"; the options are: auth, signal'],
      [{ signal: 5 }, 'openSession: option "signal" must be an AbortSignal, not 5'],
      [{ signal: {} }, 'openSession: option "signal" must be an AbortSignal, not an object'],
      [{ signal: new AbortController() }, 'must be an AbortSignal, not an instance of AbortController'],
    ];
    for (const [options, text] of misuses) {
      expect(() => messaging.openSession(options as never)).toThrow(ConfigurationError);
      expect(() => messaging.openSession(options as never)).toThrow(text);
    }
  });

  test('gets an error from removeListener for a value that is not a channel or a listener', async () => {
    await using running = await startApp({ imports: [MessagingModule.forRoot()] });
    const messaging = running.app.get(MessagingService);
    expect(() => messaging.removeListener(null as never, brokenSink)).toThrow(
      'A channel is a string or the result of defineChannel(), not null',
    );
    expect(() => messaging.removeListener('x', 5 as never)).toThrow(/^A listener is a function .*, not 5$/);
    messaging.removeListener(defineChannel('unknown'), brokenSink);
  });

  test('removes exactly the registrations of a function on a channel', async () => {
    await using running = await startApp({ imports: [MessagingModule.forRoot()] });
    const messaging = running.app.get(MessagingService);
    const seen: unknown[] = [];
    const listener = (message: unknown) => seen.push(message);
    messaging.addListener('a', listener);
    messaging.addListener('a', listener);
    messaging.addListener('b', listener);
    const other = messaging.openSession();
    other.addListener('a', listener);

    messaging.removeListener('a', listener);
    messaging.removeListener('a', () => {});
    messaging.removeListener('never used', listener);
    await messaging.postMessage('a', 'a');
    await messaging.postMessage('b', 'b');

    expect(seen).toEqual(['a', 'b']);
  });

  test('sends from a source to listeners of this source and class, by value of its key', async () => {
    class Said extends Message {
      constructor(readonly text: string) {
        super();
      }
    }
    class Left extends Message {}
    @Serializable({ key: 'id' })
    class Room {
      constructor(readonly id: string) {}
    }
    @MessageSource({ name: 'chat', key: 'region' })
    class ChatServer {
      readonly region = 'eu/1*';
    }
    await using running = await startApp({ imports: [MessagingModule.forRoot()] });
    const messaging = running.app.get(MessagingService);
    const seen: unknown[] = [];
    messaging.addListener(messagesFrom(new Room('lobby'), Said), ({ text }) => seen.push(`lobby: ${text}`));
    messaging.addListener(messagesFrom(sourceRef('Room', 'lobby'), Left), () => seen.push('lobby: left'));
    messaging.addListener(messagesFrom(Room, Said), ({ text }, { params }) =>
      seen.push(`all: ${text} in ${params['key']}`),
    );
    messaging.addListener(messagesFrom(new ChatServer(), Said), ({ text }) => seen.push(`chat: ${text}`));

    await messaging.sendMessage(new Room('lobby'), new Said('hello'));
    await messaging.sendMessage(sourceRef(Room, 'lobby'), new Left());
    await messaging.sendMessage(new Room('cellar'), new Said('boo'));
    await messaging.sendMessage(new ChatServer(), new Said('welcome'));

    expect(seen).toEqual(['lobby: hello', 'all: hello in lobby', 'lobby: left', 'all: boo in cellar', 'chat: welcome']);
    expect(() => messaging.sendMessage(new Room(''), new Said('x'))).toThrow('A Room needs a key to be a source');
    expect(() => messaging.sendMessage({}, new Said('x'))).toThrow(
      'an object cannot be a source: its class needs @MessageSource({ key })',
    );
    expect(() => messaging.sendMessage(new Room('x'), { text: 'x' })).toThrow('sendMessage sends instances of a class');
  });
});

describe.each(ADAPTER_NAMES)('SessionMessages on %s', (adapter) => {
  describe.each(['request', 'async-local'] as const)('with scope %s', (scope) => {
    const sessions = new Queue<Session>();

    @Injectable()
    class Service {
      constructor(readonly messages: SessionMessages) {}
    }
    @Controller()
    class TestController {
      constructor(
        private readonly messages: SessionMessages,
        private readonly service: Service,
      ) {}

      @Get('listen')
      listen(@Messages() parameter: SessionMessages) {
        const seen: unknown[] = [];
        this.messages.addListener(Ticks, (tick) => seen.push(tick));
        void this.service.messages.postMessage(Ticks, 1);
        sessions.push(this.messages.session);
        const isOne =
          this.service.messages.session === this.messages.session && parameter.session === this.messages.session;
        return { seen, isOne, isOpen: !this.messages.session.closed, auth: this.messages.session.auth };
      }

      @Post('body')
      async body() {
        await new Promise((resolve) => setImmediate(resolve));
        sessions.push(this.messages.session);
        return { isOpen: !this.messages.session.closed };
      }

      @Get('wait')
      wait() {
        sessions.push(this.messages.session);
        return new Promise((resolve) => this.messages.addListener('answer', resolve));
      }

      @Get('fail')
      fail(): never {
        sessions.push(this.messages.session);
        throw new Error('broken');
      }
    }

    const start = (options: MessagingModuleOptions = {}) =>
      startApp(
        {
          imports: [MessagingModule.forRoot({ scope, ...options })],
          controllers: [TestController],
          providers: [Service],
        },
        { adapter },
      );

    test('gives all handlers of a request the same session, which closes with the response', async () => {
      await using running = await start();
      for (const _ of [1, 2]) {
        const body = bodyOf(await supertest(running.url).get('/listen').expect(200));
        expect(body).toEqual({ seen: [1], isOne: true, isOpen: true, auth: null });
        await closed(await sessions.next());
      }
    });

    test('keeps the session open while a request with a body is handled, and closes it afterwards', async () => {
      await using running = await start();
      const body = bodyOf(
        await supertest(running.url)
          .post('/body')
          .send({ some: 'x'.repeat(10_000) })
          .expect(201),
      );
      expect(body).toEqual({ isOpen: true });
      await closed(await sessions.next());
    });

    test('closes the session of a request whose client leaves, with its listeners', async () => {
      await using running = await start();
      const request = http.get(`${running.url}/wait`);
      const cutOff = once(request, 'error');
      const session = await sessions.next();
      expect(session.closed).toBe(false);
      request.destroy();
      await cutOff.catch(() => {});
      await closed(session);
      expect(session.registrations()).toEqual([]);
    });

    test('closes the session of a request that fails', async () => {
      await using running = await start();
      await supertest(running.url).get('/fail').expect(500);
      const session = await sessions.next();
      await closed(session);
      expect(session.closeReason).toBe('ended');
    });

    test('calls the option authenticate for the user of the request', async () => {
      await using running = await start({ authenticate: authenticateByHeader });
      const body = bodyOf(await supertest(running.url).get('/listen').set('x-user', 'ada'));
      expect(body['auth']).toEqual({ userId: 'ada' });
      await closed(await sessions.next());
    });

    test.each<[string, () => never]>([
      [
        'throws',
        () => {
          throw new Error('no database');
        },
      ],
      ['gives no user', (() => ({ name: 'ada' })) as () => never],
    ])('treats the user as nobody if authenticate %s', async (_case, authenticate) => {
      await using running = await start({ authenticate });
      const body = bodyOf(await supertest(running.url).get('/listen').expect(200));
      expect(body['auth']).toBeNull();
      await sessions.next();
      expect(running.logger.problems[0]).toMatch(/^warn Option "authenticate" (failed|gave)/);
    });
  });
});

describe('SessionMessages without a request', () => {
  test('belongs, in request scope, to its own session, which ends with the application', async () => {
    await using running = await startApp({ imports: [MessagingModule.forRoot()] });
    const [one, two] = [await running.app.resolve(SessionMessages), await running.app.resolve(SessionMessages)];
    expect(one.session).toBe(one.session);
    expect(one.session).not.toBe(two.session);
    await running.app.close();
    expect(one.session.closeReason).toBe('shutdown');
  });

  test('of scope async-local posts, but reports that listening needs a session', async () => {
    await using running = await startApp({ imports: [MessagingModule.forRoot({ scope: 'async-local' })] });
    const messages = running.app.get(SessionMessages);
    await expect(messages.postMessage('x', 1)).resolves.toBe(true);
    expect(() => messages.addListener('x', () => {})).toThrow('inject MessagingService instead');
  });

  test('of a socket ends when the socket disconnects', async () => {
    await using running = await startApp({ imports: [MessagingModule.forRoot()] });
    const { EventEmitter } = await import('node:events');
    const { ContextIdFactory } = await import('@nestjs/core');
    const socket = new EventEmitter();
    const moduleRef = running.app.get(ModuleRef);
    const contextId = ContextIdFactory.create();
    moduleRef.registerRequestByContextId(socket, contextId);
    const { session } = await moduleRef.resolve(SessionMessages, contextId, { strict: false });
    expect(session.closed).toBe(false);
    socket.emit('disconnect');
    expect(session.closed).toBe(true);
  });

  test('tolerates a request that is not an HTTP request', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class Holder {
      constructor(
        readonly messages: SessionMessages,
        @Inject(REQUEST) readonly request: unknown,
      ) {}
    }
    await using running = await startApp({ imports: [MessagingModule.forRoot()], providers: [Holder] });
    const holder = await running.app.resolve(Holder);
    expect(holder.request).toBeUndefined();
    expect(holder.messages.session.auth).toBeNull();
  });
});

test('a broken transport of the application is logged, and breaks nothing else', async () => {
  const transport = Object.assign(new MemoryTransport(new MemoryBroker()), { publish: brokenSink, close: brokenSink });
  const { app, logger } = await createApp({ imports: [MessagingModule.forRoot({ transport })] });
  await app.init();
  const messaging = app.get(MessagingService);
  const seen: unknown[] = [];
  messaging.addListener(Ticks, (tick) => seen.push(tick));
  expect(await messaging.postMessage(Ticks, 1, { global: true })).toBe(false);
  await app.close();
  expect(seen).toEqual([1]);
  expect(logger.problems).toEqual([
    expect.stringContaining('"publish" of the transport failed: sink is broken'),
    expect.stringContaining('"close" of the transport failed: sink is broken'),
  ]);
});

// As in docs/history.md.
describe('a cache that reads the position, loads the state, then listens from the position', () => {
  const Prices = defineChannel<[share: string, cents: number]>('module/prices', undefined, {
    history: { maxMessages: 100, ttlMs: 60_000 },
  });

  class Database {
    readonly prices = new Map<string, number>();
    readonly loads = new Queue<string>();
    /** Runs during a read. */
    meanwhile: (() => Promise<void>) | undefined;

    async load(): Promise<ReadonlyMap<string, number>> {
      const prices = new Map(this.prices);
      this.loads.push(JSON.stringify([...prices]));
      await this.meanwhile?.();
      return prices;
    }
  }

  @Injectable()
  class PriceCache implements OnApplicationBootstrap {
    readonly prices = new Map<string, number>();
    readonly followed = new Queue<string>();

    constructor(
      private readonly messages: MessagingService,
      private readonly database: Database,
    ) {}

    onApplicationBootstrap(): Promise<void> {
      return this.follow();
    }

    private async follow(): Promise<void> {
      const position = await this.messages.position(Prices);
      for (const [share, cents] of await this.database.load()) this.prices.set(share, cents);
      const listener = this.messages.addListener(Prices, ([share, cents]) => this.prices.set(share, cents), {
        replay: position,
        onGap: () => {
          listener.unsubscribe();
          return this.follow();
        },
      });
      await listener.ready;
      this.followed.push(JSON.stringify([...this.prices]));
    }
  }

  async function startCache() {
    const broker = new MemoryBroker();
    const database = new Database();
    const poster = await startApp({ imports: [MessagingModule.forRoot({ transport: new MemoryTransport(broker) })] });
    const change = async (share: string, cents: number): Promise<void> => {
      database.prices.set(share, cents);
      expect(await poster.app.get(MessagingService).postMessage(Prices, [share, cents])).toBe(true);
    };
    await change('a', 1);
    database.meanwhile = () => change('a', 2);
    const transport = new MemoryTransport(broker);
    const providers = [PriceCache, { provide: Database, useValue: database }];
    const server = await startApp({ imports: [MessagingModule.forRoot({ transport })], providers });
    database.meanwhile = undefined;
    return { broker, database, change, transport, poster, server, cache: server.app.get(PriceCache) };
  }

  test('has the changes made during the load when the application has started', async () => {
    const { poster, server, database, cache } = await startCache();
    expect(database.loads.pending).toEqual(['[["a",1]]']);
    expect([...cache.prices]).toEqual([['a', 2]]);
    await server[Symbol.asyncDispose]();
    await poster[Symbol.asyncDispose]();
  });

  test('loads again if messages are lost, and has the changes of that time', async () => {
    const { poster, server, broker, transport, cache, change } = await startCache();
    expect(await cache.followed.next()).toBe('[["a",2]]');
    broker.cut(transport);
    await change('a', 3);
    broker.wipe();
    await change('b', 4);
    broker.heal();
    expect(await cache.followed.next()).toBe('[["a",3],["b",4]]');
    await server[Symbol.asyncDispose]();
    await poster[Symbol.asyncDispose]();
  });
});

function declareClass(name: string): new () => object {
  @Serializable({ name })
  class Declared {}
  return Declared;
}

// At the end of the file, because declared classes stay declared.
describe('message classes with one name', () => {
  test('keep the application from starting unless it shows which one it uses', async () => {
    const name = 'module-clash';
    const one = declareClass(name);
    @Serializable({ name })
    class Other {}

    const transport = new MemoryTransport(new MemoryBroker());
    const failed = await Test.createTestingModule({ imports: [MessagingModule.forRoot({ transport })] }).compile();
    await expect(failed.init()).rejects.toThrow(
      /^Two message classes are called "module-clash": Declared at .*module\.spec\.ts:\d+:\d+, Other at .*module\.spec\.ts:\d+:\d+; give them different names/,
    );

    // Nothing stays open that would keep the process alive.
    expect(await lastValueFrom(transport.status)).toEqual({ state: 'closed' });

    class Listener {
      @OnMessage(defineChannel('module-clash', one))
      handle() {}
    }
    for (const metadata of [
      { imports: [MessagingModule.forRoot()], providers: [Listener] },
      { imports: [MessagingModule.forRoot({ types: [Other] })] },
    ]) {
      await using running = await startApp(metadata);
      expect(running.logger.problems).toEqual([]);
    }
  });

  test('are logged with their place if a class is declared again, for example when a module is loaded again', async () => {
    const classes = [declareClass('module-again'), declareClass('module-again')];
    const types = declaredClasses('module-clash', 'data').slice(0, 1);
    await using running = await startApp({ imports: [MessagingModule.forRoot({ types })] });
    expect(running.logger.problems).toEqual([
      expect.stringMatching(/^warn 2 message classes called "module-again" were declared at .*module\.spec\.ts/),
    ]);
    expect(classes).toHaveLength(2);
  });
});

describe('Channels that are defined twice', () => {
  class One {}
  class Other {}
  test('in different ways are logged once at the start, with the differing settings and the fix', async () => {
    const Posted = defineChannel('module-twice/:id', One, { clients: true, requiredScopes: ['a', 'b'] });
    defineChannel('module-twice/:id', Other, { clients: true });
    defineChannel('module-reloaded', class Reloaded {});
    defineChannel('module-reloaded', class Reloaded {});
    class Listener {
      @OnMessage(Posted)
      handle() {}
    }
    const types = declaredClasses('module-clash', 'data').slice(0, 1);
    await using running = await startApp({ imports: [MessagingModule.forRoot({ types })], providers: [Listener] });
    await running.app.get(LazyModuleLoader).load(() => class {});
    const about = (name: string) => running.logger.problems.filter((line) => line.includes(`Channel "${name}`));
    expect(about('module-twice/:id')).toEqual([
      'warn Channel "module-twice/:id" is defined twice, in different ways ' +
        '(once with class: One, requiredScopes: ["a","b"]; once with class: Other, requiredScopes: []); ' +
        'define it once and import it where it is used',
    ]);
    expect(about('module-reloaded')).toEqual([]);
  });

  test('in a module that is loaded later are logged then', async () => {
    const types = declaredClasses('module-clash', 'data').slice(0, 1);
    await using running = await startApp({ imports: [MessagingModule.forRoot({ types })] });
    await running.app.get(LazyModuleLoader).load(() => {
      defineChannel('module-late');
      defineChannel('module-late', undefined, { interop: true });
      return class LateModule {};
    });
    expect(running.logger.problems.filter((line) => line.includes('module-late'))).toEqual([
      expect.stringContaining('(once with interop: undefined; once with interop: true)'),
    ]);
  });

  test('keep the application from starting if an @AuthorizeChannel names one definition and a handler the other', async () => {
    const Closed = defineChannel('module-closed', undefined, { requiredScopes: ['staff'] });
    const Open = defineChannel('module-closed', undefined, { clients: true });
    class Handlers {
      @OnMessage(Open)
      handle() {}
      @AuthorizeChannel(Closed)
      may() {
        return true;
      }
    }
    const types = declaredClasses('module-clash', 'data').slice(0, 1);
    const imports = [MessagingModule.forRoot({ types, gateway: true })];
    await expect(startApp({ imports, providers: [Handlers] })).rejects.toThrow(
      'Channel "module-closed" is defined twice, in different ways (once with',
    );
  });
});
