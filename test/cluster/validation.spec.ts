import { IsEmail, IsInt, Min, ValidateNested } from 'class-validator';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { defineChannel, MessagingModule, MessagingService, Serializable } from 'nestjs-messaging';
import { Inbox } from 'nestjs-messaging/testing';
import { startApp, type TestApp } from '../support/apps.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';

@Serializable()
class Author {
  @IsEmail()
  readonly email: string;
  constructor(email: string) {
    this.email = email;
  }
}

@Serializable()
class Post {
  @IsInt()
  @Min(1)
  readonly id: number;
  // Without @ValidateNested(), as applications often forget it: rules of a class hold wherever its instances are.
  readonly authors: Map<string, Author>;
  self?: Post;
  constructor(id: number, authors: Map<string, Author>) {
    this.id = id;
    this.authors = authors;
  }
}

@Serializable()
class Nested {
  @ValidateNested()
  readonly author: Author;
  constructor(author: Author) {
    this.author = author;
  }
}

const Posts = defineChannel('posts', Post, { interop: true });
const Nesteds = defineChannel('nesteds', Nested);

let redis: RedisServer;
let one: TestApp;
let two: TestApp;
beforeAll(async () => {
  redis = await RedisServer.start();
  // Like a server of a version without checks, because this is about refusals by others.
  one = await startApp({ imports: [MessagingModule.forRoot({ redis: redis.url, validateOnPost: false })] });
  two = await startApp({ imports: [MessagingModule.forRoot({ redis: redis.url })] });
});
afterAll(async () => {
  await one.app.close();
  await two.app.close();
  await redis.stop();
});

const good = () => new Post(1, new Map([['first', new Author('ada@example.org')]]));

test('a message that breaks a rule of its class, or of a class inside it, is reported and counted instead of delivered', async () => {
  const [from, to] = [one.app.get(MessagingService), two.app.get(MessagingService)];
  using inbox = new Inbox(to, Posts);
  await inbox.ready;
  const cyclic = good();
  cyclic.self = cyclic;
  for (const post of [
    new Post(0, new Map()),
    new Post(2, new Map([['first', new Author('nobody')]])),
    new Post('3' as never, new Map()),
    cyclic,
  ]) {
    void from.postMessage(Posts, post, { global: true });
  }
  await from.postMessage(Posts, good(), { global: true });

  // Of all sent messages, these two keep the rules.
  expect((await inbox.next()).self).toBeInstanceOf(Post);
  expect(await inbox.next()).toEqual(good());
  expect(inbox.pending).toEqual([]);
  expect(to.rejectedCount).toBe(3);
  const problems = two.logger.problems.join('\n');
  expect(problems).toContain('message: id must not be less than 1');
  expect(problems).toContain('email must be an email');
});

test('rules of nested parts are checked if the class requests it itself', async () => {
  const [from, to] = [one.app.get(MessagingService), two.app.get(MessagingService)];
  using inbox = new Inbox(to, Nesteds);
  await inbox.ready;
  void from.postMessage(Nesteds, new Nested(new Author('nobody')), { global: true });
  await from.postMessage(Nesteds, new Nested(new Author('ada@example.org')), { global: true });
  expect((await inbox.next()).author.email).toBe('ada@example.org');
});

test('messages of a stock client are checked like any others', async () => {
  const to = two.app.get(MessagingService);
  using probe = new RedisProbe(redis.url);
  using inbox = new Inbox(to, Posts);
  await inbox.ready;
  await probe.redis.publish('posts', '{"pattern":"posts","data":{"id":-1}}');
  await probe.redis.publish('posts', '{"pattern":"posts","data":{"id":5}}');
  expect((await inbox.next()).id).toBe(5);
});
