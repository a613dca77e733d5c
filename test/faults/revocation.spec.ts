import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import {
  RevokedAuthenticationAuthId,
  RevokedAuthenticationScope,
  RevokedAuthenticationUser,
  revokedAuthenticationChannel,
} from 'nestjs-messaging';
import { Inbox } from 'nestjs-messaging/testing';
import { Hub } from '../../lib/core/hub.js';
import { isSame } from '../../lib/core/ordered-channel.js';
import { REVOCATIONS } from '../../lib/protocol/revocation.js';
import { reached } from '../support/redis-nodes.js';
import { Queue } from '../support/queue.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';
import { RevocationProcess } from '../support/revocation-process.js';
import {
  Kept,
  LEAVING,
  News,
  Past,
  Recent,
  WAYS,
  closeReaders,
  gateAt,
  startServer,
  stopServer,
  type Place,
  type Reader,
  type Server,
  type SignIn,
} from '../support/revocation-world.js';
import { WebLocks } from '../support/web-locks.js';

const FORMS = {
  user: () => new RevokedAuthenticationUser(),
  authId: () => new RevokedAuthenticationAuthId('phone'),
  scope: () => new RevokedAuthenticationScope(['chat', 'unknown']),
};
const FORM_NAMES = Object.keys(FORMS) as (keyof typeof FORMS)[];

let redis: RedisServer;
/** Where revocations are made, and others from which it may be cut off. */
let here: Server;
let express: Server;
let fastify: Server;
let overHttp2: Server;
let others: readonly Server[];
let count = 0;

beforeAll(async () => {
  WebLocks.install();
  redis = await RedisServer.start();
  here = await startServer(redis.port);
  express = await startServer(redis.port);
  fastify = await startServer(redis.port, { adapter: 'Fastify' });
  overHttp2 = await startServer(redis.port, { http2: {} });
  others = [express, fastify, overHttp2];
}, 30_000);
afterEach(closeReaders);
afterAll(async () => {
  for (const server of [here, ...others]) await stopServer(server);
  await redis.stop();
});

/** Every way to hear a server: of this server, and of others. */
function readersOf(): [name: string, open: (as: SignIn) => Promise<Reader>][] {
  const servers = { here, 'of another server': express, 'of Fastify': fastify, 'over HTTP/2': overHttp2 };
  return Object.entries(servers).flatMap(([of, server]) =>
    Object.entries(WAYS).map(([way, open]): [string, (as: SignIn) => Promise<Reader>] => [
      `${way} ${of}`,
      (as) => open(server, as),
    ]),
  );
}

/** Messages of an earlier row may come when the history is read again. */
let row = 0;
const isOfRow = (message: string) =>
  message !== 'news before' && (!message.startsWith('kept') || message.endsWith(` ${row}`));

const signIn = (userId = `ada ${++count}`) => ({
  userId,
  authId: 'phone',
  scopes: ['chat'],
  issuedAt: Date.now() - 1_000,
});
const other = (): SignIn => ({ ...signIn(`bob ${++count}`), authId: 'desk' });

/** How a way to hear a server learns that its sign-in is revoked when it opens. */
const refusalOf = (name: string) => (name.includes('client') ? 'revoked' : '401');

/** Whether a place is on the way of a request. */
const isOf = (place: Place, name: string) => (place === 'authorizer') === /client|EventSource/.test(name);

const openAll = (as: SignIn) => Promise.all(readersOf().map(([, open]) => open(as)));
const named = (answers: readonly unknown[]) =>
  Object.fromEntries(readersOf().map(([name], index) => [name, answers[index]]));
const all = (value: unknown) => named(readersOf().map(() => value));

/** Posts on both channels until those who may hear it do, which a server that comes back does some time. */
async function heardByAll(witnesses: readonly Reader[], text: string, by = here): Promise<void> {
  const waiting = new Set(witnesses);
  for (const witness of witnesses) {
    void (async () => {
      await witness.heard.until((message) => message === `news ${text}`);
      waiting.delete(witness);
    })();
  }
  while (waiting.size > 0) {
    await by.messaging.postMessage(News, `news ${text}`, { global: true });
    await new Promise(setImmediate);
  }
}

/** Makes a revocation. Resolves when Redis has it, with the promise of the call. */
async function stored(by: Server, revoke: () => Promise<boolean>): Promise<[Promise<boolean>]> {
  const hub = by.app.get(Hub);
  const before = await hub.positionOf(REVOCATIONS);
  const told = revoke();
  while (isSame(before, await hub.positionOf(REVOCATIONS)));
  return [told];
}

