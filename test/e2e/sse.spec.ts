import http2 from 'node:http2';
import { once } from 'node:events';
import {
  BadRequestException,
  Body,
  Catch,
  Controller,
  Get,
  Header,
  Injectable,
  Param,
  ParseIntPipe,
  Query,
  RequestMethod,
  UseFilters,
  UseGuards,
  UseInterceptors,
  type ArgumentsHost,
  type CallHandler,
  type ExceptionFilter,
  type ExecutionContext,
  type INestApplication,
  type NestInterceptor,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { beforeEach, describe, expect, test } from '@jest/globals';
import compression from 'compression';
import { createParser } from 'eventsource-parser';
import { concat, EMPTY, filter, from, map, NEVER, Observable, of, Subject, throwError, timer } from 'rxjs';
import {
  defineChannel,
  Messages,
  type Channel,
  MessagingModule,
  MessagingService,
  RevokedAuthenticationAuthId,
  Serializable,
  SessionMessages,
  Sse,
  SseEvent,
  type MessagingModuleOptions,
} from 'nestjs-messaging';
import { EventStreams } from '../../lib/sse/event-streams.js';
import { ADAPTERS, createApp, startApp, type AdapterName } from '../support/apps.js';
import { Queue } from '../support/queue.js';
import { randomFrom } from '../support/random.js';
import { ReadsUser } from '../support/reads-user.js';
import { SseClient } from '../support/sse-client.js';
import { TLS } from '../support/tls.js';

class UserUpdate {
  constructor(
    readonly id: number,
    readonly name: string,
  ) {}
}

@Serializable({ name: 'error' })
class Failure {
  constructor(readonly text: string) {}
}

@Serializable({ name: 'room-update' })
class RoomUpdate {
  constructor(readonly room: string) {}
}

const Users = defineChannel('user_updates', UserUpdate);
const Rooms = defineChannel('rooms/:roomId', RoomUpdate);

interface Tick {
  readonly id: number;
  readonly share: string;
  readonly text: string;
}
const Ticks = defineChannel('sse-ticks', undefined, { slowConsumer: 'dropOldest' });
const Prices = defineChannel('sse-prices/:market', undefined, {
  slowConsumer: 'conflate',
  conflateBy: ({ share }: Tick) => share,
});
const Unkeyed = defineChannel('sse-unkeyed', undefined, {
  slowConsumer: 'conflate',
  conflateBy: ({ share }: Tick) => (share === 'late' ? (Promise.reject(new Error('late')) as never) : share),
});

@Controller()
class LossyController {
  @Sse('ticks')
  ticks(@Messages() messages: SessionMessages) {
    return messages.createStream(Ticks);
  }

  @Sse('unkeyed')
  unkeyed(@Messages() messages: SessionMessages) {
    return messages.createStream(Unkeyed);
  }

  @Sse('prices')
  prices(@Messages() messages: SessionMessages) {
    return messages.createStream('sse-prices/london');
  }
}

/** Posts much more than may wait for a stalled reader; returns the rest that it receives once it continues. */
async function overrun(adapter: AdapterName, path: string, channel: Channel): Promise<[string, Tick][]> {
  await using running = await startApp(
    { imports: [MessagingModule.forRoot({ sse: { maxBufferedBytes: 200_000 } })], controllers: [LossyController] },
    { adapter },
  );
  await using stalled = await SseClient.connect(`${running.url}/${path}`);
  await stalled.comments.next();
  stalled.stall();
  const text = 'x'.repeat(10_000);
  const count = 1_500;
  for (let id = 0; id < count; id++) {
    const tick: Tick = { id, share: 'ABC'[id % 3]!, text };
    void running.app.get(MessagingService).postMessage(channel, tick);
    if (id % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  stalled.resume();
  const events: [string, Tick][] = [];
  do events.push((await stalled.next()) as [string, Tick]);
  while (events.at(-1)![1].id !== count - 1);
  expect(running.logger.problems).toEqual([]);
  return events;
}

/** Reports of the sources of streams. */
let told = new Queue<string>();
let gate = new Subject<void>();
beforeEach(() => {
  told = new Queue();
  gate = new Subject();
});

/** A source that emits nothing and reports its end. */
const watched = (name: string) =>
  new Observable<never>(() => {
    told.push(`${name} subscribed`);
    return () => told.push(`${name} released`);
  });

@Injectable()
class Noting implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler) {
    told.push('intercepted');
    return next.handle().pipe(map(() => 'what an interceptor makes of it is not sent'));
  }
}

@Catch(BadRequestException)
class Teapot implements ExceptionFilter {
  catch(error: BadRequestException, host: ArgumentsHost) {
    const response = host.switchToHttp().getResponse<{ status(code: number): { send(body: unknown): void } }>();
    response.status(418).send({ teapot: error.message });
  }
}

@Controller()
@UseGuards(ReadsUser)
class StreamsController {
  constructor(private readonly messages: SessionMessages) {}

  @Sse('users')
  users() {
    return this.messages.createStream(Users);
  }

  @Sse('filtered')
  filtered() {
    return this.messages.createStream(Users).pipe(filter(({ id }) => id % 2 === 0));
  }

  @Sse('rooms/:roomId')
  async room(@Param('roomId', ParseIntPipe) roomId: number, @Messages() messages: SessionMessages) {
    await new Promise((resolve) => setImmediate(resolve));
    return messages.createStream(Rooms.for({ roomId }));
  }

  @Sse('values')
  values() {
    return from([
      { a: 1 },
      'text',
      7,
      true,
      null,
      [1, 2],
      new RoomUpdate('x'),
      { data: 'd', id: 'i', type: 't' },
      'two\nlines',
    ]);
  }

  @Sse('named')
  named() {
    return this.messages.createStream(Users).pipe(
      map((update) => {
        if (update.id === 0) return new SseEvent(undefined, { event: 'nothing' });
        return new SseEvent(update, {
          id: `user-${update.id}`,
          ...(update.id > 1 && { event: 'renamed', retryMs: 77 }),
        });
      }),
    );
  }

  @Sse('colliding')
  colliding() {
    return of(new Failure('seen as a failure of the connection'), 'fine');
  }

  @Sse('iterable')
  async *iterable() {
    try {
      yield new RoomUpdate('first');
      yield 2;
      told.push('generator waits');
      await new Promise(() => {});
    } finally {
      told.push('generator released');
    }
  }

  @Sse('loop')
  loop() {
    return this.messages.iterate(Users);
  }

  @Sse('finite')
  finite() {
    return of('one', 'two');
  }

  @Sse('empty')
  empty() {
    return EMPTY;
  }

  @Sse('quiet')
  quiet() {
    return watched('quiet');
  }

  @Sse('beating', { heartbeatMs: 20 })
  beating() {
    return NEVER;
  }

  @Sse('slow-start')
  async slowStart() {
    told.push('handler entered');
    await new Promise((resolve) => gate.subscribe(resolve));
    told.push('handler left');
    return watched('slow');
  }

  @Sse('throws')
  @UseFilters(Teapot)
  throws(@Query('kind') kind: string): Observable<unknown> | Promise<Observable<unknown>> {
    if (kind === 'sync') throw new BadRequestException('sync');
    if (kind === 'observable') return throwError(() => new BadRequestException('observable'));
    if (kind === 'soon') return from(Promise.reject(new BadRequestException('soon')));
    return Promise.reject(new BadRequestException('async'));
  }

  @Sse('late')
  late() {
    return concat(
      of('fine'),
      timer(1).pipe(
        map(() => {
          throw new Error('secret of the server');
        }),
      ),
    );
  }

  @Sse('unsendable')
  unsendable() {
    return from([1, { call: () => 1 }, 2]);
  }

  @Sse('wrong')
  wrong(): never {
    return { not: 'a stream' } as never;
  }

  @Sse('scoped', { requiredScopes: ['chat', 'read'] })
  scoped() {
    return of('let in');
  }

  @Sse('posted', { method: RequestMethod.POST })
  posted(@Body() body: { from: number }) {
    return concat(of(body), this.messages.createStream(Users));
  }

  @Sse('noted')
  @UseInterceptors(Noting)
  @Header('x-own', 'set')
  noted() {
    return of('sent as it is');
  }

  @Get('session')
  session() {
    this.messages.session.onClose(() => told.push('session closed'));
    return 'answered';
  }

  @Get('revoke')
  revoke() {
    return this.messages.revokeAuthentication('ada', new RevokedAuthenticationAuthId('phone'));
  }
}

const start = async (
  adapter: AdapterName,
  options: MessagingModuleOptions = {},
  configure?: (app: INestApplication) => void,
  tls?: typeof TLS,
) => {
  const running = await startApp(
    { imports: [MessagingModule.forRoot(options)], controllers: [StreamsController] },
    { adapter, ...(configure && { configure }), ...(tls && { tls }) },
  );
  return { ...running, messaging: running.app.get(MessagingService) };
};

const updates = (count: number) => Array.from({ length: count }, (_, id) => new UserUpdate(id, `Ada ${id} ✓\n`));

/** Posts updates, some in one turn of the event loop and some in several. */
async function postInWaves(messaging: MessagingService, count: number): Promise<void> {
  const random = randomFrom(7);
  let left = 0;
  for (const update of updates(count)) {
    if (left-- === 0) {
      await new Promise((resolve) => setImmediate(resolve));
      left = random(40);
    }
    void messaging.postMessage(Users, update);
  }
}

const streamsOf = ({ app }: { app: INestApplication }) => [...app.get(EventStreams)['streams']];
const connectionsOf = (running: { app: INestApplication }) => streamsOf(running).map((stream) => stream['connection']);

/** Simulates this many heartbeats, without waiting. */
function beat(running: { app: INestApplication }, times: number): void {
  for (let count = 0; count < times; count++) for (const stream of streamsOf(running)) stream.beat();
}

@Controller()
class Finite {
  @Sse('three')
  three(): Observable<number> {
    return of(1, 2, 3);
  }
}

const path = (app: INestApplication) => app.get(HttpAdapterHost).httpAdapter.getType();

describe.each(Object.keys(ADAPTERS) as AdapterName[])('@Sse() on %s', (adapter) => {
  test('sends messages of a channel as events named after their class, with the right headers', async () => {
    await using running = await start(adapter);
    await using client = await SseClient.connect(`${running.url}/users`);
    expect(client.status).toBe(200);
    expect(client.headers).toMatchObject({
      'content-type': 'text/event-stream',
      'cache-control': 'private, no-store, no-transform',
      'x-accel-buffering': 'no',
    });

    void running.messaging.postMessage(Users, new UserUpdate(1, 'Ada'));
    void running.messaging.postMessage(Users, new UserUpdate(2, 'Grace'));

    expect(await client.next()).toEqual(['UserUpdate', { id: 1, name: 'Ada' }]);
    expect(await client.next()).toEqual(['UserUpdate', { id: 2, name: 'Grace' }]);
  });

  test('sends the head and the first bytes at once, before any message', async () => {
    await using running = await start(adapter);
    await using client = await SseClient.connect(`${running.url}/quiet`);
    expect(await client.comments.next()).toBe('');
    expect(await told.next()).toBe('quiet subscribed');
  });

  test('waits for its turn before the request is read, so that thousands of requests block nobody', async () => {
    const steps: string[] = [];
    const note = (next: () => void): void => {
      steps.push('is read');
      next();
    };
    const configure = (app: INestApplication): void => {
      const { queue } = app.get(EventStreams, { strict: false });
      const add = queue.add.bind(queue);
      queue.add = (task) => {
        steps.push('waits');
        add(() => {
          steps.push('has its turn');
          task();
        });
      };
      // Bodies are parsed after both.
      if (adapter === 'Express') app.use((_request: unknown, _response: unknown, next: () => void) => note(next));
      else {
        const fastify = app.getHttpAdapter() as FastifyAdapter;
        fastify.getInstance().addHook('preParsing', (_request, _reply, _payload, next) => note(next));
      }
    };
    await using running = await startApp(
      { imports: [MessagingModule.forRoot()], controllers: [Finite] },
      { adapter, configure },
    );
    const headers = { accept: 'text/event-stream' };
    await using client = await SseClient.connect(`${running.url}/three`, { headers });
    await client.ended;
    expect(steps.slice(0, 3)).toEqual(['waits', 'has its turn', 'is read']);
    // A request of another kind does not wait.
    steps.length = 0;
    await fetch(`${running.url}/three`, { method: 'DELETE' });
    expect(steps).toEqual(['is read']);
  });

  test('sends the time to wait to the browser, if the option sets one', async () => {
    await using running = await start(adapter, { sse: { retryMs: 1234 } });
    await using client = await SseClient.connect(`${running.url}/finite`);
    await client.ended;
    expect(client.retryMs).toBe(1234);
  });

  test('sends any value as one event: instances by class, other values as messages, never as SSE fields', async () => {
    await using running = await start(adapter);
    await using client = await SseClient.connect(`${running.url}/values`);
    await client.ended;
    expect(client.events.pending.map(({ event, data }) => [event, JSON.parse(data) as unknown])).toEqual([
      ['message', { a: 1 }],
      ['message', 'text'],
      ['message', 7],
      ['message', true],
      ['message', null],
      ['message', [1, 2]],
      ['room-update', { room: 'x' }],
      ['message', { data: 'd', id: 'i', type: 't' }],
      ['message', 'two\nlines'],
      ['messaging:end', {}],
    ]);
  });

  test('sends an event with the id, the name and the time to wait set by the handler', async () => {
    await using running = await start(adapter);
    await using client = await SseClient.connect(`${running.url}/named`);
    await client.comments.next();
    for (const id of [0, 1, 2]) void running.messaging.postMessage(Users, new UserUpdate(id, 'Ada'));
    expect(await client.events.take(3)).toEqual([
      { event: 'nothing', id: undefined, data: 'null' },
      { event: 'UserUpdate', id: 'user-1', data: '{"id":1,"name":"Ada"}' },
      { event: 'renamed', id: 'user-2', data: '{"id":2,"name":"Ada"}' },
    ]);
    expect(client.retryMs).toBe(77);
  });

  test('omits and reports an event with a name of the browser’s own events', async () => {
    await using running = await start(adapter);
    await using client = await SseClient.connect(`${running.url}/colliding`);
    await client.ended;
    expect(client.events.pending.map(({ event }) => event)).toEqual(['message', 'messaging:end']);
    expect(running.logger.problems[0]).toContain('give the class another one with @Serializable');
  });

  test('accepts a promise of a stream, with parameters, pipes and the session of the request', async () => {
    await using running = await start(adapter);
    await using client = await SseClient.connect(`${running.url}/rooms/7`);
    await client.comments.next();
    void running.messaging.postMessage(Rooms.for({ roomId: 8 }), new RoomUpdate('other'));
    void running.messaging.postMessage(Rooms.for({ roomId: 7 }), new RoomUpdate('mine'));
    expect(await client.next()).toEqual(['room-update', { room: 'mine' }]);
  });

  test('accepts an AsyncIterable, and releases it when the client leaves', async () => {
    await using running = await start(adapter);
    {
      await using client = await SseClient.connect(`${running.url}/iterable`);
      expect(await client.next()).toEqual(['room-update', { room: 'first' }]);
      expect(await client.next()).toEqual(['message', 2]);
      expect(await told.next()).toBe('generator waits');
    }
    // A waiting generator cannot be interrupted; one that listens through the session ends with it.
    await using loop = await SseClient.connect(`${running.url}/loop`);
    await loop.comments.next();
    void running.messaging.postMessage(Users, new UserUpdate(1, 'Ada'));
    expect(await loop.next()).toEqual(['UserUpdate', { id: 1, name: 'Ada' }]);
  });

  test('encodes a message once for any number of streams, including filtered ones', async () => {
    await using running = await start(adapter);
    const clients = await Promise.all(
      Array.from({ length: 10 }, (_, n) => SseClient.connect(`${running.url}/${n % 2 ? 'users' : 'filtered'}`)),
    );
    for (const client of clients) await client.comments.next();
    let encoded = 0;
    const update = new UserUpdate(2, 'Ada');
    Object.defineProperty(update, 'counted', { enumerable: true, get: () => ++encoded });

    void running.messaging.postMessage(Users, update);

    for (const client of clients) expect((await client.next())[0]).toBe('UserUpdate');
    // A property is read once for the check and once for the encoding.
    expect(encoded).toBeLessThanOrEqual(2);
    for (const client of clients) await client[Symbol.asyncDispose]();
  });

  test('ends a stream that completes so that a browser does not come back forever', async () => {
    await using running = await start(adapter);
    await using client = await SseClient.connect(`${running.url}/finite`);
    await client.ended;
    expect(client.events.pending).toEqual([
      { event: 'message', id: undefined, data: '"one"' },
      { event: 'message', id: undefined, data: '"two"' },
      { event: 'messaging:end', id: 'messaging:end', data: '{}' },
    ]);

    const again = await fetch(`${running.url}/finite`, { headers: { 'last-event-id': 'messaging:end' } });
    expect([again.status, await again.text()]).toEqual([204, '']);
  });

  test('ends a stream that completes without a message', async () => {
    await using running = await start(adapter);
    await using client = await SseClient.connect(`${running.url}/empty`);
    expect(await client.next()).toEqual(['messaging:end', {}]);
    await client.ended;
  });

  test('releases the source when the client leaves, and closes the session', async () => {
    await using running = await start(adapter);
    const client = await SseClient.connect(`${running.url}/quiet`);
    expect(await told.next()).toBe('quiet subscribed');
    client.abort();
    expect(await told.next()).toBe('quiet released');
  });

  test('does not subscribe to the source of a client that left while the handler was busy', async () => {
    await using running = await start(adapter);
    const controller = new AbortController();
    const gone = fetch(`${running.url}/slow-start`, { signal: controller.signal }).catch(() => 'gone');
    expect(await told.next()).toBe('handler entered');
    controller.abort();
    expect(await gone).toBe('gone');
    // The server knows of it by the time it answers the next request on its own connection.
    await (await fetch(`${running.url}/finite`)).text();
    gate.next();
    expect(await told.next()).toBe('handler left');
    await (await fetch(`${running.url}/finite`)).text();
    expect(told.pending).toEqual([]);
  });

  test.each(['sync', 'async', 'observable', 'soon'])(
    'renders an error before the first byte through filters: %s',
    async (kind) => {
      await using running = await start(adapter);
      const response = await fetch(`${running.url}/throws?kind=${kind}`);
      expect([response.status, await response.json()]).toEqual([418, { teapot: kind }]);
    },
  );

  test('answers refusals of guards and pipes like any other route', async () => {
    await using running = await start(adapter);
    expect((await fetch(`${running.url}/users`, { headers: { 'x-banned': '1' } })).status).toBe(403);
    expect((await fetch(`${running.url}/rooms/none`)).status).toBe(400);
  });

  test('ends a stream that fails later without revealing the cause to the client, so that the client comes back', async () => {
    await using running = await start(adapter);
    await using client = await SseClient.connect(`${running.url}/late`);
    await client.ended;
    expect(client.events.pending).toEqual([{ event: 'message', id: undefined, data: '"fine"' }]);
    expect(running.logger.problems).toEqual([
      'error The stream of StreamsController.late failed and was ended: secret of the server',
    ]);
  });

  test('reports a message that cannot be sent, with its path, and continues with the others', async () => {
    await using running = await start(adapter);
    await using client = await SseClient.connect(`${running.url}/unsendable`);
    await client.ended;
    expect(client.events.pending.map(({ data }) => data)).toEqual(['1', '2', '{}']);
    expect(running.logger.problems[0]).toContain('message.call');
  });

  test('answers 500 and logs the type that the handler should have returned', async () => {
    await using running = await start(adapter);
    const response = await fetch(`${running.url}/wrong`);
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain('Observable');
    expect(running.logger.problems.join()).toContain(
      'StreamsController.wrong returned an object; a handler of @Sse() returns',
    );
  });

  test('answers HEAD with the headers only and does not run the handler', async () => {
    await using running = await start(adapter);
    const response = await fetch(`${running.url}/quiet`, { method: 'HEAD' });
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
    expect(await response.text()).toBe('');
    expect(told.pending).toEqual([]);
  });

  test('sends heartbeat comments', async () => {
    await using running = await start(adapter, { sse: { heartbeatMs: 0 } });
    await using client = await SseClient.connect(`${running.url}/beating`);
    expect(await client.comments.take(4)).toEqual(['', '', '', '']);
  });

  test('streams the answer to a POST with a body', async () => {
    await using running = await start(adapter);
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ from: 3 }) };
    await using client = await SseClient.connect(`${running.url}/posted`, init);
    expect(client.status).toBe(200);
    expect(await client.next()).toEqual(['message', { from: 3 }]);
    void running.messaging.postMessage(Users, new UserUpdate(1, 'Ada'));
    expect(await client.next()).toEqual(['UserUpdate', { id: 1, name: 'Ada' }]);
  });

  test('runs interceptors around the handler, keeps @Header, CORS and prefix, and sends messages unchanged', async () => {
    await using running = await start(adapter, {}, (app) => {
      app.enableCors({ origin: 'http://page.example' });
      app.setGlobalPrefix('api');
    });
    await using client = await SseClient.connect(`${running.url}/api/noted`, {
      headers: { origin: 'http://page.example' },
    });
    expect(await client.next()).toEqual(['message', 'sent as it is']);
    expect(await told.next()).toBe('intercepted');
    expect(client.headers['x-own']).toBe('set');
    expect(client.headers['access-control-allow-origin']).toBe('http://page.example');
  });

  test('admits only users with the required scopes', async () => {
    await using running = await start(adapter);
    const status = async (user?: string) =>
      (await fetch(`${running.url}/scoped`, { headers: user ? { 'x-user': user } : {} })).status;
    expect(await status()).toBe(401);
    expect(await status('ada phone read')).toBe(403);
    expect(await status('ada phone read,chat')).toBe(200);
  });

  test('ends only the streams of a revoked sign-in, and keeps the browser from coming back', async () => {
    await using running = await start(adapter);
    const open = (user: string) => SseClient.connect(`${running.url}/users`, { headers: { 'x-user': user } });
    await using phone = await open('ada phone');
    await using laptop = await open('ada laptop');
    await phone.comments.next();
    await laptop.comments.next();

    expect(await (await fetch(`${running.url}/revoke`)).json()).toBe(true);

    await phone.ended;
    expect(phone.events.pending).toEqual([{ event: 'messaging:revoked', id: 'messaging:end', data: '{}' }]);
    void running.messaging.postMessage(Users, new UserUpdate(1, 'Ada'));
    expect((await laptop.next())[0]).toBe('UserUpdate');
  });

  test('refuses a stream whose sign-in was revoked while the handler was busy', async () => {
    await using running = await start(adapter);
    const answer = fetch(`${running.url}/slow-start`, { headers: { 'x-user': 'ada phone' } });
    expect(await told.next()).toBe('handler entered');
    await running.messaging.revokeAuthentication('ada');
    gate.next();
    expect((await answer).status).toBe(401);
    expect(await told.next()).toBe('handler left');
    expect(told.pending).toEqual([]);
  });

  test('gives every client every message once and in order, however fast they come, even to slow readers', async () => {
    await using running = await start(adapter);
    const clients = await Promise.all(Array.from({ length: 20 }, () => SseClient.connect(`${running.url}/users`)));
    const filtered = await SseClient.connect(`${running.url}/filtered`);
    const [slow] = clients as [SseClient];
    slow.stall();
    // Written directly to the socket, because nothing wraps the response.
    expect(connectionsOf(running).map((connection) => connection['socket'] !== undefined)).toEqual(
      Array.from({ length: 21 }, () => true),
    );
    await postInWaves(running.messaging, 1_000);
    slow.resume();
    for (const client of clients) {
      const events = await client.events.take(1_000);
      expect(events.map(({ data }) => JSON.parse(data) as unknown)).toEqual(updates(1_000));
      expect(client.events.pending).toEqual([]);
    }
    const even = await filtered.events.take(500);
    expect(even.map(({ data }) => JSON.parse(data) as unknown)).toEqual(
      updates(1_000).filter(({ id }) => id % 2 === 0),
    );
    for (const client of [...clients, filtered]) await client[Symbol.asyncDispose]();
  });

  test('drops the oldest messages for a slow reader if the channel permits it, and reports each gap in its place', async () => {
    const events = await overrun(adapter, 'ticks', Ticks);
    const ids = events.filter(([event]) => event === 'message').map(([, { id }]) => id);
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
    expect(ids.length).toBeLessThan(1_400);
    // Each place with missing messages has a gap, and no other place has one.
    const gaps = events.flatMap(([event], index) => (event === 'messaging:gap' ? [index] : []));
    expect(gaps.length).toBeGreaterThan(0);
    for (const index of gaps) {
      expect(events[index]).toEqual(['messaging:gap', { channel: 'sse-ticks', reason: 'slow-consumer' }]);
    }
    const jumps = ids.flatMap((id, index) => (index > 0 && id !== ids[index - 1]! + 1 ? [id] : []));
    const afterGaps = gaps.map((index) => events.slice(index).find(([event]) => event === 'message')![1].id);
    expect([...new Set(afterGaps)]).toEqual(jumps);
  });

  test('keeps only the latest message of each key for a slow reader if the channel permits it', async () => {
    const events = await overrun(adapter, 'prices', Prices.for({ market: 'london' }));
    expect(events.every(([event]) => event === 'message')).toBe(true);
    expect(events.length).toBeLessThan(1_400);
    const last = new Map(events.map(([, { id, share }]) => [share, id]));
    expect([...last]).toEqual(
      expect.arrayContaining([
        ['A', 1_497],
        ['B', 1_498],
        ['C', 1_499],
      ]),
    );
  });

  test('reports a message whose key is a promise, and continues with the others', async () => {
    const escaped: unknown[] = [];
    const note = (error: unknown) => escaped.push(error);
    process.on('unhandledRejection', note);
    try {
      await using running = await startApp(
        { imports: [MessagingModule.forRoot()], controllers: [LossyController] },
        { adapter },
      );
      await using client = await SseClient.connect(`${running.url}/unkeyed`);
      await client.comments.next();
      const messages = running.app.get(MessagingService);
      for (const share of ['late', 'A']) void messages.postMessage(Unkeyed, { id: 1, share, text: '' });
      expect(JSON.parse((await client.events.next()).data)).toMatchObject({ share: 'A' });
      expect(running.logger.problems).toEqual([
        expect.stringContaining('option "conflateBy" must return a string or a number, not an instance of Promise'),
      ]);
      expect(escaped).toEqual([]);
    } finally {
      process.off('unhandledRejection', note);
    }
  });

  test.each([15_000, 0])(
    'cuts off a reader that takes nothing for a minute, even if little is waiting; heartbeats of %d ms',
    async (heartbeatMs) => {
      await using running = await start(adapter, { sse: { heartbeatMs, maxBufferedBytes: 100_000_000 } });
      await using reader = await SseClient.connect(`${running.url}/users`);
      await using stalled = await SseClient.connect(`${running.url}/users`);
      stalled.stall();
      const big = new UserUpdate(1, 'x'.repeat(8_000_000));
      void running.messaging.postMessage(Users, big);
      expect(await reader.next()).toEqual(['UserUpdate', { id: 1, name: big.name }]);
      expect(streamsOf(running).map(({ beatMs }) => beatMs)).toEqual([15_000, 15_000]);
      // Four heartbeats take 45 to 60 seconds.
      beat(running, 4);
      expect(streamsOf(running)).toHaveLength(2);
      while (streamsOf(running).length > 1) {
        beat(running, 1);
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(running.logger.problems).toEqual([
        expect.stringMatching(/^warn A reader of StreamsController.users was cut off: \d+ bytes .* for too long$/),
      ]);
      void running.messaging.postMessage(Users, new UserUpdate(2, 'still here'));
      expect(await reader.next()).toEqual(['UserUpdate', { id: 2, name: 'still here' }]);
      // The first comment is that of the head.
      expect(reader.comments.pending.length > 1).toBe(heartbeatMs > 0);
    },
  );

  test('never cuts off a reader that makes progress, however long a message takes and however many wait after it', async () => {
    await using running = await start(adapter, { sse: { maxBufferedBytes: 500_000 } });
    await using slow = await SseClient.connect(`${running.url}/users`);
    slow.stall();
    const state = new UserUpdate(0, 'x'.repeat(16_000_000));
    void running.messaging.postMessage(Users, state);
    const [connection] = connectionsOf(running);
    while (connection!.bufferedBytes === 0) await new Promise((resolve) => setImmediate(resolve));
    let posted = 0;
    while (connection!['behind'] !== undefined) {
      const { bufferedBytes } = connection!;
      void running.messaging.postMessage(Users, new UserUpdate(++posted, 'small'));
      slow.resume();
      while (connection!.bufferedBytes >= bufferedBytes) await new Promise((resolve) => setImmediate(resolve));
      slow.stall();
      beat(running, 4);
    }
    // The kernel accepts some megabytes at a time.
    expect(posted).toBeGreaterThan(1);
    slow.resume();
    const events = await slow.events.take(posted + 1);
    expect(events.map(({ data }) => (JSON.parse(data) as UserUpdate).id)).toEqual(
      Array.from({ length: posted + 1 }, (_, id) => id),
    );
    expect(running.logger.problems).toEqual([]);
  });

  test('does not count one message that is longer than maxBufferedBytes, but counts a second one', async () => {
    await using running = await start(adapter, { sse: { maxBufferedBytes: 100_000 } });
    await using busy = await SseClient.connect(`${running.url}/users`);
    await using slow = await SseClient.connect(`${running.url}/users`);
    const [first] = connectionsOf(running);
    for (const client of [busy, slow]) {
      await client.comments.next();
      client.stall();
    }
    void running.messaging.postMessage(Users, new UserUpdate(0, 'x'.repeat(16_000_000)));
    while (connectionsOf(running).some(({ bufferedBytes }) => bufferedBytes === 0)) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    void running.messaging.postMessage(Users, new UserUpdate(1, 'y'.repeat(1_000_000)));
    void running.messaging.postMessage(Users, new UserUpdate(2, 'small'));
    await new Promise((resolve) => setImmediate(resolve));
    busy.resume();
    expect((await busy.events.take(3)).map(({ data }) => (JSON.parse(data) as UserUpdate).id)).toEqual([0, 1, 2]);
    expect(connectionsOf(running)).toHaveLength(2);
    void running.messaging.postMessage(Users, new UserUpdate(3, 'z'.repeat(1_000_000)));
    expect(JSON.parse((await busy.events.next()).data)).toMatchObject({ id: 3 });
    while (connectionsOf(running).length > 1) await new Promise((resolve) => setImmediate(resolve));
    expect(connectionsOf(running)).toEqual([first]);
    expect(running.logger.problems).toEqual([expect.stringContaining('was cut off')]);
  });

  test('cuts off a reader that leaves more than maxBufferedBytes waiting, and no other', async () => {
    await using running = await start(adapter, { sse: { maxBufferedBytes: 100_000 } });
    await using reader = await SseClient.connect(`${running.url}/users`);
    await using stalled = await SseClient.connect(`${running.url}/users`);
    stalled.stall();
    const name = 'x'.repeat(50_000);
    let count = 0;
    while (running.logger.problems.length === 0) {
      void running.messaging.postMessage(Users, new UserUpdate(count++, name));
      expect(await reader.next()).toEqual(['UserUpdate', { id: count - 1, name }]);
    }
    expect(running.logger.problems[0]).toMatch(
      /^warn A reader of StreamsController.users was cut off: \d+ bytes were waiting/,
    );
    stalled.resume();
    await stalled.ended;
    void running.messaging.postMessage(Users, new UserUpdate(-1, 'still here'));
    expect(await reader.next()).toEqual(['UserUpdate', { id: -1, name: 'still here' }]);
  });

  test('ends open streams in well under a second when the application closes, and sends a time to come back', async () => {
    const running = await start(adapter);
    const clients = await Promise.all(Array.from({ length: 20 }, () => SseClient.connect(`${running.url}/users`)));
    for (const client of clients) await client.comments.next();
    const before = performance.now();

    await running.app.close();

    // Far above its usual time, far below the keep-alive time that a server waits for idle sockets.
    expect(performance.now() - before).toBeLessThan(2_000);
    for (const client of clients) {
      await client.ended;
      expect(await client.next()).toEqual(['messaging:drain', {}]);
      expect(client.retryMs).toBeGreaterThanOrEqual(500);
    }
    expect(new Set(clients.map(({ retryMs }) => retryMs)).size).toBeGreaterThan(10);
  });

  test('sends posts made just before it shuts down', async () => {
    await using running = await start(adapter);
    await using client = await SseClient.connect(`${running.url}/users`);
    await client.comments.next();
    void running.messaging.postMessage(Users, new UserUpdate(1, 'just in time'));
    void running.app.get(EventStreams, { strict: false }).drain();
    expect(await client.next()).toEqual(['UserUpdate', { id: 1, name: 'just in time' }]);
    expect(await client.next()).toEqual(['messaging:drain', {}]);
  });

  test('cuts off requests for new streams while it shuts down, so that a browser tries another server', async () => {
    await using running = await start(adapter);
    await running.app.get(EventStreams, { strict: false }).drain();
    // An EventSource gives up after an error status.
    await expect(SseClient.connect(`${running.url}/users`)).rejects.toThrow('socket hang up');
  });

  test('accepts no connection once it ends its streams, even while slow readers delay closing', async () => {
    const running = await start(adapter);
    const stalled = await SseClient.connect(`${running.url}/users`);
    stalled.stall();
    const client = await SseClient.connect(`${running.url}/users`);
    await client.comments.next();
    // More than the network buffers.
    void running.messaging.postMessage(Users, new UserUpdate(1, 'x'.repeat(16_000_000)));
    await client.events.next();
    const closing = running.app.close();
    expect(await client.next()).toEqual(['messaging:drain', {}]);
    await expect(SseClient.connect(`${running.url}/users`)).rejects.toThrow('ECONNREFUSED');
    await closing;
    await stalled[Symbol.asyncDispose]();
  });

  test('ends a stream properly at its maximum age, and sends a time to come back', async () => {
    await using running = await start(adapter, { sse: { maxConnectionAgeMs: 100 } });
    await using client = await SseClient.connect(`${running.url}/users`);
    await client.comments.next();
    void running.messaging.postMessage(Users, new UserUpdate(1, 'Ada'));
    expect(await client.next()).toEqual(['UserUpdate', { id: 1, name: 'Ada' }]);
    expect(await client.next()).toEqual(['messaging:drain', {}]);
    await client.ended;
    expect(client.retryMs).toBeGreaterThanOrEqual(500);
    expect(client.retryMs).toBeLessThanOrEqual(1_000);
    expect(client.events.pending).toEqual([]);
    // The server continues.
    await using again = await SseClient.connect(`${running.url}/users`);
    await again.comments.next();
    void running.messaging.postMessage(Users, new UserUpdate(2, 'Ada'));
    expect(await again.next()).toEqual(['UserUpdate', { id: 2, name: 'Ada' }]);
  });

  test('cuts off readers that do not read the end of their stream', async () => {
    const running = await start(adapter);
    const stalled = await SseClient.connect(`${running.url}/users`);
    stalled.stall();
    const name = 'x'.repeat(900_000);
    for (let n = 0; n < 3; n++) void running.messaging.postMessage(Users, new UserUpdate(n, name));
    const before = performance.now();
    await running.app.close();
    expect(performance.now() - before).toBeLessThan(2_000);
    await stalled[Symbol.asyncDispose]();
  });

  test('is an ordinary method if it is called directly', async () => {
    const { app } = await createApp(
      { imports: [MessagingModule.forRoot()], controllers: [StreamsController] },
      { adapter },
    );
    await app.init();
    const controller = await app.resolve(StreamsController);
    expect(controller.finite()).toBeInstanceOf(Observable);
    expect(controller.finite.name).toBe('finite');
    expect(path(app)).toBe(adapter.toLowerCase());
    await app.close();
  });
});

