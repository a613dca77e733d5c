import 'reflect-metadata';
import { afterEach, describe, expect, test } from '@jest/globals';
import { Exclude, Transform } from 'class-transformer';
import {
  IsEmail,
  IsInt,
  IsOptional,
  IsString,
  Min,
  validate,
  ValidateBy,
  ValidateIf,
  ValidateNested,
} from 'class-validator';
import {
  ConfigurationError,
  defineChannel,
  InvalidMessageError,
  Message,
  MessageSource,
  MessagingModule,
  MessagingService,
  Serializable,
  UnserializableError,
  type MessagingModuleOptions,
} from 'nestjs-messaging';
import { Inbox } from 'nestjs-messaging/testing';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { startApp, type TestApp } from '../../support/apps.js';

@Serializable({ name: 'on-post-author' })
class Author {
  @IsEmail()
  email: string;
  constructor(email: string) {
    this.email = email;
  }
}
@Serializable({ name: 'on-post-post' })
class Post {
  @IsInt()
  @Min(1)
  id: number;
  @IsOptional()
  @ValidateNested()
  nested?: Author;
  anything: unknown;
  constructor(id: number, anything?: unknown) {
    this.id = id;
    this.anything = anything;
  }
}
@Serializable({ name: 'on-post-sub' })
class SubPost extends Post {}
@Serializable({ name: 'on-post-plain' })
class Unruled {
  constructor(readonly anything?: unknown) {}
}
@Serializable({ name: 'on-post-account' })
class Account {
  @Exclude()
  @IsString()
  password: unknown = 'hunter2';
  @Transform(({ value }) => String(value), { toPlainOnly: true })
  @IsString()
  count: unknown = 1;
}
@Serializable({ name: 'on-post-async' })
class Async {
  @Transform(async () => Promise.reject(new Error('late')))
  value = 1;
  @IsInt()
  id = 1;
}
@Serializable({ name: 'on-post-shown' })
class Shown {
  @IsInt()
  at: unknown = new Date(0);
  toJSON() {
    return { at: 5 };
  }
}
@MessageSource({ name: 'OnPostSource', key: 'name' })
class Source {
  readonly name = 'main';
}
class Note extends Message {
  @IsInt()
  n: unknown = 1;
}
@Serializable({ name: 'on-post-tags' })
class Tags {
  @IsString({ each: true })
  readonly tags: unknown;
  constructor(tags: unknown) {
    this.tags = tags;
  }
}
class Stranger {
  @IsInt()
  n = 'not known to messages';
  get self(): unknown {
    throw new Error('nobody may look here');
  }
}
@Serializable({ name: 'on-post-groups' })
class Grouped {
  @IsInt({ groups: ['strict'] })
  id: unknown = 'x';
  extra = 1;
}

let asked = 0;
@Serializable({ name: 'on-post-late' })
class Late {
  @ValidateBy({
    name: 'isFree',
    validator: {
      validate: async () => {
        asked++;
        throw new Error('the database is away');
      },
      defaultMessage: () => 'taken',
    },
  })
  name = 'ada';
}

const rejected = (): never => Promise.reject(new Error('late')) as never;
@Serializable({ name: 'on-post-late-message' })
class LateMessage {
  @IsInt({ message: rejected })
  count: unknown = 'x';
}
@Serializable({ name: 'on-post-late-default' })
class LateDefault {
  @ValidateBy({ name: 'never', validator: { validate: () => false, defaultMessage: rejected } })
  count: unknown = 1;
}
@Serializable({ name: 'on-post-late-condition' })
class LateCondition {
  @ValidateIf(rejected)
  @IsInt({ validateIf: rejected })
  count: unknown = 'x';
}

const Lates = defineChannel('on-post/late', Late);
const Posts = defineChannel('on-post/posts', Post);
const Unruleds = defineChannel('on-post/plain', Unruled);
const Accounts = defineChannel('on-post/accounts', Account);
const Asyncs = defineChannel('on-post/async', Async);
const Showns = defineChannel('on-post/shown', Shown);
const Groupeds = defineChannel('on-post/grouped', Grouped);