async function cut(servers: readonly Server[]): Promise<void> {
  for (const { proxy } of servers) {
    proxy.mode = 'refuse';
    proxy.cut();
  }
}

async function heal(servers: readonly Server[]): Promise<void> {
  for (const { proxy } of servers) proxy.mode = 'pass';
  for (const server of servers) await reached(server.messaging, 'ready');
}

/** What is in the way of a revocation. `revoke` makes it, and gives what the call gave. */
const TROUBLE: Record<string, (revoke: () => Promise<boolean>) => Promise<unknown>> = {
  nothing: async (revoke) => expect(await revoke()).toBe(true),
  'a link cut before': async (revoke) => {
    await cut(others);
    for (const server of others) await reached(server.messaging, 'waiting');
    expect(await revoke()).toBe(true);
    expect(await here.messaging.postMessage(Kept, `kept meanwhile ${row}`)).toBe(true);
    await here.messaging.postMessage(News, 'news meanwhile', { global: true });
    await heal(others);
  },
  'a link cut during the call': async (revoke) => {
    const told = revoke();
    await cut(others);
    expect(await told).toBe(true);
    expect(await here.messaging.postMessage(Kept, `kept meanwhile ${row}`)).toBe(true);
    await heal(others);
  },
  'a link cut after the call': async (revoke) => {
    expect(await revoke()).toBe(true);
    await cut(others);
    expect(await here.messaging.postMessage(Kept, `kept meanwhile ${row}`)).toBe(true);
    await heal(others);
  },
  'its own link cut': async (revoke) => {
    await cut([here]);
    await reached(here.messaging, 'waiting');
    const told = revoke();
    // It is made anew while the call waits.
    await heal([here]);
    expect(await told).toBe(true);
  },
  'killed subscribers': async (revoke) => {
    using probe = new RedisProbe(redis.url);
    await probe.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    expect(await revoke()).toBe(true);
    expect(await here.messaging.postMessage(Kept, `kept meanwhile ${row}`)).toBe(true);
  },
  'a Redis that restarts empty': async (revoke) => {
    await cut(others);
    for (const server of others) await reached(server.messaging, 'waiting');
    expect(await revoke()).toBe(true);
    const isAway = reached(here.messaging, 'waiting');
    await redis.kill();
    await isAway;
    await redis.restart();
    await reached(here.messaging, 'ready');
    await heal(others);
  },
};

