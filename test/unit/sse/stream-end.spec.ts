import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { NEVER, Observable, finalize, from, map, mergeWith, of, take, takeUntil, timer } from 'rxjs';
import { Hub } from '../../../lib/core/hub.js';
import type { Session } from '../../../lib/core/session.js';
import { createStream } from '../../../lib/core/stream.js';
import { EventStreams } from '../../../lib/sse/event-streams.js';
import { discardStream, type MessageStream } from '../../../lib/sse/stream-source.js';
import { Queue } from '../../support/queue.js';
import { RecordingReporter } from '../../support/recording-reporter.js';
import { SseClient } from '../../support/sse-client.js';

const failure = new Error('of the application');
const fail = (): never => {
  throw failure;
};

type MakeStream = (hub: Hub, session: Session) => MessageStream;

/** A server that answers every request with a handler's stream. */
class Server implements AsyncDisposable {
  readonly reporter = new RecordingReporter();
  readonly hub = new Hub({ reporter: this.reporter });
  readonly streams = new EventStreams(this.hub, this.reporter, {
    heartbeatMs: 0,
    retryMs: undefined,
    maxBufferedBytes: 1_000_000,
  });
  readonly sessions: Session[] = [];
  /** Of reported failures. */
  readonly failures = new Queue<unknown>();
  private readonly http: http.Server;

  private constructor(make: MakeStream, prepare?: (response: http.ServerResponse) => void) {
    this.reporter.callbackFailed = this.failures.push;
    this.http = http.createServer((_request, response) => {
      const session = this.hub.sessions.open();
      this.sessions.push(session);
      response.on('close', () => session.close());
      prepare?.(response);
      void this.streams.serve(make(this.hub, session), { response, session, handler: 'Test.stream' });
    });
  }

  static async start(make: MakeStream, prepare?: (response: http.ServerResponse) => void): Promise<Server> {
    const server = new Server(make, prepare);
    await new Promise<void>((resolve) => void server.http.listen(0, '127.0.0.1', resolve));
    return server;
  }

