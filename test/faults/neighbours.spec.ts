import { readFileSync } from 'node:fs';
import path from 'node:path';
import { randomUUID } from 'node:crypto';
import { Controller, Module } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { APP_GUARD } from '@nestjs/core';
import { Redis } from 'ioredis';
import {
  AuthorizeChannel,
  ClientConnections,
  defineChannel,
  MessagingModule,
  MessagingService,
  RevokedAuthenticationAuthId,
  type ClientContext,
  type MessagingModuleOptions,
} from 'nestjs-messaging';
import { Deferred } from '../../lib/core/deferred.js';
import { Hub } from '../../lib/core/hub.js';
import { NodeRequests } from '../../lib/core/node-requests.js';
import { startApp, type TestApp } from '../support/apps.js';
import { GatewayRequests, frameOf } from '../support/gateway-requests.js';
import { Queue } from '../support/queue.js';
import { ReadsUser } from '../support/reads-user.js';
import { RecordingReporter } from '../support/recording-reporter.js';
import { RedisNodes } from '../support/redis-nodes.js';
import type { RedisServer } from '../support/redis-server.js';

const SECRET = 'a secret of the servers, and of nobody else';
const Phone = new RevokedAuthenticationAuthId('phone');
const SIGNED = /,"sig":"[\w-]{43}"\}$/;
const Board = defineChannel<string>('neighbours/board', undefined, { clients: true });
const Vault = defineChannel<string>('neighbours/vault');

@Controller()
class Access {
  @AuthorizeChannel(Vault)
  mayRead({ auth }: ClientContext) {
    return auth?.userId === 'owner';
  }
}

let nodes: RedisNodes;
let redis: RedisServer;
let running: TestApp[];
beforeEach(async () => {
  nodes = new RedisNodes();
  running = [];
  redis = await nodes.server();
});
afterEach(() => nodes[Symbol.asyncDispose]());

async function server(options: MessagingModuleOptions = {}): Promise<TestApp> {
  const app = nodes.use(
    await startApp({
      imports: [MessagingModule.forRoot({ redis: redis.url, gateway: { leaveMs: 0 }, ...options })],
      controllers: [Access],
      providers: [{ provide: APP_GUARD, useClass: ReadsUser }],
    }),
  );
  running.push(app);
  return app;
}

const requestsTo = ({ url }: TestApp, user: string) => new GatewayRequests(`${url}/messages`).as(user);

/** The logs of all servers: Nest has one logger in a process. */
const logged = () => running.flatMap(({ logger }) => logger.problems).join('\n');

/** Everything sent under the prefix of the application, as another client of this Redis sees it. */
async function eavesdropper() {
  const heard = new Queue<{ readonly channel: string; readonly payload: string }>();
  const client = new Redis(redis.url);
  nodes.use({ [Symbol.dispose]: () => client.disconnect() });
  await client.psubscribe('messaging:|*');
  client.on('pmessage', (_pattern: string, channel: string, payload: string) => heard.push({ channel, payload }));
  return heard;
}

/** A neighbour's use of a recorded payload: a message at a place of a history. */
function wrapped(payload: string, epoch: string, offset: number): string {
  return `\n{"history":{"epoch":"${epoch}","offset":${offset},"count":1}}\n${payload}`;
}

/** A neighbour's record of a revocation. */
async function recordRevocation(by: TestApp) {
  const heard = await eavesdropper();
  expect(await by.app.get(MessagingService).revokeAuthentication('nobody')).toBe(true);
  const { channel, payload } = await heard.until((each) => each.channel.endsWith('messaging:revocations'));
  const [, head, signed] = payload.split('\n');
  const { epoch, offset } = (JSON.parse(head!) as { history: { epoch: string; offset: number } }).history;
  return { heard, channel, signed: signed!, epoch, offset };
}

/** Resolves once the server of this stream has received everything published before. */
async function untilHeard(opened: { readonly client: Parameters<typeof frameOf>[0] }): Promise<void> {
  const neighbour = nodes.probe(redis);
  const mark = randomUUID();
  const envelope = `{"metadata":{"v":1,"node":"${randomUUID()}","at":${Date.now()},"n":1},"pattern":"${Board.name}","data":"${mark}"}`;
  await neighbour.redis.publish(`messaging:|${Board.name}`, envelope);
  await opened.client.events.until(({ data }) => data.includes(mark));
}

