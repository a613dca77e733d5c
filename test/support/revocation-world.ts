import { once } from 'node:events';
import http2 from 'node:http2';
import {
  Controller,
  Get,
  Injectable,
  Param,
  Query,
  UseGuards,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';
import { createParser } from 'eventsource-parser';
import {
  AuthorizeChannel,
  defineChannel,
  Messages,
  MessagingModule,
  MessagingService,
  SessionMessages,
  Sse,
  type AuthenticationInfo,
  type ClientContext,
} from 'nestjs-messaging';
import { MessagingClient } from 'nestjs-messaging/client';
import { merge } from 'rxjs';
import { CLOCK, realClock } from '../../lib/client/clock.js';
import { Deferred } from '../../lib/core/deferred.js';
import { startApp, type TestApp, type TestAppOptions } from './apps.js';
import { Queue } from './queue.js';
import { SseClient } from './sse-client.js';
import { TcpProxy } from '../../lib/testing/tcp-proxy.js';

/** At most once, and with a history. */
export const News = defineChannel<string, 'revocation/news'>('revocation/news');
export const Kept = defineChannel<string, 'revocation/kept'>('revocation/kept', undefined, {
  history: { maxMessages: 1_000, ttlMs: 600_000 },
});

/** Each of its channels is for one test, so that no server has anything of it in its memory. */
export const Past = defineChannel<string, 'revocation/past/:of'>('revocation/past/:of', undefined, {
  history: { maxMessages: 1_000, ttlMs: 600_000 },
});

export interface SignIn extends AuthenticationInfo {
  readonly userId: string;
}

/** Where the request of a user may be kept waiting. */
export type Place = 'guard' | 'handler' | 'authorizer';

const gates = new Map<string, { readonly entered: Queue<void>; readonly opened: Promise<void> }>();

/** Has the requests of a user wait at a place. */
export function gateAt(place: Place, userId: string) {
  const { promise: opened, resolve: open } = new Deferred();
  const entered = new Queue<void>();
  gates.set(`${place} ${userId}`, { entered, opened });
  return { entered, open };
}

async function pass(place: Place, userId: string | undefined): Promise<void> {
  const gate = gates.get(`${place} ${userId}`);
  gate?.entered.push();
  await gate?.opened;
}

@Injectable()
class HeaderGuard implements CanActivate {
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<{ headers: Record<string, string>; user?: SignIn }>();
    request.user = JSON.parse(request.headers['sign-in']!) as SignIn;
    await pass('guard', request.user.userId);
    return true;
  }
}

@Injectable()
class Access {
  @AuthorizeChannel(News)
  news(client: ClientContext) {
    return this.isOpen(client);
  }

  @AuthorizeChannel(Kept)
  kept(client: ClientContext) {
    return this.isOpen(client);
  }

  @AuthorizeChannel(Past)
  past() {
    return true;
  }

  private async isOpen({ auth }: ClientContext): Promise<boolean> {
    await pass('authorizer', auth?.userId as string);
    return true;
  }
}

/** What listeners in the sessions of requests have heard, by request. */
const heardBy = new Map<string, Queue<string>>();

@UseGuards(HeaderGuard)
@Controller()
class Streams {
  @Sse('stream')
  async stream(@Messages() messages: SessionMessages) {
    await pass('handler', messages.session.auth?.userId as string);
    return merge(messages.createStream(News), messages.createStream(Kept));
  }

  @Sse('past/:of')
  past(@Messages() messages: SessionMessages, @Param('of') of: string) {
    return messages.createStream(Past.for({ of }));
  }

  @Get('listen')
  async listen(@Messages() messages: SessionMessages, @Query('name') name: string) {
    const { session } = messages;
    await pass('handler', session.auth?.userId as string);
    const heard = heardBy.get(name)!;
    const listeners = [News, Kept].map((channel) => messages.addListener(channel, (message) => heard.push(message)));
    await Promise.all(listeners.map(({ ready }) => ready));
    heard.push('listening');
    if (!session.closed) await once(session.signal, 'abort');
    return { closed: session.closeReason };
  }
}

/** One server of the application. */
export interface Server extends TestApp {
  readonly messaging: MessagingService;
  /** Between it and Redis. */
  readonly proxy: TcpProxy;
}

const soon = () => 20;

export async function startServer(redisPort: number, options: TestAppOptions = {}): Promise<Server> {
  const proxy = await TcpProxy.start(redisPort);
  const redis = { url: `redis://127.0.0.1:${proxy.port}`, retryStrategy: soon, publishTimeoutMs: 5_000 };
  const app = await startApp(
    {
      imports: [MessagingModule.forRoot({ redis, gateway: { guards: [HeaderGuard] }, sse: { retryMs: 20 } })],
      controllers: [Streams],
      providers: [Access],
    },
    options,
  );
  return { ...app, messaging: app.app.get(MessagingService), proxy };
}

export async function stopServer({ app, proxy }: Server): Promise<void> {
  await app.close();
  await proxy[Symbol.asyncDispose]();
}

/** Somebody who hears both channels of one server. */
export interface Reader extends AsyncDisposable {
  readonly heard: Queue<string>;
  /** Why it was closed; or the status, if it was not let in. */
  readonly closed: Promise<string>;
}

