import { Controller } from '@nestjs/common';
import { Exclude, Expose, Transform } from 'class-transformer';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { merge } from 'rxjs';
import {
  defineChannel,
  Messages,
  MessagingModule,
  MessagingService,
  Serializable,
  SessionMessages,
  Sse,
} from 'nestjs-messaging';
import { Inbox } from 'nestjs-messaging/testing';
import { startApp, type TestApp } from '../support/apps.js';
import { Queue } from '../support/queue.js';
import { RedisServer } from '../support/redis-server.js';
import { SseClient } from '../support/sse-client.js';

// The contents of a message, over a real Redis and in the frames of an event stream.

@Serializable({ key: 'id' })
class User {
  @Exclude()
  readonly password = 'hunter2-secret';
  @Expose({ groups: ['staff'] })
  readonly salary = 123_456_789;

  constructor(
    readonly id: number,
    readonly joined: Date,
  ) {}
}

@Serializable()
class Report {
  constructor(
    readonly author: User,
    readonly rooms: Map<string, User[]>,
    readonly tags: Set<string>,
    readonly size: bigint,
    readonly bytes: Uint8Array,
    public next?: Report,
  ) {}
}

const Reports = defineChannel('reports', Report);

@Serializable({ name: 'rich-quote' })
class Quote {
  @Transform(({ value }) => `${String(value)}!`, { toPlainOnly: true })
  readonly text: string;
  @Expose({ name: 'said_at' })
  readonly saidAt = new Date('2026-11-22T12:00:00Z');
  readonly more = new Map([[1, new Account('ada')]]);

  constructor(text: string) {
    this.text = text;
  }
}

@Serializable({ name: 'rich-account' })
class Account {
  readonly password = 'hunter2-secret';
  constructor(readonly owner: string) {}
  toJSON() {
    return { owner: `${this.owner}?` };
  }
}

const Quotes = defineChannel('quotes', Quote, { clients: true });
const Accounts = defineChannel('accounts', Account, { clients: true });

@Controller()
class Streams {
  @Sse('reports')
  reports(@Messages() messages: SessionMessages) {
    return messages.createStream(Reports);
  }

  @Sse('quotes')
  quotes(@Messages() messages: SessionMessages) {
    return merge(messages.createStream(Quotes), messages.createStream(Accounts));
  }
}

let redis: RedisServer;
let one: TestApp;
let two: TestApp;
beforeAll(async () => {
  redis = await RedisServer.start();
  const metadata = { imports: [MessagingModule.forRoot({ redis: redis.url, gateway: true })], controllers: [Streams] };
  one = await startApp(metadata);
  two = await startApp({ ...metadata, imports: [MessagingModule.forRoot({ redis: redis.url, gateway: true })] });
});
afterAll(async () => {
  await one.app.close();
  await two.app.close();
  await redis.stop();
});

function report(): Report {
  const ada = new User(7, new Date('2026-11-22T12:00:00Z'));
  const rooms = new Map([['lobby', [ada, new User(8, new Date(Number.NaN))]]]);
  const written = new Report(ada, rooms, new Set(['a', 'ü']), 2n ** 70n, new Uint8Array([1, 2, 255]));
  written.next = written;
  return written;
}

test('a message with Map, Set, Date, bigint, bytes, instances, a shared part and a cycle arrives unchanged on another server', async () => {
  using inbox = new Inbox(two.app.get(MessagingService), Reports);
  await inbox.ready;
  await one.app.get(MessagingService).postMessage(Reports, report(), { global: true });
  const received = await inbox.next();

  expect(received).toBeInstanceOf(Report);
  expect(received.next).toBe(received);
  expect(received.author).toBeInstanceOf(User);
  expect(received.author.joined).toEqual(new Date('2026-11-22T12:00:00Z'));
  const [ada, other] = received.rooms.get('lobby')!;
  expect(ada).toBe(received.author);
  expect(other!.joined.getTime()).toBeNaN();
  expect(received.tags).toEqual(new Set(['a', 'ü']));
  expect(received.size).toBe(2n ** 70n);
  expect(received.bytes).toEqual(new Uint8Array([1, 2, 255]));
  expect(Object.keys(received.author)).toEqual(['id', 'joined']);
});

