import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  applyDecorators,
  Header,
  Injectable,
  Module,
  SetMetadata,
  UnauthorizedException,
  UseGuards,
  UseInterceptors,
  type CanActivate,
  type ExecutionContext,
  type ModuleMetadata,
  type NestInterceptor,
} from '@nestjs/common';
import { APP_GUARD, LazyModuleLoader, Reflector } from '@nestjs/core';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import {
  AuthorizeChannel,
  ConfigurationError,
  defineChannel,
  MessagingModule,
  MessagingService,
  type Channel,
  type ClientContext,
  type MessagingModuleOptions,
} from 'nestjs-messaging';
import { MessagingClient } from 'nestjs-messaging/client';
import { EventStreams } from '../../lib/sse/event-streams.js';
import type { ChannelPosition, ReadyEvent } from '../../lib/protocol/gateway.js';
import type { Position } from '../../lib/protocol/position.js';
import { ADAPTER_NAMES, startApp, type AdapterName, type TestApp } from '../support/apps.js';
import { GatewayRequests, changesTo, frameOf, type Opened } from '../support/gateway-requests.js';
import { Queue } from '../support/queue.js';
import { ReadsUser } from '../support/reads-user.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';
import type { SseClient } from '../support/sse-client.js';

const Rooms = defineChannel<string, 'access/rooms/:roomId'>('access/rooms/:roomId');
const Board = defineChannel<string>('access/rooms/board');
const Vault = defineChannel<string>('access/rooms/vault', undefined, { clients: true, requiredScopes: ['vault'] });
const Areas = defineChannel<string, 'access/:area/:roomId'>('access/:area/:roomId');

@Injectable()
class Access {
  @AuthorizeChannel(Rooms, { all: true })
  mayHaveAllRooms({ auth }: ClientContext) {
    return auth?.userId === 'ada';
  }

  @AuthorizeChannel(Areas, { all: true })
  mayHaveAllAreas() {
    return true;
  }

  @AuthorizeChannel('access/rooms/denied')
  mayHaveDenied() {
    return false;
  }
}

const Open = defineChannel<string, 'access/open/:id'>('access/open/:id', undefined, { clients: true });

defineChannel('access/closed/:id');

/** An authorizer that decides when the test releases it, or never. */
@Injectable()
class Slow {
  readonly asked = new Queue<(decision: boolean) => void>();

  @AuthorizeChannel('access/slow/:id')
  mayRead() {
    return new Promise<boolean>((resolve) => this.asked.push(resolve));
  }
}

@Injectable()
class Broken {
  @AuthorizeChannel('access/broken/:id')
  mayRead({ channel }: ClientContext): boolean {
    throw new Error(`no database for ${channel}\nLOG all is well`);
  }
}

const modules = (options: MessagingModuleOptions = {}): ModuleMetadata => ({
  imports: [MessagingModule.forRoot({ gateway: true, ...options })],
  providers: [Access, Slow, Broken, { provide: APP_GUARD, useClass: ReadsUser }],
});
/** Whether a line explains a denied channel. */
const isHint = (line: string) => line.endsWith('(this is not logged in production)');
const at = ({ url }: TestApp) => new GatewayRequests(`${url}/messages`).as('ada');

/** Posts to the closed channels, then to an open one. */
async function postToAll({ app }: TestApp, last: string, global = false): Promise<void> {
  const messaging = app.get(MessagingService);
  for (const channel of [Board, Vault]) await messaging.postMessage(channel, 'closed', { global });
  await messaging.postMessage('access/rooms/denied', 'closed', { global });
  await messaging.postMessage(Rooms.for({ roomId: last }), 'open', { global });
}