const open: TestApp[] = [];
afterEach(async () => {
  for (const { app } of open.splice(0)) await app.close();
});

/** Two servers: each post of the first reaches the second, or not. */
async function servers(options: MessagingModuleOptions = {}, others = options) {
  const broker = new MemoryBroker();
  const [one, two] = await Promise.all(
    [options, others].map((each) =>
      startApp({ imports: [MessagingModule.forRoot({ ...each, transport: new MemoryTransport(broker) })] }),
    ),
  );
  open.push(one!, two!);
  return { from: one!.app.get(MessagingService), to: two!.app.get(MessagingService), logger: two!.logger };
}

const author = () => new Author('nobody');

const Anything = defineChannel('on-post/anything');

describe('An array of endless length', () => {
  const endless = Object.assign([1], { length: 4_294_967_295 });
  const outer = new Post(1);
  Object.assign(outer, { nested: new Tags(endless) });

  test.each<[string, unknown]>([
    ['message', endless],
    ['message.a', { a: endless }],
    ['message.tags', new Tags(endless)],
    ['message.nested.tags', outer],
  ])('is refused at once, at %s', async (path, message) => {
    const { from } = await servers();
    for (const scope of ['local', 'global'] as const) {
      const post = async () => from.postMessage(Anything, message, { scope });
      await expect(post()).rejects.toThrow(
        new UnserializableError(path, 'it has more than 10000 holes; send a Map instead'),
      );
    }
  });
});

describe('An invalid message', () => {
  test('is refused, even if a part of it cannot be read', async () => {
    const { from } = await servers();
    const unreadable = Object.defineProperty({}, 'x', {
      enumerable: true,
      get: () => {
        throw new Error('nobody may look here');
      },
    });
    const post = async () => from.postMessage(Posts, new Post(0, { deep: unreadable }), { scope: 'local' });
    await expect(post()).rejects.toThrow('message: id must not be less than 1');
  });

  test.each<[string, () => Post, string]>([
    ['by a property', () => new Post(0), 'message: id must not be less than 1 (property "id", rule min)'],
    [
      'that hides its class',
      () => Object.assign(new Post(0), { constructor: 1 }),
      'message: its property "constructor"',
    ],
    ['of a subclass', () => new SubPost(0), 'message: id must not be less than 1'],
    ['by a nested instance', () => new Post(1, author()), 'message.anything: email must be an email'],
    ['in an array', () => new Post(1, [[author()]]), 'message.anything[0][0]: email must be an email'],
    ['in a Map', () => new Post(1, new Map([['k', author()]])), 'message.anything.get("k"): email must be'],
    ['as a key', () => new Post(1, new Map([[author(), 1]])), 'message.anything.keys(): email must be'],
    ['in a Set', () => new Post(1, { set: new Set([author()]) }), 'message.anything.set[0]: email must be'],
    ['in an error', () => new Post(1, new Error('x', { cause: author() })), 'message.anything.cause: email must be'],
    ['by @ValidateNested()', () => Object.assign(new Post(1), { nested: author() }), 'rule isEmail)'],
  ])('%s is refused to the poster before any listener gets it', async (_where, make, problem) => {
    const { from, to } = await servers();
    using here = new Inbox(from, Posts);
    using there = new Inbox(to, Posts);
    await there.ready;
    for (const options of [undefined, { global: true }]) {
      const post = () => from.postMessage(Posts, make(), options);
      expect(post).toThrow(InvalidMessageError);
      expect(post).toThrow(`Channel "on-post/posts": ${problem.startsWith('message') ? problem : ''}`);
      expect(post).toThrow(problem);
    }
    await from.postMessage(Posts, new Post(7), { global: true });
    expect((await there.next()).id).toBe(7);
    expect((await here.next()).id).toBe(7);
    expect(here.pending).toEqual([]);
    expect(to.rejectedCount).toBe(0);
  });

  test('of a source, in a channel by name, or in a message of a class without rules is refused as well', async () => {
    const { from } = await servers();
    expect(() => from.sendMessage(new Source(), Object.assign(new Note(), { n: 'x' }))).toThrow('n must be an integer');
    expect(() => from.postMessage('on-post/any', { a: [author()] })).toThrow('message.a[0]: email must be an email');
    expect(() => from.postMessage(Unruleds, new Unruled({ author: author() }))).toThrow('email must be an email');
  });

  test('is posted with validateOnPost: false, and refused on arrival', async () => {
    const { from, to } = await servers({ validateOnPost: false });
    using there = new Inbox(to, Posts);
    await there.ready;
    await from.postMessage(Posts, new Post(0), { global: true });
    await from.postMessage(Posts, new Post(1), { global: true });
    expect((await there.next()).id).toBe(1);
    expect(to.rejectedCount).toBe(1);
  });
});

