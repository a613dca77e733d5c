import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import {
  AuthorizeChannel,
  ClientConnectionChanges,
  defineChannel,
  MessagingModule,
  MessagingService,
  RevokedAuthenticationAuthId,
  type ClientConnectionChange,
  type ClientContext,
} from 'nestjs-messaging';
import { ChannelDeniedError, MessagingClient, type ClientStatus, type MessageGap } from 'nestjs-messaging/client';
import { startApp, type AdapterName, type TestApp } from '../support/apps.js';
import { GatewayRequests, changesTo, frameOf } from '../support/gateway-requests.js';
import { Queue } from '../support/queue.js';
import { RedisServer } from '../support/redis-server.js';
import { SseClient } from '../support/sse-client.js';
import { TcpProxy } from 'nestjs-messaging/testing';

const News = defineChannel<number>('renewal/news', undefined, { clients: true });
const Staff = defineChannel<number>('renewal/staff', undefined, { clients: true, requiredScopes: ['staff'] });
const Rooms = defineChannel<number, 'renewal/rooms/:roomId'>('renewal/rooms/:roomId');

/** Takes the user from the header `x-sign-in`, as JSON. */
@Injectable()
class HeaderGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<{ headers: Record<string, string>; user?: unknown }>();
    const signIn = request.headers['x-sign-in'];
    if (signIn !== undefined) request.user = JSON.parse(signIn);
    return true;
  }
}

let asked = new Queue<ClientContext>();
const ends: (() => void)[] = [];
beforeEach(() => void (asked = new Queue()));
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

@Injectable()
class Access {
  @AuthorizeChannel(Rooms)
  mayRead(client: ClientContext, { roomId }: { roomId: string }) {
    asked.push(client);
    return client.auth?.scopes?.includes(`room ${roomId}`) ?? false;
  }
}

const SCOPES = ['staff', 'room 1', 'room 2'];
const signIn = (leftMs: number, { userId = 'ada', scopes = SCOPES, authId = 'one' } = {}) => ({
  userId,
  authId,
  scopes,
  expiresAt: Date.now() + leftMs,
});
const as = ({ url }: TestApp, user: object) =>
  new GatewayRequests(`${url}/messages`, { 'x-sign-in': JSON.stringify(user) });

const servers: Partial<Record<AdapterName, TestApp>> = {};
let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
  for (const adapter of ['Express', 'Fastify'] as const) {
    servers[adapter] = await startApp(
      {
        imports: [MessagingModule.forRoot({ redis: redis.url, gateway: { guards: [HeaderGuard], leaveMs: 0 } })],
        providers: [Access],
      },
      { adapter },
    );
  }
});
afterAll(async () => {
  for (const server of Object.values(servers)) await server[Symbol.asyncDispose]();
  await redis[Symbol.asyncDispose]();
});

const post = ({ app }: TestApp, message: number) =>
  app.get(MessagingService).postMessage(News, message, { global: true });

