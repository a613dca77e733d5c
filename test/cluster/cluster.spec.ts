import { Controller, Injectable } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { filter, firstValueFrom } from 'rxjs';
import {
  ClientConnectionChanges,
  defineChannel,
  LimitExceededError,
  Message,
  Messages,
  messagesFrom,
  MessagingModule,
  MessagingService,
  OnMessage,
  RevokedAuthenticationAuthId,
  Serializable,
  SessionMessages,
  sourceRef,
  Sse,
  UnserializableError,
  type MessagingModuleOptions,
} from 'nestjs-messaging';
import { Inbox, MemoryBroker, MemoryTransport } from 'nestjs-messaging/testing';
import { createApp, startApp, type TestApp } from '../support/apps.js';
import { Queue } from '../support/queue.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';
import { SseClient } from '../support/sse-client.js';

@Serializable()
class UserUpdate {
  constructor(
    readonly id: number,
    readonly name: string,
  ) {}
  get label() {
    return `${this.id}: ${this.name}`;
  }
}
class Said extends Message {
  constructor(readonly text: string) {
    super();
  }
}

const Users = defineChannel('user_updates', UserUpdate);
const Rooms = defineChannel<string, 'rooms/:roomId'>('rooms/:roomId');
const Numbers = defineChannel<number>('numbers');

const authenticateAda = ({ headers }: { headers: Record<string, string> }) => ({
  userId: 'ada',
  authId: headers['x-auth']!,
});

interface Node extends TestApp {
  readonly messaging: MessagingService;
}

const running: Node[] = [];
afterEach(async () => {
  for (const node of running.splice(0)) await node.app.close();
});

const envelope = (channel: string, data: string) =>
  `{"metadata":{"v":1,"node":"n","at":1},"pattern":"${channel}","data":${data}}`;
const ready = (node: Node) => firstValueFrom(node.messaging.status.pipe(filter(({ state }) => state === 'ready')));
const waiting = (node: Node) => firstValueFrom(node.messaging.status.pipe(filter(({ state }) => state === 'waiting')));

/** The status of a node with this text in its error. */
const told = (node: Node, text: string) =>
  firstValueFrom(node.messaging.status.pipe(filter(({ error }) => error?.message.includes(text) ?? false)));

async function startNode(
  options: MessagingModuleOptions,
  parts: { controllers?: never[]; providers?: never[] } = {},
): Promise<Node> {
  const app = await startApp({ imports: [MessagingModule.forRoot(options)], ...parts });
  const node = { ...app, messaging: app.app.get(MessagingService) };
  running.push(node);
  return node;
}

let redis: RedisServer;
let broker: MemoryBroker;
beforeAll(async () => {
  redis = await RedisServer.start();
  broker = new MemoryBroker();
});
afterAll(() => redis.stop());

const LINKS = {
  memory: (): MessagingModuleOptions => ({ transport: new MemoryTransport(broker) }),
  Redis: (): MessagingModuleOptions => ({ redis: redis.url }),
};