describe.each(ADAPTER_NAMES)('A client of a whole template, on %s,', (adapter: AdapterName) => {
  let running: TestApp;
  beforeAll(async () => {
    running = await startApp(modules(), { adapter });
  });
  afterAll(async () => running[Symbol.asyncDispose]());

  test('gets no channel that has its own authorizer or definition', async () => {
    await using opened = await at(running).open(Rooms.name, Board.name, Vault.name, 'access/rooms/denied');
    expect(opened.ready.channels.map(({ error }) => error)).toEqual([
      undefined,
      'CHANNEL_DENIED',
      'CHANNEL_DENIED',
      'CHANNEL_DENIED',
    ]);
    await postToAll(running, 'lobby');
    expect(await frameOf(opened.client)).toMatchObject({ channel: 'access/rooms/lobby', data: 'open' });
  });

  test('gets no such channel on the stream of a native EventSource', async () => {
    await using client = await at(running).get(Rooms.name);
    expect((await client.next())[0]).toBe('messaging:ready');
    await postToAll(running, 'lobby');
    expect(await client.next()).toEqual(['message', 'open']);
  });

  test('gets no channel of a more literal template', async () => {
    await using opened = await at(running).open(Areas.name);
    await postToAll(running, 'lobby');
    await running.app.get(MessagingService).postMessage(Areas.for({ area: 'halls', roomId: 1 }), 'hall');
    expect(await frameOf(opened.client)).toMatchObject({ channel: 'access/halls/1' });
  });

  test('gets no more messages of a channel once a module loaded later decides about it', async () => {
    const name = `access/rooms/late-${adapter}`;
    const messaging = running.app.get(MessagingService);
    await using opened = await at(running).open(Rooms.name);
    await messaging.postMessage(name, 'before');
    expect(await frameOf(opened.client)).toMatchObject({ channel: name, data: 'before' });

    @Injectable()
    class LateAccess {
      @AuthorizeChannel(name)
      mayHave() {
        return false;
      }
    }
    @Module({ providers: [LateAccess] })
    class LateModule {}
    await running.app.get(LazyModuleLoader).load(() => LateModule);
    await messaging.postMessage(name, 'after');
    await postToAll(running, 'lobby');
    expect(await frameOf(opened.client)).toMatchObject({ channel: 'access/rooms/lobby' });
    // Nor of any earlier message.
    await using back = await comeBack(running, opened);
    expect(await framesBeforeReady(back)).toEqual(['access/rooms/lobby']);
  });

  test('gets no message of such channels when it comes back', async () => {
    await using opened = await at(running).open(Rooms.name);
    opened.client.abort();
    await postToAll(running, 'missed');
    await using back = await comeBack(running, opened);
    expect(await framesBeforeReady(back)).toEqual(['access/rooms/missed']);
  });
});

const Archive = defineChannel<string>('aside/archive', undefined, { clients: true, requiredScopes: ['archive'] });
const Ledger = defineChannel<string>('aside/orders/ledger');
const THOUGHT_MS = 30;

describe.each(ADAPTER_NAMES)('A channel that a client may not have, on %s,', (adapter: AdapterName) => {
  @Injectable()
  class Thinking {
    @AuthorizeChannel('aside/orders/:id')
    async mayRead({ auth }: ClientContext) {
      if (auth?.userId === 'owner') return true;
      await sleep(THOUGHT_MS);
      return false;
    }
  }
  const denied = 'aside/orders/7';
  const others = [
    ['does not exist', 'aside/nothing'],
    ['does not exist, of any depth', 'nothing/at/all'],
    ['needs scopes', Archive.name],
    ['is closed, under an open template', Ledger.name],
    ['is a whole template that is open to nobody', 'aside/orders/:id'],
    ['belongs to the library', 'messaging:connections'],
  ];
  let running: TestApp;
  beforeAll(async () => {
    running = await startApp(
      {
        imports: [MessagingModule.forRoot({ gateway: true })],
        providers: [Thinking, { provide: APP_GUARD, useClass: ReadsUser }],
      },
      { adapter },
    );
    // From here on, the server knows how long a denial takes.
    await using _ = await at(running).open(denied);
  });
  afterAll(async () => running[Symbol.asyncDispose]());

  /** The answer as a client sees it, without the requested name, and whether it took as long as a denial. */
  const ways: [string, (channel: string) => Promise<unknown>][] = [
    [
      'POST',
      async (channel) => {
        await using opened = await at(running).open(channel);
        return [opened.ready.channels, Object.keys(opened.ready), opened.client.status];
      },
    ],
    [
      'GET',
      async (channel) => {
        const response = await fetch(`${running.url}/messages?channel=${encodeURIComponent(channel)}`);
        const headers = [...response.headers].filter(([name]) => name !== 'date');
        return [response.status, headers, await response.text()];
      },
    ],
    [
      'a change',
      async (channel) => {
        await using opened = await at(running).open();
        const response = await at(running).change(opened.ready.connection, {
          subscribe: [
            { channel, position: { epoch: 'h.x', offset: 1 } },
            { channel, replay: 5, listener: '1' },
          ],
        });
        return [response.status, await response.text()];
      },
    ],
  ];

  test.each(others)('because it %s, differs from a denied one neither in answer nor in time', async (_, name) => {
    for (const [, ask] of ways) {
      const see = async (channel: string): Promise<[string, boolean]> => {
        const began = performance.now();
        const seen = JSON.stringify(await ask(channel)).replaceAll(channel, '…');
        return [seen, performance.now() - began > THOUGHT_MS - 5];
      };
      const [one, other] = [await see(denied), await see(name)];
      expect(one[1]).toBe(true);
      expect(other).toEqual(one);
    }
  });
});

const Own = defineChannel<string, 'aside/own/:user'>('aside/own/:user');
const KeptOwn = defineChannel<string, 'aside/kept/:user'>('aside/kept/:user', undefined, {
  history: { maxMessages: 10, ttlMs: 60_000 },
});

@Injectable()
class OwnAccess {
  @AuthorizeChannel(Own)
  @AuthorizeChannel(KeptOwn)
  mayRead({ auth }: ClientContext, { user }: { user: string }) {
    return auth?.userId === user;
  }
}

