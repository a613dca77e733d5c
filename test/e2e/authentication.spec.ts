import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  Catch,
  Controller,
  Get,
  HttpException,
  Injectable,
  UnauthorizedException,
  UseGuards,
  type ArgumentsHost,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type INestApplication,
  type Provider,
} from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { beforeEach, describe, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { NEVER } from 'rxjs';
import {
  AuthorizeChannel,
  ClientConnectionChanges,
  ConfigurationError,
  defineChannel,
  Messages,
  MessagingModule,
  MessagingService,
  RevokedAuthenticationAuthId,
  RevokedAuthenticationScope,
  SessionMessages,
  Sse,
  type AuthenticationInfo,
  type ClientConnectionChange,
  type ClientContext,
  type IncomingRequest,
  type MessagingModuleOptions,
  type Session,
} from 'nestjs-messaging';
import { ADAPTER_NAMES, startApp } from '../support/apps.js';
import { Queue } from '../support/queue.js';
import { SseClient } from '../support/sse-client.js';

const Lobby = defineChannel('authentication/lobby');
// The declaration suffices: clients ask for it by name.
defineChannel('authentication/staff', undefined, { clients: true, requiredScopes: ['admin'] });

/** The user that a guard sets, as JSON in a header. */
@Injectable()
class HeaderGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<{ headers: Record<string, string>; user?: unknown }>();
    const { user } = request.headers;
    if (user !== undefined) request.user = JSON.parse(user);
    return true;
  }
}

let sessions = new Queue<Session>();
let asked = new Queue<ClientContext>();
beforeEach(() => {
  sessions = new Queue();
  asked = new Queue();
});

@Injectable()
class LobbyAccess {
  @AuthorizeChannel(Lobby)
  mayRead(client: ClientContext) {
    asked.push(client);
    return client.auth !== null;
  }
}

/** Slow handlers and authorizers wait for it. */
let released: Promise<unknown> = Promise.resolve();

@Injectable()
class SlowAccess {
  @AuthorizeChannel('authentication/slow')
  async mayRead(client: ClientContext) {
    asked.push(client);
    await released;
    return true;
  }
}

@UseGuards(HeaderGuard)
@Controller()
class Routes {
  @Sse('slow')
  async slow(@Messages() { session }: SessionMessages) {
    sessions.push(session);
    await released;
    return NEVER;
  }

  @Sse('open')
  open(@Messages() { session }: SessionMessages) {
    sessions.push(session);
    return NEVER;
  }

  @Sse('admin', { requiredScopes: ['admin'] })
  admin(@Messages() { session }: SessionMessages) {
    sessions.push(session);
    return NEVER;
  }

  @Get('listen')
  listen(@Messages() messages: SessionMessages) {
    return new Promise((resolve) => messages.createStream('never').subscribe({ complete: () => resolve([]) }));
  }

  @Get('who')
  who(@Messages() { session }: SessionMessages) {
    return { auth: session.auth };
  }
}

@UseGuards(HeaderGuard)
@Controller('injected')
class Injected {
  constructor(private readonly messages: SessionMessages) {}

  @Get('who')
  async who() {
    const { session } = this.messages;
    let early: unknown;
    try {
      early = session.auth;
    } catch (error) {
      early = error instanceof ConfigurationError && error.message;
    }
    return { early, auth: await session.authenticated(), later: session.auth };
  }

  @Get('wait')
  wait() {
    sessions.push(this.messages.session);
    return new Promise((resolve) => this.messages.addListener('never', resolve));
  }
}

/** Like an application that answers all errors in one form. */
@Catch()
class CatchAll implements ExceptionFilter {
  constructor(private readonly caught: (error: unknown) => void) {}

  catch(error: unknown, host: ArgumentsHost): void {
    this.caught(error);
    const response = host.switchToHttp().getResponse<{ status(code: number): { send(body: string): void } }>();
    response.status(error instanceof HttpException ? error.getStatus() : 500).send('');
  }
}

const fromUser = async (request: IncomingRequest) => Promise.resolve(request.user as AuthenticationInfo);

const fail = (): never => {
  throw new Error('no database');
};
const as = (user: unknown) => ({ headers: { user: JSON.stringify(user) } });
const revoke = (
  app: INestApplication,
  userId: string | number,
  what?: RevokedAuthenticationAuthId | RevokedAuthenticationScope,
) => app.get(MessagingService).revokeAuthentication(userId, what);

const postAs = (url: string, body: object, { headers }: ReturnType<typeof as>) =>
  fetch(url, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { ...headers, 'content-type': 'application/json' },
  });

