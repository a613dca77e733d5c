import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { Controller, type Type } from '@nestjs/common';
import { beforeEach, describe, expect, test } from '@jest/globals';
import { JwtService } from '@nestjs/jwt';
import { NEVER } from 'rxjs';
import {
  AuthorizeChannel,
  defineChannel,
  Messages,
  MessagingService,
  RevokedAuthenticationAuthId,
  SessionMessages,
  Sse,
  type AuthenticationInfo,
  type ClientContext,
} from 'nestjs-messaging';
import { BearerModule } from '../examples/sign-ins/bearer.js';
import { CookieModule } from '../examples/sign-ins/cookie.js';
import { TokenModule } from '../examples/sign-ins/passport-jwt.js';
import { SessionModule } from '../examples/sign-ins/session.js';
import { startApp, type AdapterName, type TestApp } from '../support/apps.js';
import { GatewayRequests } from '../support/gateway-requests.js';
import { Queue } from '../support/queue.js';
import { SseClient } from '../support/sse-client.js';

const Open = defineChannel('sign-ins/open', undefined, { clients: true });
const Own = defineChannel('sign-ins/own/:id');

process.env['JWT_SECRET'] = 'a secret of tests';
process.env['SESSION_SECRET'] = 'another secret of tests';
process.env['PASSWORD_OF_ADA'] = 'a password of tests';

let seen = new Queue<AuthenticationInfo | null>();
beforeEach(() => {
  seen = new Queue();
});

@Controller()
class Routes {
  @AuthorizeChannel(Own)
  mayRead({ auth }: ClientContext) {
    seen.push(auth);
    return auth?.userId === 'ada';
  }

  @Sse('events')
  events(@Messages() { session }: SessionMessages) {
    seen.push(session.auth);
    return NEVER;
  }
}

/** A way to sign in. */
interface SignIn {
  /** Resolves to the headers of all later requests. */
  readonly headers: (running: TestApp) => Promise<Record<string, string>>;
  /** The headers of a client with forged credentials. */
  readonly wrong: Record<string, string>;
}

const tokenOf = () =>
  new JwtService({ secret: process.env['JWT_SECRET']! }).sign({ sub: 'ada', jti: 'laptop', scope: 'read' });
const forged = () => new JwtService({ secret: 'another' }).sign({ sub: 'ada' });
const BY_HEADER: SignIn = {
  headers: async () => ({ authorization: `Bearer ${tokenOf()}` }),
  wrong: { authorization: `Bearer ${forged()}` },
};

async function cookieOf({ url }: TestApp): Promise<Record<string, string>> {
  const response = await fetch(`${url}/sign-in`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username: 'ada', password: process.env['PASSWORD_OF_ADA'] }),
  });
  const [cookie = ''] = response.headers.getSetCookie();
  expect(cookie).toMatch(/HttpOnly.*SameSite=Lax/);
  return { cookie: cookie.split(';')[0]! };
}

const at = ({ url }: TestApp, headers: Record<string, string> = {}) =>
  new GatewayRequests(`${url}/messages`).with(headers);