const channelsOf = (user: string) => [Own.for({ user }).name, KeptOwn.for({ user }).name];
const inPlaceOf = (name: string) => name.replace(/(al|eve)$/, (user) => (user === 'al' ? 'eve' : 'al'));

test.each(ADAPTER_NAMES)(
  'Users who come back at once get nothing of each other’s messages, whatever positions they send, on %s',
  async (adapter) => {
    await using running = await startApp(
      {
        imports: [MessagingModule.forRoot({ gateway: true })],
        providers: [OwnAccess, { provide: APP_GUARD, useClass: ReadsUser }],
      },
      { adapter },
    );
    const users = ['al', 'eve'];
    const post = async (text: string) => {
      const messaging = running.app.get(MessagingService);
      for (const user of users)
        for (const channel of [Own, KeptOwn]) await messaging.postMessage(channel.for({ user }), `${text} for ${user}`);
    };
    const places = new Map<string, Position>();
    for (const user of users) {
      await using opened = await at(running)
        .as(user)
        .open(...channelsOf(user));
      for (const [name, position] of opened.positions) places.set(name, position);
    }
    await post('missed');
    const all = users.flatMap(channelsOf);
    const back = (user: string, placeOf: (name: string) => Position | undefined) =>
      at(running)
        .as(user)
        .connect({
          channels: all.map((channel) => ({
            channel,
            position: placeOf(channel),
            ...(channel.includes('kept') && { replay: 5 }),
          })),
        });
    const clients = await Promise.all(
      users.flatMap((user) => [
        back(user, (name) => places.get(name)),
        back(user, (name) => places.get(inPlaceOf(name))),
      ]),
    );
    for (const client of clients) await client.events.until(({ event }) => event === 'messaging:ready');
    await post('last');
    const texts = await Promise.all(
      clients.map(async (client) => {
        const seen: string[] = [];
        while (seen.filter((text) => text.startsWith('last')).length < 2) {
          const { event, data } = await client.events.next();
          if (event === 'message') seen.push((JSON.parse(data) as { data: string }).data);
        }
        return seen;
      }),
    );
    for (const [index, seen] of texts.entries()) {
      const user = users[Math.floor(index / 2)]!;
      expect(seen.filter((text) => !text.endsWith(`for ${user}`))).toEqual([]);
    }
    for (const client of clients) await client[Symbol.asyncDispose]();
  },
);

test('A client of a whole template gets no closed channel from another server, not even when it comes back to one', async () => {
  await using redis = await RedisServer.start();
  await using a = await startApp(modules({ redis: redis.url }));
  await using b = await startApp(modules({ redis: redis.url }));
  await using opened = await at(a).open(Rooms.name);
  await postToAll(b, 'lobby', true);
  expect(await frameOf(opened.client)).toMatchObject({ channel: 'access/rooms/lobby' });
  await using back = await comeBack(b, opened);
  expect(await framesBeforeReady(back)).toEqual(['access/rooms/lobby']);
});

const names = (count: number, prefix = 'access/slow'): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}/${index}`);
const named = (kind: string) =>
  Array.from({ length: 1_000 }, (_, index) => Open.for({ id: `${kind}"${'ü'.repeat(100)}${index}` }));
const packet = (data: unknown) => JSON.stringify({ metadata: { v: 1, node: 'n', at: 1 }, pattern: 'x', data });
const openFifty = (requests: GatewayRequests) =>
  Array.from({ length: 50 }, () => requests.connect({ channels: [{ channel: 'access/slow/1' }] }));
/** A forged position, which the server never issued. */
const forged = (of: string) => ({ epoch: `${of}.1.0.${'A'.repeat(16)}`, offset: 0 });
/** The request of a client that knows 700 channels. */
const claims = (positionOf: (index: number) => object) => ({
  channels: Array.from({ length: 700 }, (_, index) => ({
    channel: `access/open/${index}`,
    position: positionOf(index),
  })),
});
const failToAuthenticate = (): never => {
  throw new Error('no token\n[Nest] LOG all is well');
};