describe.each(FORM_NAMES)('A revocation by %s', (form) => {
  const revoke = ({ userId }: SignIn, on = here) => on.messaging.revokeAuthentication(userId, FORMS[form]());

  test.each(Object.keys(TROUBLE))(
    'closes everything of the user, lets nothing through after it, and admits nobody again, with %s in the way',
    async (trouble) => {
      row++;
      const [ada, bob] = [signIn(), other()];
      const [readers, witnesses] = await Promise.all([openAll(ada), openAll(bob)]);
      await heardByAll([...readers, ...witnesses], 'before');

      await TROUBLE[trouble]!(async () => {
        const told = revoke(ada);
        // Nothing is delivered here from now on, whatever becomes of the others.
        await here.messaging.postMessage(News, 'news at once', { scope: 'local' });
        return told;
      });

      expect(named(await Promise.all(readers.map(({ closed }) => closed)))).toEqual(all('revoked'));
      await heardByAll(witnesses, 'after');
      const after = readers.map(({ heard }) => heard.pending.filter(isOfRow));
      expect(named(after)).toEqual(all([]));

      const again = await openAll(ada);
      const answers = await Promise.all(again.map(({ closed }) => closed));
      expect(named(answers)).toEqual(named(readersOf().map(([name]) => refusalOf(name))));
    },
    30_000,
  );

  test.each<[Place, string]>([
    ['guard', 'a sign-in'],
    ['guard', 'a sign-in without issuedAt'],
    ['handler', 'a sign-in'],
    ['authorizer', 'a sign-in'],
  ])(
    'that comes while the %s is at work for a request with %s lets it in nowhere',
    async (place, kind) => {
      const { issuedAt, ...undated } = signIn();
      const ada = kind === 'a sign-in' ? { ...undated, issuedAt } : undated;
      // Our client tries once more, and nobody can tell whether that is by a new sign-in.
      const mine = readersOf().filter(([name]) =>
        kind === 'a sign-in' ? place === 'guard' || isOf(place, name) : !name.includes('client'),
      );
      const gate = gateAt(place, ada.userId);
      const opening = mine.map(([, open]) => open(ada));
      // An authorizer is asked for each of two channels.
      await gate.entered.take(mine.length * (place === 'authorizer' ? 2 : 1));
      const known = others.map(({ messaging }) => new Inbox(messaging, revokedAuthenticationChannel(ada.userId)));
      expect(await revoke(ada)).toBe(true);
      for (const inbox of known) expect(await inbox.next()).toEqual(FORMS[form]());
      gate.open();
      const readers = await Promise.all(opening);
      const answers = await Promise.all(readers.map(({ closed }) => closed));
      expect(Object.fromEntries(mine.map(([name], index) => [name, answers[index]]))).toEqual(
        Object.fromEntries(mine.map(([name]) => [name, refusalOf(name)])),
      );
      for (const inbox of known) inbox[Symbol.dispose]();
    },
    30_000,
  );

  test.each(['the server of the readers', 'another server'])(
    'that %s makes while readers are about to get missed messages lets none of them through',
    async (by) => {
      for (const server of others) {
        const [ada, bob] = [signIn(), other()];
        const of = String(count);
        const post = async (text: string) => {
          await here.messaging.postMessage(Recent.for({ of }), text, { global: true });
          expect(await here.messaging.postMessage(Past.for({ of }), text)).toBe(true);
        };
        const away = await Promise.all(
          Object.values(LEAVING).flatMap((leave) => [ada, bob].map((as) => leave(here, of, as, () => post('before')))),
        );
        await post('missed');
        server.proxy.pause();
        const readers = await Promise.all(away.map((each) => each.comeBack(server)));
        const told = by === 'another server' ? await stored(here, () => revoke(ada)) : [revoke(ada, server)];
        server.proxy.resume();
        expect(await told[0]).toBe(true);
        expect(server.app.get(Hub).sessions.revocations.verdictOn(ada, 0)).toBe('revoked');
        // Of ada and bob by turns.
        const hers = readers.filter((_, index) => index % 2 === 0);
        const his = readers.filter((_, index) => index % 2 === 1);
        const ways = Object.keys(LEAVING);
        const closed = await Promise.all(hers.map((reader) => reader.closed));
        for (const { heard } of his) await heard.until((message) => message === 'missed');
        const heard = hers.map((reader) => reader.heard.pending.filter((message) => message === 'missed'));
        expect(ways.map((way, index) => [way, closed[index], heard[index]])).toEqual(
          ways.map((way) => [way, 'revoked', []]),
        );
      }
    },
    30_000,
  );

  test('is known to a server that starts later', async () => {
    const ada = signIn();
    expect(await revoke(ada)).toBe(true);
    const later = await startServer(redis.port);
    const readers = await Promise.all(Object.values(WAYS).map((way) => way(later, ada)));
    expect(await Promise.all(readers.map(({ closed }) => closed))).toEqual(Object.keys(WAYS).map(refusalOf));
    await stopServer(later);
  }, 30_000);
});

test('A process that stood still ends all that was revoked meanwhile, before it delivers what was posted', async () => {
  row++;
  await using stopped = await RevocationProcess.start(redis.port);
  const ways = stopped.addresses.flatMap((at) => Object.values(WAYS).map((way) => (as: SignIn) => way(at, as)));
  const openThere = (as: SignIn) => Promise.all(ways.map((open) => open(as)));
  const adas = FORM_NAMES.map(() => signIn());
  const [witnesses, ...readers] = await Promise.all([other(), ...adas].map(openThere));
  await heardByAll([...witnesses!, ...readers.flat()], 'before');

  stopped.pause();
  const told = FORM_NAMES.map((form, index) => here.messaging.revokeAuthentication(adas[index]!.userId, FORMS[form]()));
  expect(await Promise.all(told)).toEqual(told.map(() => false));
  expect(await here.messaging.postMessage(Kept, `kept meanwhile ${row}`)).toBe(true);
  await here.messaging.postMessage(News, 'news meanwhile', { global: true });
  stopped.resume();

  const closed = await Promise.all(readers.map((each) => Promise.all(each.map((reader) => reader.closed))));
  expect(closed).toEqual(readers.map(() => ways.map(() => 'revoked')));
  await heardByAll(witnesses!, 'after');
  expect(readers.flatMap((each) => each.flatMap(({ heard }) => heard.pending.filter(isOfRow)))).toEqual([]);
  const again = await Promise.all(adas.map(openThere));
  const answers = await Promise.all(again.map((each) => Promise.all(each.map((reader) => reader.closed))));
  const refused = Object.keys(WAYS).map(refusalOf);
  expect(answers).toEqual(adas.map(() => stopped.addresses.flatMap(() => refused)));
}, 60_000);

