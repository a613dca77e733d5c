import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import type { Socket } from 'node:net';
import {
  Controller,
  Get,
  Header,
  HttpCode,
  Injectable,
  Post,
  Req,
  RequestMethod,
  Res,
  UseGuards,
  UseInterceptors,
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  type INestApplication,
  type NestInterceptor,
} from '@nestjs/common';
import * as common from '@nestjs/common';
import { beforeEach, describe, expect, jest, test } from '@jest/globals';
import { finalize, firstValueFrom, map, NEVER, Observable, of, Subject, takeUntil } from 'rxjs';
import { Messages, MessagingModule, MessagingService, SessionMessages, Sse } from 'nestjs-messaging';
import { EventStreams } from '../../lib/sse/event-streams.js';
import { ADAPTER_NAMES, startApp, type AdapterName, type TestApp, type TestAppOptions } from '../support/apps.js';
import { Queue } from '../support/queue.js';
import { RawClient, readResponses } from '../support/raw-client.js';
import { SseClient } from '../support/sse-client.js';

// Nest before 11.2 has neither.
const { SSE_ABORT_CONTROLLER, SseSignal } = common as Partial<typeof common>;
const Signal = SseSignal ?? (() => () => {});

let told = new Queue<string>();
let gate = new Subject<void>();
beforeEach(() => {
  told = new Queue();
  gate = new Subject();
});

/** A source that emits nothing and reports its end. */
const watched = () =>
  new Observable<never>(() => {
    told.push('subscribed');
    return () => told.push('released');
  });

/** Either adapter's response, in the form that an application uses. */
interface AnyResponse {
  status(code: number): void;
  raw?: http.ServerResponse;
}

@Injectable()
class AnswersInstead implements NestInterceptor {
  intercept() {
    return of({ maintenance: 'until noon' });
  }
}

@Injectable()
class WrapsAnswers implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler) {
    return next.handle().pipe(map((data: unknown) => ({ data })));
  }
}

@Injectable()
class SetsStatus implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler) {
    context.switchToHttp().getResponse<AnyResponse>().status(203);
    return next.handle();
  }
}

class SlowGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    told.push('guard entered');
    await new Promise((resolve) => gate.subscribe(resolve));
    told.push('guard left');
    return true;
  }
}

@Controller()
class HttpController {
  @Get('slow')
  async slow() {
    told.push('slow entered');
    await new Promise((resolve) => gate.subscribe(resolve));
    return { slow: 'answer' };
  }

  @Get('quick')
  quick() {
    return { quick: 'answer' };
  }

  /** As in README, with a timer as the gate. */
  @Get('next')
  next(@Messages() messages: SessionMessages) {
    const next = messages.createStream<string>('http/news').pipe(
      takeUntil(gate),
      finalize(() => told.push('over')),
    );
    told.push('waiting');
    return firstValueFrom(next, { defaultValue: null });
  }

  @Sse('news')
  news(@Messages() messages: SessionMessages) {
    return messages.createStream('http/news');
  }

  @Sse('watched')
  watched() {
    return watched();
  }

  @Sse('finite')
  finite() {
    return of('one');
  }

  @Sse('slow-start')
  async slowStart() {
    told.push('handler entered');
    await new Promise((resolve) => gate.subscribe(resolve));
    told.push('handler left');
    return watched();
  }

  @UseGuards(SlowGuard)
  @Sse('guarded')
  guarded() {
    told.push('handler called');
    return watched();
  }

  @Sse('generator')
  async *generator() {
    try {
      for (;;) yield 'x'.repeat(1_000);
    } finally {
      told.push('generator released');
    }
  }

  @Sse('instead')
  @UseInterceptors(AnswersInstead)
  instead() {
    told.push('handler called');
    return watched();
  }

  @Sse('wrapped', { method: RequestMethod.POST })
  @UseInterceptors(WrapsAnswers)
  wrapped() {
    return of('as it is');
  }

  @Sse('accepted')
  @HttpCode(202)
  accepted() {
    return of('one');
  }

  @HttpCode(202)
  @Sse('accepted-above')
  acceptedAbove() {
    return of('one');
  }

  @Sse('created', { method: RequestMethod.POST })
  @HttpCode(201)
  created() {
    return of('one');
  }