describe.each(ADAPTER_NAMES)('A request of a client on %s', (adapter: AdapterName) => {
  test('that waits for an authorizer when the application closes is cut off, and closing does not wait', async () => {
    const running = await startApp(modules(), { adapter });
    const slow = running.app.get(Slow);
    const answer = new GatewayRequests(`${running.url}/messages`).get('access/slow/0').catch((error: Error) => error);
    const decide = await slow.asked.next();
    await running.app.close();
    expect(await answer).toMatchObject({ message: 'socket hang up' });
    decide(true);
    await new Promise((resolve) => setImmediate(resolve));
    expect(running.app.get(EventStreams).size).toBe(0);
  });

  test('to change a stream is cut off as well, whether it waits for an authorizer or for its user', async () => {
    const authenticating = new Queue<() => void>();
    const authenticate = ({ headers }: { headers: Record<string, unknown> }) =>
      headers['x-waits'] ? new Promise<null>((resolve) => authenticating.push(() => resolve(null))) : null;
    const running = await startApp(modules({ authenticate }), { adapter });
    const requests = new GatewayRequests(`${running.url}/messages`);
    const opened = await requests.open();
    const { connection } = opened.ready;
    const change = { subscribe: [{ channel: 'access/slow/0' }] };
    const answers = Promise.allSettled([
      requests.change(connection, change),
      requests.with({ 'x-waits': 'yes' }).change(connection, change),
    ]);
    const decide = await running.app.get(Slow).asked.next();
    const authenticated = await authenticating.next();
    await running.app.close();
    expect(await answers).toMatchObject([
      { reason: { message: 'fetch failed' } },
      { reason: { message: 'fetch failed' } },
    ]);
    decide(true);
    authenticated();
    await new Promise((resolve) => setImmediate(resolve));
    expect(running.app.get(Slow).asked.pending).toEqual([]);
    expect(running.logger.problems).toEqual([]);
    opened.client.abort();
  });

  test('takes its place before authorizers are asked, so that 50 at once do not pass the limits', async () => {
    await using running = await startApp(modules({ limits: { maxConnectionsPerUser: 3, maxConnections: 10 } }), {
      adapter,
    });
    const slow = running.app.get(Slow);
    const anybody = new GatewayRequests(`${running.url}/messages`);
    const answers = new Queue<SseClient>();
    const clients: Promise<SseClient>[] = [];
    const follow = (opened: Promise<SseClient>[]) => {
      clients.push(...opened);
      for (const client of opened) void client.then(answers.push);
    };
    /** The statuses of the next answers, with their `Retry-After`. */
    const statuses = async (count: number) =>
      new Set((await answers.take(count)).map(({ status, headers }) => `${status} ${headers['retry-after'] ?? ''}`));
    follow(openFifty(anybody.as('ada')));
    expect(await statuses(47)).toEqual(new Set(['429 5']));
    follow(openFifty(anybody));
    expect(await statuses(43)).toEqual(new Set(['503 5']));
    for (const decide of await slow.asked.take(10)) decide(true);
    expect(await statuses(10)).toEqual(new Set(['200 ']));
    for (const client of await Promise.all(clients)) client.abort();
    await untilRoom(anybody.as('ada'));
  });

  test('gives its place back when it is refused, and when the client leaves while an authorizer decides', async () => {
    await using running = await startApp(modules({ limits: { maxConnections: 1 } }), { adapter });
    const slow = running.app.get(Slow);
    const refused = await at(running).get('access/nothing');
    expect(refused.status).toBe(403);
    refused.abort();
    const leaving = request(`${running.url}/messages?channel=access/slow/1`, { agent: false });
    const left = new Promise((resolve) => leaving.on('error', resolve));
    leaving.end();
    const decide = await slow.asked.next();
    leaving.destroy();
    await left;
    await untilRoom(at(running));
    decide(true);
    expect(running.logger.problems.filter((line) => !isHint(line))).toEqual([]);
  });

  test('is denied a channel whose authorizer does not decide in time, and the log has a few lines about it', async () => {
    await using running = await startApp(modules({ gateway: { authorizerTimeoutMs: 20, maxAuthorizers: 10 } }), {
      adapter,
    });
    await using opened = await at(running).open(...names(50), 'access/open/1');
    expect(opened.ready.channels.slice(0, 50).map(({ error }) => error)).toEqual(
      Array.from({ length: 50 }, () => 'CHANNEL_DENIED'),
    );
    expect(opened.ready.channels[50]).toEqual({ channel: 'access/open/1' });
    expect(running.logger.problems).toHaveLength(5);
    expect(running.logger.problems[0]).toBe(
      'warn Slow.mayRead failed; client denied channel "access/slow/0": it did not decide within 20 ms (gateway.authorizerTimeoutMs)',
    );
    const change = { subscribe: names(3) };
    const answers = await at(running).changed(opened.ready.connection, change);
    expect(answers.map(({ error }) => error)).toEqual(['CHANNEL_DENIED', 'CHANNEL_DENIED', 'CHANNEL_DENIED']);
  });

  test('gets 503 while too many others wait for decisions; changes of open streams count', async () => {
    await using running = await startApp(modules({ gateway: { maxPendingRequests: 2 } }), { adapter });
    const slow = running.app.get(Slow);
    // Anonymous, because a single user may have only a part of the places.
    const anonymous = new GatewayRequests(`${running.url}/messages`);
    await using opened = await anonymous.open();
    const { connection } = opened.ready;
    const changes = Array.from({ length: 50 }, () =>
      anonymous.change(connection, { subscribe: [{ channel: 'access/slow/1' }] }),
    );
    const statuses = new Queue<Response>();
    for (const change of changes) void change.then(statuses.push);
    const refused = await statuses.take(48);
    expect(new Set(refused.map(({ status }) => status))).toEqual(new Set([503]));
    expect(refused[0]!.headers.get('retry-after')).toBe('5');
    for (const decide of await slow.asked.take(2)) decide(true);
    expect((await statuses.take(2)).map(({ status }) => status)).toEqual([200, 200]);
    expect(await anonymous.changed(connection, { subscribe: ['access/open/1'] })).toHaveLength(1);
  });

  test('cannot grow the log without limit or break its lines, whatever the application throws', async () => {
    await using running = await startApp(modules({ authenticate: failToAuthenticate }), { adapter });
    const requests = at(running);
    for (let n = 0; n < 20; n++) {
      await using opened = await requests.open(...names(50, 'access/broken'));
      expect(opened.ready.channels[0]!.error).toBe('CHANNEL_DENIED');
    }
    expect(running.logger.problems).toHaveLength(10);
    expect(running.logger.problems.filter((line) => line.includes('\n'))).toEqual([]);
  });

  test('that is too long for another server gets 413 and changes nothing', async () => {
    await using redis = await RedisServer.start();
    const options = { redis: redis.url, limits: { maxMessageBytes: 65_536 } };
    await using a = await startApp(modules(options), { adapter });
    await using b = await startApp(modules(options), { adapter });
    await using opened = await at(a).open(Open.for({ id: 'kept' }).name);
    const { connection } = opened.ready;
    const long = names(1_000, `access/open/${'x'.repeat(60)}`).map((name) => name.replace(/\/(\d+)$/, '-$1'));
    for (const change of [
      { subscribe: long.map((channel) => ({ channel })), unsubscribe: ['access/open/kept'] },
      { unsubscribe: ['access/open/kept', ...long] },
    ]) {
      const response = await at(b).change(connection, change);
      expect(response.status).toBe(413);
      expect(await response.text()).toContain('limits.maxMessageBytes');
    }
    // Denied channels do not travel.
    const denied = await at(b).changed(connection, { subscribe: names(1_000, `access/${'x'.repeat(60)}/no`) });
    expect(denied).toHaveLength(1_000);
    void a.app.get(MessagingService).postMessage(Open.for({ id: 'kept' }), 'still there');
    expect(await frameOf(opened.client)).toMatchObject({ data: 'still there' });
    expect([...a.logger.problems, ...b.logger.problems].filter((line) => !isHint(line))).toEqual([]);
  });
});