describe.each(Object.keys(LINKS) as (keyof typeof LINKS)[])('three servers joined by %s', (link) => {
  const start = (parts = {}) => startNode(LINKS[link](), parts);
  const three = async () => [await start(), await start(), await start()] as const;

  test('deliver a global post once to each listener on each server, as an instance of its class', async () => {
    const nodes = await three();
    const inboxes = nodes.flatMap(({ messaging }) => [
      new Inbox(messaging, Users),
      new Inbox(messaging, 'user_updates'),
    ]);
    for (const inbox of inboxes) await inbox.ready;

    await expect(nodes[0].messaging.postMessage(Users, new UserUpdate(7, 'Ada'), { global: true })).resolves.toBe(true);
    await nodes[0].messaging.postMessage(Users, new UserUpdate(8, 'last'), { scope: 'auto' });

    for (const [index, inbox] of (inboxes as Inbox<UserUpdate>[]).entries()) {
      const { message, context } = await inbox.nextReceived();
      expect(message).toBeInstanceOf(UserUpdate);
      expect(message.label).toBe('7: Ada');
      expect(context).toMatchObject({
        channel: 'user_updates',
        type: 'UserUpdate',
        origin: index < 2 ? 'local' : 'global',
        node: nodes[0].messaging.node,
      });
      expect(Math.abs(Date.now() - context.postedAt)).toBeLessThan(60_000);
      // The next post follows immediately: nothing came twice.
      expect(await inbox.next()).toMatchObject({ id: 8 });
      expect(inbox.pending).toEqual([]);
    }
  });

  test('keep a local post on its own server', async () => {
    const [one, two] = await three();
    using here = new Inbox(one.messaging, Numbers);
    using there = new Inbox(two.messaging, Numbers);
    await there.ready;
    await one.messaging.postMessage(Numbers, 1);
    await one.messaging.postMessage(Numbers, 2, { scope: 'local' });
    await one.messaging.postMessage(Numbers, 3, { scope: 'auto' });
    expect(await here.take(3)).toEqual([1, 2, 3]);
    expect(await there.next()).toBe(3);
  });

  test('see posts in the order of posting, including posts made by a listener', async () => {
    const [one, two] = await three();
    using there = new Inbox(two.messaging, Numbers);
    await there.ready;
    using here = new Inbox(one.messaging, Numbers);
    one.messaging.addListener(Numbers, (n) => {
      if (n < 1_000 && n % 2 === 0) void one.messaging.postMessage(Numbers, n + 1, { global: true });
    });
    for (let n = 0; n < 1_000; n += 2) void one.messaging.postMessage(Numbers, n, { global: true });
    const expected = Array.from({ length: 1_000 }, (_, n) => n);
    expect(await here.take(1_000)).toEqual(expected);
    expect(await there.take(1_000)).toEqual(expected);
  });

  test('hear each post to a template once with its parameters, and each post to one of its channels once', async () => {
    const [one, two] = await three();
    const seen = new Queue<unknown>();
    const all = two.messaging.addListener(Rooms, (text, { params, channel }) =>
      seen.push(['all', text, channel, params['roomId']]),
    );
    const own = two.messaging.addListener(Rooms.for({ roomId: 1 }), (text, { params }) =>
      seen.push(['one', text, params['roomId']]),
    );
    await Promise.all([all.ready, own.ready]);
    void one.messaging.postMessage(Rooms.for({ roomId: 1 }), 'first', { global: true });
    void one.messaging.postMessage(Rooms.for({ roomId: 2 }), 'second', { global: true });
    void one.messaging.postMessage('rooms/2/deeper', 'not of the template', { global: true });
    void one.messaging.postMessage(Rooms.for({ roomId: 1 }), 'third', { global: true });
    const came = (await seen.take(5)) as string[][];
    expect(came.filter(([which]) => which === 'all')).toEqual([
      ['all', 'first', 'rooms/1', '1'],
      ['all', 'second', 'rooms/2', '2'],
      ['all', 'third', 'rooms/1', '1'],
    ]);
    expect(came.filter(([which]) => which === 'one')).toEqual([
      ['one', 'first', '1'],
      ['one', 'third', '1'],
    ]);
  });

  test('reach @OnMessage handlers, and listeners of a source', async () => {
    const handled = new Queue<unknown>();
    @Injectable()
    class Handler {
      @OnMessage(Users)
      handle(update: UserUpdate) {
        handled.push(update.label);
      }
    }
    const one = await start();
    const two = await start({ providers: [Handler] });
    using from = new Inbox(two.messaging, messagesFrom(sourceRef('Room', 'lobby'), Said));
    await from.ready;
    // Requested together with the inbox, so registered by now as well.
    await one.messaging.postMessage(Users, new UserUpdate(1, 'Ada'), { global: true });
    await one.messaging.sendMessage(sourceRef('Room', 'lobby'), new Said('hello'));
    expect(await handled.next()).toBe('1: Ada');
    expect(await from.next()).toEqual(new Said('hello'));
  });

  test('end the streams of a revoked sign-in on every server', async () => {
    @Controller()
    class Streams {
      @Sse('users')
      users(@Messages() messages: SessionMessages) {
        return messages.createStream(Users);
      }
    }
    const one = await start();
    const two = await startNode(
      { ...LINKS[link](), authenticate: authenticateAda },
      { controllers: [Streams as never] },
    );
    await using phone = await SseClient.connect(`${two.url}/users`, { headers: { 'x-auth': 'phone' } });
    await using laptop = await SseClient.connect(`${two.url}/users`, { headers: { 'x-auth': 'laptop' } });
    await Promise.all([phone.comments.next(), laptop.comments.next()]);

    await expect(one.messaging.revokeAuthentication('ada', new RevokedAuthenticationAuthId('phone'))).resolves.toBe(
      true,
    );

    await phone.ended;
    expect(await phone.next()).toEqual(['messaging:revoked', {}]);
    await two.messaging.postMessage(Users, new UserUpdate(1, 'still on'));
    expect((await laptop.next())[1]).toMatchObject({ name: 'still on' });
  });

  test('deliver nothing of a refused global post, not even on its own server', async () => {
    const [one, two] = await three();
    using here = new Inbox<unknown>(one.messaging, 'anything');
    using there = new Inbox<unknown>(two.messaging, 'anything');
    await there.ready;
    class Repository {}
    const cannotTravel = { order: { repository: new Repository() } };
    expect(() => one.messaging.postMessage('anything', cannotTravel, { global: true })).toThrow(UnserializableError);
    expect(() => one.messaging.postMessage('anything', cannotTravel, { global: true })).toThrow(
      'message.order.repository: Repository is not @Serializable',
    );
    expect(() => one.messaging.postMessage('anything', 'é'.repeat(600_000), { global: true })).toThrow(
      LimitExceededError,
    );
    await one.messaging.postMessage('anything', 'fine', { global: true });
    expect(await here.next()).toBe('fine');
    expect(await there.next()).toBe('fine');
  });
});