  @Sse('status-of-interceptor')
  @UseInterceptors(SetsStatus)
  statusOfInterceptor() {
    return of('one');
  }

  @Sse('nothing-here')
  nothingHere(@Res({ passthrough: true }) response: AnyResponse) {
    response.status(204);
    return watched();
  }

  @Sse('cached')
  @Header('cache-control', 'private, max-age=5')
  cached() {
    return of('one');
  }

  @Sse('transformed')
  @Header('Cache-Control', 'no-store,No-Transform')
  transformed() {
    return of('one');
  }

  @Sse('signal')
  async signal(@Signal() signal: AbortSignal) {
    signal.addEventListener('abort', () => told.push('aborted'));
    told.push(`handler entered: ${signal.aborted}`);
    await new Promise((resolve) => gate.subscribe(resolve));
    return NEVER;
  }

  @Sse('without-signal')
  withoutSignal(@Req() request: Record<symbol, unknown>) {
    return of(String(SSE_ABORT_CONTROLLER === undefined || SSE_ABORT_CONTROLLER in request));
  }

  @Post('plain')
  plain() {
    return 'plain';
  }
}

const start = async (adapter: AdapterName, options: Omit<TestAppOptions, 'adapter'> = {}) => {
  const metadata = { imports: [MessagingModule.forRoot()], controllers: [HttpController] };
  const running = await startApp(metadata, { adapter, ...options });
  return { ...running, messaging: running.app.get(MessagingService) };
};

const connectionsOf = (app: INestApplication) =>
  [...app.get(EventStreams)['streams']].map((stream) => stream['connection']);
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

const serverOf = (app: INestApplication) => app.getHttpServer() as http.Server;

/** A client whose server has received the beginning of a request. */
async function sendPart({ app, url }: TestApp, text: string): Promise<RawClient> {
  const connected = once(serverOf(app), 'connection') as Promise<[Socket]>;
  const client = await RawClient.connect(url);
  const [connection] = await connected;
  client.write(text);
  while (connection.bytesRead === 0) await nextTurn();
  return client;
}

/** A client with a request that the server answers once the gate opens. */
async function enterSlow({ url }: TestApp): Promise<RawClient> {
  const client = await RawClient.connect(url);
  client.get('/slow');
  expect(await told.next()).toBe('slow entered');
  return client;
}

/** Opens a stream over HTTP/2. */
const openOver = async (session: http2.ClientHttp2Session, path: string) => {
  const stream = session.request({ ':path': path });
  const [headers] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders & { ':status': number }];
  const chunks = new Queue<string>();
  stream.setEncoding('utf8').on('data', chunks.push);
  return { stream, headers, chunks };
};