test('A revocation does not wait for a server that is killed meanwhile', async () => {
  await using stopped = await RevocationProcess.start(redis.port);
  stopped.pause();
  const [told] = await stored(here, () => here.messaging.revokeAuthentication(signIn().userId));
  await stopped[Symbol.asyncDispose]();
  expect(await told).toBe(true);
}, 30_000);

const isPost = (message: string) => /waiting|meanwhile/.test(message);

test('Posts that waited for a Redis that restarts empty go out after the revocations that it has lost', async () => {
  row++;
  const knowing = [here, fastify, overHttp2];
  const [ada, bob] = [signIn(), other()];
  const open = (as: SignIn) => Promise.all(Object.values(WAYS).map((way) => way(express, as)));
  const [readers, witnesses] = await Promise.all([open(ada), open(bob)]);
  await heardByAll([...readers, ...witnesses], 'before');
  await cut([express]);
  await reached(express.messaging, 'waiting');
  expect(await here.messaging.revokeAuthentication(ada.userId)).toBe(true);
  await cut(knowing);
  for (const server of knowing) await reached(server.messaging, 'waiting');
  await redis.kill();
  await redis.restart();

  // It reads an empty history, and goes on.
  await heal([express]);
  using probe = new RedisProbe(redis.url);
  const shut = new Set(witnesses);
  for (const witness of witnesses) {
    void witness.heard.until((message) => message === 'news open').then(() => shut.delete(witness));
  }
  while (shut.size > 0) {
    await probe.redis.publish(`messaging:|${News.name}`, JSON.stringify({ pattern: News.name, data: 'news open' }));
  }
  const post = (text: string) => [
    here.messaging.postMessage(News, `news ${text}`, { global: true }),
    here.messaging.postMessage(Kept, `kept ${text} ${row}`),
  ];
  const waiting = post('waiting');
  await heal([here]);
  expect(await Promise.all([...waiting, ...post('meanwhile')])).toEqual([true, true, true, true]);
  await heal(knowing);

  expect(await Promise.all(readers.map(({ closed }) => closed))).toEqual(readers.map(() => 'revoked'));
  expect(readers.map(({ heard }) => heard.pending.filter(isPost))).toEqual(readers.map(() => []));
  for (const { heard } of witnesses) {
    // Each of two tabs hears them.
    const told = new Set<string>();
    while (told.size < 4) told.add(await heard.until(isPost));
    expect([...told].toSorted()).toEqual([
      `kept meanwhile ${row}`,
      `kept waiting ${row}`,
      'news meanwhile',
      'news waiting',
    ]);
  }
}, 30_000);

test('A post does not overtake a revocation of a new epoch, which a server that reads slowly does not know yet', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'revocations-'));
  const lasting = await RedisServer.start({ dir });
  const [one, two] = [await startServer(lasting.port), await startServer(lasting.port)];
  // So that the epoch is another one for the next revocation.
  expect(await one.messaging.revokeAuthentication('nobody')).toBe(true);
  await lasting.restart();
  for (const { messaging } of [one, two]) await reached(messaging, 'ready');
  const ada = signIn();
  const readers = await Promise.all(Object.values(WAYS).map((way) => way(two, ada)));
  await heardByAll(readers, 'before', one);
  const hub = two.app.get(Hub);
  const readNow = hub.readNow.bind(hub);
  let goOn!: () => void;
  const mayRead = new Promise<void>((resolve) => (goOn = resolve));
  hub.readNow = async (...asked) => {
    await mayRead;
    return readNow(...asked);
  };
  using probe = new RedisProbe(lasting.url);
  const published = new Queue<string>();
  await probe.redis.subscribe(`messaging:|${News.name}`);
  probe.redis.on('message', (_, text: string) => published.push(text));
  const [told] = await stored(one, () => one.messaging.revokeAuthentication(ada.userId));
  expect(await one.messaging.postMessage(News, 'news after', { global: true })).toBe(true);
  expect(await one.messaging.postMessage(Kept, 'kept after')).toBe(true);
  await published.next();
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  goOn();
  expect(await Promise.all(readers.map(({ closed }) => closed))).toEqual(readers.map(() => 'revoked'));
  expect(readers.map(({ heard }) => heard.pending.filter((each) => each.endsWith('after')))).toEqual(
    readers.map(() => []),
  );
  expect(await told).toBe(true);
  for (const server of [one, two]) await stopServer(server);
  await lasting.stop();
  await rm(dir, { recursive: true });
}, 30_000);