describe.each([
  ['Fastify', 'Fastify'],
  ['Express', 'Fastify'],
] as const)('A stream that %s holds, renewed by a request to %s,', (holderName, otherName) => {
  let holder: TestApp;
  let other: TestApp;
  beforeAll(() => {
    holder = servers[holderName]!;
    other = servers[otherName]!;
  });

  test('continues after its first sign-in has expired, without channels that the new one may not use', async () => {
    const old = signIn(2_000);
    // Expires at the same moment, and reports it.
    await using witness = await as(holder, old).open(News.name);
    await using opened = await as(holder, old).open(News.name, Staff.name, 'renewal/rooms/1', 'renewal/rooms/2');
    const { client, ready } = opened;
    await asked.take(2);
    const [event, data] = await client.next();
    expect(event).toBe('messaging:expiring');
    const { leftMs } = data as { leftMs: number };
    expect(leftMs).toBeGreaterThan(500);
    expect(leftMs).toBeLessThanOrEqual(1_300);

    const next = signIn(60_000, { authId: 'two', scopes: ['room 2', 'room 3'] });
    const response = await as(other, next).change(ready.connection, {
      renew: true,
      subscribe: [{ channel: 'renewal/rooms/3' }],
    });
    expect([response.status, await response.json()]).toEqual([
      200,
      { channels: [{ channel: 'renewal/rooms/3' }], renewed: true },
    ]);
    expect(await client.next()).toEqual([
      'messaging:withdrawn',
      { channels: [Staff.name, 'renewal/rooms/1'], reason: 'denied' },
    ]);
    expect((await client.next())[0]).toBe('messaging:position');
    // The authorizers have seen the new sign-in.
    expect((await asked.take(3)).map(({ auth }) => auth?.authId)).toEqual(['two', 'two', 'two']);

    await witness.client.ended;
    expect(Date.now()).toBeGreaterThanOrEqual(old.expiresAt);
    const { app } = other;
    await app.get(MessagingService).postMessage(Staff, 0, { global: true });
    await post(other, 1);
    expect(await frameOf(client)).toMatchObject({ channel: News.name, data: 1 });
    // The stream belongs to the new sign-in, which also decides its changes.
    expect((await as(other, next).changed(ready.connection, { subscribe: [Staff.name] }))[0]?.error).toBe(
      'CHANNEL_DENIED',
    );
  });

  test('is not renewed by a sign-in that does not last longer, by another user, or by nobody', async () => {
    const old = signIn(1_500);
    const changes = new Queue<ClientConnectionChange>();
    const listener = holder.app.get(MessagingService).addListener(ClientConnectionChanges, changes.push);
    await using opened = await as(holder, old).open(News.name);
    const { client, ready } = opened;
    const answers: unknown[] = [];
    for (const user of [old, { ...old, authId: 'two' }, { ...old, expiresAt: old.expiresAt - 1 }]) {
      const response = await as(other, user).change(ready.connection, { renew: true });
      answers.push([response.status, await response.json()]);
    }
    const notRenewed = [200, { channels: [], renewed: false }];
    expect(answers).toEqual([notRenewed, notRenewed, notRenewed]);
    const bob = signIn(60_000, { userId: 'bob' });
    for (const requests of [as(other, bob), new GatewayRequests(`${other.url}/messages`)]) {
      expect((await requests.change(ready.connection, { renew: true })).status).toBe(404);
    }
    expect((await as(other, bob).change(ready.connection, { renew: 1 })).status).toBe(400);
    await client.events.until(({ event }) => event === 'messaging:expired');
    await client.ended;
    const { connection } = ready;
    const ended = await changes.until((each) => each.kind === 'disconnected' && each.connection === connection);
    expect(ended.reason).toBe('expired');
    expect(Date.now()).toBeGreaterThanOrEqual(old.expiresAt);
    listener.unsubscribe();
  });

  /** A client with its stream on one server and its changes on the other. */
  function connect(tokens: () => object) {
    const statuses = new Queue<ClientStatus>();
    const gaps = new Queue<MessageGap>();
    const messages = new Queue<number>();
    const client = new MessagingClient({
      url: `${holder.url}/messages`,
      headers: () => ({ 'x-sign-in': JSON.stringify(tokens()) }),
      fetch: changesTo(other, holder),
    });
    client.onStatus(statuses.push);
    client.onGap(gaps.push);
    return { client, statuses, gaps, messages, ready: client.subscribe(News.name, messages.push as never) };
  }

  test('stays the same for our client through several sign-ins', async () => {
    const given: number[] = [];
    const renewed = new Queue<number>();
    const { client, statuses, gaps, messages, ready } = connect(() => {
      const next = signIn(1_600, { authId: String(given.length) });
      given.push(next.expiresAt);
      renewed.push(next.expiresAt);
      return next;
    });
    ends.push(() => client.close());
    await ready;
    const [first, second] = await renewed.take(3);
    await post(other, 1);
    // After the end of the first sign-in and, if the third is in time, of the second.
    await using witness = await SseClient.connect(`${holder.url}/messages?channel=${News.name}`, {
      headers: { 'x-sign-in': JSON.stringify({ userId: 'eve', expiresAt: second }) },
    });
    await witness.ended;
    await post(other, 2);
    expect(await messages.take(2)).toEqual([1, 2]);
    expect(Date.now()).toBeGreaterThanOrEqual(Math.max(first!, second!));
    expect(statuses.pending.map(({ state }) => state)).toEqual(['connecting', 'open']);
    expect([gaps.pending, client.status]).toEqual([[], { state: 'open' }]);
  });

  test('that is not renewed ends for our client, which comes back and gets missed messages', async () => {
    const stale = signIn(1_200);
    let isFresh = false;
    const { client, statuses, gaps, messages, ready } = connect(() => (isFresh ? signIn(60_000) : stale));
    ends.push(() => client.close());
    await ready;
    await post(other, 1);
    expect(await messages.next()).toBe(1);
    await statuses.until(({ state, reason }) => state === 'waiting' && reason === 'expired');
    isFresh = true;
    await post(other, 2);
    expect(await messages.next()).toBe(2);
    await statuses.until(({ state }) => state === 'open');
    expect(gaps.pending).toEqual([]);
  });
});

