import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { messagesFrom, type Channel } from 'nestjs-messaging';
import { ADAPTER_NAMES } from './apps.js';
import { ChatMessage, Closed, Lobby, News, Numbers, Person, Ping, Rooms } from './client-messages.js';
import type { ClientProgram } from './client-programs.js';
import { FaultyProxy } from './client-proxy.js';
import { ServerProcess } from './client-server-process.js';
import { ClientServer, expiredTokens } from './client-servers.js';
import { randomFrom } from './random.js';
import { RedisServer } from './redis-server.js';

// One suite for the client, wherever it runs, against real gateways on a real Redis.

/** The participants of a scenario. */
interface World<Program extends ClientProgram = ClientProgram> {
  readonly redis: RedisServer;
  /** Two servers on one Redis. Streams and changes go to the first, unless a scenario configures the proxy otherwise. */
  readonly a: ClientServer;
  readonly b: ClientServer;
  readonly proxy: FaultyProxy;
  /** Where the client runs, signed in as Ada. */
  readonly program: Program;
}

/** Makes a test of a scenario, in its own world. */
type InWorld<Program extends ClientProgram> = (play: (world: World<Program>) => Promise<void>) => () => Promise<void>;

const A = 0;
const B = 1;

const room = (roomId: string | number): Channel<ChatMessage> => Rooms.for({ roomId });

/** Posts to all servers; resolves once Redis has the message. */
const post = <T>(server: ClientServer, channel: Channel<T>, message: T): Promise<boolean> =>
  server.messaging.postMessage(channel, message, { global: true });

const denialOf = (name: string): string => `ChannelDeniedError: The server refuses channel "${name}": CHANNEL_DENIED`;

const nextTurn = (): Promise<unknown> => new Promise((resolve) => setImmediate(resolve));

const say = (server: ClientServer, roomId: string | number, text: string): Promise<boolean> =>
  post(server, room(roomId), new ChatMessage(text));

/**
 * Runs all scenarios with clients of one kind.
 *
 * @param more - scenarios for this kind alone
 */