test('A client with 1,000 long names swaps all of them, in parts that servers can pass on', async () => {
  await using redis = await RedisServer.start();
  const options = { redis: redis.url, limits: { maxMessageBytes: 65_536, maxSubscriptionsPerConnection: 1_000 } };
  await using a = await startApp(modules(options));
  await using b = await startApp(modules(options));
  const statuses: number[] = [];
  // Streams go to one server, changes to the other.
  const send: typeof fetch = async (...asked) => {
    const response = await changesTo(b, a)(...asked);
    statuses.push(response.status);
    return response;
  };
  const client = new MessagingClient({ url: `${a.url}/messages`, fetch: send });
  const heard = new Queue<string>();
  const subscribe = (channels: Channel<string>[]) =>
    Promise.all(channels.map((channel) => client.subscribe(channel, (message) => heard.push(message))));
  const [first, second] = [named('first'), named('second')];
  try {
    const subscriptions = await subscribe(first);
    const left = subscriptions.map((subscription) => subscription.unsubscribe());
    await Promise.all([subscribe(second), ...left]);
    const messaging = b.app.get(MessagingService);
    await messaging.postMessage(first[999]!, 'unheard', { global: true });
    for (const index of [0, 999]) await messaging.postMessage(second[index]!, `heard ${index}`, { global: true });
    expect(await heard.take(2)).toEqual(['heard 0', 'heard 999']);
  } finally {
    client.close();
  }
  expect(statuses.filter((status) => status !== 200)).toEqual([]);
  expect([...a.logger.problems, ...b.logger.problems]).toEqual([]);
});

test('Wrong packets on the library’s own channels neither disturb a server nor fill its log', async () => {
  await using redis = await RedisServer.start();
  await using running = await startApp(modules({ redis: redis.url, gateway: { timeoutMs: 200 } }));
  using probe = new RedisProbe(redis.url);
  const channels = (await probe.redis.pubsub('CHANNELS', '*node/*')) as string[];
  expect(channels).toHaveLength(2);
  const id = '22222222-2222-4222-8222-222222222222';
  const bodies = [7, {}, { ids: 7 }, { change: 7 }, { change: {} }, { recover: { from: [], reads: { length: 1e9 } } }];
  for (let n = 0; n < 100; n++) {
    const questions = bodies.map((body) => packet({ kind: 'question', id, from: id, body }));
    for (const channel of channels) {
      for (const each of [...questions, packet(`wrong ${n}`), `not JSON ${n}`])
        await probe.redis.publish(channel, each);
    }
  }
  await using opened = await at(running).open(Open.for({ id: 1 }).name);
  await running.app.get(MessagingService).postMessage(Open.for({ id: 1 }), 'here', { global: true });
  expect(await frameOf(opened.client)).toMatchObject({ data: 'here' });
  expect(running.logger.problems.length).toBeLessThanOrEqual(20);
});

