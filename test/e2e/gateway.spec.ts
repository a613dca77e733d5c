import {
  Controller,
  Get,
  Inject,
  Injectable,
  Module,
  Scope,
  VersioningType,
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  type INestApplication,
  type ModuleMetadata,
  type NestInterceptor,
} from '@nestjs/common';
import { APP_GUARD, APP_INTERCEPTOR, LazyModuleLoader, REQUEST } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { map } from 'rxjs';
import {
  AuthorizeChannel,
  ClientConnectionChanges,
  defineChannel,
  Message,
  MessageSource,
  messagesFrom,
  MessagingModule,
  MessagingService,
  Serializable,
  sourceRef,
  type ClientConnectionChange,
  type ClientContext,
  type MessagingModuleOptions,
} from 'nestjs-messaging';
import { Gateway } from '../../lib/gateway/gateway.js';
import type { ReadyEvent } from '../../lib/protocol/gateway.js';
import { ADAPTER_NAMES, createApp, startApp, type AdapterName, type TestApp } from '../support/apps.js';
import { GatewayRequests as Requests, frameOf } from '../support/gateway-requests.js';
import { Queue } from '../support/queue.js';
import { RedisServer } from '../support/redis-server.js';
import { ReadsUser } from '../support/reads-user.js';
import { SseClient } from '../support/sse-client.js';

@Serializable({ name: 'gateway-chat' })
class ChatMessage extends Message {
  constructor(
    readonly text: string,
    readonly tags: ReadonlySet<string> = new Set(),
  ) {
    super();
  }
}

class Ping extends Message {}

@MessageSource({ name: 'GatewayLobby', key: 'name', clients: true })
class OpenLobby {
  constructor(readonly name: string) {}
}

@MessageSource({ name: 'GatewayVault', key: 'name' })
class Vault {
  constructor(readonly name: string) {}
}

@MessageSource({ name: 'GatewayClub', key: 'name' })
class Club {
  constructor(readonly name: string) {}
}

@MessageSource({ name: 'GatewayOffice', key: 'name' })
class Office {
  readonly name = 'main';

  @AuthorizeChannel(() => messagesFrom(Office, ChatMessage))
  mayHear({ auth }: ClientContext, { key }: { key: string }) {
    return auth !== null && key === this.name;
  }
}

const News = defineChannel('gateway/news', ChatMessage, { clients: true });
defineChannel('gateway/staff', undefined, { clients: true, requiredScopes: ['staff', 'chat'] });
defineChannel('gateway/inner', ChatMessage);
const Rooms = defineChannel('gateway/rooms/:roomId', ChatMessage);
const OpenRooms = defineChannel('gateway/open/:roomId', ChatMessage, { clients: true });
defineChannel('gateway/open/secret', ChatMessage);
const OpenStaff = defineChannel('gateway/:area/staff', ChatMessage);
const Ambiguous = [
  defineChannel('gateway/ambiguous', undefined, { clients: true }),
  defineChannel('gateway/ambiguous', undefined, { clients: true, requiredScopes: ['x'] }),
];
// Equally literal, and only one of them is open to clients.
defineChannel('gateway/tied/:one', undefined, { clients: true });
defineChannel('gateway/tied/:other');
// Another application's channel of the same name; this application uses the first.
const Ours = defineChannel('gateway/ours', undefined, { clients: true });
defineChannel('gateway/ours', undefined, { requiredScopes: ['theirs'] });
const Floors = defineChannel('gateway/floors/:floor', undefined, { clients: true, requiredScopes: ['staff'] });
const Many = defineChannel('gateway/many/:number', undefined, { clients: true });

@Injectable()
class RoomAccess {
  readonly asked: string[] = [];

  @AuthorizeChannel(Rooms)
  async mayRead(client: ClientContext, { roomId }: { roomId: string }) {
    this.asked.push(`${client.auth?.userId ?? 'nobody'} ${client.channel} ${roomId}`);
    await Promise.resolve();
    if (roomId === 'broken') throw new Error('the database is away');
    if (roomId === 'unsaid') return undefined as never;
    return client.auth !== null && roomId !== 'private';
  }

  @AuthorizeChannel(Rooms, { all: true })
  mayReadAll(client: ClientContext) {
    return client.auth?.userId === 'admin';
  }

  @AuthorizeChannel(Floors.for({ floor: 13 }))
  mayEnterThirteen() {
    return true;
  }

  @AuthorizeChannel('gateway/by-name/:id')
  byName(_client: ClientContext, { id }: Readonly<Record<string, string>>) {
    return id === 'yes';
  }

  @AuthorizeChannel(Floors.for({ floor: 13 }))
  @AuthorizeChannel('gateway/floors/14')
  mayEnter() {
    return true;
  }

  @AuthorizeChannel(messagesFrom(Club, ChatMessage))
  mayHearClub(_client: ClientContext, { key }: { key: string }) {
    return key === 'golf/polo';
  }
}

@Injectable({ scope: Scope.REQUEST })
class ScopedAccess {
  private readonly request: { headers: Record<string, string> };

