import { Injectable, type CanActivate, type ModuleMetadata } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  AuthorizeChannel,
  ClientConnectionChanges,
  ClientConnections,
  ConfigurationError,
  defineChannel,
  InvalidChannelError,
  MessagingModule,
  MessagingService,
  RevokedAuthenticationAuthId,
  RevokedAuthenticationScope,
  TransportUnavailableError,
  type Channel,
  type ChannelGrant,
  type ClientConnectionChange,
  type ClientContext,
  type MessagingModuleOptions,
} from 'nestjs-messaging';
import { ChannelDeniedError, MessagingClient } from 'nestjs-messaging/client';
import { startApp, type TestApp } from '../support/apps.js';
import { GatewayRequests, changesTo, frameOf } from '../support/gateway-requests.js';
import { Queue } from '../support/queue.js';
import { ReadsUser } from '../support/reads-user.js';
import { RedisServer } from '../support/redis-server.js';

const News = defineChannel<string>('connections/news', undefined, { clients: true });
const Audit = defineChannel<string>('connections/audit', undefined, { clients: true, requiredScopes: ['admin'] });
const Rooms = defineChannel<string, 'connections/rooms/:roomId'>('connections/rooms/:roomId');
defineChannel('connections/pairs/:right', undefined, { clients: true, requiredScopes: ['read'] });

/** An authorizer that decides when the test releases it. */
@Injectable()
class RoomAccess {
  readonly asked = new Queue<{ readonly client: ClientContext; readonly decide: (decision: boolean) => void }>();

  @AuthorizeChannel(Rooms)
  mayRead(client: ClientContext) {
    return new Promise<boolean>((decide) => this.asked.push({ client, decide }));
  }

  @AuthorizeChannel('connections/pairs/:left')
  mayPair() {
    return true;
  }

  @AuthorizeChannel(Rooms, { all: true })
  mayReadAll({ auth }: ClientContext) {
    return auth?.scopes?.includes('admin') === true;
  }
}

let guardHolds: { readonly entered: Queue<unknown>; readonly release: Promise<void> } | undefined;

/** Makes the next guards wait. */
function holdGuards() {
  let free!: () => void;
  const entered = new Queue<unknown>();
  guardHolds = { entered, release: new Promise<void>((resolve) => (free = resolve)) };
  const release = () => {
    guardHolds = undefined;
    free();
  };
  return { entered, held: { release } };
}

@Injectable()
class MayHold implements CanActivate {
  async canActivate(): Promise<boolean> {
    guardHolds?.entered.push(undefined);
    await guardHolds?.release;
    return true;
  }
}

const modules = (options: MessagingModuleOptions): ModuleMetadata => ({
  imports: [MessagingModule.forRoot(options)],
  providers: [RoomAccess, { provide: APP_GUARD, useClass: MayHold }, { provide: APP_GUARD, useClass: ReadsUser }],
});
const at = ({ url }: TestApp) => new GatewayRequests(`${url}/messages`);
const connectionsOf = ({ app }: TestApp) => app.get(ClientConnections);

describe.each([
  ['its scope is revoked', new RevokedAuthenticationScope(['admin'])],
  ['it is revoked', new RevokedAuthenticationAuthId('key')],
])('A subscription granted by another sign-in ends when %s', (_how, what) => {
  test('on any server, and the stream and its other subscriptions continue', async () => {
    await using redis = await RedisServer.start();
    const options = { redis: redis.url, gateway: { leaveMs: 0 } };
    await using a = await startApp(modules(options), { adapter: 'Express' });
    await using b = await startApp(modules(options), { adapter: 'Fastify' });
    let user = 'ada phone';
    const failed = new Queue<unknown>();
    const client = new MessagingClient({
      url: `${a.url}/messages`,
      fetch: changesTo(b, a),
      headers: () => ({ 'x-user': user }),
      onError: (error, { channel }) => failed.push([channel, error]),
    });
    const heard = new Queue<string>();
    const listen = (channel: Channel<string>) => client.subscribe(channel, heard.push);
    try {
      await listen(News);
      await expect(listen(Audit)).rejects.toThrow(ChannelDeniedError);
      user = 'ada key admin';
      const subscription = await listen(Audit);
      user = 'ada phone';
      const messaging = b.app.get(MessagingService);
      await messaging.postMessage(Audit, 'for admins', { global: true });
      expect(await heard.next()).toBe('for admins');

      expect(await messaging.revokeAuthentication('ada', what)).toBe(true);
      expect(await failed.next()).toEqual([Audit.name, expect.any(ChannelDeniedError)]);
      expect(subscription.closed).toBe(true);
      await messaging.postMessage(Audit, 'unheard', { global: true });
      await messaging.postMessage(News, 'heard', { global: true });
      expect(await heard.next()).toBe('heard');
      await expect(listen(Audit)).rejects.toThrow(ChannelDeniedError);
      expect(client.status.state).toBe('open');
    } finally {
      client.close();
    }
  });
});