test('Instances of undeclared classes are not checked, while a message may contain itself', async () => {
  const { from } = await servers();
  await expect(from.postMessage(Unruleds, new Unruled(new Stranger()))).resolves.toBe(true);
  const cyclic = new Post(1);
  cyclic.anything = [cyclic, new Date(), /x/, new Uint8Array(2), null, undefined];
  await expect(from.postMessage(Posts, cyclic, { global: true })).resolves.toBe(true);
});

describe('A message is checked as receivers would see it', () => {
  test('without properties that class-transformer excludes, and with transformed ones', async () => {
    const { from, to } = await servers();
    using there = new Inbox(to, Accounts);
    await there.ready;
    await from.postMessage(Accounts, new Account(), { global: true });
    expect(Object.entries(await there.next())).toEqual([['count', '1']]);
    expect(to.rejectedCount).toBe(0);
  });

  test('without the promise of an async transform, whose rejection is handled', async () => {
    const { from } = await servers();
    using here = new Inbox(from, Asyncs);
    await from.postMessage(Asyncs, new Async());
    expect(await here.next()).toBeInstanceOf(Async);
    // An unhandled rejection would fail this test.
    await new Promise((resolve) => setTimeout(resolve));
  });

  test('as the result of its toJSON()', async () => {
    const { from, to } = await servers();
    using there = new Inbox(to, Showns);
    await there.ready;
    await from.postMessage(Showns, new Shown(), { global: true });
    expect((await there.next()).at).toBe(5);
  });
});

test.each([
  ['bytes', () => new Uint8Array(3)],
  ['numbers', () => [1, 2, 3]],
])('Extra properties of an array of %s are not checked, because there may be a million', async (_, make) => {
  const { from } = await servers();
  let read = 0;
  const message = Object.defineProperty(make(), 'trap', { enumerable: true, get: () => ++read });
  from['hub']['outbound']['postCheck']!.assertValid(message, 'rooms/1');
  expect(read).toBe(0);
});