  constructor(@Inject(REQUEST) request: object) {
    this.request = request as never;
  }

  @AuthorizeChannel('gateway/scoped')
  mayRead() {
    return this.request.headers['x-tenant'] === 'acme';
  }
}

@Injectable()
class Wrapping implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler) {
    return next.handle().pipe(map((data: unknown) => ({ data })));
  }
}

const modules = (options: MessagingModuleOptions = {}): ModuleMetadata => ({
  imports: [MessagingModule.forRoot({ gateway: true, ...options })],
  providers: [
    RoomAccess,
    ScopedAccess,
    Office,
    { provide: APP_GUARD, useClass: ReadsUser },
    { provide: APP_INTERCEPTOR, useClass: Wrapping },
  ],
});

/** Requests to one of several servers. */
const at = ({ url }: TestApp) => new Requests(`${url}/messages`);

describe.each(ADAPTER_NAMES)('The gateway on %s', (adapter: AdapterName) => {
  let running: TestApp;
  let requests: Requests;
  let messaging: MessagingService;

  beforeAll(async () => {
    running = await startApp(modules(), { adapter });
    requests = new Requests(`${running.url}/messages`);
    messaging = running.app.get(MessagingService);
  });
  afterAll(async () => running[Symbol.asyncDispose]());
  beforeEach(() => {
    running.app.get(RoomAccess).asked.length = 0;
  });

  test('opens a stream of several channels, whose messages have channel, time, type and type tags', async () => {
    await using opened = await requests.open('gateway/news', 'gateway/open/7');
    const { client, ready } = opened;
    expect(ready).toEqual({
      connection: expect.stringMatching(/^[\da-f-]{36}\.[\da-f-]{36}$/),
      heartbeatMs: 15_000,
      position: '-',
      channels: [{ channel: 'gateway/news' }, { channel: 'gateway/open/7' }],
    });
    expect([...opened.positions]).toEqual(
      ['gateway/news', 'gateway/open/7'].map((channel) => [
        channel,
        { epoch: expect.stringMatching(/^[\da-f-]{36}\.[\w.-]+$/), offset: expect.any(Number) },
      ]),
    );
    const before = Date.now();
    void messaging.postMessage(News, new ChatMessage('a\nb', new Set(['x'])));
    void messaging.postMessage(OpenRooms.for({ roomId: 7 }), new ChatMessage('plain'));

    const first = await frameOf(client);
    expect(first).toEqual({
      channel: 'gateway/news',
      at: expect.any(Number),
      type: 'gateway-chat',
      meta: { tags: 'Set' },
      data: { text: 'a\nb', tags: ['x'] },
    });
    expect(first.at).toBeGreaterThanOrEqual(before);
    expect(await frameOf(client)).toMatchObject({ channel: 'gateway/open/7', data: { text: 'plain' } });
  });

  test('serves a native EventSource by GET, one event for each message, named by its class', async () => {
    await using client = await requests.get('gateway/news', 'gateway/inner');
    expect(client.headers['content-type']).toBe('text/event-stream');
    const [event, ready] = await client.next();
    expect(event).toBe('messaging:ready');
    expect((ready as ReadyEvent).channels).toEqual([
      { channel: 'gateway/news' },
      { channel: 'gateway/inner', error: 'CHANNEL_DENIED' },
    ]);
    void messaging.postMessage(News, new ChatMessage('hello'));
    expect(await client.next()).toEqual(['gateway-chat', { text: 'hello', tags: [] }]);
  });

  test('changes the stream of a native EventSource too, and keeps its position in the channels of its URL', async () => {
    const names = ['gateway/many/1', 'gateway/many/2'];
    await using client = await requests.get(...names);
    const [, ready] = (await client.next()) as [string, ReadyEvent];
    void messaging.postMessage(Many.for({ number: 1 }), 'first');
    expect(await client.next()).toEqual(['message', 'first']);
    await requests.changed(ready.connection, { subscribe: ['gateway/many/3'] });
    void messaging.postMessage(Many.for({ number: 3 }), 'of the change');
    void messaging.postMessage(Many.for({ number: 2 }), 'last');
    expect(await client.next()).toEqual(['message', 'of the change']);
    const { data, id } = await client.events.next();
    expect(data).toBe('"last"');
    void messaging.postMessage(Many.for({ number: 1 }), 'missed');
    await using again = await requests.with({ 'last-event-id': id! }).get(...names);
    expect(await again.next()).toEqual(['message', 'missed']);
    expect((await again.next())[0]).toBe('messaging:ready');
  });

  test('subscribes and unsubscribes on the open stream', async () => {
    await using opened = await requests.open();
    const { client, ready } = opened;
    expect(ready.channels).toEqual([]);
    expect(
      await requests.changed(ready.connection, { subscribe: ['gateway/many/1', 'gateway/many/2', 'gateway/many/1'] }),
    ).toEqual([{ channel: 'gateway/many/1' }, { channel: 'gateway/many/2' }]);
    void messaging.postMessage(Many.for({ number: 1 }), 1);
    void messaging.postMessage(Many.for({ number: 2 }), 2);
    expect((await frameOf(client)).data).toBe(1);
    expect((await frameOf(client)).data).toBe(2);

    expect(await requests.changed(ready.connection, { unsubscribe: ['gateway/many/1', 'gateway/unheard'] })).toEqual(
      [],
    );
    void messaging.postMessage(Many.for({ number: 1 }), 3);
    void messaging.postMessage(Many.for({ number: 2 }), 4);
    expect((await frameOf(client)).data).toBe(4);
  });

  test('accepts requests with unknown properties, and with a `from` and `awayMs` that mean nothing', async () => {
    const later = { later: [{}] };
    const wanted = [{ channel: 'gateway/news', ...later }];
    await using client = await requests.connect({ channels: wanted, from: 7, awayMs: -1, ...later });
    const [, ready] = (await client.next()) as [string, ReadyEvent];
    expect(ready.channels).toEqual([{ channel: 'gateway/news', position: expect.anything() }]);
    const response = await requests.change(ready.connection, { subscribe: wanted, renewed: 1, ...later });
    expect([response.status, await response.json()]).toEqual([200, { channels: [{ channel: 'gateway/news' }] }]);
  });

  test('gives a client that subscribes to a channel twice each message once', async () => {
    await using opened = await requests.open('gateway/many/1');
    const { client, ready } = opened;
    await requests.changed(ready.connection, { subscribe: ['gateway/many/1'] });
    void messaging.postMessage(Many.for({ number: 1 }), 1);
    void messaging.postMessage(Many.for({ number: 1 }), 2);
    expect((await frameOf(client)).data).toBe(1);
    expect((await frameOf(client)).data).toBe(2);
  });

  test('shares one frame among all clients of a channel', async () => {
    await using a = await requests.open('gateway/news');
    await using b = await requests.open('gateway/news');
    let reads = 0;
    const message = new ChatMessage('once');
    Object.defineProperty(message, 'text', { get: () => `read ${++reads}`, enumerable: true });
    void messaging.postMessage(News, message);
    expect(await frameOf(a.client)).toEqual(await frameOf(b.client));
  });

  test('logs a message that cannot be sent once, and continues', async () => {
    await using a = await requests.open('gateway/open/9');
    await using b = await requests.open('gateway/open/9');
    const unsendable = new ChatMessage('x');
    Object.assign(unsendable, { callback() {} });
    void messaging.postMessage(OpenRooms.for({ roomId: 9 }), unsendable);
    void messaging.postMessage(OpenRooms.for({ roomId: 9 }), new ChatMessage('good'));
    expect((await frameOf(a.client)).data).toMatchObject({ text: 'good' });
    expect((await frameOf(b.client)).data).toMatchObject({ text: 'good' });
    expect(running.logger.problems.filter((line) => line.includes('gateway/open/9'))).toHaveLength(1);
  });

  describe('lets clients have', () => {
    test.each<[string, string, string | undefined]>([
      ['a channel with clients: true', 'gateway/news', undefined],
      ['a channel of a template with clients: true', 'gateway/open/7', undefined],
      ['a channel that an authorizer by name allows', 'gateway/by-name/yes', undefined],
      ['messages of a source with clients: true', messagesFrom(new OpenLobby('a/b'), ChatMessage).name, undefined],
      [
        'messages of a source that an authorizer allows',
        messagesFrom(sourceRef('GatewayClub', 'golf/polo'), ChatMessage).name,
        undefined,
      ],
      [
        'messages of a source that decides itself',
        messagesFrom(sourceRef('GatewayOffice', 'main'), ChatMessage).name,
        'ada',
      ],
      ['a channel that an authorizer allows this user', 'gateway/rooms/42', 'ada'],
      ['a channel whose scopes the user has', 'gateway/staff', 'ada login chat,staff'],
      ['a whole template that an authorizer allows', 'gateway/rooms/:roomId', 'admin'],
      ['a channel with an authorizer, of a template whose scope the user has', 'gateway/floors/14', 'ada login staff'],
    ])('%s', async (_title, channel, user) => {
      await using opened = await (user === undefined ? requests : requests.as(user)).open(channel);
      const { ready } = opened;
      expect(ready.channels).toEqual([{ channel }]);
    });

    test('a channel that another application in the process defines differently, once this one uses its own definition', async () => {
      await using before = await requests.open(Ours.name);
      expect(before.ready.channels).toEqual([{ channel: Ours.name, error: 'CHANNEL_DENIED' }]);
      await messaging.postMessage(Ours, 1);
      await using after = await requests.open(Ours.name);
      expect(after.ready.channels).toEqual([{ channel: Ours.name }]);
    });

    test('a channel that a request-scoped authorizer allows, with an instance for the request', async () => {
      await using acme = await requests.with({ 'x-tenant': 'acme' }).open('gateway/scoped');
      await using other = await requests.with({ 'x-tenant': 'other' }).open('gateway/scoped');
      expect(acme.ready.channels).toEqual([{ channel: 'gateway/scoped' }]);
      expect(other.ready.channels).toEqual([{ channel: 'gateway/scoped', error: 'CHANNEL_DENIED' }]);
    });
  });

  describe('denies', () => {
    test.each<[string, string, string | undefined]>([
      ['a channel that is not for clients', 'gateway/inner', 'admin'],
      ['an undefined channel, with the same answer', 'gateway/nothing', 'admin'],
      ['a channel that is not for clients, although its template is', 'gateway/open/secret', 'admin'],
      ['a channel that an authorizer denies', 'gateway/rooms/private', 'ada'],
      ['an anonymous client whose authorizer needs a user', 'gateway/rooms/42', undefined],
      ['a channel whose authorizer fails', 'gateway/rooms/broken', 'ada'],
      ['a channel whose authorizer returns nothing', 'gateway/rooms/unsaid', 'ada'],
      ['a channel whose scope the user lacks', 'gateway/staff', 'ada login chat'],
      ['a channel with an authorizer, of a template whose scope the user lacks', 'gateway/floors/13', 'ada'],
      ['a channel with an authorizer by name, of such a template', 'gateway/floors/14', 'ada'],
      ['a whole template that no authorizer allows', 'gateway/open/:roomId', 'admin'],
      ['a whole template to users whom its authorizer does not allow', 'gateway/rooms/:roomId', 'ada'],
      ['a template with another parameter name than the allowed one', 'gateway/rooms/:id', 'admin'],
      ['an invented template', ':a/:b', 'admin'],
      ['messages of a source that is not for clients', messagesFrom(new Vault('a'), ChatMessage).name, 'admin'],
      ['the messages of all sources together', 'messaging:from/GatewayLobby/:key/gateway-chat', 'admin'],
      ['a source without a key', 'messaging:from/GatewayLobby//gateway-chat', 'admin'],
      ['a source whose key is not a valid text', 'messaging:from/GatewayLobby/%E0%A4%A/gateway-chat', 'admin'],
      ['an undeclared source', 'messaging:from/Nobody/a/gateway-chat', 'admin'],
      ["the library's own channels", 'messaging:revocations', 'admin'],
      ['requests between servers', 'messaging:node/x', 'admin'],
      ['a name with two definitions', Ambiguous[0]!.name, 'admin'],
      ['a channel that only one of two equally literal templates opens', 'gateway/tied/1', 'admin'],
    ])('%s', async (_title, channel, user) => {
      await using opened = await (user === undefined ? requests : requests.as(user)).open(channel, 'gateway/news');
      const { ready } = opened;
      expect(ready.channels).toEqual([{ channel, error: 'CHANNEL_DENIED' }, { channel: 'gateway/news' }]);
    });

    test.each([[''], ['a'.repeat(256)], ['a*'], ['a\nb'], ['rooms/:'], ['\ud800']])(
      'the impossible name %j',
      async (channel) => {
        await using opened = await requests.open(channel, 'gateway/news');
        const { ready } = opened;
        expect(ready.channels[0]!.error).toBe('INVALID_CHANNEL');
        expect(ready.channels[1]).toEqual({ channel: 'gateway/news' });
      },
    );

    test('a native EventSource all of its channels, for good', async () => {
      await using client = await requests.get('gateway/inner', 'gateway/nothing');
      expect(client.status).toBe(403);
    });

    test('a channel that its most literal template denies, although a looser one would allow it', async () => {
      // gateway/open/staff belongs to gateway/open/:roomId, which is more literal than gateway/:area/staff.
      await using opened = await requests.open('gateway/open/staff', 'gateway/other/staff');
      const { ready } = opened;
      expect(OpenStaff.name).toBe('gateway/:area/staff');
      expect(ready.channels).toEqual([
        { channel: 'gateway/open/staff' },
        { channel: 'gateway/other/staff', error: 'CHANNEL_DENIED' },
      ]);
    });
  });

  test('asks an authorizer with the user, the channel and its parameters, once for each subscription', async () => {
    await using opened = await requests.as('ada').open('gateway/rooms/1', 'gateway/rooms/2');
    expect(opened.ready.channels.map(({ error }) => error)).toEqual([undefined, undefined]);
    expect(running.app.get(RoomAccess).asked).toEqual(['ada gateway/rooms/1 1', 'ada gateway/rooms/2 2']);
  });

  test('marks frames of a whole template with that template', async () => {
    await using opened = await requests.as('admin').open('gateway/rooms/:roomId', 'gateway/rooms/5');
    const { client } = opened;
    void messaging.postMessage(Rooms.for({ roomId: 5 }), new ChatMessage('five'));
    const frames = [await frameOf(client), await frameOf(client)];
    expect(frames.map(({ channel, template }) => [channel, template])).toEqual([
      ['gateway/rooms/5', 'gateway/rooms/:roomId'],
      ['gateway/rooms/5', undefined],
    ]);
  });

  test('delivers messages of a source, including empty ones, to subscribers of this source and class', async () => {
    const lobby = new OpenLobby('a/b');
    await using opened = await requests.open(messagesFrom(lobby, ChatMessage).name, messagesFrom(lobby, Ping).name);
    const { client } = opened;
    await messaging.sendMessage(new OpenLobby('other'), new ChatMessage('not for us'));
    await messaging.sendMessage(new OpenLobby('a/b'), new ChatMessage('for us'));
    await messaging.sendMessage(sourceRef('GatewayLobby', 'a/b'), new Ping());
    expect(await frameOf(client)).toMatchObject({ data: { text: 'for us' } });
    expect(await frameOf(client)).toMatchObject({ type: 'Ping', data: {} });
  });

  describe('answers', () => {
    const unknown = '11111111-1111-4111-8111-111111111111';

    test.each([
      ['of a missing server', `${unknown}.${unknown}`],
      ['an invalid id', 'x'],
      ['an id with a path', '..%2f..'],
    ])('404 to a change of an unknown connection, %s', async (_title, connection) => {
      expect((await requests.change(connection, { subscribe: [] })).status).toBe(404);
    });

    test('404 to a change of another user’s connection, and changes nothing', async () => {
      await using opened = await requests.as('ada').open();
      const { client, ready } = opened;
      const subscribe = [{ channel: 'gateway/news' }];
      expect((await requests.as('bob').change(ready.connection, { subscribe })).status).toBe(404);
      expect((await requests.change(ready.connection, { subscribe })).status).toBe(404);
      expect(await requests.as('ada').changed(ready.connection, { subscribe: ['gateway/many/1'] })).toHaveLength(1);
      void messaging.postMessage(News, new ChatMessage('not for bob'));
      void messaging.postMessage(Many.for({ number: 1 }), 1);
      expect((await frameOf(client)).data).toBe(1);
    });

    test('404 once the stream has ended', async () => {
      const { client, ready } = await requests.open();
      client.abort();
      await client.ended;
      const held = running.app.get(Gateway)['connections'];
      while (held.has(ready.connection)) await new Promise((resolve) => setImmediate(resolve));
      expect((await requests.change(ready.connection, {})).status).toBe(404);
    });

    test.each<[string, string, string]>([
      ['', '{"channels": [', 'JSON'],
      ['', '[]', '"The body must be a JSON object, not an array"'],
      ['', '{"channels":"a"}', '\\"channels\\" must be an array, not a string'],
      ['', '{"title":"a"}', '\\"channels\\" is missing'],
      ['', '{"from":"a","channel":"a"}', '\\"channels\\" is missing'],
      ['', '{"channels":["a"]}', '\\"channels[0]\\" must be an object with a \\"channel\\"'],
      ['', '{"channels":[{"channel":1}]}', '\\"channels[0]\\" must be'],
      ['', '{"channels":[{"channel":1,"recover":true}]}', '\\"channels[0]\\" must be'],
      [
        '',
        '{"channels":[{"channel":"a","replay":0}]}',
        '\\"channels[0].replay\\" must be a whole number of at least 1',
      ],
      ['', '{"channels":[{"channel":"a","replay":1,"listener":7}]}', '\\"channels[0].listener\\" must be a text'],
      [`/${unknown}.${unknown}/channels`, '{"subscribe":{}}', '\\"subscribe\\" must be an array'],
      [`/${unknown}.${unknown}/channels`, '{"unsubscribe":[1]}', '\\"unsubscribe\\" must be an array of channel names'],
    ])('400 to POST /messages%s with %s, with the reason', async (path, body, text) => {
      const response = await requests.post(path, body);
      expect(response.status).toBe(400);
      expect(await response.text()).toContain(text);
    });

    test.each(['{}', '{"from":"a"}'])('a stream without subscriptions to POST /messages with %s', async (body) => {
      const response = await requests.post('', body);
      expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
      await response.body?.cancel();
    });

    test('400 to a GET without channels', async () => {
      await using client = await requests.get();
      expect(client.status).toBe(400);
    });

    test.each([['text/plain'], ['application/x-www-form-urlencoded'], ['application/jsonp']])(
      '415 to a POST of %s, which other sites may send without a preflight',
      async (type) => {
        expect((await requests.post('', '{"channels":[]}', { 'content-type': type })).status).toBe(415);
        const path = `/${unknown}.${unknown}/channels`;
        expect((await requests.post(path, '{}', { 'content-type': type })).status).toBe(415);
      },
    );

    test('403 to clients that the application’s guards refuse', async () => {
      const banned = requests.with({ 'x-banned': 'yes' });
      expect((await banned.post('', '{"channels":[]}')).status).toBe(403);
      expect((await banned.change(`${unknown}.${unknown}`, {})).status).toBe(403);
      await using client = await banned.get('gateway/news');
      expect(client.status).toBe(403);
    });
  });

  test('ends the streams of a user whose authentication is revoked, for good', async () => {
    const { client } = await requests.as('eve').open('gateway/news');
    await messaging.revokeAuthentication('eve');
    expect((await client.next())[0]).toBe('messaging:revoked');
    await client.ended;
  });

  test('reports to the application which clients come and go', async () => {
    const changes = new Queue<ClientConnectionChange>();
    using listening = messaging.addListener(ClientConnectionChanges, changes.push);
    await listening.ready;
    await using opened = await requests.as('ada login').open();
    const { client, ready } = opened;
    const auth = { userId: 'ada', authId: 'login', scopes: undefined };
    expect(await changes.next()).toEqual({ kind: 'connected', connection: ready.connection, auth });
    client.abort();
    const { connection } = ready;
    expect(await changes.next()).toEqual({ kind: 'disconnected', connection, auth, reason: 'ended' });
    await using revoked = await requests.as('mallory').open();
    expect(await changes.next()).toMatchObject({ kind: 'connected', connection: revoked.ready.connection });
    await messaging.revokeAuthentication('mallory');
    expect(await changes.next()).toMatchObject({ kind: 'disconnected', reason: 'revoked' });
  });

  test('keeps nothing of closed connections', async () => {
    const held = running.app.get(Gateway)['connections'];
    const clients = await Promise.all(
      Array.from({ length: 20 }, () => requests.open('gateway/news', 'gateway/many/1')),
    );
    expect(held.size).toBe(20);
    for (const { client } of clients) client.abort();
    while (held.size > 0) await new Promise((resolve) => setImmediate(resolve));
  });
});

