import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
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
  type Channel,
  type ClientContext,
} from 'nestjs-messaging';
import { MessagingClient, shareAcrossTabs, type MessagingClientOptions } from 'nestjs-messaging/client';
import { merge } from 'rxjs';
import { CLOCK, realClock } from '../../lib/client/clock.js';
import { Deferred } from '../../lib/core/deferred.js';
import { startApp, type TestApp, type TestAppOptions } from './apps.js';
import { fetchByHttp2 } from './http2-fetch.js';
import { Queue } from './queue.js';
import { TcpProxy } from '../../lib/testing/tcp-proxy.js';

/** At most once, and with a history. */
export const News = defineChannel<string, 'revocation/news'>('revocation/news');
export const Kept = defineChannel<string, 'revocation/kept'>('revocation/kept', undefined, {
  history: { maxMessages: 1_000, ttlMs: 600_000 },
});

/** The same, but each of their channels serves one test, so that no server has anything of it in memory. */
export const Recent = defineChannel<string, 'revocation/recent/:of'>('revocation/recent/:of');
export const Past = defineChannel<string, 'revocation/past/:of'>('revocation/past/:of', undefined, {
  history: { maxMessages: 1_000, ttlMs: 600_000 },
});

export interface SignIn extends AuthenticationInfo {
  readonly userId: string;
}

/** The places at which a user's request may be held. */
export type Place = 'guard' | 'handler' | 'authorizer';

const gates = new Map<string, { readonly entered: Queue<void>; readonly opened: Promise<void> }>();

/** Holds the requests of a user at a place. */
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

  @AuthorizeChannel(Recent)
  recent() {
    return true;
  }

  private async isOpen({ auth }: ClientContext): Promise<boolean> {
    await pass('authorizer', auth?.userId as string);
    return true;
  }
}

/** Messages heard by listeners in the sessions of requests, by request. */
const heardBy = new Map<string, Queue<string>>();

/** Where such a listener reports its messages: on a server in another process, to its parent. */
export const requests = {
  tell: (name: string, message: string): void => heardBy.get(name)?.push(message),
};

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
    const tell = (message: string) => requests.tell(name, message);
    const listeners = [News, Kept].map((channel) => messages.addListener(channel, tell));
    await Promise.all(listeners.map(({ ready }) => ready));
    tell(LISTENING);
    return whenClosed(session);
  }

  @Get('replay/:of')
  replay(@Messages() messages: SessionMessages, @Param('of') of: string, @Query('name') name: string) {
    const tell = (message: string) => requests.tell(name, message);
    messages.addListener(Past.for({ of }), tell, { replay: 1_000 });
    tell(LISTENING);
    return whenClosed(messages.session);
  }
}

const LISTENING = 'listening';

async function whenClosed(session: SessionMessages['session']): Promise<{ closed: string | undefined }> {
  if (!session.closed) await once(session.signal, 'abort');
  return { closed: session.closeReason };
}

/** The place of a server, and how a request gets there. */
export interface Address {
  readonly url: string;
  readonly fetch: typeof fetch;
}

/** One server of the application. */
export interface Server extends TestApp, Address {
  readonly messaging: MessagingService;
  /** The proxy between it and Redis. */
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
  return { ...app, messaging: app.app.get(MessagingService), proxy, fetch: options.http2 ? fetchByHttp2 : fetch };
}

export async function stopServer({ app, proxy }: Server): Promise<void> {
  await app.close();
  await proxy[Symbol.asyncDispose]();
}

/** A reader of both channels of one server. */
export interface Reader extends AsyncDisposable {
  readonly heard: Queue<string>;
  /** The reason of its end, or the status if it was refused. */
  readonly closed: Promise<string>;
}

const opened = new Set<Reader>();

function note<Opened extends Reader>(reader: Opened): Opened {
  opened.add(reader);
  return reader;
}

/** Closes all readers. */
export async function closeReaders(): Promise<void> {
  const readers = [...opened];
  opened.clear();
  await Promise.all(readers.map((reader) => reader[Symbol.asyncDispose]()));
}

/** How a reader listens to a server. Resolves once it hears both channels, or is refused. */
export type Way = (at: Address, signIn: SignIn) => Promise<Reader>;

const headersOf = (signIn: SignIn) => ({ 'sign-in': JSON.stringify(signIn), accept: 'text/event-stream' });

/** A plain client of an event stream. */
class StreamReader implements Reader {
  readonly heard = new Queue<string>();
  readonly closed: Promise<string>;
  /** The id with which it would return. */
  lastId: string | undefined;

  private constructor(
    response: Response,
    private readonly abort: AbortController,
  ) {
    this.closed = this.read(response);
  }

  static async open(at: Address, path: string, signIn: SignIn, lastId?: string): Promise<StreamReader> {
    const abort = new AbortController();
    const headers = { ...headersOf(signIn), ...(lastId !== undefined && { 'last-event-id': lastId }) };
    return note(new StreamReader(await at.fetch(`${at.url}/${path}`, { headers, signal: abort.signal }), abort));
  }

  private async read({ status, body }: Response): Promise<string> {
    let last = 'nothing';
    const parser = createParser({
      onEvent: ({ event = 'message', id, data }) => {
        last = event;
        this.lastId = id ?? this.lastId;
        // The others belong to our library.
        if (!event.startsWith('messaging:')) this.heard.push(JSON.parse(data) as string);
      },
    });
    const text = new TextDecoder();
    try {
      for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) {
        parser.feed(text.decode(chunk, { stream: true }));
      }
    } catch {
      // The reader left it.
    }
    return status === 200 ? last.replace('messaging:', '') : String(status);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.abort.abort();
    await this.closed;
  }
}