test('An unreadable answer of another server leads to status 502, and a few lines in the log', async () => {
  await using redis = await RedisServer.start();
  await using running = await startApp(modules({ redis: redis.url }));
  using probe = new RedisProbe(redis.url);
  using other = new RedisProbe(redis.url);
  const [own] = (await probe.redis.pubsub('CHANNELS', '*|messaging:node/*')) as [string];
  const node = '22222222-2222-4222-8222-222222222222';
  await other.redis.subscribe(own.replace(/[^/]*$/, node));
  other.redis.on('message', (_channel: string, payload: string) => {
    const { id } = (JSON.parse(payload) as { data: { id: string } }).data;
    const data = { kind: 'answer', id, body: { length: 1e9 } };
    void probe.redis.publish(own, JSON.stringify({ metadata: { v: 1, node, at: 1 }, pattern: 'x', data }));
  });
  for (let n = 0; n < 20; n++) {
    const response = await at(running).change(`${node}.${node}`, { subscribe: [{ channel: 'access/open/1' }] });
    expect(response.status).toBe(502);
  }
  expect(running.logger.problems).toHaveLength(5);
  expect(running.logger.problems[0]).toContain('the answer to a change must be an array, not undefined');
});

test('A change that another server asks for opens no channel here that is closed to all clients', async () => {
  await using redis = await RedisServer.start();
  await using running = await startApp(modules({ redis: redis.url }));
  using probe = new RedisProbe(redis.url);
  using other = new RedisProbe(redis.url);
  await using opened = await at(running).open('access/open/1');
  const { connection } = opened.ready;
  const node = '22222222-2222-4222-8222-222222222222';
  const own = (await probe.channels()).find((channel) =>
    channel.endsWith(`messaging:node/${connection.slice(0, 36)}`),
  )!;
  const answers = new Queue<unknown>();
  await other.redis.subscribe(own.replace(/[^/]*$/, node));
  other.redis.on('message', (_channel: string, payload: string) => {
    answers.push((JSON.parse(payload) as { data: { body: unknown } }).data.body);
  });
  const closed = [
    'messaging:nodes',
    'messaging:connections',
    `messaging:node/${node}`,
    Board.name,
    'nobody/knows/it',
    'other/:template',
    'access/rooms/:other',
    '',
  ];
  const change = {
    connection,
    auth: { userId: 'ada' },
    subscribe: [...closed, Vault.name, Rooms.name, 'access/open/2'],
    positions: [],
    unsubscribe: [],
    age: { tookMs: 0 },
  };
  await probe.redis.publish(own, packet({ kind: 'question', id: node, from: node, body: { change } }));
  // By number: 1 is CHANNEL_DENIED, 2 INVALID_CHANNEL. The other server has decided on all permitted names.
  expect(await answers.next()).toEqual([...closed.map((name) => (name === '' ? 2 : 1)), 0, 0, 0]);
  expect(await opened.client.next()).toMatchObject([
    'messaging:position',
    { channels: [{ channel: Vault.name }, { channel: Rooms.name }, { channel: 'access/open/2' }] },
  ]);
});

test('Clients that come from another server get missed messages, whatever strangers send at the same time', async () => {
  await using redis = await RedisServer.start();
  await using a = await startApp(modules({ redis: redis.url, gateway: { leaveMs: 0 } }));
  await using b = await startApp(modules({ redis: redis.url, gateway: { leaveMs: 0 } }));
  using probe = new RedisProbe(redis.url);
  const Mine = Open.for({ id: 'mine' });
  const first = await Promise.all(Array.from({ length: 20 }, () => at(a).open(Mine.name)));
  await Promise.all(first.map((opened) => opened[Symbol.asyncDispose]()));
  await a.app.get(MessagingService).postMessage(Mine, 'missed', { global: true });
  const node = first[0]!.ready.connection.slice(0, 36);
  const strange = new GatewayRequests(`${b.url}/messages`);
  const lastEventId = `${node}~1.0,1.0~${'A'.repeat(16)}~0,0`;
  const before = [await probe.calls('pubsub\\|numsub'), await probe.calls('publish')];
  const hostile = [
    strange.connect(claims(() => forged(randomUUID()))),
    strange.connect(claims(() => forged(randomUUID()))),
    strange.connect(claims(() => forged(node))),
    strange.with({ 'last-event-id': lastEventId }).get(Mine.name, 'x'.repeat(300)),
    strange.with({ 'last-event-id': lastEventId }).get(Mine.name, ''),
  ];
  const honest = await Promise.all(first.map((opened) => comeBack(b, opened)));
  for (const back of honest) expect(await framesBeforeReady(back)).toEqual([Mine.name]);
  const strangers = await Promise.all(hostile);
  for (const stranger of strangers.slice(0, 3)) {
    const [event, ready] = await stranger.next();
    expect(event).toBe('messaging:ready');
    for (const { recovered } of (ready as { channels: ChannelPosition[] }).channels) expect(recovered).toBe(false);
  }
  const [looks, published] = [await probe.calls('pubsub\\|numsub'), await probe.calls('publish')];
  expect(looks - before[0]!).toBeGreaterThan(0);
  expect(looks - before[0]!).toBeLessThan(200);
  expect(published - before[1]!).toBeLessThan(200);
  expect([...a.logger.problems, ...b.logger.problems]).toEqual([]);
  for (const client of [...honest, ...strangers]) client.abort();
});