describe('a server', () => {
  const lost = expect.stringMatching(
    /^warn Redis at .*; until this ends, messages between this server and the others may be lost$/,
  );

  test('that loses the others delivers locally, returns false, and rejoins them without help', async () => {
    await using server = await RedisServer.start();
    const options = { redis: { url: server.url, publishTimeoutMs: 100 } };
    const [one, two] = [await startNode(options), await startNode(options)];
    using here = new Inbox(one.messaging, Numbers);
    using there = new Inbox(two.messaging, Numbers);
    await there.ready;

    await server.kill();
    await Promise.all([waiting(one), waiting(two)]);
    const unheard = one.messaging.postMessage(Numbers, 1, { global: true });
    expect(here.pending).toEqual([1]);
    await expect(unheard).resolves.toBe(false);
    await expect(one.messaging.revokeAuthentication('ada')).resolves.toBe(false);

    await server.restart();
    await Promise.all([ready(one), ready(two)]);
    await expect(one.messaging.postMessage(Numbers, 2, { global: true })).resolves.toBe(true);
    expect(await there.next()).toBe(2);
    // Nest has one logger in a process: that of the latest application.
    expect(two.logger.problems[0]).toContain(
      'until this ends, messages between this server and the others may be lost',
    );
    expect(two.logger.lines).toContainEqual(expect.stringContaining('Redis is back'));
  });

  test('logs one line when Redis is lost and one when it is back, however many attempts lie between', async () => {
    await using server = await RedisServer.start();
    const attempts = new Queue<void>();
    const retryStrategy = () => {
      attempts.push();
      return 5;
    };
    const one = await startNode({ redis: { url: server.url, retryStrategy } });
    for (let outage = 0; outage < 2; outage++) {
      await server.kill();
      await waiting(one);
      await attempts.take(20);
      await server.restart();
      await ready(one);
    }
    const back = 'log Redis is back: messages reach the other servers again';
    expect(one.logger.lines.filter((line) => line.includes('Redis'))).toEqual([lost, back, lost, back]);
  });

  describe('whose Redis user lacks permissions', () => {
    const lookers: RedisProbe[] = [];
    afterEach(() => lookers.splice(0).forEach((looker) => looker[Symbol.dispose]()));

    /** A node whose user has these rules, and a function that changes them. */
    async function startRestricted(server: RedisServer, ...rules: string[]) {
      const looker = new RedisProbe(server.url);
      lookers.push(looker);
      const allow = (...more: string[]) => looker.redis.acl('SETUSER', 'app', ...more);
      await allow('on', '>secret', 'resetchannels', '&messaging:*', '~messaging:*', ...rules);
      const node = await startNode({ redis: `redis://app:secret@${server.address}` });
      const lines = () => node.logger.lines.filter((line) => line.includes('Redis'));
      return { node, looker, allow, lines };
    }

    test('warns of it once, and reports each loss and each return of Redis', async () => {
      await using server = await RedisServer.start();
      const { node, looker, lines } = await startRestricted(server, '+@all');
      using inbox = new Inbox(node.messaging, Rooms);
      await inbox.ready;
      while (lines().length === 0) await new Promise(setImmediate);
      for (let outage = 0; outage < 2; outage++) {
        await looker.cutClients();
        await waiting(node);
        await ready(node);
      }
      const hearsAll = expect.stringMatching(/^warn Redis at .* refuses PSUBSCRIBE .*; this server hears all of .*/);
      const back = 'log Redis is back: messages reach the other servers again';
      expect(lines()).toEqual([hearsAll, lost, back, lost, back]);
    });

    test('reports that posts are accepted again, even if another warning remains', async () => {
      await using server = await RedisServer.start();
      // All but the beat.
      const channels = ['resetchannels', '&messaging:|[^m]*', '&messaging:|messaging:[^b]*'];
      const { node, allow, lines } = await startRestricted(server, '+@all', ...channels);
      await told(node, 'cannot tell whether it hears anything');
      const refused = expect.stringContaining('refuses PUBLISH');
      for (let time = 0; time < 2; time++) {
        await allow('-publish');
        await expect(node.messaging.postMessage(Numbers, 1, { global: true })).resolves.toBe(false);
        await allow('+publish');
        await expect(node.messaging.postMessage(Numbers, 2, { global: true })).resolves.toBe(true);
      }
      const again = expect.stringMatching(/^log Redis accepts messages again/);
      expect(lines()).toEqual([expect.stringContaining('cannot tell'), refused, again, refused, again]);
    });

    test('does not report that Redis accepts messages while Redis refuses them over a new connection', async () => {
      await using server = await RedisServer.start();
      const { node, looker, allow, lines } = await startRestricted(server, '+@all');
      await allow('-publish');
      await expect(node.messaging.postMessage(Numbers, 1, { global: true })).resolves.toBe(false);
      await looker.cutClients();
      await waiting(node);
      await ready(node);
      expect(lines().slice(1)).toEqual([
        lost,
        expect.stringMatching(/^log Redis is back; as before, .* refuses PUBLISH/),
      ]);
    });

    test('to hear reports nothing false about its own posts, which the others hear', async () => {
      await using server = await RedisServer.start();
      const { node, lines } = await startRestricted(server, '+@all', '-subscribe', '-psubscribe');
      const other = await startNode({ redis: server.url });
      using there = new Inbox(other.messaging, Numbers);
      await there.ready;
      await told(node, 'refuses SUBSCRIBE');
      await expect(node.messaging.postMessage(Numbers, 1, { global: true })).resolves.toBe(true);
      expect(await there.next()).toBe(1);
      expect([...lines(), ...other.logger.lines].filter((line) => line.includes('warn'))).toEqual([lost]);
    });
  });

  test('starts without its Redis, reports that, and joins when Redis comes', async () => {
    await using server = await RedisServer.start();
    await server.stop();
    const one = await startNode({ redis: server.url });
    expect(one.logger.problems.join()).toContain(server.address);
    using inbox = new Inbox(one.messaging, Numbers);
    await server.restart();
    await inbox.ready;
    const two = await startNode({ redis: server.url });
    await two.messaging.postMessage(Numbers, 5, { global: true });
    expect(await inbox.next()).toBe(5);
  });

  test('with a wrong password does not start, and reports the answer of Redis', async () => {
    await using server = await RedisServer.start({ password: 'right' });
    const { app, logger } = await createApp({
      imports: [MessagingModule.forRoot({ redis: { port: server.port, host: '127.0.0.1', password: 'wrong' } })],
    });
    await expect(app.init()).rejects.toThrow('WRONGPASS');
    // The error of the start contains everything.
    expect(logger.problems).toEqual([]);
    await app.close();
  });

  test('hears nothing of servers with another prefix', async () => {
    const one = await startNode({ redis: redis.url, prefix: 'shop:' });
    const two = await startNode({ redis: redis.url, prefix: 'blog:' });
    const three = await startNode({ redis: redis.url, prefix: 'shop:' });
    using other = new Inbox(two.messaging, Numbers);
    using same = new Inbox(three.messaging, Numbers);
    await Promise.all([other.ready, same.ready]);
    await one.messaging.postMessage(Numbers, 1, { global: true });
    await two.messaging.postMessage(Numbers, 2);
    expect(await same.next()).toBe(1);
    expect(other.pending).toEqual([2]);
  });

  test.each([
    ['that is not JSON', 'garbage', 'it is not JSON'],
    ['that is not an envelope', '[1,2]', 'it is no envelope'],
    ['that is a request', '{"pattern":"numbers","data":1,"id":"x"}', 'it is a request'],
    ['of another version', '{"metadata":{"v":99},"pattern":"numbers","data":1}', 'its envelope has version 99'],
    [
      'with damaged metadata',
      '{"metadata":{"v":1,"node":7},"pattern":"numbers","data":1}',
      '"node" in its metadata must be a text',
    ],
    [
      'of an unknown type',
      '{"metadata":{"v":1,"node":"n","at":1,"type":"Nobody"},"pattern":"numbers","data":{}}',
      '"Nobody"',
    ],
    [
      'that is too long',
      `{"metadata":{"v":1,"node":"n","at":1},"pattern":"numbers","data":"${'x'.repeat(1_100_000)}"}`,
      'limits.maxMessageBytes',
    ],
  ])('that gets a message %s reports it a few times and continues', async (_case, payload, problem) => {
    const node = await startNode({ redis: redis.url });
    using probe = new RedisProbe(redis.url);
    using inbox = new Inbox(node.messaging, Numbers);
    await inbox.ready;
    for (let n = 0; n < 10; n++) await probe.redis.publish('messaging:|numbers', payload);
    await probe.redis.publish(
      'messaging:|numbers',
      '{"metadata":{"v":1,"node":"n","at":1},"pattern":"numbers","data":42}',
    );
    expect(await inbox.next()).toBe(42);
    expect(node.logger.problems).toHaveLength(5);
    expect(node.logger.problems[0]).toContain('A message on channel "numbers" was not delivered');
    expect(node.logger.problems[0]).toContain(problem);
  });

  test('hears only of its own clients’ connections, whatever others publish on that name', async () => {
    const node = await startNode({ redis: redis.url });
    using probe = new RedisProbe(redis.url);
    using inbox = new Inbox(node.messaging, Numbers);
    const heard: unknown[] = [];
    using connections = node.messaging.addListener(ClientConnectionChanges, (change) => heard.push(change));
    await Promise.all([inbox.ready, connections.ready]);
    for (const data of ['null', '{}', '{"kind":"connected","connection":"c","auth":null}']) {
      await probe.redis.publish('messaging:|messaging:connections', envelope('messaging:connections', data));
    }
    await probe.redis.publish('messaging:|numbers', envelope('numbers', '42'));
    expect(await inbox.next()).toBe(42);
    expect(heard).toEqual([]);
  });

  test('treats a plain packet of a stock client as a global post of the class of its channel', async () => {
    const node = await startNode({ redis: { url: redis.url, interop: true } });
    using probe = new RedisProbe(redis.url);
    using inbox = new Inbox(node.messaging, Users);
    await inbox.ready;
    await probe.redis.publish('user_updates', '{"pattern":"user_updates","data":{"id":3,"name":"Grace"}}');
    const { message, context } = await inbox.nextReceived();
    expect(message).toBeInstanceOf(UserUpdate);
    expect(message.label).toBe('3: Grace');
    expect(context).toMatchObject({ origin: 'global', node: '', type: 'UserUpdate' });
  });

  test('hears stock clients on channels with interop, even if others listened to the name before', async () => {
    const Open = defineChannel('open/:id', undefined, { interop: true });
    const Late = defineChannel('late', undefined, { interop: true });
    const node = await startNode({ redis: redis.url });
    using probe = new RedisProbe(redis.url);
    const heard = new Queue<unknown>();
    const listeners = ['late', 'closed', Late, Open].map((channel) =>
      node.messaging.addListener(channel as string, (data: unknown) => heard.push([channel, data])),
    );
    await Promise.all(listeners.map((listener) => listener.ready));
    for (const name of ['closed', 'late', 'open/1']) {
      await probe.redis.publish(name, JSON.stringify({ pattern: name, data: name }));
    }
    expect(await heard.take(3)).toEqual([
      ['late', 'late'],
      [Late, 'late'],
      [Open, 'open/1'],
    ]);
  });

  test('keeps two connections to Redis, however many names it listens to', async () => {
    await using server = await RedisServer.start();
    const node = await startNode({ redis: server.url });
    using probe = new RedisProbe(server.url);
    for (let n = 0; n < 100; n++) await node.messaging.addListener(`channel ${n}`, () => {}).ready;
    expect(await probe.clients()).toHaveLength(2);
    await node.app.close();
    expect(await probe.clients()).toHaveLength(0);
  });
});