// Without waits between attempts, our client gives up for good at once instead of a little later.
const clock = { ...realClock, random: () => 0 };

/** One tab of a page, or all tabs that share a connection. */
async function readByTabs(
  { url, fetch }: Address,
  signIn: SignIn,
  tabs: readonly Tab[],
  channels: readonly Channel<string>[] = [News, Kept],
): Promise<Reader> {
  const heard = new Queue<string>();
  const clients = tabs.map((link) => {
    const client = new MessagingClient({
      url: `${url}/messages`,
      headers: headersOf(signIn),
      [CLOCK]: clock,
      fetch,
      ...link,
    });
    const closed = new Promise<string>((resolve) => {
      client.onStatus(({ state, reason }) => state === 'closed' && resolve(reason!));
    });
    const subscribed = Promise.all(channels.map((channel) => client.subscribe(channel, heard.push)));
    return { client, closed, there: Promise.race([subscribed, closed]).catch(() => {}) };
  });
  const reader = note({
    heard,
    closed: Promise.all(clients.map(({ closed }) => closed)).then((reasons) => [...new Set(reasons)].join(', ')),
    [Symbol.asyncDispose]: async () => clients.forEach(({ client }) => client.close()),
  });
  await Promise.all(clients.map(({ there }) => there));
  return reader;
}

type Tab = Pick<MessagingClientOptions, 'link'>;

const oneTab = (): Tab[] => [{}];

/** Two tabs that share a connection with no others. */
function twoTabs(): Tab[] {
  const name = randomUUID();
  return [{ link: shareAcrossTabs({ name }) }, { link: shareAcrossTabs({ name }) }];
}

/** @param path - of a route that listens until its session is closed */
async function readByRequest({ url, fetch }: Address, signIn: SignIn, path: string): Promise<Reader> {
  const name = randomUUID();
  const heard = new Queue<string>();
  heardBy.set(name, heard);
  const abort = new AbortController();
  const answer = fetch(`${url}/${path}?name=${name}`, { headers: headersOf(signIn), signal: abort.signal });
  const closed = answer.then(async (response) => {
    heardBy.delete(name);
    return response.ok ? ((await response.json()) as { closed: string }).closed : String(response.status);
  });
  closed.catch(() => {});
  const reader = note({ heard, closed, [Symbol.asyncDispose]: async () => abort.abort() });
  await Promise.race([heard.next(), closed]);
  return reader;
}

/** The ways to listen to a server. */
export const WAYS: Record<string, Way> = {
  '@Sse': (at, signIn) => StreamReader.open(at, 'stream', signIn),
  'gateway client': (at, signIn) => readByTabs(at, signIn, oneTab()),
  'client of two tabs': (at, signIn) => readByTabs(at, signIn, twoTabs()),
  'native EventSource': (at, signIn) =>
    StreamReader.open(at, `messages?channel=${News.name}&channel=${Kept.name}`, signIn),
  'request listener': (at, signIn) => readByRequest(at, signIn, 'listen'),
};

/** A reader that has left one server, and can continue at another one. */
interface Away {
  /** Resolves when the server has the request. */
  comeBack(to: Address): Promise<Reader>;
}

/**
 * How a reader listens to the channels of one test at a server, leaves it, and returns.
 *
 * @param post - posts a message on all of these channels
 */
export type Leaving = (from: Address, of: string, signIn: SignIn, post: () => Promise<unknown>) => Promise<Away>;

function leaveStream(path: (of: string) => string): Leaving {
  return async (from, of, signIn, post) => {
    await using reader = await StreamReader.open(from, path(of), signIn);
    // It hears nothing before the server knows of the subscription.
    while (reader.heard.pending.length === 0) {
      await post();
      await new Promise(setImmediate);
    }
    const { lastId } = reader;
    return { comeBack: (to) => StreamReader.open(to, path(of), signIn, lastId) };
  };
}

function leaveTabs(open: () => Tab[]): Leaving {
  return async (from, of, signIn, post) => {
    let to: Promise<Address> = Promise.resolve(from);
    let cut = new AbortController();
    const arrived = new Queue<void>();
    const url = 'http://balancer.invalid';
    const fetchOne: typeof fetch = async (input, init) => {
      const at = await to;
      const signal = AbortSignal.any([cut.signal, init!.signal!]);
      const response = await at.fetch((input as string).replace(url, at.url), { ...init, signal });
      arrived.push();
      return response;
    };
    const channels = [Recent.for({ of }), Past.for({ of })];
    const tabs = open();
    const reader = await readByTabs({ url, fetch: fetchOne }, signIn, tabs, channels);
    await post();
    await reader.heard.take(tabs.length * channels.length);
    const { promise, resolve } = new Deferred<Address>();
    to = promise;
    cut.abort();
    cut = new AbortController();
    await arrived.next();
    return {
      comeBack: async (other) => {
        resolve(other);
        await arrived.next();
        return reader;
      },
    };
  };
}

/** The ways to return to missed messages. */
export const LEAVING: Record<string, Leaving> = {
  '@Sse': leaveStream((of) => `past/${of}`),
  'native EventSource': leaveStream(
    (of) => `messages?channel=${Recent.for({ of }).name}&channel=${Past.for({ of }).name}`,
  ),
  'gateway client': leaveTabs(oneTab),
  'client of two tabs': leaveTabs(twoTabs),
  // A request has no stream to return to: its equivalent is a listener that asks for earlier messages.
  'request listener': async (_from, of, signIn) => ({ comeBack: (to) => readByRequest(to, signIn, `replay/${of}`) }),
};
