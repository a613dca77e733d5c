import 'reflect-metadata';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { NestExpressApplication } from '@nestjs/platform-express';
import request from 'supertest';
import { createApp } from '../../sample-app/app.js';
import { Settings } from '../../sample-app/settings.js';
import { RedisServer } from '../support/redis-server.js';
import { SseClient, type ReceivedEvent } from '../support/sse-client.js';

const started: NestExpressApplication[] = [];

async function start(settings: Settings = new Settings()): Promise<string> {
  const app = await createApp(settings);
  started.push(app);
  await app.listen(0, '127.0.0.1');
  return app.getUrl();
}

afterEach(async () => {
  await Promise.all(started.splice(0).map((app) => app.close()));
});

/** Somebody with a browser of their own. */
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

  async say(text: string, roomId = 'lobby'): Promise<void> {
    await this.post(`/rooms/${roomId}/messages`, { text }).expect(201);
  }

  /** Opens a page, and reads what it is told to begin with. */
  async open(roomId = 'lobby'): Promise<Page> {
    const client = await SseClient.connect(`${this.url}/live?room=${roomId}`, { headers: { cookie: this.cookie } });
    return new Page(client);
  }
}

class Page {
  constructor(readonly client: SseClient) {}

  /** The next event of this name whose data has these properties; those before it are dropped. */
  async next(name: string, properties: object = {}): Promise<Record<string, unknown>> {
    const event = await this.client.events.until(
      (received) => received.event === name && hasAll(parse(received), properties),
    );
    return parse(event);
  }

  /** What has come until something is said that is known to come later. */
  async until(text: string): Promise<[name: string, data: Record<string, unknown>][]> {
    const seen: [string, Record<string, unknown>][] = [];
    for (;;) {
      const event = await this.client.events.next();
      const data = parse(event);
      if (data['text'] === text) return seen;
      seen.push([event.event, data]);
    }
  }
}

/** The status of an answer, and its text for people: the first, where there are several. */
async function answerTo(attempt: request.Test): Promise<[status: number, message: string | undefined]> {
  const { status, body } = (await attempt) as { status: number; body: { message?: string | string[] } };
  return [status, [body.message].flat()[0]];
}

function parse({ data }: ReceivedEvent): Record<string, unknown> {
  return JSON.parse(data) as Record<string, unknown>;
}

