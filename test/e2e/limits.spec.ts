import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import http2 from 'node:http2';
import { Controller, Injectable, Scope, VersioningType, type CanActivate, type ModuleMetadata } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { afterEach, describe, expect, test } from '@jest/globals';
import { NEVER, type Observable } from 'rxjs';
import { MessagingModule, MessagingService, Sse, defineChannel, type MessagingModuleOptions } from 'nestjs-messaging';
import { ClientLimits } from '../../lib/sse/client-limits.js';
import { ADAPTER_NAMES, startApp, type AdapterName, type TestApp } from '../support/apps.js';
import { GatewayRequests, frameOf } from '../support/gateway-requests.js';
import { Queue } from '../support/queue.js';
import { ReadsUser } from '../support/reads-user.js';
import { SseClient } from '../support/sse-client.js';

const News = defineChannel<string>('limits/news', undefined, { clients: true });

const Room = defineChannel<string, 'limits/rooms/:id'>('limits/rooms/:id', undefined, { clients: true });

@Controller('quiet')
class QuietController {
  @Sse()
  stream(): Observable<unknown> {
    return NEVER;
  }
}

let timesGuarded = 0;

/** A guard that refuses every request. Nest creates one for each request. */
@Injectable({ scope: Scope.REQUEST })
class LetsNobodyIn implements CanActivate {
  canActivate(): boolean {
    timesGuarded++;
    return false;
  }
}

type Limits = MessagingModuleOptions['limits'];
const modules = (limits: Limits, options: MessagingModuleOptions = {}): ModuleMetadata => ({
  imports: [MessagingModule.forRoot({ gateway: true, limits, ...options })],
  controllers: [QuietController],
  providers: [{ provide: APP_GUARD, useClass: ReadsUser }],
});

const clients: SseClient[] = [];
const followed = (client: SseClient) => (clients.push(client), client);
afterEach(() => clients.splice(0).forEach((client) => client.abort()));

/** Asks for a stream of `@Sse()`. */
const quiet = async ({ url }: TestApp, headers: Record<string, string> = {}) =>
  followed(await SseClient.connect(`${url}/quiet`, { headers }));
const gateway = ({ url }: TestApp) => new GatewayRequests(`${url}/messages`);
const openOf = async (requests: GatewayRequests) => followed(await requests.connect({ channels: [] }));
const fifty = <T>(ask: (index: number) => Promise<T>) =>
  Promise.all(Array.from({ length: 50 }, (_, index) => ask(index)));
const from = (address: string) => ({ 'x-forwarded-for': address });

/** How many answers have each status, with their `Retry-After`. */
function statuses(answers: readonly (SseClient | Response)[]): Record<string, number> {
  return countsOf(answers, (answer) => {
    const after = answer instanceof SseClient ? answer.headers['retry-after'] : answer.headers.get('retry-after');
    return after == null ? String(answer.status) : `${answer.status} after ${after} s`;
  });
}