/** How somebody hears a server. Resolves when that hears all, or lets nobody in. */
export type Way = (url: string, signIn: SignIn) => Promise<Reader>;

const headersOf = (signIn: SignIn) => ({ 'sign-in': JSON.stringify(signIn), accept: 'text/event-stream' });

/** Takes the events of a stream: texts are messages, those of our library are not. */
function eventsInto(heard: Queue<string>, told: Queue<string>) {
  let last = 'nothing';
  return {
    take(event: string, data: string): void {
      last = event;
      if (event.startsWith('messaging:')) told.push(event);
      else heard.push(JSON.parse(data) as string);
    },
    get reason(): string {
      return last.replace('messaging:', '');
    },
  };
}

/** A plain client of an event stream. */
export async function readSse(url: string, signIn: SignIn, lastEventId?: string): Promise<Reader> {
  const resume: Record<string, string> = lastEventId === undefined ? {} : { 'last-event-id': lastEventId };
  const client = await SseClient.connect(url, { headers: { ...headersOf(signIn), ...resume } });
  const heard = new Queue<string>();
  const events = eventsInto(heard, new Queue());
  const whole = (async () => {
    await client.ended;
    // The last event may have been handed to the reader, which has not looked at it yet.
    do await new Promise(setImmediate);
    while (client.events.pending.length > 0);
    return client.status === 200 ? events.reason : String(client.status);
  })();
  const read = async (): Promise<never> => {
    for (;;) {
      const { event, data } = await client.events.next();
      events.take(event, data);
    }
  };
  void read();
  return { heard, closed: whole, [Symbol.asyncDispose]: async () => client[Symbol.asyncDispose]() };
}

async function readHttp2(url: string, signIn: SignIn): Promise<Reader> {
  const session = http2.connect(url);
  const stream = session.request({ ':path': '/stream', ...headersOf(signIn) });
  const heard = new Queue<string>();
  const events = eventsInto(heard, new Queue());
  const parser = createParser({ onEvent: ({ event = 'message', data }) => events.take(event, data) });
  const [headers] = (await once(stream, 'response')) as [{ ':status': number }];
  stream.setEncoding('utf8').on('data', (chunk: string) => parser.feed(chunk));
  const closed = once(stream, 'close').then(() =>
    headers[':status'] === 200 ? events.reason : String(headers[':status']),
  );
  return {
    heard,
    closed,
    async [Symbol.asyncDispose]() {
      session.destroy();
      await closed;
    },
  };
}

/** With those of our client that it gives up for good, as it would after a little while. */
async function readByClient(url: string, signIn: SignIn): Promise<Reader> {
  const heard = new Queue<string>();
  const clock = { ...realClock, random: () => 0 };
  const client = new MessagingClient({ url: `${url}/messages`, headers: headersOf(signIn), [CLOCK]: clock });
  const closed = new Promise<string>((resolve) => {
    client.onStatus(({ state, reason }) => state === 'closed' && resolve(reason!));
  });
  const subscribed = Promise.all(
    [News, Kept].map((channel) => client.subscribe(channel, (message) => heard.push(message))),
  );
  await Promise.race([subscribed, closed]).catch(() => {});
  subscribed.catch(() => {});
  return { heard, closed, [Symbol.asyncDispose]: async () => client.close() };
}

async function readByRequest(url: string, signIn: SignIn): Promise<Reader> {
  const name = `${Math.random()}`;
  const heard = new Queue<string>();
  heardBy.set(name, heard);
  const abort = new AbortController();
  const answer = fetch(`${url}/listen?name=${name}`, { headers: headersOf(signIn), signal: abort.signal });
  const closed = answer.then(async (response) => {
    heardBy.delete(name);
    return response.ok ? ((await response.json()) as { closed: string }).closed : String(response.status);
  });
  closed.catch(() => {});
  await Promise.race([heard.next(), closed]);
  return { heard, closed, [Symbol.asyncDispose]: async () => abort.abort() };
}

const NAMES = `channel=${News.name}&channel=${Kept.name}`;

/** The ways to hear a server over HTTP/1.1. */
export const WAYS = {
  '@Sse': (url: string, signIn: SignIn) => readSse(`${url}/stream`, signIn),
  'gateway client': readByClient,
  'native EventSource': (url: string, signIn: SignIn) => readSse(`${url}/messages?${NAMES}`, signIn),
  'request listener': readByRequest,
} satisfies Record<string, Way>;

export const HTTP2: Way = readHttp2;

/** Where one comes back to where one was, in the history, with the last id that one has. */
export const COMING_BACK = {
  '@Sse stream': (url: string, of: string) => `${url}/past/${of}`,
  'native EventSource': (url: string, of: string) => `${url}/messages?channel=${Past.for({ of }).name}`,
};

/** The id of the first message that is posted once a stream is open. */
export async function idBy(url: string, signIn: SignIn, post: () => Promise<unknown>): Promise<string> {
  await using client = await SseClient.connect(url, { headers: headersOf(signIn) });
  for (;;) {
    // It is not heard before the subscription is known.
    await post();
    for (const { event, id } of client.events.pending) if (event === 'message' && id !== undefined) return id;
    await new Promise(setImmediate);
  }
}
