import { Injectable, Module, type ModuleMetadata } from '@nestjs/common';
import { APP_GUARD, LazyModuleLoader } from '@nestjs/core';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  AuthorizeChannel,
  defineChannel,
  MessagingModule,
  MessagingService,
  type ClientContext,
  type MessagingModuleOptions,
} from 'nestjs-messaging';
import { ADAPTER_NAMES, startApp, type AdapterName, type TestApp } from '../support/apps.js';
import { GatewayRequests, frameOf } from '../support/gateway-requests.js';
import { ReadsUser } from '../support/reads-user.js';
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

const modules = (options: MessagingModuleOptions = {}): ModuleMetadata => ({
  imports: [MessagingModule.forRoot({ gateway: true, ...options })],
  providers: [Access, { provide: APP_GUARD, useClass: ReadsUser }],
});
const at = ({ url }: TestApp) => new GatewayRequests(`${url}/messages`).as('ada');

/** Posts to the channels that are closed, then to one that is not. */
async function postToAll({ app }: TestApp, last: string, global = false): Promise<void> {
  const messaging = app.get(MessagingService);
  for (const channel of [Board, Vault]) await messaging.postMessage(channel, 'closed', { global });
  await messaging.postMessage('access/rooms/denied', 'closed', { global });
  await messaging.postMessage(Rooms.for({ roomId: last }), 'open', { global });
}

describe.each(ADAPTER_NAMES)('A client that has a template as a whole, on %s,', (adapter: AdapterName) => {
  let running: TestApp;
  beforeAll(async () => {
    running = await startApp(modules(), { adapter });
  });
  afterAll(async () => running[Symbol.asyncDispose]());

  test('gets none of the channels that something else decides about', async () => {
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

  test('gets none of them on the stream of a native EventSource', async () => {
    await using client = await at(running).get(Rooms.name);
    expect((await client.next())[0]).toBe('messaging:ready');
    await postToAll(running, 'lobby');
    expect(await client.next()).toEqual(['message', 'open']);
  });

  test('gets none of a more literal template', async () => {
    await using opened = await at(running).open(Areas.name);
    await postToAll(running, 'lobby');
    await running.app.get(MessagingService).postMessage(Areas.for({ area: 'halls', roomId: 1 }), 'hall');
    expect(await frameOf(opened.client)).toMatchObject({ channel: 'access/halls/1' });
  });

  test('gets no more of a channel that a module decides about which is loaded later', async () => {
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
    // Not even of what was sent before.
    await using back = await comeBack(running, opened.ready.position);
    expect(await framesBeforeReady(back)).toEqual(['access/rooms/lobby']);
  });

  test('gets none of them when it comes back', async () => {
    await using opened = await at(running).open(Rooms.name);
    const { position } = opened.ready;
    opened.client.abort();
    await postToAll(running, 'missed');
    await using back = await comeBack(running, position);
    expect(await framesBeforeReady(back)).toEqual(['access/rooms/missed']);
  });
});

test('A client that has a template as a whole gets no closed channel from another server, nor when it comes back to one', async () => {
  await using redis = await RedisServer.start();
  await using a = await startApp(modules({ redis: redis.url }));
  await using b = await startApp(modules({ redis: redis.url }));
  await using opened = await at(a).open(Rooms.name);
  await postToAll(b, 'lobby', true);
  expect(await frameOf(opened.client)).toMatchObject({ channel: 'access/rooms/lobby' });
  await using back = await comeBack(b, opened.ready.position);
  expect(await framesBeforeReady(back)).toEqual(['access/rooms/lobby']);
});

function comeBack(server: TestApp, position: string): Promise<SseClient> {
  return at(server).connect({ channels: [{ channel: Rooms.name, recover: true }], position });
}

/** The channels of the messages that were missed, all of them. */
async function framesBeforeReady(client: SseClient): Promise<string[]> {
  const channels: string[] = [];
  for (;;) {
    const [event, data] = await client.next();
    if (event === 'messaging:ready') {
      expect(data).toMatchObject({ channels: [{ recovered: true }] });
      return channels;
    }
    channels.push((data as { channel: string }).channel);
  }
}