describe('ClientConnections', () => {
  let redis: RedisServer;
  let a: TestApp;
  let b: TestApp;
  beforeAll(async () => {
    redis = await RedisServer.start();
    const options = { redis: redis.url, gateway: { leaveMs: 0 } };
    a = await startApp(modules(options), { adapter: 'Express' });
    b = await startApp(modules(options), { adapter: 'Fastify' });
  });
  afterAll(async () => {
    await a[Symbol.asyncDispose]();
    await b[Symbol.asyncDispose]();
    await redis[Symbol.asyncDispose]();
  });
  const post = (text: string) => b.app.get(MessagingService).postMessage(News, text, { global: true });

  test('ends one subscription of one client from any server, and the client may subscribe again', async () => {
    for (const server of [a, b]) {
      await using opened = await at(a).as('ada').open(News.name);
      const { connection } = opened.ready;
      expect(await connectionsOf(server).unsubscribe(connection, News)).toBe(true);
      expect(await opened.client.next()).toEqual(['messaging:withdrawn', { channels: [News.name], reason: 'ended' }]);
      expect(await connectionsOf(server).unsubscribe(connection, News.name)).toBe(false);
      await post('unheard');
      expect(
        await at(b)
          .as('ada')
          .changed(connection, { subscribe: [News.name] }),
      ).toEqual([{ channel: News.name }]);
      await post('heard');
      expect((await frameOf(opened.client)).data).toBe('heard');
    }
  });

  test('ends the subscriptions of all clients of a user', async () => {
    await using first = await at(a).as('carol').open(News.name);
    await using second = await at(b).as('carol').open(News.name);
    await using without = await at(b).as('carol').open();
    await using native = await at(b).as('carol').get(News.name);
    expect((await native.next())[0]).toBe('messaging:ready');
    expect(await connectionsOf(a).unsubscribe({ userId: 'carol' }, News)).toEqual({ count: 3, complete: true });
    for (const client of [first.client, second.client, native]) {
      expect((await client.next())[0]).toBe('messaging:withdrawn');
    }
    expect(without.client.events.pending).toEqual([]);
  });

  test('disconnects a client, for good or until it reconnects', async () => {
    const changes = new Queue<ClientConnectionChange>();
    using listening = a.app.get(MessagingService).addListener(ClientConnectionChanges, changes.push);
    await listening.ready;
    for (const [options, event, reason] of [
      [undefined, { event: 'messaging:end', id: 'messaging:end', data: '{}' }, 'disconnected'],
      [{ reconnect: false }, { event: 'messaging:end', id: 'messaging:end', data: '{}' }, 'disconnected'],
      [{ reconnect: true }, { event: 'messaging:drain', id: undefined, data: '{}' }, 'reconnect'],
    ] as const) {
      await using opened = await at(a).as('ada').open(News.name);
      await using native = await at(a).as('ada').get(News.name);
      expect((await native.next())[0]).toBe('messaging:ready');
      const all = await connectionsOf(b).list({ userId: 'ada' });
      expect(all).toMatchObject({ complete: true, more: false });
      for (const { connection } of all.connections) {
        expect(await connectionsOf(b).disconnect(connection, options)).toBe(true);
        expect(await connectionsOf(b).disconnect(connection, options)).toBe(false);
      }
      for (const client of [opened.client, native]) {
        expect(await client.events.next()).toEqual(event);
        await client.ended;
        expect((client.retryMs ?? 0) > 0).toBe(options?.reconnect === true);
      }
      const told = await changes.take(4);
      expect(told.map((change) => change.reason)).toEqual([undefined, undefined, reason, reason]);
    }
  });

  test('overrides the answer of an authorizer that was called earlier, on any server', async () => {
    await using opened = await at(a).as('ada').open();
    const { connection } = opened.ready;
    const room = Rooms.for({ roomId: 7 });
    for (const server of [a, b]) {
      const { asked } = server.app.get(RoomAccess);
      for (const isStillAllowed of [false, true]) {
        const change = at(server)
          .as('ada')
          .changed(connection, { subscribe: [room.name] });
        const before = await asked.next();
        // It is not subscribed yet.
        expect(await connectionsOf(b).unsubscribe(connection, room)).toBe(false);
        before.decide(true);
        // From now on, each question finds it.
        (await asked.next()).decide(isStillAllowed);
        const error = isStillAllowed ? {} : { error: 'CHANNEL_DENIED' };
        expect(await change).toEqual([{ channel: room.name, ...error }]);
        expect((await connectionsOf(b).list({ channel: room })).connections).toHaveLength(isStillAllowed ? 1 : 0);
      }
      expect(await connectionsOf(a).unsubscribe(connection, room)).toBe(true);
    }
  });

  test('disconnects a user whose stream is waiting for an authorizer, as soon as it opens', async () => {
    const opening = at(a)
      .as('eve')
      .connect({ channels: [{ channel: Rooms.for({ roomId: 1 }).name }] });
    const { decide } = await a.app.get(RoomAccess).asked.next();
    expect(await connectionsOf(b).disconnect({ userId: 'eve' })).toEqual({ count: 1, complete: true });
    decide(true);
    await using client = await opening;
    expect(client.status).toBe(200);
    expect((await client.events.until(({ event }) => event !== 'messaging:ready')).event).toBe('messaging:end');
    await client.ended;
  });

  test('disconnects a user whose request is still in a guard, as soon as its stream opens, but no later stream', async () => {
    const { entered, held } = holdGuards();
    const opening = at(a)
      .as('slow')
      .connect({ channels: [{ channel: News.name }] });
    await entered.next();
    expect(await connectionsOf(b).disconnect({ userId: 'slow' })).toEqual({ count: 0, complete: true });
    held.release();
    await using client = await opening;
    expect((await client.events.until(({ event }) => event !== 'messaging:ready')).event).toBe('messaging:end');
    await client.ended;
    await using later = await at(a)
      .as('slow')
      .connect({ channels: [{ channel: News.name }] });
    expect((await later.events.next()).event).toBe('messaging:ready');
    await a.app.get(MessagingService).postMessage(News, 'news');
    expect((await later.events.until(({ event }) => event !== 'messaging:ready')).event).not.toBe('messaging:end');
  });

  test('lists the clients of a channel, and the channels of a user, on all servers', async () => {
    await using first = await at(a).as('grace phone read,write').open(News.name);
    await using second = await at(b).as('grace').open();
    const auth = { userId: 'grace', authId: 'phone', scopes: ['read', 'write'] };
    const rule = { names: [News.name], scopes: [], authorizers: [] };
    const grants = [{ channel: News.name, auth, rule }];
    const has = { connection: first.ready.connection, auth, channels: [News.name], grants };
    const hasNot = { connection: second.ready.connection, auth: { userId: 'grace' }, channels: [], grants: [] };
    const whole = { more: false, complete: true };
    expect(await connectionsOf(b).list({ userId: 'grace' })).toEqual({ ...whole, connections: [hasNot, has] });
    expect(await connectionsOf(b).list({ channel: News })).toEqual({ ...whole, connections: [has] });
    expect(await connectionsOf(b).list({ channel: News.name }, { limit: 1 })).toMatchObject({ connections: [has] });
    expect(await connectionsOf(a).list({ userId: 'grace' }, { limit: 1 })).toEqual({
      connections: [has],
      more: true,
      complete: true,
    });
    expect(await connectionsOf(a).list({ channel: Rooms })).toEqual({ ...whole, connections: [] });
  });

  test('lists the rule behind each subscription, wherever it was decided, and reveals it to no client', async () => {
    const room = Rooms.for({ roomId: 8 });
    const names = [News.name, room.name, Audit.name, Rooms.name];
    const rules = [
      { names: [News.name], scopes: [], authorizers: [] },
      { names: [Rooms.name], scopes: [], authorizers: ['RoomAccess.mayRead'] },
      { names: [Audit.name], scopes: ['admin'], authorizers: [] },
      { names: [Rooms.name], scopes: [], authorizers: ['RoomAccess.mayReadAll'] },
    ];
    const [user, raised] = ['joan phone', 'joan key admin'];
    const auth = { userId: 'joan', authId: 'phone' };
    const other = { userId: 'joan', authId: 'key', scopes: ['admin'] };
    const grants = names.map((channel, index) => ({ channel, auth: index < 2 ? auth : other, rule: rules[index] }));
    for (const server of [a, b]) {
      const opening = at(a)
        .as(user)
        .connect({ channels: [{ channel: News.name }, { channel: room.name }] });
      (await a.app.get(RoomAccess).asked.next()).decide(true);
      await using client = await opening;
      const [event, ready] = await client.next();
      expect([event, JSON.stringify(ready)]).toEqual(['messaging:ready', expect.not.stringContaining('RoomAccess')]);
      const { connection } = ready as { readonly connection: string };
      const change = { subscribe: [{ channel: Audit.name }, { channel: Rooms.name }] };
      const response = await at(server).as(raised).change(connection, change);
      expect(await response.text()).not.toContain('RoomAccess');
      for (const asked of [a, b]) {
        const { connections } = await connectionsOf(asked).list({ userId: 'joan' });
        expect(connections).toEqual([{ connection, auth, channels: names, grants }]);
        const found = await connectionsOf(asked).list({ channel: room });
        expect(found.connections).toEqual([{ connection, auth, channels: [room.name], grants: [grants[1]] }]);
      }
      await connectionsOf(b).disconnect(connection);
      await client.ended;
    }
  });

  test('lists the rule for a client that has come back to another server, and for a native EventSource', async () => {
    const rule = { names: [News.name], scopes: [], authorizers: [] };
    const grants = [{ channel: News.name, auth: { userId: 'mary' }, rule }];
    const ofMary = async () => (await connectionsOf(a).list({ userId: 'mary' })).connections;
    await using first = await at(a).as('mary').open(News.name);
    const { connection: from } = first.ready;
    const position = first.positions.get(News.name);
    await connectionsOf(a).disconnect(from, { reconnect: true });
    await first.client.ended;
    await using back = await at(b)
      .as('mary')
      .connect({ channels: [{ channel: News.name, position }], from });
    expect((await back.next())[1]).toMatchObject({ channels: [{ channel: News.name, recovered: true }] });
    expect(await ofMary()).toMatchObject([{ grants }]);
    await using native = await at(a).as('mary').get(News.name);
    expect((await native.next())[0]).toBe('messaging:ready');
    expect(await ofMary()).toMatchObject([{ grants }, { grants }]);
  });

  test('lists all templates that granted a channel if they are equally literal', async () => {
    await using opened = await at(a).as('nora phone read').open('connections/pairs/1');
    const { connections } = await connectionsOf(b).list({ channel: 'connections/pairs/1' });
    expect(opened.ready.channels).toEqual([{ channel: 'connections/pairs/1' }]);
    const [{ rule }] = connections[0]!.grants as [ChannelGrant];
    expect(rule!.names.toSorted()).toEqual(['connections/pairs/:left', 'connections/pairs/:right']);
    expect([rule!.scopes, rule!.authorizers]).toEqual([['read'], ['RoomAccess.mayPair']]);
  });

  test('finds no connection of a server that is gone', async () => {
    const gone = '22222222-2222-4222-8222-222222222222';
    const asking = connectionsOf(a).disconnect(`${gone}.${gone}`);
    await expect(asking).rejects.toThrow(TransportUnavailableError);
    expect(await connectionsOf(a).disconnect('no connection')).toBe(false);
  });

  test.each<[string, (connections: ClientConnections) => Promise<unknown>, string]>([
    [
      'nobody to disconnect',
      (connections) => connections.disconnect(undefined as never),
      'ClientConnections.disconnect: the first argument must be the id of a connection or { userId }, not undefined',
    ],
    [
      'a user without an id',
      (connections) => connections.disconnect({ userId: '' }),
      'ClientConnections.disconnect: the first argument: userId must be a non-empty string, a number or a bigint, not ""',
    ],
    [
      'an unknown option',
      (connections) => connections.disconnect('x', { again: true } as never),
      'ClientConnections.disconnect: unknown option "again"; the options are: reconnect',
    ],
    [
      'no channel',
      (connections) => connections.unsubscribe('x', undefined as never),
      'ClientConnections.unsubscribe: channel must be a channel, a template or a name, not undefined',
    ],
    [
      'nothing to list',
      (connections) => connections.list({} as never),
      'ClientConnections.list: the first argument must be { channel } or { userId }, not an object',
    ],
    [
      'too many to list',
      (connections) => connections.list({ userId: 1 }, { limit: 1_001 }),
      'ClientConnections.list: option "limit" must be a whole number of at most 1000, not 1001',
    ],
  ])('refuses %s', async (_what, call, text) => {
    const refused = call(connectionsOf(a));
    await expect(refused).rejects.toThrow(ConfigurationError);
    await expect(refused).rejects.toThrow(text);
  });

  test('refuses a name that no channel can have', async () => {
    await expect(connectionsOf(a).unsubscribe('x', '')).rejects.toThrow(InvalidChannelError);
  });

  test('needs the gateway, and reports its absence', async () => {
    await using running = await startApp(modules({}));
    await expect(connectionsOf(running).list({ userId: 1 })).rejects.toThrow(
      'ClientConnections needs the gateway: MessagingModule.forRoot({ gateway: true })',
    );
  });
});