/** Opens a stream once there is room, however long that takes, and leaves it. */
async function untilRoom(requests: GatewayRequests): Promise<void> {
  for (;;) {
    const client = await requests.connect({ channels: [] });
    client.abort();
    if (client.status === 200) return;
  }
}

/** Returns as a client that has read nothing yet. */
function comeBack(server: TestApp, { positions }: Opened): Promise<SseClient> {
  return at(server).connect({ channels: [...positions].map(([channel, position]) => ({ channel, position })) });
}

/** The channels of all missed messages. */
async function framesBeforeReady(client: SseClient): Promise<string[]> {
  const channels: string[] = [];
  for (;;) {
    const [event, data] = await client.next();
    if (event === 'messaging:ready') {
      const isRecovered = ((data as ReadyEvent).channels[0] as ChannelPosition).recovered;
      return isRecovered ? channels : ['not recovered'];
    }
    channels.push((data as { channel: string }).channel);
  }
}

const Public = () => SetMetadata('public', true);
const Counted = () => applyDecorators(Public(), UseGuards(Counts), UseInterceptors(Counts));
const ForClasses = (target: object, ...rest: unknown[]) => {
  if (typeof target !== 'function' || rest.length > 0) throw new TypeError('for classes');
  Reflect.defineMetadata('public', true, target);
};
const fails = () => {
  throw new Error('no');
};
const failsAtRoutes = (_target: object, key?: string) => {
  if (key !== undefined) throw new Error('no such role');
};
const replaces = (_target: object, _key?: string, descriptor?: PropertyDescriptor) =>
  descriptor && { ...descriptor, value: () => 'another' };
const mount = (decorators: unknown) => () => MessagingModule.forRoot({ gateway: { decorators } as never });
const noted: string[] = [];

/** Refuses all requests, except on routes marked as public for its lookup. */
@Injectable()
abstract class RefusesAll implements CanActivate {
  constructor(protected readonly reflector: Reflector) {}

  canActivate(context: ExecutionContext): boolean {
    if (this.isPublic(context)) return true;
    throw new UnauthorizedException();
  }

  protected abstract isPublic(context: ExecutionContext): boolean | undefined;
}

@Injectable()
class LooksAnywhere extends RefusesAll {
  protected isPublic(context: ExecutionContext) {
    return this.reflector.getAllAndOverride<boolean>('public', [context.getHandler(), context.getClass()]);
  }
}

@Injectable()
class LooksAtRoutes extends RefusesAll {
  protected isPublic(context: ExecutionContext) {
    return this.reflector.get<boolean>('public', context.getHandler());
  }
}

@Injectable()
class LooksAtControllers extends RefusesAll {
  protected isPublic(context: ExecutionContext) {
    return this.reflector.get<boolean>('public', context.getClass());
  }
}

@Injectable()
class Counts implements CanActivate, NestInterceptor {
  canActivate(): boolean {
    noted.push('guard');
    return true;
  }

  intercept(_context: ExecutionContext, next: { handle(): never }) {
    noted.push('interceptor');
    return next.handle();
  }
}