export function describeClient<Program extends ClientProgram>(
  where: string,
  startProgram: (proxy: FaultyProxy) => Promise<Program>,
  more: (inWorld: InWorld<Program>) => void = () => {},
): void {
  describe(`A client ${where}`, () => {
    let broker: RedisServer;
    const servers: ClientServer[] = [];

    beforeAll(async () => {
      broker = await RedisServer.start();
      for (const adapter of [ADAPTER_NAMES[0], ADAPTER_NAMES.at(-1)] as const) {
        servers.push(await ClientServer.start({ redis: broker.url, adapter: adapter! }));
      }
    });
    afterAll(async () => {
      for (const server of servers) await server.close();
      await broker?.[Symbol.asyncDispose]();
    });

    const used: AsyncDisposable[] = [];
    /** Disposes of something after the scenario, however it ends. */
    const use = <T extends AsyncDisposable>(thing: T): T => {
      used.push(thing);
      return thing;
    };
    const dispose = async (): Promise<void> => {
      for (const thing of used.splice(0).toReversed()) await thing[Symbol.asyncDispose]();
    };
    // Not by `await using`: that does nothing for a scenario that waits forever.
    afterEach(dispose);

    const inWorld: InWorld<Program> = (play) => async () => {
      const [a, b] = servers as [ClientServer, ClientServer];
      const problems = [...a.problems, ...b.problems];
      const proxy = use(await FaultyProxy.start([a.url, b.url]));
      const program = use(await startProgram(proxy));
      await play({ redis: broker, a, b, proxy, program });
      expect(program.failures).toEqual([]);
      expect(program.errors.pending).toEqual([]);
      await dispose();
      await Promise.all([a.isEmpty(), b.isEmpty()]);
      expect([...a.problems, ...b.problems]).toEqual(problems);
    };

    test(
      'gets instances, with all their contents',
      inWorld(async ({ b, program }) => {
        await program.run(({ client, messages, listener }) =>
          client.subscribe(messages.Rooms.for({ roomId: 7 }), listener('room')).then(() => {}),
        );
        const ada = new Person(1, 'Ada', new Date('1815-12-10'));
        const before = Date.now();
        await post(
          b,
          room(7),
          new ChatMessage('a\nb', {
            author: ada,
            tags: new Set(['x', 'y']),
            votes: new Map<Person | string, bigint>([
              [ada, 2n ** 70n],
              ['Grace', -1n],
            ]),
            sentAt: new Date(0),
          }),
        );
        const { message, context } = await program.messages('room').next();
        const person = { Person: { id: 1, name: 'Ada', born: { Date: '1815-12-10T00:00:00.000Z' } } };
        expect(message).toEqual({
          ChatMessage: {
            text: 'a\nb',
            details: {
              author: person,
              tags: { Set: ['x', 'y'] },
              votes: {
                Map: [
                  [person, { bigint: '1180591620717411303424' }],
                  ['Grace', { bigint: '-1' }],
                ],
              },
              sentAt: { Date: '1970-01-01T00:00:00.000Z' },
            },
          },
        });
        expect(context).toEqual({
          channel: 'client/rooms/7',
          params: { roomId: '7' },
          type: 'client-chat',
          postedAt: expect.any(Number),
          replayed: false,
        });
        const { postedAt } = context as { postedAt: number };
        expect(postedAt).toBeGreaterThanOrEqual(before);
        expect(postedAt).toBeLessThanOrEqual(Date.now());
      }),
    );

    test(
      'gets plain values, with the names of their channels',
      inWorld(async ({ a, program }) => {
        await program.run(async ({ client, listener }) => {
          await client.subscribe('client/numbers/1', listener('name'));
        });
        await post(a, Numbers.for({ number: 1 }), 42);
        expect(await program.messages('name').next()).toEqual({
          message: 42,
          context: { channel: 'client/numbers/1', params: {}, postedAt: expect.any(Number), replayed: false },
        });
      }),
    );

    test(
      'gets messages of sources: by reference, by instance, of one class',
      inWorld(async ({ a, b, program }) => {
        await program.run(async ({ client, messages, sourceRef, listener }) => {
          const { ChatMessage: Chat, Lobby: Hall, Person: Someone, Ping: Pinged } = messages;
          await Promise.all([
            client.subscribe(sourceRef('client-lobby', 'a/b'), Chat, listener('by reference')),
            client.subscribe(new Hall('a/b'), Pinged, listener('by instance')),
            client.subscribe(new Someone(1, '', new Date()), Pinged, listener('of a person')),
          ]);
        });
        await b.messaging.sendMessage(new Lobby('other'), new ChatMessage('not for us'));
        await b.messaging.sendMessage(new Lobby('a/b'), new ChatMessage('for us'));
        await a.messaging.sendMessage(new Lobby('a/b'), new Ping());
        await a.messaging.sendMessage(new Person(1, 'Ada', new Date(0)), new Ping());
        expect(await program.text('by reference')).toBe('for us');
        const channel = messagesFrom(new Lobby('a/b'), Ping).name;
        expect(await program.messages('by instance').next()).toEqual({
          message: { Ping: {} },
          context: {
            channel,
            params: { key: 'a/b' },
            type: 'client-ping',
            postedAt: expect.any(Number),
            replayed: false,
          },
        });
        expect(await program.messages('of a person').next()).toMatchObject({ message: { Ping: {} } });
        expect(program.messages('by instance').pending).toEqual([]);
      }),
    );

    test(
      'gets nothing more after it has unsubscribed, and the server keeps nothing of the channel',
      inWorld(async (world) => {
        const { a, proxy, program } = world;
        await program.run((kit) => kit.enter('left', 'kept'));
        expect(a.subscriptions).toEqual([['client/rooms/left', 'client/rooms/kept']]);
        await program.run((kit) => kit.kept.get('left')!.unsubscribe());
        expect(await proxy.changed.next()).toMatchObject({
          body: { subscribe: [], unsubscribe: ['client/rooms/left'] },
          status: 200,
        });
        expect(a.subscriptions).toEqual([['client/rooms/kept']]);
        expect(a.isHeard('client/rooms/left')).toBe(false);
        await say(a, 'left', 'unheard');
        await say(a, 'kept', 'heard');
        expect(await program.text('kept')).toBe('heard');
        expect(program.messages('left').pending).toEqual([]);
      }),
    );

    test(
      'ends subscriptions by a signal, and by leaving a loop',
      inWorld(async ({ a, proxy, program }) => {
        const looping = program.run(async ({ client, messages, say: tell }) => {
          const leaving = new AbortController();
          await client.subscribe(messages.News, () => leaving.abort(), { signal: leaving.signal });
          const texts: string[] = [];
          const loop = (async () => {
            for await (const { text } of client.createStream(messages.Rooms.for({ roomId: 1 }))) {
              if (texts.push(text) === 2) break;
            }
          })();
          // The second on a channel is confirmed with the first.
          const { channel } = await client.subscribe(messages.Rooms.for({ roomId: 1 }), () => {});
          tell('ready', channel);
          await loop;
          return texts;
        });
        expect(await program.words.next()).toEqual({ word: 'ready', value: 'client/rooms/1' });
        await proxy.changed.next();
        for (const text of ['one', 'two', 'three']) await say(a, 1, text);
        expect(await looping).toEqual(['one', 'two']);
        await post(a, News, new ChatMessage('bye'));
        expect((await proxy.changed.next()).body.unsubscribe).toEqual(['client/news']);
        expect(a.subscriptions).toEqual([['client/rooms/1']]);
      }),
    );

    test(
      'subscribes through a server that does not hold its stream, and misses and doubles nothing',
      inWorld(async (world) => {
        const { a, b, proxy, program } = world;
        await program.run((kit) => kit.enter(1));
        proxy.changesTo = B;
        proxy.streamsTo = B;
        await program.run((kit) => kit.enter(2));
        const change = await proxy.changed.next();
        expect(change).toMatchObject({ body: { subscribe: [{ channel: 'client/rooms/2' }] }, status: 200 });
        expect(proxy.opened.pending).toHaveLength(1);
        expect(a.subscriptions).toEqual([['client/rooms/1', 'client/rooms/2']]);
        expect(b.subscriptions).toEqual([]);
        for (const [server, roomId, text] of [
          [a, 2, 'from a'],
          [b, 2, 'from b'],
          [b, 1, 'to the first'],
          [a, 2, 'the last'],
        ] as const) {
          await say(server, roomId, text);
          expect(await program.text(String(roomId))).toBe(text);
        }
        await program.run((kit) => kit.kept.get('2')!.unsubscribe());
        expect(await proxy.changed.next()).toMatchObject({ body: { unsubscribe: ['client/rooms/2'] }, status: 200 });
        expect(a.subscriptions).toEqual([['client/rooms/1']]);
        for (const roomId of ['1', '2']) expect(program.messages(roomId).pending).toEqual([]);
      }),
    );

    test(
      'learns which channels are denied, and gets the others',
      inWorld(async ({ a, proxy, program }) => {
        const attempt = (names: string[]): Promise<string[]> =>
          program.run(
            ({ client, outcome, listener }, given) =>
              Promise.all(given.map((name) => outcome(client.subscribe(name, listener(name))))),
            names,
          );
        // With the stream, then by a change of it.
        for (const names of [
          ['client/rooms/private', 'client/rooms/1', Closed.name, 'client/rooms/:roomId'],
          ['client/rooms/2', 'client/nothing', 'client/numbers/:number'],
        ]) {
          expect(await attempt(names)).toEqual(names.map((name) => (/\d$/.test(name) ? 'fulfilled' : denialOf(name))));
        }
        expect(proxy.opened.pending).toHaveLength(1);
        expect(a.subscriptions).toEqual([['client/rooms/1', 'client/rooms/2']]);
        await post(a, Closed, new ChatMessage('not for clients'));
        await say(a, 'private', 'not for Ada');
        await say(a, 2, 'for all');
        expect(await program.text('client/rooms/2')).toBe('for all');
        expect(program.messages(Closed.name).pending).toEqual([]);
        expect(program.messages('client/rooms/private').pending).toEqual([]);
      }),
    );

    test(
      'gets a handle at once when it listens, and learns of denied channels through onError',
      inWorld(async ({ a, program }) => {
        await program.run(async ({ client, messages, listener }) => {
          client.listen(messages.Rooms.for({ roomId: 1 }), listener('left')).unsubscribe();
          client.listen('client/nothing', listener('nothing'));
          await client.listen(messages.Rooms.for({ roomId: 2 }), listener('room')).ready;
        });
        expect(await program.errors.next()).toBe(`client/nothing: ${denialOf('client/nothing')}`);
        expect(a.subscriptions).toEqual([['client/rooms/2']]);
        await say(a, 1, 'to nobody');
        await say(a, 2, 'hi');
        expect(await program.text('room')).toBe('hi');
        expect(program.messages('left').pending).toEqual([]);
      }),
    );

    test(
      'gets a whole template if it may have it, with the parameters of each message',
      inWorld(async (world) => {
        const { a, b, program } = world;
        await program.run(async (kit) => {
          kit.token = 'admin';
          await kit.client.subscribe(kit.messages.Rooms, kit.listener('all'));
          await kit.enter(2);
        });
        await say(a, 1, 'first');
        await say(b, 2, 'second');
        const all = program.messages('all');
        expect(await all.next()).toMatchObject({
          message: { ChatMessage: { text: 'first' } },
          context: { channel: 'client/rooms/1', params: { roomId: '1' } },
        });
        expect(await all.next()).toMatchObject({
          message: { ChatMessage: { text: 'second' } },
          context: { channel: 'client/rooms/2', params: { roomId: '2' } },
        });
        expect(await program.text('2')).toBe('second');
        expect([...all.pending, ...program.messages('2').pending]).toEqual([]);
      }),
    );

    test(
      'costs the server one subscription for a channel, however many listeners it has',
      inWorld(async ({ a, proxy, program }) => {
        await program.run(async ({ client, messages, listener, kept }) => {
          const { Rooms: Rooms2 } = messages;
          kept.set('one', await client.subscribe(Rooms2.for({ roomId: 1 }), listener('one')));
          kept.set('two', await client.subscribe(Rooms2.for({ roomId: 1 }), listener('two')));
        });
        expect(a.subscriptions).toEqual([['client/rooms/1']]);
        await say(a, 1, 'both');
        expect([await program.text('one'), await program.text('two')]).toEqual(['both', 'both']);
        await program.run((kit) => kit.kept.get('one')!.unsubscribe());
        await say(a, 1, 'the other');
        expect(await program.text('two')).toBe('the other');
        // Only the stream.
        expect(proxy.requestCount).toBe(1);
        expect(a.subscriptions).toEqual([['client/rooms/1']]);
        await program.run((kit) => kit.kept.get('two')!.unsubscribe());
        await proxy.changed.next();
        expect(a.subscriptions).toEqual([[]]);
        expect(a.isHeard('client/rooms/1')).toBe(false);
        expect(program.messages('one').pending).toEqual([]);
      }),
    );

    test(
      'makes a thousand subscriptions at once over one stream, each with its own messages',
      inWorld(async (world) => {
        const { a, b, proxy, program } = world;
        await program.run(async ({ client, say: tell }) => {
          const numbers = Array.from({ length: 1_000 }, (_, number) => number);
          const got: [channel: string, message: unknown][] = [];
          const note = (message: unknown, { channel }: { channel: string }): void => {
            if (got.push([channel, message]) === 1_000) tell('got', got);
          };
          await Promise.all(numbers.map((number) => client.subscribe(`client/numbers/${number}`, note)));
        });
        expect(proxy.requestCount).toBe(1);
        expect(a.subscriptions.map((names) => names.length)).toEqual([1_000]);
        for (let number = 0; number < 1_000; number++) {
          void post(number % 2 ? a : b, Numbers.for({ number }), number);
        }
        const got = (await program.words.next()).value as [channel: string, message: number][];
        for (const [channel, number] of got) expect(channel).toBe(Numbers.for({ number }).name);
        expect(new Set(got.map(([channel]) => channel)).size).toBe(1_000);
      }),
    );

    test(
      'changes a thousand subscriptions of an open stream through the other server',
      inWorld(async (world) => {
        const { a, proxy, program } = world;
        proxy.changesTo = B;
        await program.run(async (kit) => {
          await kit.enter('first');
          const { client, kept, listener } = kit;
          const numbers = Array.from({ length: 999 }, (_, number) => `client/numbers/${number}`);
          await Promise.all(numbers.map(async (name) => kept.set(name, await client.subscribe(name, listener(name)))));
        });
        expect((await proxy.changed.next()).body.subscribe).toHaveLength(999);
        await program.run(async ({ kept }) => {
          for (const subscription of kept.values()) await subscription.unsubscribe();
        });
        let left = 1_000;
        while (left > 0) left -= (await proxy.changed.next()).body.unsubscribe!.length;
        expect(a.subscriptions).toEqual([[]]);
      }),
    );

    test(
      'comes back with its subscriptions after it was offline',
      inWorld(async ({ a, b, proxy, program }) => {
        await program.run((kit) => kit.enter(1, 2));
        await program.reaches('open');
        // No attempt is under way when the next subscription starts.
        await program.run((kit) => void (kit.isTimeStopped = true));
        await program.setOnline(false);
        // A browser keeps an open stream until its network fails.
        proxy.cut();
        expect(await program.reaches('waiting')).toMatchObject({
          error: expect.any(String),
          retryAt: expect.any(Number),
        });
        await a.isEmpty();
        await say(a, 1, 'posted meanwhile');
        // Subscribed without a connection; confirmed once there is one.
        const entering = program.run((kit) => {
          kit.say('asked');
          return kit.enter(3);
        });
        await program.words.next();
        await program.setOnline(true);
        await program.run((kit) => {
          kit.isTimeStopped = false;
          kit.client.retryNow();
        });
        await entering;
        await program.reaches('open');
        const position = { epoch: expect.any(String), offset: expect.any(Number) };
        expect((await proxy.opened.take(2))[1]!.body.channels).toEqual([
          { channel: 'client/rooms/1', position },
          { channel: 'client/rooms/2', position },
          { channel: 'client/rooms/3' },
        ]);
        expect(await program.text('1')).toBe('posted meanwhile');
        for (const roomId of [1, 2, 3]) {
          await say(b, roomId, 'once');
          await say(a, roomId, 'and no more');
          expect([await program.text(String(roomId)), await program.text(String(roomId))].toSorted()).toEqual([
            'and no more',
            'once',
          ]);
          expect(program.messages(String(roomId)).pending).toEqual([]);
        }
      }),
    );

    test.each([
      ['its own server', A],
      ['the other server', B],
    ])('gets posts of the time when it was away, once, when it comes back to %s', (_, target) =>
      inWorld(async ({ a, b, proxy, program }) => {
        await program.run((kit) => kit.enter(1));
        await program.reaches('open');
        await say(b, 1, 'before');
        expect(await program.text('1')).toBe('before');
        await program.run((kit) => kit.enter(2));
        await program.setOnline(false);
        proxy.cut();
        await program.reaches('waiting');
        await a.isEmpty();
        for (const text of ['first', 'second']) await say(b, 1, text);
        await say(a, 2, 'elsewhere');
        proxy.streamsTo = target;
        await program.setOnline(true);
        await program.reaches('open');
        await say(b, 1, 'after');
        expect([await program.text('1'), await program.text('1'), await program.text('1')]).toEqual([
          'first',
          'second',
          'after',
        ]);
        expect(await program.text('2')).toBe('elsewhere');
        expect([program.messages('1').pending, program.messages('2').pending, program.gaps.pending]).toEqual([
          [],
          [],
          [],
        ]);
      })(),
    );

    test(
      'misses and doubles nothing from two busy servers, however often it is cut off',
      inWorld(async ({ a, b, proxy, program }) => {
        await program.run((kit) => kit.enter('flow'));
        await program.reaches('open');
        const random = randomFrom(1);
        let count = 0;
        const flow = async (messages: number): Promise<void> => {
          for (const end = count + messages; count < end; count++)
            await Promise.all([say(a, 'flow', `a${count}`), say(b, 'flow', `b${count}`)]);
        };
        for (let cuts = 0; cuts < 12; cuts++) {
          await flow(random(20));
          proxy.streamsTo = random(2);
          proxy.cut();
          await flow(random(20));
          await program.reaches('waiting');
          await program.reaches('open');
        }
        const texts: string[] = [];
        while (texts.length < 2 * count) texts.push(await program.text('flow'));
        for (const poster of ['a', 'b']) {
          expect(texts.filter((text) => text.startsWith(poster))).toEqual(
            Array.from({ length: count }, (_, index) => `${poster}${index}`),
          );
        }
        expect(program.gaps.pending).toEqual([]);
      }),
    );

    test(
      'gets a gap if missed messages are gone with its server',
      inWorld(async ({ redis, a, proxy, program }) => {
        const leaving = use(await ClientServer.start({ redis: redis.url }));
        proxy.targets[A] = leaving.url;
        await program.run((kit) => kit.enter(1));
        await program.reaches('open');
        await program.setOnline(false);
        proxy.cut();
        await program.reaches('waiting');
        await leaving.close();
        proxy.targets[A] = a.url;
        await program.setOnline(true);
        await program.reaches('open');
        expect(await program.gaps.next()).toEqual({
          channel: 'client/rooms/1',
          reason: 'node',
          position: { epoch: expect.any(String), offset: expect.any(Number) },
        });
        await say(a, 1, 'after');
        expect(await program.text('1')).toBe('after');
      }),
    );

    test(
      'comes back after each of many cuts, with one stream',
      inWorld(async ({ a, program, proxy }) => {
        await program.run((kit) => kit.enter(1));
        await program.reaches('open');
        for (let count = 0; count < 5; count++) {
          proxy.streamsTo = count % 2 ? A : B;
          proxy.cut();
          await program.reaches('open');
          await say(a, 1, `after cut ${count}`);
          expect(await program.text('1')).toBe(`after cut ${count}`);
        }
        expect(program.messages('1').pending).toEqual([]);
      }),
    );

    test(
      'moves to another server when its own shuts down',
      inWorld(async ({ redis, b, program, proxy }) => {
        const ending = use(await ClientServer.start({ redis: redis.url }));
        proxy.targets[A] = ending.url;
        await program.run((kit) => kit.enter(1));
        await program.reaches('open');
        await say(b, 1, 'before');
        expect(await program.text('1')).toBe('before');
        proxy.streamsTo = B;
        await ending.close();
        expect(await program.reaches('waiting')).toMatchObject({ reason: 'drain' });
        await program.reaches('open');
        expect(b.subscriptions).toEqual([['client/rooms/1']]);
        await say(b, 1, 'after');
        expect(await program.text('1')).toBe('after');
      }),
    );

    test(
      'continues when the process of its server is killed, once another server has taken its place',
      inWorld(async (world) => {
        const { redis, a, proxy, program } = world;
        const start = async (): Promise<ServerProcess> => use(await ServerProcess.start({ redis: redis.url }));
        const [first, second] = await Promise.all([start(), start()]);
        proxy.targets[A] = first.url;
        await program.run((kit) => kit.enter(1));
        await program.reaches('open');
        await say(a, 1, 'before');
        expect(await program.text('1')).toBe('before');
        await first.kill();
        expect(await program.reaches('waiting')).toMatchObject({ error: expect.any(String) });
        proxy.targets[A] = second.url;
        await program.reaches('open');
        await say(a, 1, 'after');
        expect(await program.text('1')).toBe('after');
        expect(program.messages('1').pending).toEqual([]);
      }),
    );

    test(
      'repeats a change that did not get through, while its stream continues',
      inWorld(async (world) => {
        const { a, b, proxy, program } = world;
        await program.run((kit) => kit.enter(1));
        await program.reaches('open');
        proxy.changesTo = B;
        // Only the change fails; the stream continues.
        proxy.targets[B] = 'http://127.0.0.1:9';
        const entering = program.run((kit) => kit.enter(2));
        expect(await program.statuses.next()).toMatchObject({ state: 'open', error: expect.any(String) });
        await say(a, 1, 'goes on');
        expect(await program.text('1')).toBe('goes on');
        proxy.targets[B] = b.url;
        await entering;
        expect(await program.statuses.until(({ error }) => error === undefined)).toEqual({ state: 'open' });
        await say(b, 2, 'there');
        expect(await program.text('2')).toBe('there');
        expect(proxy.opened.pending).toHaveLength(1);
      }),
    );

    test(
      'repeats a change if the server that holds its stream has not answered in time',
      inWorld(async (world) => {
        const { redis, a, proxy, program } = world;
        const hanging = use(await ServerProcess.start({ redis: redis.url }));
        proxy.targets[A] = hanging.url;
        proxy.changesTo = B;
        await program.run((kit) => kit.enter(1));
        await program.reaches('open');
        hanging.pause();
        const entering = program.run((kit) => kit.enter(2));
        expect(await program.statuses.next()).toMatchObject({
          state: 'open',
          error: expect.stringContaining('answered with status 504'),
          retryAt: expect.any(Number),
        });
        hanging.resume();
        await entering;
        // It was asked twice.
        await say(a, 2, 'once');
        await say(a, 2, 'and no more');
        expect([await program.text('2'), await program.text('2')]).toEqual(['once', 'and no more']);
        expect(program.messages('2').pending).toEqual([]);
        expect(proxy.opened.pending).toHaveLength(1);
      }),
    );

    test(
      'opens another stream if the server does not know the current one',
      inWorld(async (world) => {
        const { a, b, proxy, program } = world;
        await program.run((kit) => kit.enter(1));
        await program.reaches('open');
        proxy.orphan();
        await a.isEmpty();
        proxy.streamsTo = B;
        await program.run((kit) => kit.enter(2));
        expect(await program.reaches('waiting')).toMatchObject({
          error: expect.stringContaining('does not know the stream'),
        });
        expect(b.subscriptions).toEqual([['client/rooms/1', 'client/rooms/2']]);
        await say(a, 1, 'back');
        expect(await program.text('1')).toBe('back');
      }),
    );

    test(
      'brings the server to the wanted channels, in whatever order they change',
      inWorld(async ({ a, b, proxy, program }) => {
        const random = randomFrom(7);
        const steps = Array.from({ length: 300 }, () => ({ room: random(20), isLate: random(10) === 0 }));
        // Each change goes to the other server.
        proxy.takesTurns = true;
        const rooms = await program.run(async ({ client, listener, say: tell }, given) => {
          const wanted = new Map<number, AbortController>();
          for (const { room: number, isLate } of given) {
            const entered = wanted.get(number);
            if (entered) {
              entered.abort();
              wanted.delete(number);
            } else {
              const leaving = new AbortController();
              wanted.set(number, leaving);
              const { signal } = leaving;
              client
                .subscribe(`client/rooms/${number}`, listener(String(number)), { signal })
                .catch((error: unknown) => {
                  if (!signal.aborted) tell('refused', error);
                });
            }
            // Gives requests and answers time to pass.
            if (isLate) await new Promise((resolve) => setTimeout(resolve));
          }
          await client.subscribe('client/rooms/last', () => {});
          return [...wanted.keys()];
        }, steps);
        const expected = [...rooms, 'last'].map((roomId) => `client/rooms/${roomId}`).toSorted();
        while (String(a.subscriptions[0]!.toSorted()) !== String(expected)) await nextTurn();
        for (let number = 0; number < 20; number++) await say(number % 2 ? a : b, number, `to ${number}`);
        for (const number of rooms) expect(await program.text(String(number))).toBe(`to ${number}`);
        for (let number = 0; number < 20; number++) expect(program.messages(String(number)).pending).toEqual([]);
        expect(program.words.pending).toEqual([]);
        expect(proxy.opened.pending).toHaveLength(1);
      }),
    );

    test(
      'keeps one instance of each keyed object, even across streams',
      inWorld(async ({ b, proxy, program }) => {
        await program.run(async (kit) => {
          kit.connect(kit.url, { identityMap: new kit.IdentityMap() });
          const people: object[] = [];
          const { News: AllNews } = kit.messages;
          await kit.client.subscribe(AllNews, ({ details: { author } }) => {
            people.push(author!);
            kit.say('got', { isFirst: author === people[0], author });
          });
        });
        await program.reaches('open');
        for (const name of ['Ada', 'Ada Lovelace']) {
          await post(b, News, new ChatMessage('news', { author: new Person(1, name, new Date(0)) }));
          const born = { Date: '1970-01-01T00:00:00.000Z' };
          expect((await program.words.next()).value).toEqual({
            isFirst: true,
            author: { Person: { id: 1, name, born } },
          });
          proxy.cut();
          await program.reaches('open');
        }
      }),
    );

    test(
      'notices a silent connection, and does not mistake an idle one for it',
      inWorld(async (world) => {
        const { redis, b, proxy, program } = world;
        const beating = use(await ClientServer.start({ redis: redis.url, heartbeatMs: 150 }));
        proxy.targets[A] = beating.url;
        await program.run((kit) => kit.enter(1));
        await program.reaches('open');
        // Much longer than the client waits for one.
        for (let count = 0; count < 5; count++) await proxy.pieces.until((piece) => piece.startsWith(':'));
        expect(program.statuses.pending).toEqual([]);
        proxy.silence();
        await say(b, 1, 'into the silence');
        expect(await program.reaches('waiting')).toMatchObject({
          error: 'ConnectionLostError: The server is silent',
        });
        await program.reaches('open');
        await say(b, 1, 'heard');
        expect([await program.text('1'), await program.text('1')]).toEqual(['into the silence', 'heard']);
        expect(beating.subscriptions).toEqual([['client/rooms/1']]);
      }),
    );

    test(
      'is closed for good when its sign-in is revoked on the other server',
      inWorld(async ({ a, b, proxy, program }) => {
        await program.run(async (kit) => {
          kit.token = 'eve';
          await kit.enter(1);
        });
        await program.reaches('open');
        await b.messaging.revokeAuthentication('eve');
        expect(await program.statuses.next()).toEqual({
          state: 'closed',
          reason: 'revoked',
          error: 'ConnectionClosedError: The server closed the connection: revoked',
        });
        await a.isEmpty();
        const [timers, isClosed, outcome] = await program.run(async (kit) => {
          // Nothing may wake it.
          if (typeof dispatchEvent === 'function') dispatchEvent(new Event('online'));
          return [
            kit.timerCount,
            kit.kept.get('1')!.closed,
            await kit.outcome(kit.client.subscribe('client/news', () => {})),
          ] as const;
        });
        expect([timers, isClosed]).toEqual([0, true]);
        expect(outcome).toBe('ConnectionClosedError: The server closed the connection: revoked');
        expect(proxy.requestCount).toBe(1);
        expect(program.statuses.pending).toEqual([]);
      }),
    );

    test(
      'loses one subscription that the application ends on the other server, and keeps the others',
      inWorld(async ({ a, b, program }) => {
        await program.run((kit) => kit.enter('lost', 'kept'));
        const lost = room('lost');
        const { connections } = await b.connections.list({ userId: 'ada' });
        expect(connections.map(({ channels }) => channels)).toEqual([['client/rooms/lost', 'client/rooms/kept']]);
        expect(await b.connections.unsubscribe(connections[0]!.connection, lost)).toBe(true);
        expect(await program.errors.next()).toMatch(/^client\/rooms\/lost: ChannelDeniedError: /);
        expect(a.subscriptions).toEqual([['client/rooms/kept']]);
        await say(a, 'lost', 'unheard');
        await say(a, 'kept', 'heard');
        expect(await program.text('kept')).toBe('heard');
        expect(program.messages('lost').pending).toEqual([]);
        // The client may subscribe to it again.
        await program.run((kit) => kit.enter('lost'));
        await say(a, 'lost', 'heard again');
        expect(await program.text('lost')).toBe('heard again');
      }),
    );

    test(
      'comes back or is closed for good, as the application on the other server demands',
      inWorld(async ({ a, b, program }) => {
        await program.run((kit) => kit.enter(1));
        await program.reaches('open');
        expect(await b.connections.disconnect({ userId: 'ada' }, { reconnect: true })).toEqual({
          count: 1,
          complete: true,
        });
        expect((await program.reaches('waiting')).reason).toBe('drain');
        await say(a, 1, 'missed');
        await program.reaches('open');
        expect(await program.text('1')).toBe('missed');
        expect(await b.connections.disconnect({ userId: 'ada' })).toEqual({ count: 1, complete: true });
        expect(await program.reaches('closed')).toMatchObject({ reason: 'end' });
        await a.isEmpty();
      }),
    );

    test(
      'comes back with its current token',
      inWorld(async ({ a, proxy, program }) => {
        const tokens = async (): Promise<unknown[]> =>
          [await proxy.opened.next()].map(({ headers, status }) => [headers.authorization, status]);
        await program.run((kit) => {
          kit.token = 'first token';
          return kit.enter(1);
        });
        await program.reaches('open');
        expect(await tokens()).toEqual([['Bearer first token', 200]]);
        expiredTokens.add('first token');
        await program.run((kit) => void (kit.token = 'second token'));
        proxy.cut();
        await program.reaches('open');
        expect(await tokens()).toEqual([['Bearer second token', 200]]);
        await say(a, 1, 'still here');
        expect(await program.text('1')).toBe('still here');
      }),
    );

    test(
      'is closed if its token has expired and is not renewed',
      inWorld(async ({ proxy, program }) => {
        expiredTokens.add('old token');
        const outcome = await program.run((kit) => {
          kit.token = 'old token';
          return kit.outcome(kit.enter(1));
        });
        const error = `ConnectionClosedError: The server at ${await program.run((kit) => kit.url)} answered with status 401`;
        expect(outcome).toBe(error);
        expect(await program.reaches('closed')).toEqual({ state: 'closed', reason: 'refused', error });
        expect(await program.run((kit) => kit.timerCount)).toBe(0);
        // With the headers requested again, once.
        expect(proxy.requestCount).toBe(2);
      }),
    );

    test(
      'leaves nothing behind when it is closed',
      inWorld(async ({ a, proxy, program }) => {
        while (a.comings.pending.length > 0) await a.comings.next();
        await program.run((kit) => kit.enter(1, 2));
        const coming = await a.comings.next();
        expect(coming).toMatchObject({ kind: 'connected', auth: { userId: 'ada' } });
        await program.run((kit) => kit.client.close());
        expect(await a.comings.next()).toEqual({ ...coming, kind: 'disconnected', reason: 'ended' });
        expect(a.subscriptions).toEqual([]);
        expect([a.isHeard('client/rooms/1'), a.isHeard('client/rooms/2')]).toEqual([false, false]);
        expect((await program.reaches('closed')).reason).toBe('close');
        expect(await program.run((kit) => [kit.timerCount, kit.kept.get('1')!.closed] as const)).toEqual([0, true]);
        expect(proxy.requestCount).toBe(1);
      }),
    );

    more(inWorld);
  });
}