describe.each(ADAPTER_NAMES)('Limits on %s', (adapter: AdapterName) => {
  /** Time stands still there, so that no limit refills during a test. */
  const start = async (limits: Limits, options: MessagingModuleOptions = {}, trustProxy?: string) => {
    const running = await startApp(modules(limits, options), { adapter, trustProxy });
    Reflect.set(running.app.get(ClientLimits), 'now', () => 0);
    return running;
  };
  /** Behind a trusted proxy. */
  const behindProxy = (limits: Limits) => start(limits, {}, '127.0.0.1');

  test('hold for streams of @Sse() and of the gateway together, even for 50 at once', async () => {
    await using running = await start({ maxConnections: 20, maxAnonymousConnections: 20 });
    const answers = await fifty((index) => (index % 2 ? quiet(running) : openOf(gateway(running))));
    expect(statuses(answers)).toEqual({ 200: 20, '503 after 5 s': 30 });
    expect(running.logger.problems[0]).toBe(
      'warn A client was refused. This server holds 20 connections (limits.maxConnections)',
    );
    expect(running.logger.problems).toHaveLength(5);
  });

  test('are checked first, so that requests count while they wait for authentication', async () => {
    const waiting = new Queue<() => void>();
    const authenticate = () => new Promise<null>((resolve) => waiting.push(() => resolve(null)));
    await using running = await start({ maxConnections: 10, maxAnonymousConnections: 5 }, { authenticate });
    const answers = new Queue<SseClient>();
    const asked = fifty(async () => answers.push(await quiet(running)));
    expect(statuses(await answers.take(40))).toEqual({ '503 after 5 s': 40 });
    // The requests without a place were refused without a look at who they are from.
    expect(waiting.pending).toHaveLength(10);
    for (const answer of await waiting.take(10)) answer();
    expect(statuses(await answers.take(10))).toEqual({ 200: 5, '503 after 5 s': 5 });
    await asked;
  });

  test('of a user hold for @Sse() as well, and closed streams make room again', async () => {
    await using running = await start({ maxConnectionsPerUser: 3 });
    const ada = { 'x-user': 'ada' };
    const answers = await fifty(() => quiet(running, ada));
    expect(statuses(answers)).toEqual({ 200: 3, '429 after 5 s': 47 });
    expect(statuses([await quiet(running), await quiet(running, { 'x-user': 'bob' })])).toEqual({ 200: 2 });
    answers.find(({ status }) => status === 200)!.abort();
    await untilOpen(() => quiet(running, ada));
    expect(statuses([await quiet(running, ada)])).toEqual({ '429 after 5 s': 1 });
  });

  test('of an address hold separately for each client behind a trusted proxy', async () => {
    await using running = await behindProxy({ maxConnectionsPerAddress: 4 });
    const answers = await fifty((index) => quiet(running, from(`198.51.100.7, 192.0.2.${(index % 5) + 1}`)));
    expect(statuses(answers)).toEqual({ 200: 20, '429 after 5 s': 30 });
    const net = await fifty((index) => quiet(running, from(`2001:db8::1:${index}`)));
    expect(statuses(net)).toEqual({ 200: 4, '429 after 5 s': 46 });
    const odd = await fifty((index) => quiet(running, from(`nobody-${index}`)));
    expect(statuses(odd)).toEqual({ 200: 4, '429 after 5 s': 46 });
    // Without a trusted proxy, the address of this machine is not counted.
    expect(statuses(await fifty(() => quiet(running)))).toEqual({ 200: 50 });
    expect(running.logger.problems.filter((line) => !line.includes('maxConnectionsPerAddress'))).toEqual([]);
  });

  test('of an address do not apply to an untrusted proxy, which is logged once', async () => {
    await using running = await start({ maxConnectionsPerAddress: 4 });
    expect(statuses(await fifty(() => quiet(running, from('192.0.2.1'))))).toEqual({ 200: 50 });
    expect(running.logger.problems).toHaveLength(1);
    expect(running.logger.problems[0]).toContain('a proxy that this application does not trust');
  });

  test('of anonymous connections leave room for users', async () => {
    await using running = await start({ maxConnections: 10 });
    expect(statuses(await fifty(() => quiet(running)))).toEqual({ 200: 8, '503 after 5 s': 42 });
    expect(statuses([await quiet(running, { 'x-user': 'ada' })])).toEqual({ 200: 1 });
  });

  test('for opens per second hold for an address and for a user', async () => {
    await using running = await behindProxy({ maxOpensPerSecondPerAddress: 2, maxOpensPerSecondPerUser: 1 });
    const byAddress = await fifty(() => quiet(running, from('192.0.2.1')));
    expect(statusesOf(byAddress)).toEqual({ 200: 20, 429: 30 });
    expect(new Set(byAddress.map(({ headers }) => headers['retry-after']))).toEqual(new Set([undefined, '1']));
    const byUser = await fifty(() => openOf(gateway(running).as('ada')));
    expect(statusesOf(byUser)).toEqual({ 200: 10, 429: 40 });
    expect(statuses([await quiet(running)])).toEqual({ 200: 1 });
  });

  test('for changes per second of a connection and an address harm no stream', async () => {
    await using running = await behindProxy({ maxChangesPerSecondPerConnection: 1, maxChangesPerSecondPerAddress: 3 });
    await using ada = await gateway(running).open(News.name);
    await using bob = await gateway(running).open(News.name);
    const change = ({ connection }: { connection: string }, headers = {}) =>
      gateway(running).with(headers).change(connection, { subscribe: [] });
    expect(statusesOf(await fifty(() => change(ada.ready)))).toEqual({ 200: 10, 429: 40 });
    expect(await change(bob.ready)).toMatchObject({ status: 200 });
    // Regardless of the named connections.
    const named = await fifty((index) => change({ connection: `none-${index}` }, from('192.0.2.1')));
    expect(statusesOf(named)).toEqual({ 404: 30, 429: 20 });
    expect(statuses(named)).toEqual({ 404: 30, '429 after 1 s': 20 });
    await running.app.get(MessagingService).postMessage(News, 'still here');
    for (const { client } of [ada, bob]) expect(await frameOf(client)).toMatchObject({ data: 'still here' });
  });

  /** How many of 50 requests reach the guards; 0: the router finds no route. */
  const SPELLINGS: [path: string, method: 'GET' | 'POST', guarded: Record<AdapterName, number>][] = [
    ['http://app.example/live', 'GET', { Express: 10, Fastify: 10 }],
    ['/li%76e', 'GET', { Express: 0, Fastify: 10 }],
    ['/live\\#', 'GET', { Express: 10, Fastify: 0 }],
    ['/live/a;b/channels', 'POST', { Express: 10, Fastify: 10 }],
  ];
  test.each(SPELLINGS)(
    'of an address apply before guards run to the path %j, if the router finds the gateway there',
    async (path, method, guarded) => {
      const metadata: ModuleMetadata = {
        imports: [
          MessagingModule.forRoot({
            gateway: { path: 'live', guards: [LetsNobodyIn] },
            limits: { maxOpensPerSecondPerAddress: 1, maxChangesPerSecondPerAddress: 1 },
          }),
        ],
      };
      await using running = await startApp(metadata, { adapter, trustProxy: '127.0.0.1' });
      Reflect.set(running.app.get(ClientLimits), 'now', () => 0);
      timesGuarded = 0;
      const { hostname, port } = new URL(running.url);
      await fifty(async () => {
        const asked = request({ hostname, port, path, method, headers: from('192.0.2.1'), agent: false }).end();
        const [answer] = (await once(asked, 'response')) as [IncomingMessage];
        answer.resume();
      });
      expect(timesGuarded).toBe(guarded[adapter]);
    },
  );

  test('of an address and of the server apply to the gateway before its guards run', async () => {
    const limits = { maxOpensPerSecondPerAddress: 1, maxChangesPerSecondPerAddress: 2, maxConnections: 1 };
    const metadata: ModuleMetadata = {
      imports: [MessagingModule.forRoot({ gateway: { path: 'live', guards: [LetsNobodyIn], version: '2' }, limits })],
      controllers: [QuietController],
    };
    await using running = await startApp(metadata, {
      adapter,
      trustProxy: '127.0.0.1',
      configure: (app) => {
        app.enableCors({ origin: 'https://app.example' });
        app.enableVersioning({ type: VersioningType.URI, defaultVersion: '1' });
        app.setGlobalPrefix('api');
      },
    });
    Reflect.set(running.app.get(ClientLimits), 'now', () => 0);
    timesGuarded = 0;
    const requests = new GatewayRequests(`${running.url}/api/v2/live`, { origin: 'https://app.example' });
    const asked = requests.with(from('192.0.2.1'));
    const opens = await fifty(async (index) => followed(await (index % 2 ? asked.get(News.name) : openOf(asked))));
    expect(statuses(opens)).toEqual({ 403: 10, '429 after 1 s': 40 });
    expect(timesGuarded).toBe(10);
    // A page may read the answer.
    const origins = new Set(opens.map(({ headers }) => headers['access-control-allow-origin']));
    expect(origins).toEqual(new Set(['https://app.example']));
    const changes = await fifty(() => asked.change('none', { subscribe: [] }));
    expect(statuses(changes)).toEqual({ 403: 20, '429 after 1 s': 30 });
    expect(timesGuarded).toBe(30);
    // One stream from an uncounted address fills the server.
    await using stream = await SseClient.connect(`${running.url}/api/v1/quiet`);
    expect(statuses([stream, await openOf(requests), await openOf(requests)])).toEqual({ 200: 1, '503 after 5 s': 2 });
    expect(timesGuarded).toBe(30);
  });

  test('of an address count each request to the gateway once, and do not count preflight requests', async () => {
    await using running = await behindProxy({ maxOpensPerSecondPerAddress: 1 });
    await fifty(() => fetch(`${running.url}/messages`, { method: 'OPTIONS', headers: from('192.0.2.1') }));
    const answers = await fifty(() => openOf(gateway(running).with(from('192.0.2.1'))));
    expect(statusesOf(answers)).toEqual({ 200: 10, 429: 40 });
  });

  test('of requests for missed messages hold for opens, for changes, and for a native EventSource', async () => {
    await using running = await behindProxy({ maxRecoveriesPerSecondPerUser: 1, maxRecoveriesPerSecondPerAddress: 2 });
    const requests = gateway(running);
    await using opened = await requests.as('ada').open(News.name);
    const back = { channels: [{ channel: News.name, position: opened.positions.get(News.name) }] };
    const answers = await fifty(async () => followed(await requests.as('ada').connect(back)));
    expect(statusesOf(answers)).toEqual({ 200: 10, 429: 40 });
    const changes = await fifty(() => requests.as('ada').change(opened.ready.connection, { subscribe: back.channels }));
    expect(statusesOf(changes)).toEqual({ 429: 50 });
    const natives = await fifty(async () =>
      followed(await requests.with({ ...from('192.0.2.1'), 'last-event-id': 'unknown' }).get(News.name)),
    );
    expect(statusesOf(natives)).toEqual({ 200: 20, 429: 30 });
    // A request without missed messages is served.
    await using anew = await requests.as('ada').open(News.name);
    await running.app.get(MessagingService).postMessage(News, 'still here');
    for (const { client } of [opened, anew]) expect(await frameOf(client)).toMatchObject({ data: 'still here' });
  });
});