function hasAll(data: Record<string, unknown>, properties: object): boolean {
  return Object.entries(properties).every(([key, value]) => data[key] === value);
}

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

  test('answers 401 to whoever is not signed in, on every route and on the stream', async () => {
    const toRead = ['/me', '/people', '/rooms', '/rooms/lobby/messages', '/live?room=lobby'];
    const toWrite = ['/sign-out', '/rooms', '/rooms/lobby/messages', '/rooms/lobby/typing'];
    const attempts = [
      ...toRead.map((path) => request(url).get(path)),
      ...toWrite.map((path) => request(url).post(path)),
      request(url).put('/me/status'),
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
  ])('refuses to sign in with %j, and says why', async (body, reason) => {
    const response = await request(url).post('/sign-in').send(body).expect(400);
    expect((response.body as { message: string[] }).message).toContain(reason);
  });

  test('takes no cookie that it has not signed', async () => {
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

  test('gives a name that is online to nobody else, however it is written', async () => {
    const ada = await Person.signIn(url, 'Ada');
    await ada.open();
    const taken = await answerTo(request(url).post('/sign-in').send({ name: 'ADA' }));
    expect(taken).toEqual([409, 'ADA is here already. Please choose another name.']);
    await ada.post('/sign-in', { name: 'Ada' }).expect(200);
  });

  test('begins a stream with all there is, the page itself included, and goes on with what comes', async () => {
    const ada = await Person.signIn(url, 'Ada');
    await ada.open();
    await ada.say('Before you came');
    const bob = await Person.signIn(url, 'Bob');
    const page = await bob.open();
    expect(await page.until('Before you came')).toEqual([
      ['Welcome', { userId: 'bob', roomId: 'lobby', server: '' }],
      ['Room', { roomId: 'lobby', name: 'Lobby' }],
      ['Room', { roomId: 'ideas', name: 'Ideas' }],
      ['UserUpdate', expect.objectContaining({ kind: 'present', name: 'Ada' })],
      ['UserUpdate', expect.objectContaining({ kind: 'present', name: 'Bob' })],
    ]);
    await ada.say('Now that you are here');
    expect(await page.next('ChatMessage')).toMatchObject({ author: 'Ada', text: 'Now that you are here' });
  });

  test('tells who joined, what they are up to, and who left', async () => {
    const ada = await Person.signIn(url, 'Ada');
    const page = await ada.open();
    const bob = await Person.signIn(url, 'Bob');
    await bob.open();
    await page.next('UserUpdate', { kind: 'joined', userId: 'bob' });
    await bob.put('/me/status', { status: ' At lunch ' }).expect(204);
    await page.next('UserUpdate', { kind: 'status', userId: 'bob', status: 'At lunch' });
    expect((await ada.get('/people')).body).toMatchObject([{ name: 'Ada' }, { name: 'Bob', status: 'At lunch' }]);
    await bob.post('/sign-out').expect(204);
    expect(await page.next('UserUpdate', { kind: 'left' })).toMatchObject({ userId: 'bob', name: 'Bob' });
  });

  test('does not say that somebody left who reloads the page, or has another one open', async () => {
    const ada = await Person.signIn(url, 'Ada');
    const page = await ada.open();
    const [bob, carol] = [await Person.signIn(url, 'Bob'), await Person.signIn(url, 'Carol')];
    const [pages, visit] = [[await bob.open(), await bob.open()], await carol.open()];
    await page.next('UserUpdate', { kind: 'joined', userId: 'carol' });
    await Promise.all(pages.map(({ client }) => client[Symbol.asyncDispose]()));
    const [closing] = [await bob.open(), await bob.open()];
    await closing.client[Symbol.asyncDispose]();
    await visit.client[Symbol.asyncDispose]();
    // Who has left is missed after a while, and that is Carol alone.
    expect(await page.next('UserUpdate')).toMatchObject({ kind: 'left', userId: 'carol' });
    await bob.say('Still here');
    expect((await page.until('Still here')).map(([name]) => name)).not.toContain('UserUpdate');
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

  test('ends every stream of a sign-in that signs out, and its cookie is worth nothing any more', async () => {
    const ada = await Person.signIn(url, 'Ada');
    const pages = [await ada.open(), await ada.open('ideas')];
    await ada.post('/sign-out').expect(204);
    for (const page of pages) {
      await page.next('messaging:revoked');
      await page.client.ended;
    }
    for (const path of ['/me', '/live?room=lobby'])
      expect(await answerTo(ada.get(path))).toEqual([401, 'Please sign in.']);
    // The name is free at once.
    await Person.signIn(url, 'Ada');
  });

  test('keeps the last 50 messages of a room for newcomers', async () => {
    const ada = await Person.signIn(url, 'Ada');
    for (let count = 1; count <= 52; count++) await ada.say(`Message ${count}`);
    const response = await ada.get('/rooms/lobby/messages').expect(200);
    const texts = (response.body as { text: string }[]).map(({ text }) => text);
    expect(texts).toHaveLength(50);
    expect([texts[0], texts[49]]).toEqual(['Message 3', 'Message 52']);
    const page = await ada.open();
    expect(await page.next('ChatMessage')).toMatchObject({ text: 'Message 3' });
  });

  test('tells of other rooms only that something was said there', async () => {
    const ada = await Person.signIn(url, 'Ada');
    const page = await ada.open();
    await ada.say('A secret of the other room', 'ideas');
    for (const text of ['Hello', 'Bye']) await ada.say(text);
    const seen = await page.until('Bye');
    expect(seen.filter(([name]) => name === 'RoomActivity')).toEqual([['RoomActivity', { roomId: 'ideas' }]]);
    expect(JSON.stringify(seen)).not.toContain('secret');
  });

  test('shows the others who is writing, and not oneself', async () => {
    const [ada, bob] = [await Person.signIn(url, 'Ada'), await Person.signIn(url, 'Bob')];
    const pages = [await ada.open(), await bob.open()] as const;
    await ada.post('/rooms/lobby/typing').expect(204);
    expect(await pages[1].next('Typing')).toEqual({ userId: 'ada', name: 'Ada' });
    await ada.say('Done');
    expect((await pages[0].until('Done')).map(([name]) => name)).not.toContain('Typing');
  });

  test('opens rooms, each name once', async () => {
    const ada = await Person.signIn(url, 'Ada');
    const page = await ada.open();
    const created = await ada.post('/rooms', { name: 'Coffee & cake' }).expect(201);
    expect(created.body).toEqual({ roomId: 'coffee-cake', name: 'Coffee & cake' });
    await page.next('Room', { roomId: 'coffee-cake' });
    await ada.post('/rooms', { name: 'coffee CAKE' }).expect(409, /There is a room of this name already/);
    await ada.post('/rooms', { name: '茶室' }).expect(201);
    await ada.say('Hello', encodeURIComponent('茶室'));
  });

  test.each([{}, { name: '' }, { name: 'x'.repeat(41) }, { name: '&&&' }, { name: 'a/b' }, { name: '*' }])(
    'refuses a room called %j',
    async (body) => {
      const ada = await Person.signIn(url, 'Ada');
      expect(await answerTo(ada.post('/rooms', body))).toEqual([400, expect.stringContaining('The name of a room')]);
    },
  );

  test('has room for 100 rooms', async () => {
    const ada = await Person.signIn(url, 'Ada');
    for (let count = 3; count <= 100; count++) await ada.post('/rooms', { name: `Room ${count}` }).expect(201);
    expect(await answerTo(ada.post('/rooms', { name: 'One more' }))).toEqual([409, 'There are 100 rooms already.']);
  });

  test('answers 404 where there is no such room', async () => {
    const ada = await Person.signIn(url, 'Ada');
    const paths = ['/rooms/attic/messages', '/live?room=attic', '/live', '/live?room=lobby&room=ideas'];
    const attempts = [
      ...paths.map((path) => ada.get(path)),
      ada.post('/rooms/attic/messages', { text: 'Hello?' }),
      ada.post('/rooms/attic/typing'),
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
    [one, two] = [await start(settings('one')), await start(settings('two'))];
  });

  test('shows on one server who is on the other, and what is said there', async () => {
    const [ada, bob] = [await Person.signIn(one, 'Ada'), await Person.signIn(two, 'Bob')];
    const page = await ada.open();
    expect(await page.next('Welcome')).toMatchObject({ server: 'one' });
    await bob.open();
    await page.next('UserUpdate', { kind: 'joined', userId: 'bob' });
    await bob.put('/me/status', { status: 'Over here' });
    await page.next('UserUpdate', { kind: 'status', status: 'Over here' });
    await bob.say('Hello from two');
    expect(await page.next('ChatMessage')).toMatchObject({ author: 'Bob', text: 'Hello from two' });
    await request(one).post('/sign-in').send({ name: 'Bob' }).expect(409);
  });

  test('takes a sign-in of one server on the other, and ends it on both', async () => {
    const ada = await Person.signIn(one, 'Ada');
    const pages = [await ada.open(), await ada.at(two).open()];
    // A status reaches the page wherever the request was taken.
    await ada.at(two).put('/me/status', { status: 'Everywhere' }).expect(204);
    await pages[0]!.next('UserUpdate', { status: 'Everywhere' });
    await ada.post('/sign-out').expect(204);
    for (const page of pages) await page.next('messaging:revoked');
    expect(await answerTo(ada.at(two).get('/me'))).toEqual([401, 'Please sign in.']);
  });

  test('a server that comes later learns who is there, which rooms there are, and what was said', async () => {
    const ada = await Person.signIn(one, 'Ada');
    const page = await ada.open();
    await ada.post('/rooms', { name: 'Attic' }).expect(201);
    await ada.say('Who was here first?', 'attic');
    const three = await start(settings('three'));
    const bob = await Person.signIn(three, 'Bob');
    const later = await bob.open();
    await later.next('Room', { roomId: 'attic' });
    await later.next('UserUpdate', { userId: 'ada' });
    await page.next('UserUpdate', { kind: 'joined', userId: 'bob' });
    const attic = await bob.open('attic');
    expect(await attic.next('ChatMessage')).toMatchObject({ text: 'Who was here first?' });
  });

  test('whoever was on a server that shuts down has left', async () => {
    const page = await (await Person.signIn(one, 'Ada')).open();
    const bob = await Person.signIn(two, 'Bob');
    await bob.open();
    await page.next('UserUpdate', { kind: 'joined', userId: 'bob' });
    await started.pop()!.close();
    expect(await page.next('UserUpdate', { kind: 'left' })).toMatchObject({ userId: 'bob' });
    // And the name is free.
    await Person.signIn(one, 'Bob');
  });
});