test('A renewal that cannot reach the server of the stream for a while is tried again in time', async () => {
  await using link = await TcpProxy.start(Number(new URL(redis.url).port));
  const statuses = new Queue<ClientStatus>();
  const messages = new Queue<number>();
  const options = { redis: `redis://127.0.0.1:${link.port}`, gateway: { guards: [HeaderGuard], timeoutMs: 300 } };
  await using other = await startApp({ imports: [MessagingModule.forRoot(options)], providers: [Access] });
  const holder = servers.Express!;
  const given: number[] = [];
  const client = new MessagingClient({
    url: `${holder.url}/messages`,
    headers: () => {
      // Only the first one is short-lived.
      const next = signIn(given.length === 0 ? 5_000 : 60_000);
      given.push(next.expiresAt);
      return { 'x-sign-in': JSON.stringify(next) };
    },
    fetch: changesTo(other, holder),
  });
  ends.push(() => client.close());
  client.onStatus(statuses.push);
  link.mode = 'refuse';
  link.cut();
  await client.subscribe(News.name, messages.push as never);
  const failed = await statuses.until((status) => status.state === 'open' && status.error !== undefined);
  expect(failed.error?.message).toContain('504');
  link.mode = 'pass';
  await statuses.until((status) => status.state === 'open' && status.error === undefined);
  await using witness = await SseClient.connect(`${holder.url}/messages?channel=${News.name}`, {
    headers: { 'x-sign-in': JSON.stringify({ userId: 'eve', expiresAt: given[0] }) },
  });
  await witness.ended;
  await post(holder, 1);
  expect(await messages.next()).toBe(1);
  expect(statuses.pending.filter(({ state }) => state !== 'open')).toEqual([]);
});

const Room = Rooms.for({ roomId: '1' });
const readerOf = (userId: string) => signIn(60_000, { userId, scopes: ['room 1'], authId: `of ${userId}` });

/** A client of a page, which sends the current user. */
function pageOf(user: () => string | undefined) {
  const statuses = new Queue<ClientStatus>();
  const client = new MessagingClient({
    url: `${servers.Express!.url}/messages`,
    headers: () => {
      const userId = user();
      return userId === undefined ? {} : { 'x-sign-in': JSON.stringify(readerOf(userId)) };
    },
    onError: () => {},
  });
  client.onStatus(statuses.push);
  ends.push(() => client.close());
  return { client, statuses };
}

/** Whether the room accepts a client. */
async function isLetIn(client: MessagingClient): Promise<boolean> {
  try {
    await client.subscribe(Room, () => {});
    return true;
  } catch (error) {
    if (error instanceof ChannelDeniedError) return false;
    throw error;
  }
}

const service = () => servers.Express!.app.get(MessagingService);

describe('When the user of a page changes', () => {
  test('an open stream continues for the old user until the server revokes the sign-in', async () => {
    let user: string | undefined = 'ada';
    const { client, statuses } = pageOf(() => user);
    const messages = new Queue<number>();
    await client.subscribe(Room, messages.push);
    user = undefined;
    await service().postMessage(Room, 1);
    expect(await messages.next()).toBe(1);
    await service().revokeAuthentication('ada', new RevokedAuthenticationAuthId('of ada'));
    await statuses.until(({ state, reason }) => state === 'closed' && reason === 'revoked');
  });

  test.each([
    ['bob', 'cleo'],
    ['dora', undefined],
    [undefined, 'eve'],
  ])('from %s to %s, the next request of the same client leads to a stream of the new user', async (old, next) => {
    let user = old;
    const { client, statuses } = pageOf(() => user);
    await client.subscribe(News, () => {});
    expect(await isLetIn(client)).toBe(old !== undefined);
    user = next;
    client.retryNow();
    const { error } = await statuses.until(({ state }) => state === 'waiting');
    expect(error?.message).toBe('The server does not know the stream');
    await statuses.until(({ state }) => state === 'open');
    expect(await isLetIn(client)).toBe(next !== undefined);
  });

  test('a new client gets the channels of the new user, and the closed one gets nothing more', async () => {
    const before = pageOf(() => 'fay').client;
    const old = new Queue<number>();
    await before.subscribe(Room, old.push);
    before.close();
    const messages = new Queue<number>();
    await pageOf(() => 'gus').client.subscribe(Room, messages.push);
    await service().postMessage(Room, 3);
    expect(await messages.next()).toBe(3);
    expect(old.pending).toEqual([]);
    expect(await isLetIn(pageOf(() => undefined).client)).toBe(false);
  });
});