describe('A neighbour on the same Redis, if the servers have a secret,', () => {
  test('changes no subscription of a client, and repeats no former change', async () => {
    const [a, b] = [await server({ secret: SECRET }), await server({ secret: [SECRET] })];
    await using opened = await requestsTo(a, 'eve').open(Board.name);
    const { connection } = opened.ready;
    const heard = await eavesdropper();
    // A change requested through another server, which the neighbour turns into a different one.
    await requestsTo(b, 'eve').changed(connection, { unsubscribe: ['neighbours/none'] });
    const { channel, payload } = await heard.until((each) => each.channel.includes(connection.slice(0, 36)));
    const forged = payload
      .replace(/"subscribe":\[[^\]]*\]/, `"subscribe":["${Vault.name}"]`)
      .replace(/"id":"[^"]*"/, `"id":"${randomUUID()}"`);
    expect(forged).toContain(Vault.name);
    const neighbour = nodes.probe(redis);
    for (const each of [forged, forged.replace(/,"sig":"[^"]*"/, ''), payload]) {
      expect(await neighbour.redis.publish(channel, each)).toBeGreaterThan(0);
    }
    await b.app.get(MessagingService).postMessage(Vault, 'for the owner alone', { global: true });
    await untilHeard(opened);
    expect(opened.client.events.pending).toEqual([]);
    expect(logged()).toMatch(/signature is wrong[^]*not signed[^]*received before/);
  });

  test('repeats nothing by presenting it as a part of a history', async () => {
    const [a, b] = [await server({ secret: SECRET }), await server({ secret: SECRET })];
    const eve = await requestsTo(a, 'eve').open(Board.name);
    const heard = await eavesdropper();
    await requestsTo(b, 'eve').changed(eve.ready.connection, { unsubscribe: [Board.name] });
    const change = await heard.until((each) => each.channel.includes(eve.ready.connection.slice(0, 36)));
    await requestsTo(b, 'eve').changed(eve.ready.connection, { subscribe: [Board.name] });
    await using opened = await requestsTo(a, 'bob').open(Board.name);
    const bob = await requestsTo(a, 'bob').open(Board.name);
    expect(await b.app.get(ClientConnections).disconnect(bob.ready.connection)).toBe(true);
    await b.app.get(ClientConnections).disconnect({ userId: 'carol' });
    const order = await heard.until((each) => each.payload.includes('carol'));
    await using carol = await requestsTo(a, 'carol').open(Board.name);
    const neighbour = nodes.probe(redis);
    for (const { channel, payload } of [change, order]) {
      expect(await neighbour.redis.publish(channel, wrapped(payload, 'aaaaaaaaaaaaaaaaaaaa', 1))).toBeGreaterThan(0);
    }
    for (const each of [carol, eve, opened]) await untilHeard(each);
    expect(logged()).toMatch(/messaging:node.*part of a history/);
    eve.client.abort();
  });

  test('hides no revocation from any server by publishing another one in its place', async () => {
    const [a, b] = [await server({ secret: SECRET }), await server({ secret: SECRET })];
    const { channel, signed, epoch, offset } = await recordRevocation(a);
    await using opened = await requestsTo(b, 'owner phone').open(Board.name, Vault.name);
    const neighbour = nodes.probe(redis);
    for (const count of [1, 2, 3]) {
      const forged = wrapped(signed, epoch, offset + count);
      expect(await neighbour.redis.publish(channel, forged)).toBeGreaterThan(0);
    }
    await untilHeard(opened);
    expect(await a.app.get(MessagingService).revokeAuthentication('owner', Phone)).toBe(true);
    await opened.client.ended;
    expect((await requestsTo(b, 'owner phone').connect({ channels: [{ channel: Vault.name }] })).status).toBe(401);
  });

  test('costs a server few reads, and delays nothing, by announcing revocations without end', async () => {
    const a = await server({ secret: SECRET });
    const { channel, signed, epoch, offset } = await recordRevocation(a);
    await using opened = await requestsTo(a, 'eve').open(Board.name);
    const neighbour = nodes.probe(redis);
    const [start, before] = [performance.now(), await neighbour.calls('evalsha')];
    for (let count = 1; count <= 1_000; count++) {
      await neighbour.redis.publish(channel, wrapped(signed, epoch, offset + count));
      if (count % 100 === 0) await untilHeard(opened);
    }
    // Two before it pauses, the last of which may have begun before.
    const pauses = (performance.now() - start) / 100;
    expect((await neighbour.calls('evalsha')) - before).toBeLessThanOrEqual(4 + pauses);
  });

  test('readmits nobody by deleting the stored revocations, once another revocation follows', async () => {
    const a = await server({ secret: SECRET });
    const { heard } = await recordRevocation(a);
    expect(await a.app.get(MessagingService).revokeAuthentication('owner', Phone)).toBe(true);
    await heard.until(({ payload }) => payload.includes('"owner"'));
    const neighbour = nodes.probe(redis);
    const keys = await neighbour.redis.keys('*revocations');
    expect(await neighbour.redis.del(...keys)).toBeGreaterThan(1);
    expect(await a.app.get(MessagingService).revokeAuthentication('somebody')).toBe(true);
    await heard.until(({ payload }) => payload.includes('"owner"'));
    const late = await server({ secret: SECRET });
    expect((await requestsTo(late, 'owner phone').connect({ channels: [{ channel: Vault.name }] })).status).toBe(401);
  });

  test('cannot answer in place of a server', async () => {
    const answer = new Deferred();
    const at = async (answers: (body: unknown) => unknown) => {
      const hub = new Hub({ reporter: new RecordingReporter(), secrets: [SECRET], transport: nodes.create(redis.url) });
      nodes.use({ [Symbol.asyncDispose]: () => hub.close() });
      const requests = new NodeRequests(hub, answers);
      const listeners = requests.listen();
      await hub.start();
      await Promise.all(listeners.map(({ ready }) => ready));
      return { hub, requests };
    };
    const a = await at(async () => {
      await answer.promise;
      return 'the truth';
    });
    const b = await at(() => undefined);
    const heard = await eavesdropper();
    const answered = b.requests.ask(a.hub.node, 'may they?', 60_000);
    const { payload } = await heard.until(({ channel }) => channel.includes(a.hub.node));
    const id = /"id":"([^"]*)"/.exec(payload)![1]!;
    const data = `{"kind":"answer","id":"${id}","body":"a lie"}`;
    const own = `messaging:node/${b.hub.node}`;
    const forged = `{"metadata":{"v":1,"node":"${a.hub.node}","at":${Date.now()},"n":9},"pattern":"${own}","data":${data}}`;
    const neighbour = nodes.probe(redis);
    for (const each of [forged, `${forged.slice(0, -1)},"sig":"${'A'.repeat(43)}"}`]) {
      expect(await neighbour.redis.publish(`messaging:|${own}`, each)).toBeGreaterThan(0);
    }
    answer.resolve();
    expect(await answered).toBe('the truth');
    expect(b.hub.rejectedCount).toBe(2);
  });

  test('revokes nobody, even with this library; servers with the secret do', async () => {
    const [a, b] = [await server({ secret: SECRET }), await server({ secret: [SECRET, 'x'.repeat(32)] })];
    const neighbour = await server({ secret: 'the neighbour knows another secret' });
    await using opened = await requestsTo(a, 'owner').open(Board.name, Vault.name);
    await neighbour.app.get(MessagingService).revokeAuthentication('owner');
    await untilHeard(opened);
    expect(logged()).toContain('with a signature that no "secret" of this server has made');
    // Nor does a new server, which reads the earlier revocations at its start.
    const late = await server({ secret: SECRET });
    await using openedThere = await requestsTo(late, 'owner').open(Board.name, Vault.name);
    await b.app.get(MessagingService).revokeAuthentication('owner');
    await Promise.all([opened.client.ended, openedThere.client.ended]);
  });
});

