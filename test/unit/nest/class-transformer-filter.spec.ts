import 'reflect-metadata';
import { describe, expect, test } from '@jest/globals';
import { Exclude, Expose, Transform, Type, instanceToPlain, type ClassTransformOptions } from 'class-transformer';
import { loadClassTransformerFilter } from '../../../lib/nest/class-transformer-loader.js';
import { Codec } from '../../../lib/protocol/codec.js';
import { Serializable } from '../../../lib/protocol/serializable.js';
import { TypeRegistry } from '../../../lib/protocol/type-registry.js';

const SECRET = 'hunter2';

@Serializable({ name: 'filter-user' })
class User {
  @Exclude()
  readonly password = SECRET;
  @Exclude()
  readonly repository = { find: () => SECRET };
  @Expose({ groups: ['admin'] })
  readonly email = 'ada@example.org';
  @Expose({ since: 2 })
  readonly nick = 'al';
  @Expose({ name: 'full_name' })
  readonly fullName: string;
  @Transform(({ value }) => (value as Date).getFullYear(), { toPlainOnly: true })
  readonly born = new Date('1815-12-10');
  @Transform(({ value }) => Number(value) * 2, { toClassOnly: true })
  readonly count = 1;
  friend: User | null = null;

  constructor(fullName: string) {
    this.fullName = fullName;
  }

  @Expose()
  get initial(): string {
    return this.fullName.slice(0, 1);
  }

  @Expose()
  greeting(): string {
    return `Hello ${this.fullName}`;
  }
}

@Exclude()
@Serializable({ name: 'filter-sealed' })
class Sealed {
  @Expose()
  readonly shown = 1;
  readonly hidden = SECRET;
}

@Serializable({ name: 'filter-derived' })
class Derived extends User {
  @Exclude()
  readonly more = SECRET;
}

@Serializable({ name: 'filter-holder' })
class Holder {
  @Type(() => User)
  plain: unknown;
  @Type(() => User)
  list: unknown;
  @Type(() => User)
  map: unknown;
}

@Serializable({ name: 'filter-failure' })
class Failure extends Error {
  @Exclude()
  readonly query = SECRET;
}

async function codec(options?: ClassTransformOptions): Promise<Codec> {
  return new Codec(new TypeRegistry(), await loadClassTransformerFilter(options));
}

function decode(on: Codec, { data, type, meta }: ReturnType<Codec['encode']>): unknown {
  return on.decode(JSON.parse(data), type, meta === undefined ? undefined : JSON.parse(meta));
}

describe('Messages of classes with class-transformer rules', () => {
  test('contain exactly the properties that instanceToPlain returns', async () => {
    for (const options of [
      {},
      { groups: ['admin'] },
      { version: 1 },
      { version: 3, groups: ['x'] },
      { excludePrefixes: ['na', 'n'] },
    ]) {
      for (const make of [() => new User('Ada'), () => new Sealed(), () => new Derived('Eve')]) {
        const { data } = (await codec(options)).encode(make());
        expect(JSON.parse(data)).toEqual(JSON.parse(JSON.stringify(instanceToPlain(make(), options))));
      }
    }
  });

  test('are refused for a rule that returns a promise, and the process continues when the promise rejects', async () => {
    @Serializable({ name: 'filter-late' })
    class Late {
      @Transform(async () => Promise.reject(new Error('late')))
      value = 1;
    }
    const on = await codec();
    expect(() => on.encode(new Late())).toThrow('message.value: Promise is not @Serializable');
    // An unhandled rejection would fail this test.
    await new Promise((resolve) => setTimeout(resolve));
  });

  test('contain no secret at any depth or in any container, neither in the data nor in the metadata', async () => {
    const user = new User('Ada');
    user.friend = new Derived('Eve');
    user.friend.friend = user;
    const messages = [
      user,
      [{ by: new Map([['ada', [user]]]) }],
      new Map([[user, new Set([new Sealed()])]]),
      { a: { b: [new Map([[1, { u: user, again: user, s: new Sealed() }]])] } },
      Object.assign(new Error('outer', { cause: new Failure('inner') }), { user }),
    ];
    const on = await codec();
    for (const message of messages) {
      const { data, meta, type } = on.encode(message);
      expect(data + String(meta) + String(type)).not.toContain(SECRET);
      expect(data + String(meta)).not.toMatch(/password|hidden|more|query|repository|email/);
    }
  });

  test('obey @Type for plain objects in place of an instance', async () => {
    const like = { password: SECRET, name: 'x' };
    const holder = Object.assign(new Holder(), {
      plain: { ...like },
      list: [{ ...like }, new Set([{ ...like }])],
      map: new Map([['k', { ...like }]]),
    });
    const { data } = (await codec()).encode({ holder });
    expect(data).not.toContain(SECRET);
    expect(data.match(/"name":"x"/g)).toHaveLength(4);
  });

  test('arrive as instances, with the property names of the class', async () => {
    const on = await codec();
    const copy = decode(on, on.encode([new User('Ada')])) as [User];
    expect(copy[0]).toBeInstanceOf(User);
    expect(copy[0].fullName).toBe('Ada');
    expect(copy[0]).not.toHaveProperty('full_name');
    expect(copy[0]).not.toHaveProperty('password');
    expect([copy[0].born, copy[0].count, copy[0].initial]).toEqual([1815, 1, 'A']);
  });

  test('keep objects shared between instances', async () => {
    const on = await codec();
    const user = new User('Ada');
    user.friend = user;
    const copy = decode(on, on.encode({ a: user, b: user })) as { a: User; b: User };
    expect(copy.a).toBe(copy.b);
    expect(copy.a.friend).toBe(copy.a);
  });

  test('keep the message of an error with rules', async () => {
    const on = await codec();
    const copy = decode(on, on.encode(new Failure('no'))) as Failure;
    expect([copy.message, copy instanceof Failure, Object.keys(copy)]).toEqual(['no', true, []]);
  });

  test('of a class without rules cost nothing extra', async () => {
    @Serializable({ name: 'filter-none' })
    class None {}
    expect((await loadClassTransformerFilter())!.appliesTo(None)).toBe(false);
  });
});

const fail = (): never => {
  throw new Error('no rule');
};

describe('A rule that throws', () => {
  const rules: [string, () => PropertyDecorator][] = [
    ['Transform', () => Transform(fail)],
    ['Type', () => Type(fail)],
  ];

  test.each(rules)('is reported with path and cause: @%s', async (name, rule) => {
    @Serializable({ name: `filter-failing-${name}` })
    class Failing {
      readonly part: unknown = {};
    }
    rule()(Failing.prototype, 'part');
    const filtered = new Codec(new TypeRegistry(), await loadClassTransformerFilter());
    expect(() => filtered.encode({ of: new Failing() })).toThrow(
      expect.objectContaining({
        code: 'UNSERIALIZABLE',
        path: 'message.of.part',
        message: 'message.of.part: it cannot be read: no rule',
        cause: expect.objectContaining({ message: 'no rule' }),
      }),
    );
  });

  test('is reported with path and cause: a getter with @Expose', async () => {
    @Serializable({ name: 'filter-failing-expose' })
    class Failing {
      @Expose()
      get shown(): string {
        return fail();
      }
    }
    const filtered = new Codec(new TypeRegistry(), await loadClassTransformerFilter());
    expect(() => filtered.encode(new Failing())).toThrow('message.shown: it cannot be read: no rule');
  });
});
