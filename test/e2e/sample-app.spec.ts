import 'reflect-metadata';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { NestExpressApplication } from '@nestjs/platform-express';
import {
  ChannelDeniedError,
  MessagingClient,
  sourceRef,
  type ClientStatus,
  type ListenableChannel,
} from 'nestjs-messaging/client';
import request from 'supertest';
import { createApp } from '../../sample-app/app.js';
import { UserUpdates, type UserUpdate } from '../../sample-app/people/people.messages.js';
import {
  ChatMessage,
  Invitations,
  Reaction,
  Room,
  RoomMessages,
  RoomReactions,
  RoomTyping,
  Rooms,
  Typing,
} from '../../sample-app/rooms/rooms.messages.js';
import { ServerStatuses } from '../../sample-app/servers/server-status.messages.js';
import { Settings } from '../../sample-app/settings.js';
import { Queue } from '../support/queue.js';
import { RedisServer } from '../support/redis-server.js';

const started: NestExpressApplication[] = [];
const opened: Page[] = [];
let pageFolder: string;

beforeAll(() => {
  pageFolder = mkdtempSync(join(tmpdir(), 'page-'));
  execFileSync(process.execPath, ['sample-app/bundle.mjs', pageFolder]);
});

afterAll(() => rmSync(pageFolder, { recursive: true }));

async function start(settings: Settings = new Settings()): Promise<string> {
  const app = await createApp(settings);
  started.push(app);
  app.useStaticAssets(pageFolder);
  await app.listen(0, '127.0.0.1');
  return app.getUrl();
}

afterEach(async () => {
  for (const { client } of opened.splice(0)) client.close();
  await Promise.all(started.splice(0).map((app) => app.close()));
});

/** A user with a separate browser. */
class Person {
  private constructor(
    readonly url: string,
    readonly cookie: string,
  ) {}

  static async signIn(url: string, name: string): Promise<Person> {
    const response = await request(url).post('/sign-in').send({ name }).expect(200);
    const [cookie = ''] = response.get('Set-Cookie') ?? [];
    return new Person(url, cookie.split(';')[0]!);
  }

  /** Signs in and opens the page. */
  static async comeIn(url: string, name: string): Promise<[Person, Page]> {
    const person = await Person.signIn(url, name);
    return [person, await person.open()];
  }

  /** The same browser, at another server. */
  at(url: string): Person {
    return new Person(url, this.cookie);
  }

  get(path: string): request.Test {
    return request(this.url).get(path).set('cookie', this.cookie);
  }

  post(path: string, body?: object): request.Test {
    return request(this.url).post(path).set('cookie', this.cookie).send(body);
  }

  put(path: string, body: object): request.Test {
    return request(this.url).put(path).set('cookie', this.cookie).send(body);
  }

  async say(text: string, roomId = 'lobby'): Promise<string> {
    const response = await this.post(`/rooms/${roomId}/messages`, { text }).expect(201);
    return (response.body as { id: string }).id;
  }

  /** Opens a private room; returns its id. */
  async openPrivateRoom(name: string): Promise<string> {
    const response = await this.post('/rooms', { name, isPrivate: true }).expect(201);
    return (response.body as { roomId: string }).roomId;
  }

  /** The names in one of the server's lists. */
  async namesOf(path: '/people' | '/rooms'): Promise<string[]> {
    const response = await this.get(path).expect(200);
    return (response.body as { name: string }[]).map(({ name }) => name);
  }

  /** Connects as the page does. */
  async open(fetch: typeof globalThis.fetch = globalThis.fetch): Promise<Page> {
    const page = new Page(
      new MessagingClient({ url: `${this.url}/messages`, headers: { cookie: this.cookie }, fetch }),
    );
    page.people = await page.hear(UserUpdates);
    return page;
  }
}

/** The network of a page. */
class Line {
  private breaking = new AbortController();

  readonly fetch: typeof globalThis.fetch = (input, init) =>
    globalThis.fetch(input, { ...init, signal: AbortSignal.any([this.breaking.signal, init!.signal!]) });

  cut(): void {
    this.breaking.abort();
  }

  mend(): void {
    this.breaking = new AbortController();
  }
}

class Page {
  readonly statuses = new Queue<ClientStatus>();
  /** Arrivals and departures. */
  people!: Queue<UserUpdate>;

  constructor(readonly client: MessagingClient) {
    opened.push(this);
    client.onStatus(this.statuses.push);
  }