describe.each<[string, AdapterName, Type, SignIn]>([
  ["Nest's JwtModule", 'Express', BearerModule, BY_HEADER],
  ["Nest's JwtModule", 'Fastify', BearerModule, BY_HEADER],
  ['passport-jwt', 'Express', TokenModule, BY_HEADER],
  ['passport-jwt', 'Fastify', TokenModule, BY_HEADER],
  ['a token in a cookie', 'Express', CookieModule, { headers: cookieOf, wrong: { cookie: `token=${forged()}` } }],
  [
    'passport-local and a session',
    'Express',
    SessionModule,
    { headers: cookieOf, wrong: { cookie: 'connect.sid=s%3Anone.none' } },
  ],
])('With %s on %s', (_name, adapter, module, signIn) => {
  const start = () => startApp({ imports: [module], controllers: [Routes] }, { adapter });

  test('anonymous clients get open channels, and no others', async () => {
    await using running = await start();
    await using native = await at(running).get(Open.name);
    await using denied = await at(running).get(Own.for({ id: 1 }).name);
    await using events = await SseClient.connect(`${running.url}/events`);
    expect([native.status, denied.status, events.status]).toEqual([200, 403, 401]);
    await using opened = await at(running).open(Open.name, Own.for({ id: 2 }).name);
    const refused = { channel: Own.for({ id: 2 }).name, error: 'CHANNEL_DENIED' };
    expect(opened.ready.channels).toEqual([{ channel: Open.name }, refused]);
    expect(await at(running).changed(opened.ready.connection, { subscribe: [refused.channel] })).toEqual([refused]);
    expect(seen.pending).toEqual([null, null, null]);
  });

  test('a signed-in user is the same on @Sse(), GET, POST and changes, for the session and the authorizer', async () => {
    await using running = await start();
    const headers = await signIn.headers(running);
    await using events = await SseClient.connect(`${running.url}/events`, { headers });
    await using native = await at(running, headers).get(Own.for({ id: 1 }).name);
    await using opened = await at(running, headers).open(Own.for({ id: 2 }).name);
    const { connection } = opened.ready;
    const channel = Own.for({ id: 3 }).name;
    expect(await at(running, headers).changed(connection, { subscribe: [channel] })).toEqual([{ channel }]);
    expect([events.status, native.status, opened.client.status]).toEqual([200, 200, 200]);

    const [first, ...others] = await seen.take(4);
    expect(first).toMatchObject({ userId: 'ada', authId: expect.any(String) });
    expect(others).toEqual([first, first, first]);
  });

  test('a wrong one is answered 401, even for open channels', async () => {
    await using running = await start();
    await using opened = await at(running, await signIn.headers(running)).open(Open.name);
    const wrong = at(running, signIn.wrong);
    await using native = await wrong.get(Open.name);
    await using client = await wrong.connect({ channels: [{ channel: Open.name }] });
    await using events = await SseClient.connect(`${running.url}/events`, { headers: signIn.wrong });
    const change = await wrong.change(opened.ready.connection, { subscribe: [{ channel: Open.name }] });
    expect([native.status, client.status, events.status, change.status]).toEqual([401, 401, 401, 401]);
    expect(seen.pending).toEqual([]);
  });

  test('a revocation closes everything of the sign-in, which is answered 401 afterwards', async () => {
    await using running = await start();
    const headers = await signIn.headers(running);
    await using events = await SseClient.connect(`${running.url}/events`, { headers });
    await using native = await at(running, headers).get(Own.for({ id: 1 }).name);
    await using opened = await at(running, headers).open(Own.for({ id: 2 }).name);
    await using anonymous = await at(running).open(Open.name);
    const { authId } = (await seen.next())!;
    await running.app.get(MessagingService).revokeAuthentication('ada', new RevokedAuthenticationAuthId(authId!));
    await Promise.all([events.ended, native.ended, opened.client.ended]);
    // And refuses later requests with the same credentials.
    await using again = await at(running, headers).get(Open.name);
    await using client = await at(running, headers).connect({ channels: [{ channel: Open.name }] });
    await using stream = await SseClient.connect(`${running.url}/events`, { headers });
    const change = await at(running, headers).change(anonymous.ready.connection, { subscribe: [] });
    expect([again.status, client.status, stream.status, change.status]).toEqual([401, 401, 401, 401]);
    // Another user's connection stays open.
    await running.app.get(MessagingService).postMessage(Open, 'after');
    expect((await anonymous.client.next())[1]).toMatchObject({ data: 'after' });
  });
});

test('A wrong password is answered 401', async () => {
  // It uses the sessions of express-session.
  await using running = await startApp({ imports: [SessionModule] }, { adapter: 'Express' });
  const response = await fetch(`${running.url}/sign-in`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username: 'ada', password: 'no' }),
  });
  expect(response.status).toBe(401);
});

describe('docs/access.md', () => {
  const root = path.resolve(import.meta.dirname, '../..');
  const examples = path.join(root, 'test/examples/sign-ins');

  test.each(readdirSync(examples))('shows %s as it is tested', (file) => {
    const code = readFileSync(path.join(examples, file), 'utf8').replace(/^import .* from '\.\/.*\n/gm, '');
    const docs = readFileSync(path.join(root, 'docs/access.md'), 'utf8');
    const blocks = [...docs.matchAll(/^```ts\n(.*?)^```/gms)].map(([, block]) => block!);
    expect(blocks.some((block) => block.trim().startsWith(code.trim()))).toBe(true);
  });
});