test('Everything that servers with a secret send each other is signed', async () => {
  const heard = await eavesdropper();
  const a = await server({ secret: SECRET, gateway: { leaveMs: 1_000 } });
  const b = await server({ secret: SECRET });
  const opened = await requestsTo(a, 'owner').open(Board.name);
  const { connection, channels } = opened.ready;
  // A change, a recovery, the end of a subscription and a revocation, each through the other server.
  await requestsTo(b, 'owner').changed(connection, { subscribe: [Vault.name] });
  await b.app.get(ClientConnections).unsubscribe(connection, Vault.name);
  await b.app.get(ClientConnections).list({ userId: 'owner' });
  opened.client.abort();
  const wanted = channels.map(({ channel }) => ({ channel, position: opened.positions.get(channel) }));
  await using back = await requestsTo(b, 'owner').connect({ channels: wanted, from: connection });
  await back.events.until(({ event }) => event === 'messaging:ready');
  await b.app.get(MessagingService).revokeAuthentication('owner');
  await back.ended;
  await b.app.get(MessagingService).postMessage(Board, 'the last one', { global: true });
  const all = await heard.takeUntil(({ payload }) => payload.includes('the last one'));
  const sent = all.flatMap(({ channel, payload }) =>
    payload.split('\n').flatMap((line) => (line.includes('"pattern"') ? [{ channel, line }] : [])),
  );
  const kinds = new Set(sent.map(({ channel }) => channel.split('|')[1]!.split('/')[0]!));
  expect([...kinds].toSorted()).toEqual(['messaging:node', 'messaging:nodes', 'messaging:revocations']);
  for (const { channel, line } of sent) expect([channel, SIGNED.test(line)]).toEqual([channel, true]);
});