describe('@Sse()', () => {
  test.each([
    [{ heartbeat: 1 }, 'unknown option "heartbeat"'],
    [{ heartbeatMs: -1 }, 'option "heartbeatMs" must be'],
    [{ requiredScopes: 'chat' }, 'option "requiredScopes" must be an array of strings'],
  ])('with %j is refused at the decorator', (options, text) => {
    expect(() => {
      class Wrong {
        @Sse('x', options as never)
        stream() {
          return EMPTY;
        }
      }
      return Wrong;
    }).toThrow(text);
  });

  test('behind compressing middleware arrives event by event', async () => {
    await using running = await start('Express', {}, (app) => app.use(compression({ threshold: 0 })));
    await using client = await SseClient.connect(`${running.url}/users`, { headers: { 'accept-encoding': 'gzip' } });
    await client.comments.next();
    void running.messaging.postMessage(Users, new UserUpdate(1, 'Ada'));
    expect(await client.next()).toEqual(['UserUpdate', { id: 1, name: 'Ada' }]);
  });

  test.each([
    ['compressing middleware', () => start('Express', {}, (app) => app.use(compression({ threshold: 0 })))],
    ['TLS', () => start('Express', {}, undefined, TLS)],
  ])('behind %s arrive once and in order, by the ordinary way of writing', async (_title, startApplication) => {
    await using running = await startApplication();
    await using client = await SseClient.connect(`${running.url}/users`);
    expect(connectionsOf(running).map((connection) => connection['socket'])).toEqual([undefined]);
    // Long enough for several pieces.
    const long = new UserUpdate(-1, 'x'.repeat(1_000_000));
    void running.messaging.postMessage(Users, long);
    await postInWaves(running.messaging, 300);
    const events = await client.events.take(301);
    expect(events.map(({ data }) => JSON.parse(data) as unknown)).toEqual([long, ...updates(300)]);
  });

  test('over HTTP/2 streams, releases on cancel, and ends when the application closes', async () => {
    const { NestFactory } = await import('@nestjs/core');
    const { Module } = await import('@nestjs/common');
    @Module({ imports: [MessagingModule.forRoot()], controllers: [StreamsController] })
    class AppModule {}
    const app = await NestFactory.create(AppModule, new FastifyAdapter({ http2: true } as never), { logger: false });
    await app.listen(0, '127.0.0.1');
    const session = http2.connect(await app.getUrl());
    const open = async (pathname: string) => {
      const stream = session.request({ ':path': pathname });
      const [headers] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders & { ':status': number }];
      const chunks = new Queue<string>();
      stream.setEncoding('utf8').on('data', chunks.push);
      return { stream, headers, chunks, closed: once(stream, 'close') };
    };
    const users = await open('/users');
    expect(users.headers[':status']).toBe(200);
    expect(users.headers['content-type']).toBe('text/event-stream');
    expect(await users.chunks.next()).toBe(':\n');
    void app.get(MessagingService).postMessage(Users, new UserUpdate(1, 'Ada'));
    expect(await users.chunks.next()).toBe('event: UserUpdate\ndata: {"id":1,"name":"Ada"}\n\n');

    await postInWaves(app.get(MessagingService), 300);
    const events: unknown[] = [];
    const parser = createParser({ onEvent: ({ data }) => events.push(JSON.parse(data)) });
    while (events.length < 300) parser.feed(await users.chunks.next());
    expect(events).toEqual(updates(300));

    const quiet = await open('/quiet');
    expect(await told.next()).toBe('quiet subscribed');
    quiet.stream.close(http2.constants.NGHTTP2_CANCEL);
    expect(await told.next()).toBe('quiet released');

    const plain = await open('/session');
    expect(await plain.chunks.next()).toBe('answered');
    expect(await told.next()).toBe('session closed');

    const head = session.request({ ':path': '/users', ':method': 'HEAD' });
    const [headHeaders] = (await once(head, 'response')) as [Record<string, unknown>];
    expect(headHeaders[':status']).toBe(200);

    const closing = app.close();
    expect(await users.chunks.next()).toMatch(/^event: messaging:drain\nretry: \d+\ndata: {}\n\n$/);
    await users.closed;
    session.close();
    await closing;
  });
});