describe('The gateway’s options', () => {
  test.each<[unknown, string]>([
    [{ path: 'a/:b' }, 'MessagingModule: gateway: option "path" must be a path without parameters'],
    [{ guard: [] }, 'MessagingModule: gateway: unknown option "guard"'],
    [{ guards: ReadsUser }, 'MessagingModule: gateway: option "guards" must be an array of guards'],
    [{ recoveryMs: -1 }, 'MessagingModule: gateway: option "recoveryMs" must be a whole number of at least 0'],
    [{ leaveMs: -1 }, 'MessagingModule: gateway: option "leaveMs" must be a whole number of at least 0'],
    [{ timeoutMs: 0 }, 'MessagingModule: gateway: option "timeoutMs" must be a whole number of at least 1'],
    ['messages', 'MessagingModule: option "gateway" must be true, false or an object of options'],
  ])('are refused at the call with %j', (gateway, text) => {
    expect(() => MessagingModule.forRoot({ gateway: gateway as never })).toThrow(text);
  });

  test('from a factory are refused, because its routes are made earlier', async () => {
    const creating = createApp({
      imports: [MessagingModule.forRootAsync({ useFactory: () => ({ gateway: true }) as never })],
    });
    await expect(creating).rejects.toThrow(
      'option "gateway" must be known before a factory runs; give it to forRootAsync() itself',
    );
  });

  test.each([
    [
      { gateway: { recoveryMs: 3_000 } },
      [expect.stringMatching(/recoveryMs is 3000, but with sse.heartbeatMs 15000 .* 24000 ms/)],
    ],
    [{ gateway: { recoveryMs: 2_999 }, sse: { heartbeatMs: 1_000 } }, [expect.stringContaining('up to 3000 ms')]],
    [{ gateway: { recoveryMs: 3_000 }, sse: { heartbeatMs: 1_000 } }, []],
    [{ gateway: { recoveryMs: 0 } }, []],
    [{ gateway: true, sse: { heartbeatMs: 30_000 } }, []],
  ])('cause one warning if messages are forgotten before clients can request them: %j', async (options, expected) => {
    await using running = await startApp({ imports: [MessagingModule.forRoot(options)] });
    // This file defines two channels in two ways.
    const problems = running.logger.problems.filter((line) => !line.includes('is defined twice'));
    expect(problems).toEqual(expected);
  });

  test('switch the gateway off if they are absent', async () => {
    await using running = await startApp({ imports: [MessagingModule.forRoot()] });
    await using client = await SseClient.connect(`${running.url}/messages?channel=gateway/news`);
    expect(client.status).toBe(404);
  });

  test.each(ADAPTER_NAMES)(
    'take path, guards with their module, global prefix, version and CORS on %s',
    async (adapter) => {
      @Injectable()
      class Keys {
        readonly valid = 'open sesame';
      }
      @Module({ providers: [Keys], exports: [Keys] })
      class KeysModule {}
      @Injectable()
      class HasKey implements CanActivate {
        private readonly keys: Keys;
        constructor(@Inject(Keys) keys: Keys) {
          this.keys = keys;
        }
        canActivate(context: ExecutionContext) {
          const request = context.switchToHttp().getRequest<{ headers: Record<string, string> }>();
          return request.headers['x-key'] === this.keys.valid;
        }
      }
      const gateway = { path: 'live/feed', guards: [HasKey], imports: [KeysModule], version: '2' };
      await using running = await startApp(
        { imports: [MessagingModule.forRootAsync({ gateway, useFactory: () => ({ sse: { heartbeatMs: 0 } }) })] },
        {
          adapter,
          configure: (app: INestApplication) => {
            app.setGlobalPrefix('api');
            app.enableVersioning({ type: VersioningType.URI });
            app.enableCors({ origin: 'https://app.example' });
          },
        },
      );
      const requests = new Requests(`${running.url}/api/v2/live/feed`);
      expect((await requests.post('', '{"channels":[]}')).status).toBe(403);
      await using opened = await requests
        .with({ 'x-key': 'open sesame', origin: 'https://app.example' })
        .open('gateway/news');
      const { client, ready } = opened;
      expect(client.headers['access-control-allow-origin']).toBe('https://app.example');
      expect(ready).toMatchObject({ heartbeatMs: 0, channels: [{ channel: 'gateway/news' }] });
    },
  );

  test.each(ADAPTER_NAMES)('let a native EventSource name any number of channels, on %s', async (adapter) => {
    // A common query parser turns more than 20 values into an object.
    const configure = (nest: INestApplication) => {
      if (adapter === 'Express') (nest as NestExpressApplication).set('query parser', 'extended');
    };
    await using app = await startApp(modules(), { adapter, configure });
    const names = Array.from({ length: 30 }, (_, index) => `gateway/many/${index}`);
    await using client = await at(app).get(...names);
    expect(client.status).toBe(200);
    const [, ready] = (await client.next()) as [string, ReadyEvent];
    expect(ready.channels).toEqual(names.map((channel) => ({ channel })));
  });

  test('limit the number of channels of a connection', async () => {
    await using running = await startApp({
      imports: [MessagingModule.forRoot({ gateway: true, limits: { maxSubscriptionsPerConnection: 2 } })],
    });
    const requests = new Requests(`${running.url}/messages`);
    await using opened = await requests.open('gateway/many/1', 'gateway/many/2', 'gateway/many/3');
    const { ready } = opened;
    expect(ready.channels[2]).toEqual({ channel: 'gateway/many/3', error: 'LIMIT_EXCEEDED' });
    const change = { subscribe: ['gateway/many/4', 'gateway/many/2'] };
    expect(await requests.changed(ready.connection, change)).toEqual([
      { channel: 'gateway/many/4', error: 'LIMIT_EXCEEDED' },
      { channel: 'gateway/many/2' },
    ]);
    expect(await requests.changed(ready.connection, { ...change, unsubscribe: ['gateway/many/1'] })).toEqual([
      { channel: 'gateway/many/4' },
      { channel: 'gateway/many/2' },
    ]);
  });

  test('call authorizers for no more channels than a connection may have', async () => {
    await using running = await startApp(modules({ limits: { maxSubscriptionsPerConnection: 2 } }));
    const names = ['gateway/rooms/1', 'gateway/rooms/2', 'gateway/rooms/3', 'gateway/rooms/4'];
    await using opened = await new Requests(`${running.url}/messages`).as('ada').open(...names);
    expect(opened.ready.channels.map(({ error }) => error)).toEqual([
      undefined,
      undefined,
      'LIMIT_EXCEEDED',
      'LIMIT_EXCEEDED',
    ]);
    expect(running.app.get(RoomAccess).asked).toHaveLength(2);
  });

  test('limit the number of connections of a user and of a server', async () => {
    await using running = await startApp(modules({ limits: { maxConnectionsPerUser: 2, maxConnections: 4 } }));
    const requests = new Requests(`${running.url}/messages`);
    const [ada, bob] = [requests.as('ada'), requests.as('bob')];
    await using first = await ada.open();
    await using second = await ada.open();
    expect(first.ready.connection).not.toBe(second.ready.connection);
    expect((await ada.post('', '{"channels":[]}')).status).toBe(429);
    await using bobs = await bob.open();
    await using nobodys = await requests.open();
    expect([bobs.ready.channels, nobodys.ready.channels]).toEqual([[], []]);
    const refused = await requests.get('gateway/news');
    expect(refused.status).toBe(503);
    refused.abort();

    const changes = new Queue<ClientConnectionChange>();
    using listening = running.app.get(MessagingService).addListener(ClientConnectionChanges, changes.push);
    await listening.ready;
    first.client.abort();
    await changes.next();
    await using again = await ada.open();
    expect(again.ready.channels).toEqual([]);
  });

  test('find authorizers in modules that are loaded later', async () => {
    @Controller('late')
    class LateController {
      @Get()
      get() {
        return '';
      }

      @AuthorizeChannel('gateway/late')
      mayRead() {
        return true;
      }
    }
    @Module({ controllers: [], providers: [LateController] })
    class LateModule {}
    await using running = await startApp({ imports: [MessagingModule.forRoot({ gateway: true })] });
    const requests = new Requests(`${running.url}/messages`);
    await using before = await requests.open('gateway/late');
    expect(before.ready.channels[0]!.error).toBe('CHANNEL_DENIED');
    await running.app.get(LazyModuleLoader).load(() => LateModule);
    expect(await requests.changed(before.ready.connection, { subscribe: ['gateway/late'] })).toEqual([
      { channel: 'gateway/late' },
    ]);
  });
});