describe.each(ADAPTER_NAMES)('An event stream on %s', (adapter) => {
  describe('behind other requests on one connection (pipelining)', () => {
    test('is answered in its turn, with all messages posted before', async () => {
      await using running = await start(adapter);
      await using client = await RawClient.connect(running.url);
      client.get('/slow', '/news');
      expect(await told.next()).toBe('slow entered');
      while (connectionsOf(running.app).length === 0) await nextTurn();
      void running.messaging.postMessage('http/news', 'while it waited');
      for (let count = 0; count < 10; count++) {
        await nextTurn();
        for (const stream of running.app.get(EventStreams)['streams']) stream.beat();
      }
      expect(client.received).toBe('');
      gate.next();
      await client.until('while it waited');
      void running.messaging.postMessage('http/news', 'afterwards');
      await client.until('afterwards');
      expect(client.received).toMatch(/^HTTP\/1.1 200 .*"slow":"answer".*HTTP\/1.1 200 .*text\/event-stream/s);
      expect(running.logger.problems).toEqual([]);
    });

    test('is released when the client leaves before its turn, however many wait', async () => {
      await using running = await start(adapter);
      const warnings = new Queue<Error>();
      process.on('warning', warnings.push);
      const client = await RawClient.connect(running.url);
      client.get('/slow', ...Array.from({ length: 15 }, () => '/watched'));
      expect(await told.next()).toBe('slow entered');
      expect(await told.take(15)).toEqual(Array.from({ length: 15 }, () => 'subscribed'));
      client.leave();
      expect(await told.take(15)).toEqual(Array.from({ length: 15 }, () => 'released'));
      while (connectionsOf(running.app).length > 0) await nextTurn();
      gate.next();
      await (await fetch(`${running.url}/quick`)).text();
      process.off('warning', warnings.push);
      expect(warnings.pending).toEqual([]);
    });
  });

  test('that ends while it waits behind another request is forgotten when the client leaves', async () => {
    await using running = await start(adapter);
    const streams = running.app.get(EventStreams);
    const client = await RawClient.connect(running.url);
    client.get('/slow', '/finite');
    expect(await told.next()).toBe('slow entered');
    // Its last frame has been handed over, and waits with the response.
    while (!connectionsOf(running.app).some(({ isClosed }) => isClosed)) await nextTurn();
    expect(streams.size).toBe(1);
    client.leave();
    while (streams.size > 0) await nextTurn();
    gate.next();
  });

  describe('when the application closes', () => {
    test('is not opened if its handler is still working: the request is cut off, and closing does not wait', async () => {
      const running = await start(adapter);
      const answer = fetch(`${running.url}/slow-start`).catch((error: Error) => error);
      expect(await told.next()).toBe('handler entered');
      await running.app.close();
      expect(await answer).toMatchObject({ message: 'fetch failed' });
      gate.next();
      expect(await told.next()).toBe('handler left');
      await nextTurn();
      expect(told.pending).toEqual([]);
      expect(connectionsOf(running.app)).toEqual([]);
    });

    test('is not opened if a guard is still working: the request is cut off, and closing does not wait', async () => {
      const running = await start(adapter);
      const answer = fetch(`${running.url}/guarded`, { headers: { accept: 'text/event-stream' } }).catch(
        (error: Error) => error,
      );
      expect(await told.next()).toBe('guard entered');
      await running.app.close();
      expect(await answer).toMatchObject({ message: 'fetch failed' });
      gate.next();
      expect(await told.next()).toBe('guard left');
      await nextTurn();
      expect(told.pending.filter((each) => each !== 'handler called')).toEqual([]);
      expect(connectionsOf(running.app)).toEqual([]);
    });

    test('is cut off without a status if its request is complete only after the server stops accepting requests', async () => {
      const running = await start(adapter);
      const client = await sendPart(running, 'GET /watched HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\n');
      const slow = await enterSlow(running);
      const serverClosed = jest.spyOn(running.app.getHttpAdapter(), 'close');
      const closing = running.app.close();
      while (serverClosed.mock.calls.length === 0) await nextTurn();
      // Fastify answers 503 a few turns later.
      for (let turn = 0; turn < 20; turn++) await nextTurn();
      client.write('\r\n');
      await client.closed;
      expect(client.received).toBe('');
      slow.leave();
      gate.next();
      await closing;
    });

    test('a connection that a browser opened in advance does not delay it', async () => {
      const running = await start(adapter);
      const [client] = await Promise.all([RawClient.connect(running.url), once(serverOf(running.app), 'connection')]);
      await running.app.close();
      await client.closed;
      expect(client.received).toBe('');
    });

    test('neither a connection kept alive after its last answer nor half a request delays it', async () => {
      const running = await start(adapter);
      const half = await sendPart(running, 'GET /watched');
      const slow = await enterSlow(running);
      const closing = running.app.close();
      gate.next();
      await slow.closed;
      expect(slow.received).toContain('200 OK');
      await half.closed;
      await closing;
    });

    test('has sent clients no keep-alive time, because closing would wait for it', async () => {
      await using running = await start(adapter);
      const agent = new http.Agent({ keepAlive: true });
      const request = http.get(`${running.url}/watched`, { agent });
      const [response] = (await once(request, 'response')) as [http.IncomingMessage];
      expect(response.headers['keep-alive']).toBeUndefined();
      expect(response.headers.connection).toBe('keep-alive');
      request.destroy();
      const closing = http.get(`${running.url}/finite`, { headers: { connection: 'close' } });
      const [last] = (await once(closing, 'response')) as [http.IncomingMessage];
      expect(last.headers.connection).toBe('close');
      last.resume();
      await once(last, 'close');
    });
  });

  describe('and interceptors', () => {
    test('that answer in place of the handler: their answer is sent', async () => {
      await using running = await start(adapter);
      const response = await fetch(`${running.url}/instead`);
      expect([response.status, await response.json()]).toEqual([200, { maintenance: 'until noon' }]);
      expect(told.pending).toEqual([]);
    });

    test('that wrap the results of handlers: the stream is sent unchanged', async () => {
      await using running = await start(adapter);
      const response = await fetch(`${running.url}/wrapped`, { method: 'POST' });
      expect(response.status).toBe(200);
      expect(await response.text()).toBe(
        ':\ndata: "as it is"\n\nevent: messaging:end\nid: messaging:end\ndata: {}\n\n',
      );
      expect(running.logger.problems).toEqual([]);
    });
  });

  describe('keeps', () => {
    test.each([
      ['/accepted', 'GET', 202],
      ['/accepted-above', 'GET', 202],
      ['/created', 'POST', 201],
      ['/status-of-interceptor', 'GET', 203],
    ])('the status that was set: %s', async (path, method, status) => {
      await using running = await start(adapter);
      const response = await fetch(running.url + path, { method });
      expect([response.status, response.headers.get('content-type')]).toEqual([status, 'text/event-stream']);
      expect(await response.text()).toContain('data: "one"');
    });

    test('a status without a body, and sends none', async () => {
      await using running = await start(adapter);
      const response = await fetch(`${running.url}/nothing-here`);
      expect([response.status, await response.text()]).toEqual([204, '']);
      expect(told.pending).toEqual([]);
    });

    test('the cache-control that was set, and adds no-transform', async () => {
      await using running = await start(adapter);
      const cacheControl = async (path: string, method = 'GET') => {
        const response = await fetch(running.url + path, { method });
        await response.text();
        return response.headers.get('cache-control');
      };
      expect(await cacheControl('/cached')).toBe('private, max-age=5, no-transform');
      expect(await cacheControl('/cached', 'HEAD')).toBe('private, max-age=5, no-transform');
      expect(await cacheControl('/transformed')).toBe('no-store,No-Transform');
      expect(await cacheControl('/finite')).toBe('private, no-store, no-transform');
    });
  });

  const describeSignals = SseSignal === undefined ? describe.skip : describe;
  describeSignals("with Nest's @SseSignal()", () => {
    test('aborts the signal when the client leaves, even while the handler is working', async () => {
      await using running = await start(adapter);
      const client = await RawClient.connect(running.url);
      client.get('/signal');
      expect(await told.next()).toBe('handler entered: false');
      client.leave();
      expect(await told.next()).toBe('aborted');
      gate.next();

      await using open = await RawClient.connect(running.url);
      open.get('/signal');
      expect(await told.next()).toBe('handler entered: false');
      gate.next();
      await open.until(':\n');
      expect(told.pending).toEqual([]);
      open.leave();
      expect(await told.next()).toBe('aborted');
    });

    test('has no signal if its handler requests none, because that costs memory for each stream', async () => {
      await using running = await start(adapter);
      const response = await fetch(`${running.url}/without-signal`);
      expect(await response.text()).toContain('data: "false"');
    });
  });

  test('is not cut off by the idle timeout of the server, which applies to the connection again afterwards', async () => {
    const sockets: Socket[] = [];
    await using running = await start(adapter, {
      configure: (app) => {
        serverOf(app).on('connection', (socket) => sockets.push(socket));
        serverOf(app).setTimeout(40);
        serverOf(app).keepAliveTimeout = 0;
      },
    });
    await using client = await SseClient.connect(`${running.url}/news`);
    await client.comments.next();
    // Idle connections open and are cut off, one after another.
    for (let count = 0; count < 4; count++) await (await RawClient.connect(running.url)).closed;
    void running.messaging.postMessage('http/news', 'still there');
    expect(await client.next()).toEqual(['message', 'still there']);

    const after = await RawClient.connect(running.url);
    after.get('/finite');
    await after.until('messaging:end');
    expect(sockets.at(-1)!.timeout).toBe(40);
    await after.closed;
  });

  test('leaves a well-formed response, is released and reported if the application ends the response', async () => {
    await using running = await start(adapter);
    await using client = await RawClient.connect(running.url);
    client.get('/news');
    await client.until(':\n');
    client.stall();
    const [connection] = connectionsOf(running.app);
    const response = connection!['response'];
    const long = 'x'.repeat(16_000_000);
    void running.messaging.postMessage('http/news', long);
    while (connection!.bufferedBytes === 0) await nextTurn();
    void running.messaging.postMessage('http/news', 'behind');
    response.end();
    client.get('/quick');
    client.resume();
    await client.until('"quick":"answer"');
    const [stream, next, ...others] = readResponses(client.received);
    expect([stream!.body.startsWith(':\ndata: "xxx'), stream!.body.includes('behind'), others]).toEqual([
      true,
      false,
      [],
    ]);
    expect(next!.body).toBe('{"quick":"answer"}');
    expect(connectionsOf(running.app)).toEqual([]);
    expect(running.logger.problems).toEqual([
      expect.stringContaining(
        'The stream of HttpController.news failed and was ended: the application ended the response',
      ),
    ]);
  });

  test('of a generator without pauses is released when the client leaves, and lets the turn end', async () => {
    await using running = await start(adapter);
    const client = await RawClient.connect(running.url);
    client.get('/generator');
    await client.until('xxx');
    const [connection] = connectionsOf(running.app);
    client.leave();
    expect(await told.next()).toBe('generator released');
    // In the turn in which a connection breaks, its stream does not know yet.
    const order: string[] = [];
    setImmediate(() => order.push('next turn'));
    await connection!.drained().then(() => order.push('drained'));
    expect(order).toEqual(['next turn', 'drained']);
  });
});