describe('The options of class-validator', () => {
  test('groups: rules of other groups are not checked, either at the post or on arrival', async () => {
    const { from, to } = await servers({ classValidator: { groups: ['lax'] } });
    using there = new Inbox(to, Groupeds);
    await there.ready;
    await from.postMessage(Groupeds, new Grouped(), { global: true });
    expect((await there.next()).id).toBe('x');
    const strict = await servers({ classValidator: { groups: ['strict'] } });
    expect(() => strict.from.postMessage(Groupeds, new Grouped())).toThrow('id must be an integer');
  });

  test('whitelist: removes properties without a rule from received messages, but not from posted ones', async () => {
    const { from, to } = await servers({ classValidator: { whitelist: true } });
    using here = new Inbox(from, Posts);
    using there = new Inbox(to, Posts);
    await there.ready;
    const nested = Object.assign(new Author('ada@example.org'), { more: 1 });
    const post = Object.assign(new Post(1, 'kept here'), { nested });
    await from.postMessage(Posts, post, { global: true });
    expect(await here.next()).toBe(post);
    expect([post.anything, (post.nested as { more?: number }).more]).toEqual(['kept here', 1]);
    const arrived = await there.next();
    expect(Object.keys(arrived).toSorted()).toEqual(['id', 'nested']);
    expect(Object.keys(arrived.nested!)).toEqual(['email']);
  });

  test('forbidNonWhitelisted: refuses such properties to the poster', async () => {
    const { from } = await servers({ classValidator: { whitelist: true, forbidNonWhitelisted: true } });
    expect(() => from.postMessage(Posts, new Post(1, 'more'))).toThrow('property anything should not exist');
  });

  test('forbidUnknownValues: refuses instances of classes without rules', async () => {
    const { from } = await servers({ classValidator: { forbidUnknownValues: true } });
    expect(() => from.postMessage(Unruleds, new Unruled())).toThrow('unknown value');
  });

  test('forbidUnknownValues: keeps its default if it is undefined', async () => {
    const { from } = await servers({ classValidator: { forbidUnknownValues: undefined } });
    const post = Object.assign(new Post(1), { nested: new Unruled() });
    await expect(from.postMessage(Posts, post, { global: true })).resolves.toBe(true);
  });

  test('skipMissingProperties: ignores missing properties', async () => {
    const { from } = await servers({ classValidator: { skipMissingProperties: true } });
    await expect(from.postMessage(Posts, Object.assign(new Post(1), { id: undefined }))).resolves.toBe(true);
  });

  test.each<[object, string]>([
    [{ validationError: {} }, 'unknown option "validationError"'],
    [{ groups: 'staff' }, 'option "groups" must be an array of strings'],
    [{ forbidNonWhitelisted: true }, 'whitelist: true'],
  ])('%j is refused at start-up', async (classValidator, problem) => {
    const start = startApp({ imports: [MessagingModule.forRoot({ classValidator })] });
    await expect(start).rejects.toThrow(ConfigurationError);
    await expect(start).rejects.toThrow(problem);
  });
});

describe('A promise that rejects,', () => {
  const LATE = 'it breaks a rule whose message is a promise';
  test.each<[string, object, string]>([
    ['as the message of a decorator', new LateMessage(), `${LATE} (property "count", rule isInt)`],
    ['as the default message of a rule', new LateDefault(), `${LATE} (property "count", rule never)`],
    ['as a condition', new LateCondition(), 'count must be an integer number (property "count", rule isInt)'],
  ])('%s, ends no process: the message breaks the rule', async (_, message, problem) => {
    const escaped: unknown[] = [];
    const note = (error: unknown) => escaped.push(error);
    process.on('unhandledRejection', note);
    try {
      const { from } = await servers();
      expect(() => from.postMessage('on-post/late-texts', message)).toThrow(problem);
      await new Promise((resolve) => setTimeout(resolve));
      expect(escaped).toEqual([]);
    } finally {
      process.off('unhandledRejection', note);
    }
  });
});

describe('A rule that returns a promise, although it is not declared async', () => {
  test('is skipped, here and on arrival; its failure ends no process, and validate() still calls it', async () => {
    const escaped: unknown[] = [];
    const note = (error: unknown) => escaped.push(error);
    process.on('unhandledRejection', note);
    try {
      // Each application in the process knows of it.
      await servers();
      const { from, to } = await servers();
      using there = new Inbox(to, Lates);
      await there.ready;
      expect(await from.postMessage(Lates, new Late(), { global: true })).toBe(true);
      expect(await there.next()).toBeInstanceOf(Late);
      expect(asked).toBeGreaterThanOrEqual(2);
      await new Promise((resolve) => setTimeout(resolve));
      await expect(validate(new Late())).rejects.toThrow('the database is away');
      expect(escaped).toEqual([]);
    } finally {
      process.off('unhandledRejection', note);
    }
  });
});