test('A server without a secret next to one with a secret is reported once by both, in plain words', async () => {
  const gateway = { leaveMs: 0, timeoutMs: 100 };
  const [signing, plain] = [await server({ secret: SECRET, gateway }), await server({ gateway })];
  await using opened = await requestsTo(signing, 'eve').open(Board.name);
  const changes = [1, 2, 3].map(() => requestsTo(plain, 'eve').change(opened.ready.connection, { subscribe: [] }));
  expect((await Promise.all(changes)).map(({ status }) => status)).toEqual([504, 504, 504]);
  for (const each of [signing, plain]) await each.app.get(ClientConnections).list({ userId: 'eve' });
  const warnings = logged()
    .split('\n')
    .filter((line) => line.includes('Give all servers of the application the same'));
  expect(warnings.toSorted()).toEqual([
    expect.stringContaining('but this one has no secret'),
    expect.stringContaining('a server of this application has no "secret"'),
  ]);
});

test('Without a secret a neighbour is trusted: it may revoke any user, as SECURITY.md states', async () => {
  const [a, neighbour] = [await server(), await server()];
  await using opened = await requestsTo(a, 'owner').open(Board.name);
  expect(await neighbour.app.get(MessagingService).revokeAuthentication('owner')).toBe(true);
  await opened.client.ended;
});

test('The permissions of docs/redis.md keep a neighbour from all harm', async () => {
  const file = path.resolve(import.meta.dirname, '../../docs/redis.md');
  const rules = [...readFileSync(file, 'utf8').matchAll(/^ACL (SETUSER .*)$/gm)].map(([, rule]) => rule!.split(' '));
  const admin = nodes.probe(redis);
  for (const rule of rules.filter((each) => !each.includes('off'))) await admin.redis.call('ACL', ...rule);
  const at = new URL(redis.url);
  const as = (user: string, password: string) => `redis://${user}:${password}@${at.host}`;
  const Log = defineChannel<string>('neighbours/log', undefined, { history: { maxMessages: 10, ttlMs: 60_000 } });

  @Module({})
  class Nothing {}
  const app = await server({ redis: as('app', 'secret'), types: [Nothing] });
  const messaging = app.app.get(MessagingService);
  expect(await messaging.postMessage(Log, 'kept')).toBe(true);
  expect(await messaging.revokeAuthentication('nobody')).toBe(true);
  expect(await app.app.get(ClientConnections).disconnect({ userId: 'nobody' })).toEqual({ count: 0, complete: true });
  // The application has all the rights that it needs.
  expect(logged()).toBe('');
  const [key] = await admin.redis.keys('messaging:*');
  const neighbour = new Redis(as('neighbour', 'other'), { enableReadyCheck: false });
  nodes.use({ [Symbol.dispose]: () => neighbour.disconnect() });
  await neighbour.set('other:key', 'is its own');
  await neighbour.publish('other:news', 'is its own');
  for (const [command, ...args] of [
    ['publish', 'messaging:|messaging:revocations', '{}'],
    ['subscribe', 'messaging:|neighbours/board'],
    ['psubscribe', 'messaging:|*'],
    ['psubscribe', '*'],
    ['type', key!],
    ['del', key!],
    ['xadd', key!, '*', 'a', 'b'],
    ['eval', `return redis.call('del', '${key!}')`, '0'],
    ['flushall'],
    ['monitor'],
    ['client', 'kill', 'type', 'normal'],
    ['config', 'get', '*'],
    ['acl', 'list'],
  ]) {
    await expect(neighbour.call(command!, ...args)).rejects.toThrow(/NOPERM|can't access/);
  }
});