describe.each(ADAPTER_NAMES)('A request that waits for a message on %s', (adapter) => {
  test('and stops waiting lets the application close', async () => {
    const running = await start(adapter);
    const answer = once(http.get(`${running.url}/next`, { agent: false }), 'response');
    expect(await told.next()).toBe('waiting');
    const closed = running.app.close();
    // After the server has stopped listening.
    while (serverOf(running.app).listening) await nextTurn();
    gate.next();
    const [response] = (await answer) as [http.IncomingMessage];
    expect(response.statusCode).toBe(200);
    response.resume();
    await closed;
    expect(running.logger.problems).toEqual([]);
  });

  test('is answered with it, and causes no error if its client leaves first', async () => {
    await using running = await start(adapter);
    const client = await RawClient.connect(running.url);
    client.get('/next');
    expect(await told.next()).toBe('waiting');
    client.leave();
    expect(await told.next()).toBe('over');
    const answer = fetch(`${running.url}/next`);
    expect(await told.next()).toBe('waiting');
    void running.messaging.postMessage('http/news', 'one');
    expect(await (await answer).text()).toBe('one');
    expect(running.logger.problems).toEqual([]);
  });
});

describe('An event stream on Fastify', () => {
  interface Reply {
    header(name: string, value: string): unknown;
  }
  type OnSend = (request: { url: string }, reply: Reply, payload: unknown) => Promise<unknown>;
  const withHook = (hook: OnSend, options: TestAppOptions = {}) =>
    start('Fastify', {
      ...options,
      configure: (app) => {
        const fastify = app.getHttpAdapter().getInstance() as { addHook(name: 'onSend', hook: OnSend): void };
        fastify.addHook('onSend', hook);
      },
    });

  test.each([
    ['GET', '/news', {}, 200],
    ['HEAD', '/news', {}, 200],
    ['GET', '/news', { 'last-event-id': 'messaging:end' }, 204],
    ['GET', '/nothing-here', {}, 204],
  ])('runs onSend hooks, which may set cookies, before its head: %s %s %j', async (method, path, headers, status) => {
    let runs = 0;
    await using running = await withHook(async (_request, reply, payload) => {
      runs++;
      await nextTurn();
      reply.header('set-cookie', 'session=renewed');
      return payload;
    });
    await using client = await SseClient.connect(running.url + path, { method, headers });
    expect([client.status, client.headers['set-cookie'], runs]).toEqual([status, ['session=renewed'], 1]);
    if (status === 204 || method === 'HEAD') return;
    await client.comments.next();
    void running.messaging.postMessage('http/news', 'one');
    expect(await client.next()).toEqual(['message', 'one']);
    expect(connectionsOf(running.app)[0]!['socket']).toBeDefined();
  });

  test('sends the output of its source, and its end, while hooks are working', async () => {
    await using running = await withHook(async () => void (await nextTurn()));
    await using client = await SseClient.connect(`${running.url}/finite`);
    expect(await client.next()).toEqual(['message', 'one']);
    expect(await client.next()).toEqual(['messaging:end', {}]);
    await client.ended;
  });

  test('is not opened if a hook fails, and is answered like any other route', async () => {
    await using running = await withHook(async (request) => {
      if (request.url === '/watched' && told.pending.length < 2) {
        told.push('hook failed');
        throw new Error('no session store');
      }
    });
    const response = await fetch(`${running.url}/watched`);
    expect([response.status, await response.json()]).toMatchObject([500, { statusCode: 500 }]);
    expect(await told.take(3)).toEqual(['subscribed', 'hook failed', 'released']);
    expect(connectionsOf(running.app)).toEqual([]);
  });

  test('is not opened if a hook answers instead', async () => {
    await using running = await withHook(async (request, _reply, payload) =>
      request.url === '/watched' ? 'in its place' : payload,
    );
    const response = await fetch(`${running.url}/watched`);
    expect(await response.text()).toBe('in its place');
    expect(await told.take(2)).toEqual(['subscribed', 'released']);
    expect(connectionsOf(running.app)).toEqual([]);
  });

  test('is ended while hooks are working when the application closes', async () => {
    const running = await withHook(async (request) => {
      if (request.url !== '/watched') return;
      told.push('hook entered');
      await new Promise((resolve) => gate.subscribe(resolve));
    });
    const answer = fetch(`${running.url}/watched`).catch((error: Error) => error);
    expect(await told.take(2)).toEqual(['subscribed', 'hook entered']);
    await running.app.close();
    expect(await answer).toMatchObject({ message: 'fetch failed' });
    expect(await told.next()).toBe('released');
    gate.next();
  });

  describe('over HTTP/2', () => {
    test('runs onSend hooks, and keeps status and cache-control', async () => {
      await using running = await withHook(
        async (_request, reply, payload) => {
          reply.header('x-hook', 'ran');
          return payload;
        },
        {
          http2: {},
        },
      );
      const session = http2.connect(running.url);
      const { headers, chunks } = await openOver(session, '/cached');
      expect(headers).toMatchObject({
        ':status': 200,
        'x-hook': 'ran',
        'cache-control': 'private, max-age=5, no-transform',
      });
      expect(await chunks.next()).toContain(':\n');
      expect((await openOver(session, '/accepted')).headers[':status']).toBe(202);
      session.close();
    });

    test('keeps its session from being ended as idle until its last stream has ended', async () => {
      await using running = await start('Fastify', { http2: { http2SessionTimeout: 40 } });
      const session = http2.connect(running.url);
      const [one, other] = [await openOver(session, '/news'), await openOver(session, '/news')];
      one.stream.close(http2.constants.NGHTTP2_CANCEL);
      // Idle sessions open and end, one after another.
      for (let count = 0; count < 4; count++) await once(http2.connect(running.url), 'close');
      expect(session.closed).toBe(false);
      void running.messaging.postMessage('http/news', 'still there');
      while (!(await other.chunks.next()).includes('still there'));
      other.stream.close(http2.constants.NGHTTP2_CANCEL);
      await once(session, 'close');
    });

    test('lets the application close: sessions without clients end', async () => {
      const running = await start('Fastify', { http2: {} });
      const session = http2.connect(running.url);
      const { stream } = await openOver(session, '/watched');
      expect(await told.next()).toBe('subscribed');
      stream.close(http2.constants.NGHTTP2_CANCEL);
      expect(await told.next()).toBe('released');
      const closed = once(session, 'close');
      await running.app.close();
      await closed;
    });

    test.each([
      ['nothing waits', ''],
      ['more waits than it takes', 'x'.repeat(8_000_000)],
    ])('lets the application close if its reader has stopped and %s', async (_case, message) => {
      const running = await start('Fastify', { http2: {} });
      const session = http2.connect(running.url);
      session.on('error', () => {});
      const { stream } = await openOver(session, '/news');
      stream.on('error', () => {});
      stream.pause();
      if (message !== '') {
        void running.messaging.postMessage('http/news', message);
        while (connectionsOf(running.app).some((each) => each['behind'] === undefined)) await nextTurn();
      }
      await expect(running.app.close()).resolves.toBeUndefined();
      session.destroy();
    });

    test.each([
      ['nothing waits', ''],
      ['more waits than the network takes', 'x'.repeat(20_000_000)],
    ])('lets the application close if its client has frozen and %s', async (_case, message) => {
      const running = await start('Fastify', { http2: {} });
      const program = `
        const session = require('http2').connect('${running.url}', { settings: { initialWindowSize: 64_000_000 } });
        session.on('connect', () => {
          session.setLocalWindowSize(64_000_000);
          session.request({ ':path': '/news' }).on('data', () => console.log('reads'));
        });`;
      const client = spawn(process.execPath, ['-e', program]);
      const exit = once(client, 'exit');
      await once(client.stdout, 'data');
      client.kill('SIGSTOP');
      if (message !== '') {
        void running.messaging.postMessage('http/news', message);
        while (connectionsOf(running.app).some((each) => each['behind'] === undefined)) await nextTurn();
      }
      await expect(running.app.close()).resolves.toBeUndefined();
      client.kill('SIGKILL');
      await exit;
    });

    test('that is cut off for this reason lets other responses of its session finish', async () => {
      const running = await start('Fastify', { http2: {} });
      const server = running.app.getHttpServer() as http2.Http2Server;
      const atServer = once(server, 'session') as Promise<[http2.ServerHttp2Session]>;
      const session = http2.connect(running.url);
      const { stream } = await openOver(session, '/watched');
      // From Node 24 on, a closing server also closes its sessions, which then send no pings.
      const [ofClient] = await atServer;
      const close = server.close.bind(server);
      server.close = (done) => {
        ofClient.close();
        return close(done);
      };
      stream.on('error', () => {}).pause();
      const answer = session.request({ ':path': '/slow' }).setEncoding('utf8');
      expect(await told.take(2)).toEqual(['subscribed', 'slow entered']);
      const looks = new Queue<void>();
      const { setInterval: begin } = globalThis;
      const intervals = jest
        .spyOn(globalThis, 'setInterval')
        .mockImplementation(((look: () => void, ms: number) => begin(() => looks.push(look()), ms)) as typeof begin);
      const closed = running.app.close();
      await once(session, 'goaway');
      expect(intervals).toHaveBeenCalledTimes(1);
      intervals.mockRestore();
      expect(await told.next()).toBe('released');
      // At the fifth, a silent client is cut off.
      await looks.take(6);
      gate.next();
      expect(await once(answer, 'data')).toEqual(['{"slow":"answer"}']);
      await closed;
    });

    test('is kept for a reader that makes progress, and cut off for one that makes none', async () => {
      await using running = await start('Fastify', { http2: {} });
      const [slow, stalled] = [http2.connect(running.url), http2.connect(running.url)];
      const reading = await openOver(slow, '/news');
      const [connection] = connectionsOf(running.app);
      const left = await openOver(stalled, '/news');
      stalled.on('error', () => {});
      left.stream.on('error', () => {});
      for (const { stream } of [reading, left]) stream.pause();
      void running.messaging.postMessage('http/news', 'x'.repeat(4_000_000));
      void running.messaging.postMessage('http/news', 'behind');
      while (connectionsOf(running.app).some((each) => each['behind'] === undefined)) await nextTurn();
      const beat = () => {
        for (const stream of running.app.get(EventStreams)['streams']) stream.beat();
      };
      while (connection!['behind'] !== undefined) {
        const { bufferedBytes } = connection!;
        for (let count = 0; count < 4; count++) beat();
        reading.stream.resume();
        while (connection!.bufferedBytes >= bufferedBytes) await nextTurn();
        reading.stream.pause();
      }
      reading.stream.resume();
      while (!(await reading.chunks.next()).includes('behind'));
      while (connectionsOf(running.app).length > 1) await nextTurn();
      expect(connectionsOf(running.app)).toEqual([connection]);
      expect(running.logger.problems).toEqual([expect.stringContaining('was cut off')]);
      slow.destroy();
      stalled.destroy();
    });

    test('is released and reported if the application ends the response', async () => {
      await using running = await start('Fastify', { http2: {} });
      const session = http2.connect(running.url);
      const { stream } = await openOver(session, '/news');
      const [connection] = connectionsOf(running.app);
      connection!['response'].end();
      void running.messaging.postMessage('http/news', 'behind');
      await once(stream, 'close');
      while (connectionsOf(running.app).length > 0) await nextTurn();
      expect(running.logger.problems).toEqual([expect.stringContaining('the application ended the response')]);
      session.close();
    });
  });
});