test('properties that class-transformer excludes, or exposes only to others, appear in no byte on Redis and in no frame', async () => {
  const raw = new Redis(redis.url);
  const payloads = new Queue<string>();
  raw.on('pmessage', (_pattern, _channel, payload: string) => payloads.push(payload));
  await raw.psubscribe('*');
  await using client = await SseClient.connect(`${one.url}/reports`);
  await client.comments.next();

  await one.app.get(MessagingService).postMessage(Reports, report(), { global: true });

  const payload = await payloads.next();
  const { event, data } = await client.events.next();
  expect(event).toBe('Report');
  for (const text of [payload, data]) {
    expect(text).toContain('2026-11-22T12:00:00.000Z');
    for (const secret of ['password', 'hunter2', 'salary', '123456789']) expect(text).not.toContain(secret);
  }
  raw.disconnect();
});

test('properties that are exposed to a group are sent if the module names the group', async () => {
  const options = { redis: redis.url, prefix: 'staff:', classTransformer: { groups: ['staff'] } };
  await using staff = await startApp({ imports: [MessagingModule.forRoot(options)], controllers: [Streams] });
  await using client = await SseClient.connect(`${staff.url}/reports`);
  await client.comments.next();
  await staff.app.get(MessagingService).postMessage(Reports, report());
  const { data } = await client.events.next();
  expect(data).toContain('123456789');
  expect(data).not.toContain('hunter2');
});

test('browsers of every server get the exact text written by the server of the post', async () => {
  const clients = [];
  for (const { url } of [one, two]) {
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ channels: [{ channel: 'quotes' }, { channel: 'accounts' }] });
    const gateway = await SseClient.connect(`${url}/messages`, { method: 'POST', headers, body });
    await gateway.events.until(({ event }) => event === 'messaging:ready');
    const sse = await SseClient.connect(`${url}/quotes`);
    await sse.comments.next();
    clients.push({ sse, gateway });
  }
  using inbox = new Inbox(two.app.get(MessagingService), Quotes);
  using accounts = new Inbox(two.app.get(MessagingService), Accounts);
  await Promise.all([inbox.ready, accounts.ready]);
  // Changes by a listener do not affect the message that browsers receive.
  two.app.get(MessagingService).addListener(Quotes, (quote) => void Object.assign(quote, { text: 'changed' }));
  const from = one.app.get(MessagingService);
  await from.postMessage(Quotes, new Quote('x'), { global: true });
  await from.postMessage(Accounts, new Account('ada'), { global: true });

  const [here, there] = await Promise.all(
    clients.map(async ({ sse, gateway }) => ({
      sse: (await sse.events.take(2)).map(({ event, data }) => `${event} ${data}`),
      gateway: (await gateway.events.take(2)).map(({ data }) => data),
    })),
  );
  expect(there).toEqual(here);
  expect(here!.sse).toEqual([
    'rich-quote {"text":"x!","said_at":"2026-11-22T12:00:00.000Z","more":[[1,{"owner":"ada?"}]]}',
    'rich-account {"owner":"ada?"}',
  ]);
  const frame =
    '"type":"rich-quote","meta":["",{"said_at":"Date","more":["Map",{"0":{"1":"@rich-account"}}]},0,{"said_at":"saidAt"}]';
  expect(here!.gateway[0]).toContain(frame);
  const quote = await inbox.next();
  expect(quote.saidAt).toEqual(new Date('2026-11-22T12:00:00Z'));
  expect(quote.more.get(1)).toBeInstanceOf(Account);
  const account = await accounts.next();
  expect(account).toBeInstanceOf(Account);
  expect(Object.entries(account)).toEqual([['owner', 'ada?']]);
  for (const { sse, gateway } of clients) {
    sse.abort();
    gateway.abort();
  }
});