describe.each(ADAPTER_NAMES)('The option gateway.decorators, on %s,', (adapter) => {
  const start = (guard: new (reflector: Reflector) => CanActivate, gateway: MessagingModuleOptions['gateway']) =>
    startApp(
      { imports: [MessagingModule.forRoot({ gateway })], providers: [{ provide: APP_GUARD, useClass: guard }] },
      { adapter },
    );
  const open = Open.for({ id: 1 }).name;

  test.each([LooksAnywhere, LooksAtRoutes, LooksAtControllers])(
    'shows metadata to a guard of the whole application, for GET, POST and changes: %p',
    async (guard) => {
      await using running = await start(guard, { decorators: [Public()] });
      const requests = new GatewayRequests(`${running.url}/messages`);
      await using native = await requests.get(open);
      expect(native.status).toBe(200);
      await using opened = await requests.open();
      expect(await requests.changed(opened.ready.connection, { subscribe: [open] })).toEqual([{ channel: open }]);
    },
  );

  test('leaves the gateway of another application in this process alone', async () => {
    await using first = await start(LooksAtRoutes, { decorators: [Public()] });
    await using second = await start(LooksAtRoutes, true);
    await using allowed = await new GatewayRequests(`${first.url}/messages`).get(open);
    await using refused = await new GatewayRequests(`${second.url}/messages`).get(open);
    expect([allowed.status, refused.status]).toEqual([200, 401]);
  });

  test('accepts decorators for methods only, and decorators for classes only', async () => {
    await using running = await start(LooksAnywhere, { decorators: [Header('x-gateway', 'yes'), ForClasses] });
    await using native = await new GatewayRequests(`${running.url}/messages`).get(open);
    expect([native.status, native.headers['x-gateway']]).toEqual([200, 'yes']);
  });

  test('runs guards and interceptors of such a decorator once, the first decorator outermost', async () => {
    const order: string[] = [];
    const notes =
      (name: string): ClassDecorator =>
      (target) => {
        if (typeof target === 'function') order.push(name);
      };
    await using running = await start(LooksAnywhere, { decorators: [notes('first'), notes('second'), Counted()] });
    expect(order).toEqual(['second', 'first']);
    noted.length = 0;
    await using native = await new GatewayRequests(`${running.url}/messages`).get(open);
    expect([native.status, ...noted]).toEqual([200, 'guard', 'interceptor']);
  });
});

test('The option gateway.decorators refuses a value that decorates nothing, and names it', () => {
  expect(mount([Public])).toThrow('option "decorators[0]" of the gateway must not replace what it decorates');
  expect(mount([Public(), fails])).toThrow('option "decorators[1]" of the gateway fits neither');
  expect(mount(Public())).toThrow('option "decorators" must be an array of decorators, as [Public()], not');
  expect(mount([Public(), undefined])).toThrow(ConfigurationError);
  expect(mount([7])).toThrow('option "decorators[0]" of the gateway must be a decorator, as Public(), not 7');
});

test('The option gateway.decorators reports a decorator that fails or takes the route away', () => {
  expect(mount([failsAtRoutes])).toThrow('option "decorators[0]" of the gateway failed at its routes: no such role');
  expect(mount([fails])).toThrow('fits neither its controller (no) nor its routes (no)');
  expect(mount([replaces])).toThrow('option "decorators[0]" of the gateway must not replace what it decorates');
});

const setsPolicy = (app: TestApp['app']): void => {
  app.use((_request: unknown, response: { setHeader(name: string, value: string): void }, next: () => void) => {
    response.setHeader('content-security-policy', "default-src 'self'");
    next();
  });
};

test.each(ADAPTER_NAMES)(
  'The headers of middleware such as helmet are on streams and answers, on %s',
  async (adapter) => {
    await using running = await startApp(modules(), { adapter, configure: setsPolicy });
    await using native = await at(running).get(Open.for({ id: 1 }).name);
    await using opened = await at(running).open(Open.for({ id: 2 }).name);
    const change = await at(running).change(opened.ready.connection, { subscribe: [] });
    const headers = [native.headers, opened.client.headers].map((each) => each['content-security-policy']);
    expect([...headers, change.headers.get('content-security-policy')]).toEqual(Array(3).fill("default-src 'self'"));
  },
);

const problemsAfter = async (channels: string[]) => {
  await using running = await startApp(modules());
  for (const channel of channels) {
    await using opened = await at(running).open(channel);
    expect(opened.ready.channels.map(({ error }) => error)).toEqual(['CHANNEL_DENIED']);
  }
  return running.logger.problems;
};
const because = (channel: string, reason: string) =>
  `warn A client was denied channel "${channel}": ${reason} (this is not logged in production)`;

describe('A channel that the application offers to no client', () => {
  test('is explained in the log, once for each name, and for a few names only', async () => {
    const unknown = 'nothing on this server defines a channel or template of this name';
    expect(
      await problemsAfter([
        'nowhere',
        'nowhere',
        'access/closed/1',
        'access/closed/:id',
        Open.name,
        'n/2',
        'n/3',
        'n/4',
      ]),
    ).toEqual([
      because('nowhere', unknown),
      because(
        'access/closed/1',
        '"access/closed/:id" is defined without "clients: true", and no @AuthorizeChannel method decides about it',
      ),
      ...['access/closed/:id', Open.name].map((name) =>
        because(name, 'a whole template needs a method with @AuthorizeChannel(template, { all: true })'),
      ),
    ]);
  });

  test('is not explained in production; a denial by an authorizer or a scope is never explained', async () => {
    expect(await problemsAfter(['access/rooms/denied', Vault.name])).toEqual([]);
    const { NODE_ENV } = process.env;
    process.env['NODE_ENV'] = 'production';
    try {
      expect((await problemsAfter(['nowhere'])).filter((line) => line.includes('denied'))).toEqual([]);
    } finally {
      process.env['NODE_ENV'] = NODE_ENV;
    }
  });
});