const names = (count: number) => Array.from({ length: count }, (_, index) => `limits/none/${index}`);
const asked = (count: number) => names(count).map((channel) => ({ channel }));

/** A request of this many bytes. */
const bodyOf = (bytes: number) => {
  const body = JSON.stringify({ unsubscribe: ['é'] });
  return body.replace('é', `é${'x'.repeat(bytes - Buffer.byteLength(body))}`);
};
const inChunks = (text: string) => new Blob([text]).stream();
const nested = (depth: number, begin = '[', end = ']') => `${begin.repeat(depth)}1${end.repeat(depth)}`;

describe.each(ADAPTER_NAMES)('One request on %s', (adapter: AdapterName) => {
  test('may name up to the limit of channels in total, and not one more', async () => {
    await using running = await startApp(modules({ maxNamesPerRequest: 20 }), { adapter });
    const requests = gateway(running);
    await using opened = await requests.open(News.name);
    const open = async (count: number) => followed(await requests.connect({ channels: asked(count) })).status;
    expect([await open(20), await open(21)]).toEqual([200, 413]);
    const listen = async (count: number) => followed(await requests.get(News.name, ...names(count))).status;
    expect([await listen(19), await listen(20)]).toEqual([200, 413]);
    const { connection } = opened.ready;
    const change = async (subscribe: number, unsubscribe: number) =>
      (await requests.change(connection, { subscribe: asked(subscribe), unsubscribe: names(unsubscribe) })).status;
    expect([await change(15, 5), await change(15, 6), await change(0, 20), await change(21, 0)]).toEqual([
      200, 413, 200, 413,
    ]);
    const refused = await fifty(async () => requests.change(connection, { unsubscribe: names(21) }));
    expect(statusesOf(refused)).toEqual({ 413: 50 });
    expect(await refused[0]!.text()).toContain('Name 20 channels at most in one request (limits.maxNamesPerRequest)');
    await running.app.get(MessagingService).postMessage(News, 'still here');
    expect(await frameOf(opened.client)).toMatchObject({ data: 'still here' });
  });

  test('may subscribe to as many channels as the connection may have, even among 50 changes at once', async () => {
    await using running = await startApp(modules({ maxSubscriptionsPerConnection: 20 }), { adapter });
    const requests = gateway(running);
    await using opened = await requests.open(News.name);
    const { connection } = opened.ready;
    const answers = await fifty((index) => requests.changed(connection, { subscribe: [Room.for({ id: index }).name] }));
    const errors = answers.map(([answer]) => answer!.error);
    expect(errors.filter((error) => error === undefined)).toHaveLength(19);
    expect(errors.filter((error) => error === 'LIMIT_EXCEEDED')).toHaveLength(31);
    await running.app.get(MessagingService).postMessage(News, 'still here');
    expect(await frameOf(opened.client)).toMatchObject({ data: 'still here' });
  });

  test('may be as long as the limit, and not one byte longer, even in chunks', async () => {
    await using running = await startApp(modules({ maxRequestBytes: 1_000 }), { adapter });
    const requests = gateway(running);
    await using opened = await requests.open(News.name);
    const path = `/${opened.ready.connection}/channels`;
    const statusOf = async (body: BodyInit) =>
      (
        await fetch(`${running.url}/messages${path}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body,
          duplex: 'half',
        } as RequestInit)
      ).status;
    expect([await statusOf(bodyOf(1_000)), await statusOf(bodyOf(1_001))]).toEqual([200, 413]);
    expect([await statusOf(inChunks(bodyOf(1_000))), await statusOf(inChunks(bodyOf(1_001)))]).toEqual([200, 413]);
    const all = await fifty(async (index) => (await requests.post(path, bodyOf(975 + index))).status);
    expect(all.filter((status) => status === 200)).toHaveLength(26);
    expect(all.filter((status) => status === 413)).toHaveLength(24);
    expect((await requests.connect({ channels: asked(100) })).status).toBe(413);
    expect(await statusOf(inChunks(`{"x":${nested(45_000)}}`))).toBe(413);
    await running.app.get(MessagingService).postMessage(News, 'still here');
    expect(await frameOf(opened.client)).toMatchObject({ data: 'still here' });
  });

  test('may be nested as deeply as its length allows, even in chunks, and nothing is logged', async () => {
    await using running = await startApp(modules({}), { adapter });
    await using opened = await gateway(running).open(News.name);
    const url = `${running.url}/messages`;
    for (const deep of [nested(45_000), nested(15_000, '{"a":', '}')]) {
      const send = (path: string) => {
        const body = inChunks(`{"channels":1,"x":${deep}}`);
        const headers = { 'content-type': 'application/json' };
        return fetch(url + path, { method: 'POST', headers, body, duplex: 'half' } as RequestInit);
      };
      expect((await send(`/${opened.ready.connection}/channels`)).status).toBe(200);
      expect((await send('')).status).toBe(400);
    }
    expect(running.logger.problems).toEqual([]);
  });
});

test('Limits hold for streams over one HTTP/2 connection, and refused streams do not disturb the others', async () => {
  await using running = await startApp(modules({ maxConnections: 10, maxAnonymousConnections: 10 }), { http2: {} });
  const session = http2.connect(running.url);
  const statusOf = async (path: string) => {
    const stream = session.request({ ':path': path, accept: 'text/event-stream' });
    const [headers] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders & { ':status': number }];
    return { stream, answer: `${headers[':status']} ${headers['retry-after'] ?? ''}` };
  };
  const all = await fifty(() => statusOf(`/messages?channel=${News.name}`));
  const open = all.filter(({ answer }) => answer === '200 ');
  expect([open.length, all.filter(({ answer }) => answer === '503 5').length]).toEqual([10, 40]);
  open[0]!.stream.close(http2.constants.NGHTTP2_CANCEL);
  while ((await statusOf('/quiet')).answer !== '200 ');
  expect((await statusOf('/quiet')).answer).toBe('503 5');
  const texts = open.slice(1).map(async ({ stream }) => {
    let text = '';
    for await (const chunk of stream.setEncoding('utf8')) if ((text += chunk).includes('still here')) return true;
    return false;
  });
  await running.app.get(MessagingService).postMessage(News, 'still here');
  expect(await Promise.all(texts)).toEqual(texts.map(() => true));
  session.destroy();
});

/** Opens a stream once there is room, however long that takes. */
async function untilOpen(ask: () => Promise<SseClient>): Promise<void> {
  while ((await ask()).status !== 200);
}

function statusesOf(answers: readonly (SseClient | Response)[]): Record<string, number> {
  return countsOf(answers, ({ status }) => String(status));
}

function countsOf<T>(items: readonly T[], keyOf: (item: T) => string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const key of items.map(keyOf)) counts[key] = (counts[key] ?? 0) + 1;
  return counts;
}