const refusal = (message: string, reason: string) => [401, { statusCode: 401, error: 'Unauthorized', message, reason }];

describe.each(ADAPTER_NAMES)('On %s', (adapter) => {
  const start = (options: MessagingModuleOptions = {}, providers: Provider[] = []) =>
    startApp(
      {
        imports: [MessagingModule.forRoot({ gateway: { guards: [HeaderGuard] }, ...options })],
        controllers: [Routes, Injected],
        providers: [LobbyAccess, SlowAccess, ...providers],
      },
      { adapter },
    );
  describe('the user that a guard has signed in', () => {
    test('is read from the claims of a token', async () => {
      await using running = await start();
      const { url } = running;
      const user = { sub: 7, username: 'ada', jti: 3, scope: 'read write', iat: 1_000, exp: 4e9 };
      const { body } = (await supertest(url).get('/who').set(as(user).headers).expect(200)) as { body: unknown };
      expect(body).toEqual({
        auth: { userId: 7, authId: '3', scopes: ['read', 'write'], issuedAt: 1e6, expiresAt: 4e12 },
      });
    });

    test('has a scope only if the whole scope is in its list', async () => {
      await using running = await start();
      const status = async (user: unknown) => {
        const client = await SseClient.connect(`${running.url}/admin`, as(user));
        client.abort();
        return client.status;
      };
      expect(await status({ userId: 'ada', scopes: 'nonadmin-readonly' })).toBe(403);
      expect(await status({ userId: 'ada', scopes: 'read admin' })).toBe(200);
      expect(await status({ userId: 'ada', scopes: true })).toBe(401);
      const { status: gateway } = await supertest(running.url)
        .get('/messages?channel=authentication/staff')
        .set(as({ userId: 'ada', scopes: 'nonadmin-readonly' }).headers);
      expect(gateway).toBe(403);
    });

    test('is revoked by a scope, whatever scopes others have', async () => {
      await using running = await start();
      await using odd = await SseClient.connect(`${running.url}/open`, as({ userId: 'ada', scopes: true }));
      await using none = await SseClient.connect(`${running.url}/open`, as({ userId: 'ada' }));
      await using writer = await SseClient.connect(`${running.url}/open`, as({ id: 'ada', scope: 'read write' }));
      const [first, second, third] = await sessions.take(3);
      expect(await revoke(running.app, 'ada', new RevokedAuthenticationScope(['write']))).toBe(true);
      await writer.ended;
      expect([odd.status, none.status]).toEqual([200, 200]);
      expect([first, second, third].map((session) => session?.closeReason)).toEqual([undefined, undefined, 'revoked']);
    });

    test.each([
      ['that was revoked', { sub: 'ada', jti: 'a', iat: 1 }, {}],
      [
        'that was revoked before the application was asked',
        { sub: 'ada', jti: 'a', iat: 1 },
        { authenticate: fromUser },
      ],
    ])('%s gets 401 with the reason from every route', async (_case, user, options) => {
      await using running = await start(options);
      const { url } = running;
      const other = as({ sub: 'ada', jti: 'b', iat: 1 });
      await using stream = await SseClient.connect(`${url}/messages?channel=authentication/lobby`, other);
      const { connection } = (await stream.next())[1] as { connection: string };
      await revoke(running.app, 'ada', new RevokedAuthenticationAuthId('a'));
      const body = { channels: [{ channel: 'authentication/lobby' }] };
      const answers = await Promise.all([
        fetch(`${url}/open`, as(user)),
        fetch(`${url}/messages?channel=authentication/lobby`, as(user)),
        postAs(`${url}/messages`, body, as(user)),
        postAs(`${url}/messages/${connection}/channels`, { subscribe: body.channels }, as(user)),
      ]);
      expect(answers.map(({ status }) => status)).toEqual([401, 401, 401, 401]);
      const revoked = { statusCode: 401, error: 'Unauthorized', message: 'The sign-in was revoked', reason: 'revoked' };
      expect(await Promise.all(answers.map((answer) => answer.json()))).toEqual([revoked, revoked, revoked, revoked]);
      expect((await fetch(`${url}/open`, { ...other, method: 'HEAD' })).status).toBe(200);
    });

    test.each(['request', 'async-local'] as const)(
      'that was revoked or has expired gets 401 with the reason from handlers that listen in their session, in scope %s',
      async (scope) => {
        await using running = await start({ scope });
        const listen = async (user: object) => {
          const answers = ['injected/wait', 'listen'].map((path) => fetch(`${running.url}/${path}`, as(user)));
          return (await Promise.all(answers)).map(async (answer) => [answer.status, (await answer.json()) as unknown]);
        };
        const expired = refusal('The sign-in has expired', 'expired');
        // Before any revocation.
        expect(await Promise.all(await listen({ id: 'ada', exp: 1_000 }))).toEqual([expired, expired]);
        await revoke(running.app, 'ada');
        const revoked = refusal('The sign-in was revoked', 'revoked');
        expect(await Promise.all(await listen({ id: 'ada', issuedAt: 1 }))).toEqual([revoked, revoked]);
        expect(running.logger.problems).toEqual([]);
      },
    );

    test('that has expired is refused by an exception of Nest, with the error of the session as its cause', async () => {
      const caught = new Queue<unknown>();
      await using running = await start({}, [{ provide: APP_FILTER, useValue: new CatchAll(caught.push) }]);
      const answer = await fetch(`${running.url}/injected/wait`, as({ id: 'ada', exp: 1_000 }));
      expect(answer.status).toBe(401);
      const error = await caught.next();
      expect(error).toBeInstanceOf(UnauthorizedException);
      expect((error as Error).cause).toMatchObject({
        code: 'SESSION_CLOSED',
        message: 'addListener was called after its session had closed: its sign-in has expired',
      });
    });

    test('is revoked by a sign-in whose id is a number', async () => {
      await using running = await start();
      await using phone = await SseClient.connect(`${running.url}/open`, as({ id: 7, authId: 1 }));
      await using laptop = await SseClient.connect(`${running.url}/open`, as({ id: 7, authId: 2 }));
      const [onPhone, onLaptop] = await sessions.take(2);
      await revoke(running.app, '7', new RevokedAuthenticationAuthId('1'));
      await phone.ended;
      expect([onPhone?.closeReason, onLaptop?.closeReason]).toEqual(['revoked', undefined]);
      await revoke(running.app, 7, new RevokedAuthenticationAuthId(2));
      await laptop.ended;
    });

    test('counts as nobody if it cannot be read, with one warning that names the option', async () => {
      await using running = await start();
      for (let i = 0; i < 10; i++) {
        const { body } = (await supertest(running.url)
          .get('/who')
          .set(as({ _id: 'ada' }).headers)
          .expect(200)) as { body: unknown };
        expect(body).toEqual({ auth: null });
      }
      expect(running.logger.problems).toHaveLength(1);
      expect(running.logger.problems[0]).toMatch(/^warn A request's user .* "authenticate"/);
    });
  });

  describe('a sign-in that expires', () => {
    test('ends its streams, whose clients come back', async () => {
      await using running = await start();
      const changes = new Queue<ClientConnectionChange>();
      running.app.get(MessagingService).addListener(ClientConnectionChanges, changes.push);
      const expiresAt = Date.now() + 500;
      const ada = as({ userId: 'ada', expiresAt });
      await using stream = await SseClient.connect(`${running.url}/open`, ada);
      await using native = await SseClient.connect(`${running.url}/messages?channel=authentication/lobby`, ada);
      await using other = await SseClient.connect(`${running.url}/open`, as({ userId: 'ada' }));
      const [session, lasting] = await sessions.take(2);
      expect((await native.next())[0]).toBe('messaging:ready');
      for (const client of [stream, native]) {
        // Without an id: a browser returns with the id that it has.
        expect(await client.events.next()).toEqual({ event: 'messaging:expired', id: undefined, data: '{}' });
        await client.ended;
        expect(Date.now()).toBeGreaterThanOrEqual(expiresAt);
        expect(client.retryMs).toBeGreaterThanOrEqual(500);
        expect(client.retryMs).toBeLessThanOrEqual(1_000);
      }
      expect([session?.closeReason, lasting?.closeReason, other.status]).toEqual(['expired', undefined, 200]);
      expect(await changes.take(2)).toMatchObject([
        { kind: 'connected' },
        { kind: 'disconnected', reason: 'expired', auth: { userId: 'ada' } },
      ]);
    });

    test('ends the session of a waiting request', async () => {
      await using running = await start();
      const expiresAt = Date.now() + 300;
      const waiting = supertest(running.url)
        .get('/injected/wait')
        .set(as({ userId: 'ada', expiresAt }).headers);
      waiting.then(
        () => {},
        () => {},
      );
      const session = await sessions.next();
      if (!session.closed) await once(session.signal, 'abort');
      expect(session.closeReason).toBe('expired');
      expect(Date.now()).toBeGreaterThanOrEqual(expiresAt);
      waiting.abort();
    });

    test('while a handler or an authorizer is at work starts nothing: the answer is 401', async () => {
      await using running = await start();
      const { url } = running;
      const user = { userId: 'ada', expiresAt: Date.now() + 800 };
      // Closes at the same moment.
      const { session: witness } = running.app.get(MessagingService).openSession({ auth: user });
      released = once(witness.signal, 'abort');
      const headers = { ...as(user).headers, 'content-type': 'application/json' };
      const post = (body: object) => ({ method: 'POST', headers, body: JSON.stringify(body) });
      const channels = [{ channel: 'authentication/slow' }];
      await using open = await SseClient.connect(`${url}/messages`, post({ channels: [] }));
      const [, { connection }] = (await open.next()) as [string, { connection: string }];
      const answers = Promise.all(
        (
          [
            ['/slow', { headers }],
            ['/messages?channel=authentication/slow', { headers }],
            ['/messages', post({ channels })],
            [`/messages/${connection}/channels`, post({ subscribe: channels })],
          ] as const
        ).map(async ([path, init]) => {
          const response = await fetch(url + path, init);
          await response.body?.cancel();
          return response.status;
        }),
      );
      await sessions.next();
      await asked.take(3);
      expect(await answers).toEqual([401, 401, 401, 401]);
      expect((await open.events.until(({ event }) => event === 'messaging:expired')).data).toBe('{}');
    });

    test('before the request arrives gets 401', async () => {
      await using running = await start();
      const { url } = running;
      const headers = { ...as({ userId: 'ada', exp: 1_000 }).headers, 'content-type': 'application/json' };
      const post = (body: object) => ({ method: 'POST', headers, body: JSON.stringify(body) });
      const channels = [{ channel: 'authentication/lobby' }];
      await using open = await SseClient.connect(`${url}/messages`, {
        ...post({ channels }),
        headers: { ...headers, ...as({ userId: 'ada' }).headers },
      });
      const [, { connection }] = (await open.next()) as [string, { connection: string }];
      for (const [path, init] of [
        ['/open', { headers }],
        ['/messages?channel=authentication/lobby', { headers }],
        ['/messages', post({ channels })],
        [`/messages/${connection}/channels`, post({ subscribe: channels })],
      ] as const) {
        const response = await fetch(url + path, init);
        await response.body?.cancel();
        expect([path, response.status]).toEqual([path, 401]);
      }
      expect(asked.pending).toHaveLength(1);
    });
  });

  describe('an asynchronous authenticate', () => {
    let release: (() => void) | undefined;
    let isSlow = false;
    beforeEach(() => void (isSlow = false));
    const lookUp = async ({ user }: IncomingRequest): Promise<{ id: string } | null> => {
      if (isSlow) await new Promise<void>((resolve) => (release = resolve));
      else await new Promise((resolve) => setImmediate(resolve));
      return user === undefined ? null : { id: `${(user as { id: string }).id}!` };
    };

    test.each(['request', 'async-local'] as const)(
      'is known to handlers that take their session by @Messages(), in scope %s',
      async (scope) => {
        await using running = await start({ scope, authenticate: lookUp });
        const { body } = (await supertest(running.url)
          .get('/who')
          .set(as({ id: 'ada' }).headers)
          .expect(200)) as { body: unknown };
        expect(body).toEqual({ auth: { userId: 'ada!' } });
        expect((await supertest(running.url).get('/who').expect(200)).body).toEqual({ auth: null });
      },
    );

    test.each(['request', 'async-local'] as const)(
      'is waited for by other handlers, which cannot read the user before, in scope %s',
      async (scope) => {
        await using running = await start({ scope, authenticate: lookUp });
        const auth = { userId: 'ada!' };
        const { body } = (await supertest(running.url)
          .get('/injected/who')
          .set(as({ id: 'ada' }).headers)
          .expect(200)) as { body: unknown };
        expect(body).toEqual({
          early: expect.stringContaining('await session.authenticated() first'),
          auth,
          later: auth,
        });
      },
    );

    test('is known before a stream begins, and before authorizers are asked', async () => {
      await using running = await start({ authenticate: lookUp });
      const changes = new Queue<ClientConnectionChange>();
      running.app.get(MessagingService).addListener(ClientConnectionChanges, changes.push);
      await using stream = await SseClient.connect(`${running.url}/open`, as({ id: 'ada' }));
      expect((await sessions.next()).auth).toEqual({ userId: 'ada!' });
      const path = `${running.url}/messages?channel=authentication/lobby`;
      await using client = await SseClient.connect(path, as({ id: 'ada' }));
      expect((await asked.next()).auth).toEqual({ userId: 'ada!' });
      const [, ready] = (await client.next()) as [string, { connection: string }];
      expect(await changes.next()).toMatchObject({ kind: 'connected', auth: { userId: 'ada!' } });
      const change = (user: unknown) =>
        supertest(running.url)
          .post(`/messages/${ready.connection}/channels`)
          .set(as(user).headers)
          .send({ subscribe: [{ channel: 'authentication/lobby' }] });
      await change({ id: 'bob' }).expect(404);
      await change({ id: 'ada' }).expect(200);
      expect((await SseClient.connect(path)).status).toBe(403);
      expect(stream.status).toBe(200);
    });

    test('starts no stream whose user was revoked meanwhile', async () => {
      isSlow = true;
      const isAsked = new Queue<void>();
      await using running = await start({
        authenticate: (request: IncomingRequest) => {
          isAsked.push();
          return lookUp(request);
        },
      });
      const opening = SseClient.connect(`${running.url}/admin`, as({ id: 'ada' }));
      await isAsked.next();
      expect(await revoke(running.app, 'ada!')).toBe(true);
      release?.();
      expect((await opening).status).toBe(401);
      (await opening).abort();
    });

    test('is called for a revocation, which ends a session whose user nobody has asked for', async () => {
      await using running = await start({ authenticate: lookUp });
      const waiting = supertest(running.url)
        .get('/injected/wait')
        .set(as({ id: 'ada' }).headers);
      waiting.then(
        () => {},
        () => {},
      );
      const session = await sessions.next();
      expect(await revoke(running.app, 'ada!')).toBe(true);
      if (!session.closed) await once(session.signal, 'abort');
      expect(session.closeReason).toBe('revoked');
      waiting.abort();
    });

    test.each<[string, () => Promise<AuthenticationInfo>]>([
      ['rejects', () => Promise.reject(new Error('no database'))],
      ['gives no user', async () => Promise.resolve({ name: 'ada' } as never)],
    ])('that %s counts as nobody, which the log reports', async (_case, authenticate) => {
      await using running = await start({ authenticate });
      expect((await supertest(running.url).get('/who').expect(200)).body).toEqual({ auth: null });
      expect((await SseClient.connect(`${running.url}/admin`)).status).toBe(401);
      expect(running.logger.problems[0]).toMatch(/^warn Option "authenticate" (failed|gave)/);
    });

    test.each<[string, () => never]>([
      ['throws', () => fail()],
      ['rejects', (async () => fail()) as () => never],
    ])('that %s after the guards is called once for each request', async (_case, authenticate) => {
      let count = 0;
      await using running = await start({ authenticate: () => (count++, authenticate()) });
      const { url } = running;
      const body = JSON.stringify({ channels: ['authentication/lobby'] });
      const headers = { 'content-type': 'application/json' };
      for (const [path, init] of [
        ['/messages', { method: 'POST', body, headers }],
        ['/messages?channel=authentication/lobby', {}],
        [`/messages/${randomUUID()}.${randomUUID()}/channels`, { method: 'POST', body: '{"subscribe":[]}', headers }],
        ['/open', {}],
        ['/admin', {}],
        ['/who', {}],
      ] as const) {
        const abort = new AbortController();
        await fetch(url + path, { ...init, signal: abort.signal });
        abort.abort();
        expect([path, count]).toEqual([path, 1]);
        count = 0;
      }
    });
  });
});

describe('A session of an application', () => {
  test('takes the same claims as a request, and refuses others', async () => {
    await using running = await startApp({ imports: [MessagingModule.forRoot()] });
    const messaging = running.app.get(MessagingService);
    const { session } = messaging.openSession({ auth: { sub: 7, jti: 8n, scope: 'read' } });
    expect(session.auth).toEqual({ userId: 7, authId: '8', scopes: ['read'] });
    expect(() => messaging.openSession({ auth: { userId: '' } })).toThrow(ConfigurationError);
    expect(() => messaging.openSession({ auth: { userId: '' } })).toThrow(
      'openSession: option "auth" is no sign-in: its userId must be a non-empty string, a number or a bigint, not an empty string',
    );
    const later = messaging.openSession({ auth: async () => Promise.resolve({ id: 7 }) });
    expect(await later.session.authenticated()).toEqual({ userId: 7 });
    await messaging.revokeAuthentication('7');
    expect([session.closeReason, later.session.closeReason]).toEqual(['revoked', 'revoked']);
  });
});