  /** Resolves when it is subscribed. */
  async hear<T>(channel: ListenableChannel<T>): Promise<Queue<T>> {
    const messages = new Queue<T>();
    await this.client.subscribe(channel, (message) => messages.push(message));
    return messages;
  }

  /** The last messages of a room and all new ones, as the page shows them to a newcomer. */
  async enter(roomId = 'lobby'): Promise<Queue<ChatMessage>> {
    const messages = new Queue<ChatMessage>();
    await this.client.subscribe(RoomMessages.for({ roomId }), (message) => messages.push(message), { replay: 50 });
    return messages;
  }

  async hearHouse(): Promise<Queue<ChatMessage>> {
    const notices = new Queue<ChatMessage>();
    await this.client.subscribe(sourceRef('ChatServer', 'house'), ChatMessage, (notice) => notices.push(notice));
    return notices;
  }

  /** Resolves once this news of a user has arrived. */
  async until(kind: string, userId: string): Promise<void> {
    await this.people.until((update) => update.kind === kind && update.userId === userId);
  }

  /** The reason why the server ended the connection. */
  async closed(): Promise<string | undefined> {
    return (await this.statuses.until(({ state }) => state === 'closed')).reason;
  }
}

/** The status of an answer, and the first of its texts for people. */
async function answerTo(attempt: request.Test): Promise<[status: number, message: string | undefined]> {
  const { status, body } = (await attempt) as { status: number; body: { message?: string | string[] } };
  return [status, [body.message].flat()[0]];
}

const texts = (messages: readonly { text: string }[]) => messages.map(({ text }) => text);

