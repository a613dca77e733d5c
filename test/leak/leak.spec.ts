import { Controller, Injectable, Param, Req, UseGuards, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { expect, test } from '@jest/globals';
import { defineChannel, Messages, MessagingModule, MessagingService, SessionMessages, Sse } from 'nestjs-messaging';
import { concat, from, map, NEVER, of, switchMap, throwError, timer } from 'rxjs';
import { Hub } from '../../lib/core/hub.js';
import type { Session } from '../../lib/core/session.js';
import { createStream } from '../../lib/core/stream.js';
import { responseOf, type HttpRequest } from '../../lib/nest/http-exchange.js';
import { EventStreams } from '../../lib/sse/event-streams.js';
import type { RawResponse } from '../../lib/sse/response.js';
import { ADAPTER_NAMES, startApp } from '../support/apps.js';
import { RecordingReporter } from '../support/recording-reporter.js';
import { SseClient } from '../support/sse-client.js';

// 10,000 of everything are opened and closed; a sample of the objects is watched by WeakRefs, and all of
// the sample must be gone.
const COUNT = 10_000;

const Numbers = defineChannel<number>('numbers');

/**
 * How many of these objects survive garbage collection.
 *
 * @param expected - how many may survive: with no more left, garbage collection stops
 */
async function survivors(refs: readonly WeakRef<object>[], expected = 0): Promise<number> {
  const alive = () => refs.filter((ref) => ref.deref() !== undefined).length;
  // A WeakRef keeps its object alive for the turn that reads it.
  for (let attempt = 0; attempt < 20; attempt++) {
    await new Promise((resolve) => setImmediate(resolve));
    globalThis.gc!();
    if (alive() <= expected) break;
  }
  return alive();
}

test('sessions, listeners and streams leave no object behind after their end', async () => {
  const hub = new Hub({ reporter: new RecordingReporter() });
  const sessionsBefore = hub.sessions.size;
  const refs: WeakRef<object>[] = [];
  // In a separate function, so that no local variable keeps the last one alive.
  const openAndClose = (n: number) => {
    const session = hub.sessions.open({ auth: { userId: n } });
    const call = () => n;
    const listener = hub.listen(n % 2 ? 'one channel' : `channel ${n}`, call, session);
    const subscription = createStream(hub, Numbers, session).subscribe();
    void session.signal;
    void hub.post(Numbers, n);
    session.close();
    refs.push(new WeakRef(session), new WeakRef(listener), new WeakRef(call), new WeakRef(subscription));
  };
  for (let n = 0; n < COUNT; n++) openAndClose(n);

  expect(await survivors(refs)).toBe(0);
  expect(hub.sessions.size).toBe(sessionsBefore);
});

test('listeners that end one by one leave no object behind, even if other listeners stay', async () => {
  const hub = new Hub({ reporter: new RecordingReporter() });
  const session = hub.sessions.open();
  hub.listen(Numbers, () => {}, session);
  const refs: WeakRef<object>[] = [];
  const openAndClose = () => {
    const listener = hub.listen(Numbers, () => {}, session);
    listener.unsubscribe();
    refs.push(new WeakRef(listener));
  };
  for (let n = 0; n < COUNT; n++) openAndClose();
  // A list sweeps once enough of its entries have ended: only the few that wait for the next sweep may remain.
  expect(await survivors(refs, 31)).toBeLessThan(32);
});

test.each(ADAPTER_NAMES)(
  'event streams on %s without their clients, and their sessions, leave no object behind',
  async (adapter) => {
    @Controller()
    class Streams {
      @Sse('numbers')
      numbers(@Messages() messages: SessionMessages) {
        refs.push(new WeakRef(messages), new WeakRef(messages.session));
        return messages.createStream(Numbers);
      }
    }
    const refs: WeakRef<object>[] = [];
    await using running = await startApp({ imports: [MessagingModule.forRoot()], controllers: [Streams] }, { adapter });
    const hub = running.app.get(Hub, { strict: false });
    const streams = running.app.get(EventStreams, { strict: false });
    const sessionsBefore = hub.sessions.size;
    const connectAndLeave = async () => {
      const client = await SseClient.connect(`${running.url}/numbers`);
      await client.comments.next();
      await client[Symbol.asyncDispose]();
    };
    for (let round = 0; round < COUNT / 50; round++) {
      await Promise.all(Array.from({ length: 50 }, connectAndLeave));
      void running.app.get(MessagingService).postMessage(Numbers, round);
    }
    // The server learns of the last departures in later turns of the event loop.
    while (streams.size > 0) await new Promise((resolve) => setImmediate(resolve));

    expect(hub.sessions.size).toBe(sessionsBefore);
    expect(await survivors(refs)).toBe(0);
  },
  120_000,
);

test.each(ADAPTER_NAMES)(
  'open streams on %s share the function that waits for clients to leave, but each ends with its own client',
  async (adapter) => {
    @Controller()
    class Streams {
      @Sse('numbers')
      numbers(@Messages() messages: SessionMessages, @Req() request: HttpRequest) {
        opened.push({ session: messages.session, response: responseOf(request)! });
        return messages.createStream(Numbers);
      }
    }
    const opened: { readonly session: Session; readonly response: RawResponse }[] = [];
    await using running = await startApp({ imports: [MessagingModule.forRoot()], controllers: [Streams] }, { adapter });
    const streams = running.app.get(EventStreams, { strict: false });
    const clients: SseClient[] = [];
    for (let count = 0; count < 2; count++) {
      clients.push(await SseClient.connect(`${running.url}/numbers`));
      await clients[count]!.comments.next();
    }
    const [one, two] = opened.map(({ response }) => response.listeners('close'));
    expect(one!.filter((listener) => two!.includes(listener))).toHaveLength(1);

    await clients[0]![Symbol.asyncDispose]();
    while (streams.size > 1) await new Promise((resolve) => setImmediate(resolve));
    expect(opened.map(({ session }) => session.closed)).toEqual([true, false]);
    await clients[1]![Symbol.asyncDispose]();
  },
);

test.each(ADAPTER_NAMES)(
  'an open stream on %s keeps the parts of the request that its handler uses, and nothing of the setup',
  async (adapter) => {
    interface Request {
      readonly headers: Record<string, string>;
      readonly query: Record<string, string>;
      readonly next?: object;
      user?: string;
    }

    @Injectable()
    class Watches implements CanActivate {
      canActivate(context: ExecutionContext) {
        const request = context.switchToHttp().getRequest<Request>();
        request.user = 'Ada';
        refs.push(new WeakRef(context));
        if (adapter === 'Express') refs.push(new WeakRef(request.next!));
        return true;
      }
    }

    @Controller()
    @UseGuards(Watches)
    class Streams {
      @Sse('rooms/:room')
      room(@Messages() messages: SessionMessages, @Param('room') room: string, @Req() request: Request) {
        return messages.createStream(Numbers).pipe(
          map((n) => {
            const { user, headers, query } = request;
            return [n, room, user, headers['x-name'], query['q'], messages.session.closed];
          }),
        );
      }
    }
    const refs: WeakRef<object>[] = [];
    await using running = await startApp({ imports: [MessagingModule.forRoot()], controllers: [Streams] }, { adapter });
    const headers = { 'x-name': 'Ada L.' };
    await using client = await SseClient.connect(`${running.url}/rooms/7?q=all`, { headers });
    await client.comments.next();

    expect(refs).toHaveLength(adapter === 'Express' ? 2 : 1);
    expect(await survivors(refs)).toBe(0);
    void running.app.get(MessagingService).postMessage(Numbers, 1);
    expect(await client.next()).toEqual(['message', [1, '7', 'Ada', 'Ada L.', 'all', false]]);
  },
);

test.each(ADAPTER_NAMES)('streams on %s count only until they end, for whatever reason', async (adapter) => {
  @Injectable()
  class HasSession implements CanActivate {
    constructor(private readonly messaging: MessagingService) {}

    canActivate(context: ExecutionContext) {
      // Nothing closes this one, and it must not be mistaken for the session of the request.
      context.switchToHttp().getRequest<{ session: unknown }>().session = this.messaging.openSession().session;
      return true;
    }
  }

  @Controller()
  @UseGuards(HasSession)
  class Streams {
    @Sse(':end')
    stream(@Param('end') end: string, @Messages() messages: SessionMessages) {
      const { session } = messages;
      const ends = {
        completes: from([1, 2]),
        iterates: (async function* () {
          yield 1;
        })(),
        fails: concat(of(1), timer(1).pipe(switchMap(() => throwError(() => new Error('no more'))))),
        failsAtOnce: throwError(() => new Error('none')),
        closed: concat(of(1), timer(1).pipe(map(() => session.close())), NEVER),
        left: concat(of(1), NEVER),
      };
      return ends[end as keyof typeof ends];
    }
  }
  await using running = await startApp({ imports: [MessagingModule.forRoot()], controllers: [Streams] }, { adapter });
  const streams = running.app.get(EventStreams, { strict: false });
  const timers = streams['heartbeat']['timers'];
  // Times out if one is never released.
  const allGone = async () => {
    while (streams.size > 0) await new Promise((resolve) => setImmediate(resolve));
  };
  const client = await SseClient.connect(`${running.url}/left`);
  await client.events.next();
  expect(streams.size).toBe(1);
  expect(timers.size).toBe(1);
  await client[Symbol.asyncDispose]();
  await allGone();
  expect(timers.size).toBe(0);

  for (const end of ['completes', 'iterates', 'fails', 'closed', 'failsAtOnce']) {
    await using ended = await SseClient.connect(`${running.url}/${end}`);
    await allGone();
    expect(timers.size).toBe(0);
    await ended.ended;
  }
});