  connect(): Promise<SseClient> {
    return SseClient.connect(`http://127.0.0.1:${(this.http.address() as AddressInfo).port}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.streams.drain();
    await this.hub.close();
    this.http.closeAllConnections();
    this.http.close();
  }
}

const messages: MakeStream = (hub, session) => createStream(hub, 'x', session);

/** Waits forever, and fails when asked to end. */
const iterable = (end: () => unknown): AsyncIterable<unknown> => ({
  [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}), return: end as never }),
});

const STREAMS: Record<string, MakeStream> = {
  'finalize()': (hub, session) => createStream(hub, 'x', session).pipe(finalize(fail)),
  'finalize() before another operator': (hub, session) =>
    createStream(hub, 'x', session).pipe(
      finalize(fail),
      map((x) => x),
    ),
  'finalize() of another stream': () => NEVER.pipe(finalize(fail)),
  'the teardown of a notifier of takeUntil()': (hub, session) =>
    createStream(hub, 'x', session).pipe(takeUntil(new Observable(() => fail))),
  'the teardown of merged streams': (hub, session) =>
    createStream(hub, 'x', session).pipe(mergeWith(new Observable(() => fail))),
  "an iterator's return()": () => iterable(fail),
  "an iterator's async return()": () => iterable(async () => fail()),
  "an iterator's return() by a thenable": () =>
    iterable(() => ({
      // oxlint-disable-next-line unicorn/no-thenable -- that is the point
      get then() {
        return fail();
      },
    })),
};

describe('an error of the stream of an @Sse() handler at its end', () => {
  describe.each(Object.entries(STREAMS))('in %s', (_name, make) => {
    test.each([
      ['when the client leaves', (_server: Server, client: SseClient) => client[Symbol.asyncDispose]()],
      ['when its session is closed', ({ sessions }: Server) => sessions[0]!.close()],
      ['when the application shuts down', ({ streams }: Server) => streams.drain()],
    ])('%s is reported; the stream ends and others continue', async (_when, end) => {
      await using server = await Server.start(make);
      const client = await server.connect();
      await client.comments.next();

      await end(server, client);

      expect(await server.failures.next()).toEqual({
        callback: 'The end of the stream of Test.stream',
        error: failure,
      });
      await client.ended;
      await turn();
      expect(server.streams.size).toBe(0);
    });
  });

  test.each<[string, MakeStream]>([
    ['of a timer', () => timer(0).pipe(finalize(fail))],
    ['of a promise', () => from(Promise.resolve(1)).pipe(finalize(fail))],
    ['of values', () => of(1, 2).pipe(finalize(fail))],
    ['of a channel', (hub, session) => createStream(hub, 'x', session).pipe(take(1), finalize(fail))],
    [
      'of a generator',
      async function* () {
        yield 1;
        fail();
      },
    ],
  ])('%s that completes does not end the process', async (_name, make) => {
    await using server = await Server.start(make);
    await using client = await server.connect();
    void server.hub.post('x', 1);
    await client.ended;
    await turn();
    expect(server.streams.size).toBe(0);
  });

  test('does not keep other streams from ending, even if all end at once', async () => {
    let count = 0;
    await using server = await Server.start((hub, session) =>
      count++ % 2 === 0 ? messages(hub, session) : STREAMS['finalize()']!(hub, session),
    );
    const clients = await Promise.all(Array.from({ length: 6 }, () => server.connect()));
    server.hub.sessions.close('shutdown');
    for (const { ended } of clients) await ended;
    await turn();
    expect(server.streams.size).toBe(0);
    expect(server.failures.pending).toHaveLength(3);
  });

  test('is reported even if it can hardly be read', async () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- what a careless application rejects with
    await using server = await Server.start(() => iterable(() => Promise.reject(proxy)));
    const client = await server.connect();
    await client.comments.next();
    await client[Symbol.asyncDispose]();
    expect(await server.failures.next()).toHaveProperty('callback', 'The end of the stream of Test.stream');
  });

  test('is not reported if it only states that the signal was aborted', async () => {
    const returned = new Queue<string>();
    await using server = await Server.start(async function* (_hub, { signal }) {
      try {
        yield 1;
        await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
      } finally {
        returned.push('returned');
      }
    });
    const client = await server.connect();
    await client.next();
    await client[Symbol.asyncDispose]();
    await returned.next();
    await turn();
    expect(server.failures.pending).toEqual([]);
  });
});

describe('a stream whose source never waits', () => {
  test('leaves others their turn, even if nothing of it can be sent', async () => {
    const turns = new Queue<number>();
    await using server = await Server.start(async function* () {
      let read = 0;
      setImmediate(() => turns.push(read));
      while (++read < 1_000) yield fail;
    });
    await using client = await server.connect();
    expect(await turns.next()).toBeLessThan(200);
    await client.ended;
    expect(server.reporter.rejections).toHaveLength(999);
  });
});

describe('an AsyncIterable that breaks the rules of iteration', () => {
  test.each<[string, () => unknown, string]>([
    ['gives 5 as a result', () => 5, 'next() gave 5;'],
    ['promises 5 as a result', async () => 5, 'next() gave 5;'],
    ['gives null as a result', () => null, 'next() gave null;'],
    ['gives undefined as a result', () => undefined, 'next() gave undefined;'],
  ])('and %s ends its stream with an error that names the handler', async (_what, next, problem) => {
    let calls = 0;
    const stream = { [Symbol.asyncIterator]: () => ({ next: () => (calls++ === 0 ? { value: 'first' } : next()) }) };
    await using server = await Server.start(() => stream as never);
    await using client = await server.connect();
    expect(await client.next()).toEqual(['message', 'first']);
    await client.ended;
    await turn();
    expect(calls).toBe(2);
    expect(server.reporter.streamFailures).toMatchObject([
      {
        handler: 'Test.stream',
        error: {
          code: 'CONFIGURATION',
          message: expect.stringContaining(`Test.stream returned an AsyncIterable whose ${problem}`),
        },
      },
    ]);
  });

  test.each<[string, unknown]>([
    ['null', null],
    ['5', 5],
    ['an object', {}],
  ])('and gives %s as its iterator is refused with an error that names the handler', async (text, iterator) => {
    const refused = new Queue<unknown>();
    const reporter = new RecordingReporter();
    const streams = new EventStreams(new Hub({ reporter }), reporter, {
      heartbeatMs: 0,
      retryMs: undefined,
      maxBufferedBytes: 1_000,
    });
    const server = http.createServer((_request, response) => {
      const session = streams.hub.sessions.open();
      const stream = { [Symbol.asyncIterator]: () => iterator } as never;
      streams
        .serve(stream, { response, session, handler: 'Test.stream' })
        .catch(refused.push)
        .finally(() => response.end());
    });
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    expect(await refused.next()).toMatchObject({
      code: 'CONFIGURATION',
      message: `Test.stream returned an AsyncIterable whose [Symbol.asyncIterator]() gave ${text}; it gives an object with a function next`,
    });
    server.close();
  });
});

describe('a message whose class cannot be read', () => {
  const unreadable = new Proxy({}, { getPrototypeOf: fail });

  test.each<[string, MakeStream]>([
    ['an Observable', () => of(unreadable, 'next')],
    [
      'an AsyncIterable',
      async function* () {
        yield unreadable;
        yield 'next';
      },
    ],
  ])('of %s is reported as not delivered, and the stream continues', async (_what, make) => {
    await using server = await Server.start(make);
    await using client = await server.connect();
    expect(await client.next()).toEqual(['message', 'next']);
    await client.ended;
    expect(server.reporter.rejections).toMatchObject([{ channel: 'Test.stream' }]);
    expect(server.reporter.streamFailures).toEqual([]);
    expect(server.failures.pending).toEqual([]);
  });
});

describe('a failing function of middleware that replaces one of Node', () => {
  test.each(['write', 'end'] as const)('as %s cuts the stream off and is reported', async (method) => {
    await using server = await Server.start(messages, (response) => {
      const original = response[method].bind(response) as (...args: unknown[]) => never;
      let calls = 0;
      Object.assign(response, {
        [method]: (...args: unknown[]): unknown => {
          if (method === 'write' && calls++ === 0) return original(...args);
          return fail();
        },
      });
    });
    const client = await server.connect();
    await client.comments.next();
    void server.hub.post('x', 1);
    if (method === 'end') server.sessions[0]!.close();
    await client.ended;
    await turn();
    expect(server.reporter.streamFailures).toEqual([{ handler: 'Test.stream', error: failure }]);
    expect(server.streams.size).toBe(0);
  });
});

describe('an unread stream', () => {
  test.each<[string, unknown]>([
    ['whose iterator cannot be made', { [Symbol.asyncIterator]: fail }],
    ['whose return() throws', iterable(fail)],
    ['whose return() rejects', iterable(async () => fail())],
  ])('%s is reported', async (_name, stream) => {
    const failures = new Queue<unknown>();
    discardStream(stream, failures.push);
    expect(await failures.next()).toBe(failure);
  });
});