describe('the sample app on one server', () => {
  let url: string;

  beforeEach(async () => {
    url = await start();
  });

  test('serves its page, which may run no script but its own', async () => {
    const page = await request(url).get('/').expect(200).expect('content-type', /html/);
    expect(page.headers['content-security-policy']).toContain("default-src 'self'");
    for (const [, path] of page.text.matchAll(/(?:src|href)="(\/[^"]+)"/g)) await request(url).get(path!).expect(200);
  });

  test('the script of the page contains no server code', async () => {
    const { text } = await request(url)
      .get('/app.js')
      .expect('content-type', /javascript/);
    expect(text).not.toMatch(/@nestjs|reflect-metadata|defineMetadata|node:/i);
  });

  test('answers 401 to clients without a sign-in, on every route and on the gateway', async () => {
    const toRead = ['/me', '/people', '/rooms', '/rooms/lobby/position', '/messages?channel=rooms'];
    const toWrite = ['/sign-out', '/rooms', '/rooms/lobby/messages', '/rooms/lobby/members', '/messages'];
    const toChange = ['/me/status', '/rooms/lobby/typing', '/rooms/lobby/messages/1/reactions'];
    const attempts = [
      ...toRead.map((path) => request(url).get(path)),
      ...toWrite.map((path) => request(url).post(path)),
      ...toChange.map((path) => request(url).put(path)),
    ];
    for (const attempt of attempts) expect(await answerTo(attempt)).toEqual([401, 'Please sign in.']);
  });

  test('signs in by name, with a cookie that scripts cannot read and other sites cannot use', async () => {
    const response = await request(url).post('/sign-in').send({ name: '  Ada Lovelace ' }).expect(200);
    expect(response.body).toEqual({ userId: 'ada lovelace', name: 'Ada Lovelace' });
    expect(response.get('Set-Cookie')![0]).toMatch(/; HttpOnly; SameSite=Strict$/);
  });

  test.each([
    [{}, 'A name has 1 to 30 characters.'],
    [{ name: '   ' }, 'A name has 1 to 30 characters.'],
    [{ name: 'a'.repeat(31) }, 'A name has 1 to 30 characters.'],
    [{ name: '<b>Ada</b>' }, "A name is made of letters, digits, spaces and .'_-"],
    [{ name: { length: 3 } }, 'A name has 1 to 30 characters.'],
    [{ name: 'Ada', isAdmin: true }, 'property isAdmin should not exist'],
  ])('refuses to sign in with %j, with the reason', async (body, reason) => {
    const response = await request(url).post('/sign-in').send(body).expect(400);
    expect((response.body as { message: string[] }).message).toContain(reason);
  });

  test('accepts no cookie that it has not signed', async () => {
    const { cookie } = await Person.signIn(url, 'Ada');
    const [name, token] = cookie.split('=') as [string, string];
    const [payload, signature] = token.split('.') as [string, string];
    const other = Buffer.from(payload, 'base64url').toString().replace('"ada"', '"bob"');
    const forged = Buffer.from(other).toString('base64url');
    for (const value of ['', 'x', '.', `${payload}.`, `${forged}.${signature}`, `${payload}.${signature}.x`]) {
      expect(await answerTo(request(url).get('/me').set('cookie', `${name}=${value}`))).toEqual([
        401,
        'Please sign in.',
      ]);
    }
    await request(url).get('/me').set('cookie', `theme=dark; ${cookie}`).expect(200);
  });

  test('reserves the name of an online user, whatever its spelling', async () => {
    const [ada] = await Person.comeIn(url, 'Ada');
    const taken = await answerTo(request(url).post('/sign-in').send({ name: 'ADA' }));
    expect(taken).toEqual([409, 'ADA is here already. Please choose another name.']);
    await ada.post('/sign-in', { name: 'Ada' }).expect(200);
  });

  test('reports arrivals, states and departures to all pages, with a notice in the house channel', async () => {
    const [ada, page] = await Person.comeIn(url, 'Ada');
    const house = await page.hearHouse();
    const [bob] = await Person.comeIn(url, 'Bob');
    await page.until('joined', 'bob');
    await bob.put('/me/status', { status: ' At lunch ' }).expect(204);
    await page.until('status', 'bob');
    expect((await ada.get('/people')).body).toEqual([
      { userId: 'ada', name: 'Ada', status: '' },
      { userId: 'bob', name: 'Bob', status: 'At lunch' },
    ]);
    await bob.put('/me/status', { status: '' }).expect(204);
    await bob.post('/sign-out').expect(204);
    await page.until('left', 'bob');
    expect(await ada.namesOf('/people')).toEqual(['Ada']);
    const notices = await house.take(4);
    expect(texts(notices)).toEqual(['Bob came in', 'Bob is now: At lunch', 'Bob cleared their status', 'Bob left']);
    expect(notices[0]).toBeInstanceOf(ChatMessage);
    expect(notices[0]).toMatchObject({ isNotice: true, sentAt: expect.any(Date) });
  });

  test('does not report a user as gone after a reload, or with another page open', async () => {
    const [, page] = await Person.comeIn(url, 'Ada');
    const [bob, firstPage] = await Person.comeIn(url, 'Bob');
    const [, carolsPage] = await Person.comeIn(url, 'Carol');
    await page.until('joined', 'carol');
    for (const { client } of [firstPage, await bob.open()]) client.close();
    const [closing] = [await bob.open(), await bob.open()];
    for (const { client } of [closing, carolsPage]) client.close();
    // Departures are noticed after a while, and only Carol has left.
    expect(await page.people.next()).toMatchObject({ kind: 'left', userId: 'carol' });
    await bob.put('/me/status', { status: 'Still here' }).expect(204);
    expect(await page.people.next()).toMatchObject({ kind: 'status', userId: 'bob' });
  });

  test.each([
    [{}, 'A status is text.'],
    [{ status: 'x'.repeat(81) }, 'A status has at most 80 characters.'],
    [{ status: 'two\nlines' }, 'A status is one line of text.'],
  ])('refuses the status %j', async (body, reason) => {
    const ada = await Person.signIn(url, 'Ada');
    const response = await ada.put('/me/status', body).expect(400);
    expect((response.body as { message: string[] }).message).toContain(reason);
  });

  test('ends every connection of a sign-in that signs out, and invalidates its cookie', async () => {
    const [ada, page] = await Person.comeIn(url, 'Ada');
    const otherTab = await ada.open();
    const messages = await otherTab.hear(RoomMessages.for({ roomId: 'lobby' }));
    const [bob, bobsPage] = await Person.comeIn(url, 'Bob');
    await ada.post('/sign-out').expect(204);
    expect([await page.closed(), await otherTab.closed()]).toEqual(['revoked', 'revoked']);
    expect(await answerTo(ada.get('/me'))).toEqual([401, 'Please sign in.']);
    await expect(ada.open()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
    expect(await opened.at(-1)!.closed()).toBe('refused');
    // The name is free at once, and other users are not disturbed.
    await Person.signIn(url, 'Ada');
    await bob.say('Where is she?');
    expect(bobsPage.client.status.state).toBe('open');
    expect(messages.pending).toEqual([]);
  });

  test('delivers messages to the members of the room, as instances of their class', async () => {
    const [[ada], [, page]] = [await Person.comeIn(url, 'Ada'), await Person.comeIn(url, 'Bob')];
    const lobby = await page.hear(RoomMessages.for({ roomId: 'lobby' }));
    await ada.say('Elsewhere', 'ideas');
    const id = await ada.say('Hello');
    const message = await lobby.next();
    expect(message).toBeInstanceOf(ChatMessage);
    expect(message).toEqual(new ChatMessage('ada', 'Ada', 'Hello', expect.any(Date) as unknown as Date, id));
  });

  test('shows newcomers the last 50 messages of a room, then new ones', async () => {
    const [ada, page] = await Person.comeIn(url, 'Ada');
    for (let count = 1; count <= 52; count++) await ada.say(`Message ${count}`);
    const lobby = await page.enter();
    await ada.say('Message 53');
    const heard = texts(await lobby.take(51));
    expect([heard[0], heard[49], heard[50]]).toEqual(['Message 3', 'Message 52', 'Message 53']);
  });

  test('brings all missed messages of every room to a page that was away, and reports no gap', async () => {
    const [[ada], bob] = [await Person.comeIn(url, 'Ada'), await Person.signIn(url, 'Bob')];
    const line = new Line();
    const page = await bob.open(line.fetch);
    const [lobby, ideas] = [await page.enter(), await page.hear(RoomMessages.for({ roomId: 'ideas' }))];
    const gaps = new Queue<unknown>();
    page.client.onGap(gaps.push);
    await ada.say('Before');
    expect((await lobby.next()).text).toBe('Before');
    line.cut();
    await page.statuses.until(({ state }) => state === 'waiting');
    for (let count = 1; count <= 3; count++) await ada.say(`Meanwhile ${count}`);
    await ada.say('An idea', 'ideas');
    line.mend();
    page.client.retryNow();
    expect(texts(await lobby.take(3))).toEqual(['Meanwhile 1', 'Meanwhile 2', 'Meanwhile 3']);
    expect((await ideas.next()).text).toBe('An idea');
    expect(gaps.pending).toEqual([]);
  });

  test('shows a draft while somebody is writing it', async () => {
    const [[ada], [, page]] = [await Person.comeIn(url, 'Ada'), await Person.comeIn(url, 'Bob')];
    const drafts = await page.hear(RoomTyping.for({ roomId: 'lobby' }));
    for (const text of ['Hel', 'Hello', '']) await ada.put('/rooms/lobby/typing', { text }).expect(204);
    expect(await drafts.take(3)).toEqual([
      new Typing('ada', 'Ada', 'Hel'),
      new Typing('ada', 'Ada', 'Hello'),
      new Typing('ada', 'Ada', ''),
    ]);
    expect(await answerTo(ada.put('/rooms/lobby/typing', { text: 7 }))).toEqual([
      400,
      'What is being written is text of at most 2000 characters.',
    ]);
  });

  test('reactions to a message come as messages, and newcomers see who has reacted', async () => {
    const [[ada, page], bob] = [await Person.comeIn(url, 'Ada'), await Person.signIn(url, 'Bob')];
    const reactions = await page.hear(RoomReactions.for({ roomId: 'lobby' }));
    const id = await ada.say('It works');
    const path = `/rooms/lobby/messages/${id}/reactions`;
    for (const person of [ada, bob]) await person.put(path, { emoji: '🎉', isOn: true }).expect(204);
    await ada.put(path, { emoji: '👍', isOn: true }).expect(204);
    await ada.put(path, { emoji: '👍', isOn: false }).expect(204);
    expect(await reactions.next()).toEqual(new Reaction(id, 'ada', '🎉', true));
    expect((await reactions.take(3)).at(-1)).toEqual(new Reaction(id, 'ada', '👍', false));
    const later = await bob.open();
    const seen = new Queue<Reaction>();
    await later.client.subscribe(RoomReactions.for({ roomId: 'lobby' }), seen.push, { replay: 500 });
    expect(await seen.take(4)).toEqual([
      new Reaction(id, 'ada', '🎉', true),
      new Reaction(id, 'bob', '🎉', true),
      new Reaction(id, 'ada', '👍', true),
      new Reaction(id, 'ada', '👍', false),
    ]);
    expect(await answerTo(ada.put(path, { emoji: '🦄', isOn: true }))).toEqual([400, 'There is no such reaction.']);
  });

  test('opens rooms for everybody, each name once', async () => {
    const [[ada], [, page]] = [await Person.comeIn(url, 'Ada'), await Person.comeIn(url, 'Bob')];
    const [rooms, house] = [await page.hear(Rooms), await page.hearHouse()];
    const created = await ada.post('/rooms', { name: 'Coffee & cake' }).expect(201);
    expect(created.body).toEqual({ roomId: 'coffee-cake', name: 'Coffee & cake' });
    expect(await rooms.next()).toEqual(new Room('coffee-cake', 'Coffee & cake'));
    expect((await house.next()).text).toBe('Ada opened the room Coffee & cake');
    await ada.post('/rooms', { name: 'coffee CAKE' }).expect(409, /There is a room of this name already/);
    await ada.post('/rooms', { name: '茶室' }).expect(201);
    await ada.say('Hello', encodeURIComponent('茶室'));
    expect(await ada.namesOf('/rooms')).toEqual(['Lobby', 'Ideas', 'Coffee & cake', '茶室']);
  });

  test('a private room does not exist for others: not by requests, by the gateway or by a notice', async () => {
    const [[ada], [bob, page]] = [await Person.comeIn(url, 'Ada'), await Person.comeIn(url, 'Bob')];
    const [rooms, house] = [await page.hear(Rooms), await page.hearHouse()];
    const roomId = await ada.openPrivateRoom('Birthday');
    await ada.say('A cake?', roomId);

    expect(await bob.namesOf('/rooms')).toEqual(['Lobby', 'Ideas']);
    const attempts = [
      bob.get(`/rooms/${roomId}/position`),
      bob.post(`/rooms/${roomId}/messages`, { text: 'Hello?' }),
      bob.post(`/rooms/${roomId}/members`, { name: 'Bob' }),
      bob.put(`/rooms/${roomId}/typing`, { text: 'He' }),
      bob.put(`/rooms/${roomId}/messages/1/reactions`, { emoji: '👍', isOn: true }),
    ];
    for (const attempt of attempts) expect(await answerTo(attempt)).toEqual([404, 'There is no such room.']);
    const channels = [RoomMessages, RoomTyping, RoomReactions].map((template) => template.for({ roomId }).name);
    for (const channel of [...channels, Invitations.for({ userId: 'ada' }).name, RoomMessages.name]) {
      await expect(page.hear(channel)).rejects.toBeInstanceOf(ChannelDeniedError);
    }

    await ada.post('/rooms', { name: 'Attic' }).expect(201);
    expect((await rooms.next()).name).toBe('Attic');
    expect((await house.next()).text).toBe('Ada opened the room Attic');
  });

  test('an invited user learns of a private room, and is admitted', async () => {
    const [[ada, adasPage], [bob, page]] = [await Person.comeIn(url, 'Ada'), await Person.comeIn(url, 'Bob')];
    const invitations = await page.hear(Invitations.for({ userId: 'bob' }));
    const roomId = await ada.openPrivateRoom('Birthday');
    await ada.say('A cake?', roomId);
    const room = await adasPage.hear(RoomMessages.for({ roomId }));
    await ada.post(`/rooms/${roomId}/members`, { name: 'BOB' }).expect(204);
    expect((await room.next()).text).toBe('Ada invited BOB');

    const invitation = await invitations.next();
    expect(invitation).toBeInstanceOf(Room);
    expect(invitation).toEqual(new Room(roomId, 'Birthday', 'ada', new Set(['ada', 'bob'])));
    const bobs = await page.enter(roomId);
    await ada.say('Welcome', roomId);
    expect(texts(await bobs.take(3))).toEqual(['A cake?', 'Ada invited BOB', 'Welcome']);

    const notTheirs = [403, 'Only who has opened a private room can invite to it.'];
    expect(await answerTo(bob.post(`/rooms/${roomId}/members`, { name: 'Carol' }))).toEqual(notTheirs);
    expect(await answerTo(ada.post('/rooms/lobby/members', { name: 'Carol' }))).toEqual(notTheirs);
    const carol = await Person.signIn(url, 'Carol');
    expect(await carol.namesOf('/rooms')).not.toContain('Birthday');
  });

  test('messages between servers are not for clients', async () => {
    const [, page] = await Person.comeIn(url, 'Ada');
    for (const channel of ['sign_outs', 'server_reports', 'status_changes', 'known_rooms']) {
      await expect(page.hear(channel)).rejects.toBeInstanceOf(ChannelDeniedError);
    }
  });

  test.each([{}, { name: '' }, { name: 'x'.repeat(41) }, { name: '&&&' }, { name: 'a/b' }, { name: '*' }])(
    'refuses a room called %j',
    async (body) => {
      const ada = await Person.signIn(url, 'Ada');
      expect(await answerTo(ada.post('/rooms', body))).toEqual([400, expect.stringContaining('The name of a room')]);
    },
  );

  test('opens at most 100 rooms', async () => {
    const ada = await Person.signIn(url, 'Ada');
    for (let count = 3; count <= 100; count++) await ada.post('/rooms', { name: `Room ${count}` }).expect(201);
    expect(await answerTo(ada.post('/rooms', { name: 'One more' }))).toEqual([409, 'There are 100 rooms already.']);
  });

  test('answers 404 for an unknown room', async () => {
    const ada = await Person.signIn(url, 'Ada');
    const attempts = [
      ada.post('/rooms/attic/messages', { text: 'Hello?' }),
      ada.put('/rooms/attic/typing', { text: 'Hello' }),
    ];
    for (const attempt of attempts) expect(await answerTo(attempt)).toEqual([404, 'There is no such room.']);
  });

  test.each([{}, { text: ' \n ' }, { text: 'x'.repeat(2001) }, { text: ['x'] }])(
    'refuses a message: %#',
    async (body) => {
      const ada = await Person.signIn(url, 'Ada');
      expect(await answerTo(ada.post('/rooms/lobby/messages', body))).toEqual([
        400,
        'A message has 1 to 2000 characters.',
      ]);
    },
  );
});

describe('the sample app on two servers with a Redis between them', () => {
  let redis: RedisServer;
  let one: string;
  let two: string;

  beforeAll(async () => {
    redis = await RedisServer.start();
  });

  afterAll(async () => {
    await redis[Symbol.asyncDispose]();
  });

  const settings = (serverName: string) => new Settings({ serverName, redisUrl: redis.url, sessionSecret: 'shared' });

  beforeEach(async () => {
    // Redis keeps the rooms.
    await redis.restart();
    [one, two] = [await start(settings('one')), await start(settings('two'))];
  });

  test('shows the users of the other server, and their messages', async () => {
    const [[ada, page], bob] = [await Person.comeIn(one, 'Ada'), await Person.signIn(two, 'Bob')];
    const [lobby, house] = [await page.hear(RoomMessages.for({ roomId: 'lobby' })), await page.hearHouse()];
    await bob.open();
    await page.until('joined', 'bob');
    await bob.put('/me/status', { status: 'Over here' });
    await page.until('status', 'bob');
    const id = await bob.say('Hello from two');
    expect(await lobby.next()).toMatchObject({ author: 'Bob', text: 'Hello from two', sentAt: expect.any(Date) });
    await ada.put(`/rooms/lobby/messages/${id}/reactions`, { emoji: '👍', isOn: true }).expect(204);
    await bob.post('/rooms', { name: 'Attic' }).expect(201);
    expect(texts(await house.take(3))).toEqual(['Bob came in', 'Bob is now: Over here', 'Bob opened the room Attic']);
    expect(await ada.namesOf('/rooms')).toContain('Attic');
    await request(one).post('/sign-in').send({ name: 'Bob' }).expect(409);
    await ada.at(two).get('/me').expect(200).expect('x-server', 'two');
  });

  test('takes a sign-in of one server on the other, and ends it on both', async () => {
    const [ada, page] = await Person.comeIn(one, 'Ada');
    const otherPage = await ada.at(two).open();
    // A status reaches the page, whichever server took the request.
    await ada.at(two).put('/me/status', { status: 'Everywhere' }).expect(204);
    await page.until('status', 'ada');
    await ada.post('/sign-out').expect(204);
    expect([await page.closed(), await otherPage.closed()]).toEqual(['revoked', 'revoked']);
    expect(await answerTo(ada.at(two).get('/me'))).toEqual([401, 'Please sign in.']);
  });

  test('needs no sticky sessions: each request may go to another server', async () => {
    let count = 0;
    const ada = await Person.signIn(one, 'Ada');
    const page = await ada.open((path, init) => fetch((path as string).replace(one, [one, two][count++ % 2]!), init));
    const roomId = await ada.at(two).openPrivateRoom('Birthday');
    const heard = [
      await page.hear(RoomMessages.for({ roomId })),
      await page.hear(RoomMessages.for({ roomId: 'lobby' })),
    ];
    expect(count).toBe(3);
    await ada.at(two).say('A cake?', roomId);
    await ada.say('Hello');
    expect(texts([await heard[0]!.next(), await heard[1]!.next()])).toEqual(['A cake?', 'Hello']);
  });

  test('a server that starts later learns of users, rooms and messages', async () => {
    const [ada, page] = await Person.comeIn(one, 'Ada');
    await ada.post('/rooms', { name: 'Attic' }).expect(201);
    const secretId = await ada.openPrivateRoom('Birthday');
    const id = await ada.say('Who was here first?', 'attic');
    await ada.put(`/rooms/attic/messages/${id}/reactions`, { emoji: '😄', isOn: true }).expect(204);
    await ada.say('A cake?', secretId);

    const three = await start(settings('three'));
    const [bob, later] = await Person.comeIn(three, 'Bob');
    await page.until('joined', 'bob');
    // Messages arrive in order: once this one is there, so is everything known before.
    const rooms = await later.hear(Rooms);
    await ada.post('/rooms', { name: 'Cellar' }).expect(201);
    await rooms.until(({ name }) => name === 'Cellar');
    expect(await bob.namesOf('/rooms')).toEqual(['Lobby', 'Ideas', 'Attic', 'Cellar']);
    expect(await bob.namesOf('/people')).toEqual(expect.arrayContaining(['Ada', 'Bob']));
    expect((await (await later.enter('attic')).next()).text).toBe('Who was here first?');
    expect((await (await (await ada.at(three).open()).enter(secretId)).next()).text).toBe('A cake?');
    await expect(later.enter(secretId)).rejects.toBeInstanceOf(ChannelDeniedError);
  });

  test('a server that is cut off from the others informs its pages, and reports no user as gone', async () => {
    await using ownRedis = await RedisServer.start();
    const own = { redisUrl: ownRedis.url, sessionSecret: 'shared' };
    const [three, four] = [await start(new Settings(own)), await start(new Settings(own))];
    const [[ada, page], [bob, bobsPage]] = [await Person.comeIn(three, 'Ada'), await Person.comeIn(four, 'Bob')];
    await page.until('joined', 'bob');
    const [statuses, bobsStatuses] = [await page.hear(ServerStatuses), await bobsPage.hear(ServerStatuses)];
    await ownRedis.stop();
    for (const heard of [statuses, bobsStatuses]) await heard.until(({ isCutOff }) => isCutOff);
    await ada.get('/me').expect('x-server-cut-off', 'true');

    // Long after a silent server counts as gone.
    const now = jest
      .spyOn(Date, 'now')
      .mockImplementation(() => Math.round(performance.timeOrigin + performance.now()) + 60_000);
    await ada.put('/me/status', { status: 'Alone' }).expect(204);
    expect(await page.people.next()).toMatchObject({ kind: 'status', userId: 'ada' });
    expect(await ada.namesOf('/people')).toEqual(['Ada', 'Bob']);

    await ownRedis.restart();
    for (const heard of [statuses, bobsStatuses]) await heard.until(({ isCutOff }) => !isCutOff);
    const answer = await bob.get('/me').expect(200);
    expect(answer.headers).not.toHaveProperty('x-server-cut-off');
    await bob.put('/me/status', { status: 'There you are' });
    expect(await page.people.next()).toMatchObject({ kind: 'status', userId: 'bob' });
    now.mockRestore();
    for (const { client } of opened.splice(0)) client.close();
    await Promise.all(started.splice(-2).map((app) => app.close()));
  });

  test('users of a server that shuts down are reported as gone', async () => {
    const [ada, page] = await Person.comeIn(one, 'Ada');
    await Person.comeIn(two, 'Bob');
    await page.until('joined', 'bob');
    opened.pop()!.client.close();
    await started.pop()!.close();
    await page.until('left', 'bob');
    expect(await ada.namesOf('/people')).toEqual(['Ada']);
    // And the name is free again.
    await Person.signIn(one, 'Bob');
  });
});