describe('The gateways of two servers on one Redis', () => {
  let redis: RedisServer;
  let a: TestApp;
  let b: TestApp;

  beforeAll(async () => {
    redis = await RedisServer.start();
    const options = { redis: redis.url, gateway: { timeoutMs: 300 } };
    a = await startApp(modules(options), { adapter: 'Express' });
    b = await startApp(modules(options), { adapter: 'Fastify' });
  });
  afterAll(async () => {
    await a[Symbol.asyncDispose]();
    await b[Symbol.asyncDispose]();
    await redis[Symbol.asyncDispose]();
  });

  test('change a stream of either server, and deliver posts of both once the change is answered', async () => {
    await using opened = await at(a).as('ada').open();
    const { client, ready } = opened;
    expect(
      await at(b)
        .as('ada')
        .changed(ready.connection, { subscribe: ['gateway/rooms/1', 'gateway/inner'] }),
    ).toEqual([{ channel: 'gateway/rooms/1' }, { channel: 'gateway/inner', error: 'CHANNEL_DENIED' }]);
    await b.app
      .get(MessagingService)
      .postMessage(Rooms.for({ roomId: 1 }), new ChatMessage('from b'), { global: true });
    expect((await frameOf(client)).data).toMatchObject({ text: 'from b' });
    expect(
      await at(b)
        .as('ada')
        .changed(ready.connection, { unsubscribe: ['gateway/rooms/1'] }),
    ).toEqual([]);
    void a.app.get(MessagingService).postMessage(Rooms.for({ roomId: 1 }), new ChatMessage('unheard'));
    expect(
      await at(b)
        .as('ada')
        .changed(ready.connection, { subscribe: ['gateway/news'] }),
    ).toHaveLength(1);
    await b.app.get(MessagingService).postMessage(News, new ChatMessage('heard'), { global: true });
    expect((await frameOf(client)).data).toMatchObject({ text: 'heard' });
  });

  test('lose nothing of a client of a closing server: it answers until the client is back, and hides messages from its application', async () => {
    const ending = await startApp(modules({ redis: redis.url, gateway: { leaveMs: 3_000 } }));
    const messaging = ending.app.get(MessagingService);
    const heard = new Queue<ChatMessage>();
    const retired = new Promise<void>((resolve) => {
      messaging.openSession().session.signal.addEventListener('abort', () => resolve());
    });
    const { client, ready, positions } = await at(ending).open('gateway/news');
    await messaging.addListener(News, heard.push).ready;
    const post = (text: string) =>
      b.app.get(MessagingService).postMessage(News, new ChatMessage(text), { global: true });
    await post('read');
    expect((await frameOf(client)).data).toMatchObject({ text: 'read' });
    expect(await heard.next()).toMatchObject({ text: 'read' });

    const closing = ending[Symbol.asyncDispose]();
    expect(await client.next()).toEqual(['messaging:drain', {}]);
    await retired;
    await post('missed');

    const channel = 'gateway/news';
    const position = positions.get(channel)!;
    await using back = await at(b).connect({
      channels: [{ channel, position: { ...position, offset: position.offset + 1 } }],
      from: ready.connection,
    });
    expect((await frameOf(back)).data).toMatchObject({ text: 'missed' });
    expect(await back.next()).toMatchObject(['messaging:ready', { channels: [{ channel, recovered: true }] }]);
    await closing;
    expect(heard.pending).toEqual([]);
  });

  test('keep other users from a connection', async () => {
    await using opened = await at(a).as('ada').open();
    const { ready } = opened;
    expect((await at(b).as('bob').change(ready.connection, {})).status).toBe(404);
    expect(
      (
        await at(b)
          .as('ada')
          .change(`${ready.connection.slice(0, -1)}x`, {})
      ).status,
    ).toBe(404);
  });

  test('let another sign-in of the same user, with more rights, change it', async () => {
    await using opened = await at(a).as('ada phone').open('gateway/news', 'gateway/staff');
    const { connection, channels } = opened.ready;
    expect(channels[1]!.error).toBe('CHANNEL_DENIED');
    for (const server of [a, b]) {
      const stepped = at(server).as('ada stepped-up staff,chat');
      expect(await stepped.changed(connection, { subscribe: ['gateway/staff'] })).toEqual([
        { channel: 'gateway/staff' },
      ]);
      await server.app.get(MessagingService).postMessage('gateway/staff', 'for staff', { global: true });
      expect((await frameOf(opened.client)).data).toBe('for staff');
      expect(await stepped.changed(connection, { unsubscribe: ['gateway/staff'] })).toEqual([]);
      expect((await at(server).change(connection, {})).status).toBe(404);
    }
  });

  test('deliver messages of a source on the other server', async () => {
    await using opened = await at(a).open(messagesFrom(new OpenLobby('x'), ChatMessage).name);
    const { client } = opened;
    await b.app.get(MessagingService).sendMessage(new OpenLobby('x'), new ChatMessage('from afar'));
    expect((await frameOf(client)).data).toMatchObject({ text: 'from afar' });
  });

  test('answer 504 if the server that holds the stream does not answer in time', async () => {
    const gone = '22222222-2222-4222-8222-222222222222';
    const response = await at(b).change(`${gone}.${gone}`, {});
    expect(response.status).toBe(504);
    expect(await response.text()).toContain('The server that holds the stream did not answer in time');
  });
});
