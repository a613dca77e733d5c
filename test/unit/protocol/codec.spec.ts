import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import vm from 'node:vm';
import { Codec, type EncodedMessage } from '../../../lib/protocol/codec.js';
import { isPlainJson } from '../../../lib/protocol/codec/is-plain-json.js';
import { UnserializableError } from '../../../lib/protocol/errors.js';
import { Message } from '../../../lib/protocol/message.js';
import { MessageSource, Serializable } from '../../../lib/protocol/serializable.js';
import { SourceRef, sourceRef } from '../../../lib/protocol/source.js';
import { TypeRegistry } from '../../../lib/protocol/type-registry.js';
import { isSameGraph } from '../../support/same-graph.js';

@Serializable({ name: 'person' })
class Person {
  static constructed = 0;
  friend: Person | null = null;
  constructor(
    readonly name: string,
    readonly since: Date = new Date(0),
  ) {
    Person.constructed++;
  }
  get initial(): string {
    return this.name.slice(0, 1);
  }
}

@Serializable({ name: 'employee' })
class Employee extends Person {
  salary = 1n;
}

@Serializable({ name: 'failure' })
class Failure extends Error {
  constructor(
    message: string,
    readonly code: number,
  ) {
    super(message);
  }
}

@MessageSource({ name: 'ChatServer', key: 'id' })
class ChatServer {
  readonly connection = () => {};
  constructor(readonly id: string) {}
}

class Greeting extends Message {
  constructor(
    readonly text: string,
    readonly to?: unknown,
  ) {
    super();
  }
}

class Undeclared {
  readonly secret = 1;
}

function codec(): Codec {
  const types = new TypeRegistry();
  types.register(Greeting);
  return new Codec(types);
}

function decode(encoded: EncodedMessage, on = codec()): unknown {
  const meta: unknown = encoded.meta === undefined ? undefined : JSON.parse(encoded.meta);
  return on.decode(JSON.parse(encoded.data), encoded.type, meta);
}

function roundTrip(value: unknown): unknown {
  return decode(codec().encode(value));
}

const shared = { a: 1 };
const cyclic: Record<string, unknown> = { name: 'root' };
cyclic['self'] = cyclic;
const cyclicList: unknown[] = [1];
cyclicList.push(cyclicList);
const cyclicMap = new Map<unknown, unknown>();
cyclicMap.set('me', cyclicMap).set(cyclicMap, 'as key');
const cyclicSet = new Set<unknown>();
cyclicSet.add(1).add(cyclicSet).add({ back: cyclicSet });
const cyclicPerson = new Person('Ada');
cyclicPerson.friend = cyclicPerson;
const throughAll = new Map<unknown, unknown>([['person', new Person('Bob')]]);
(throughAll.get('person') as Person).friend = Object.assign(new Person('Cy'), {
  map: throughAll,
  set: new Set([throughAll]),
});
const cyclicError: Error = Object.assign(new TypeError('first'), { code: 7 });
Object.defineProperty(cyclicError, 'cause', { value: new Error('second', { cause: cyclicError }), enumerable: false });
// oxlint-disable-next-line no-sparse-arrays -- holes are what this is about
const sparse = [, 1, , undefined, new Date(1), ,];
const bytes = Uint8Array.from({ length: 300 }, (_, index) => index);
const typedArrays = [
  new Int8Array([-128, 127]),
  bytes,
  new Uint8Array(0),
  new Uint8ClampedArray([0, 255]),
  new Int16Array([-32768, 32767]),
  new Uint16Array([65535]),
  new Int32Array([-2147483648]),
  new Uint32Array([4294967295]),
  new Float32Array([1.5, Number.NaN, -0, Infinity]),
  new Float64Array([0.1, -Infinity, 5e-324]),
  new BigInt64Array([-(2n ** 63n)]),
  new BigUint64Array([2n ** 64n - 1n]),
];

/** A value, its data as other readers see it, and its note. */
const TABLE: [name: string, value: unknown, data: string, meta?: string][] = [
  ['undefined', undefined, 'null', '"undefined"'],
  ['null', null, 'null'],
  ['true', true, 'true'],
  ['a number', 1.5, '1.5'],
  ['zero', 0, '0'],
  ['minus zero', -0, '0', '"-0"'],
  ['NaN', Number.NaN, 'null', '"NaN"'],
  ['Infinity', Infinity, 'null', '"Infinity"'],
  ['-Infinity', { a: -Infinity }, '{"a":null}', '{"a":"-Infinity"}'],
  ['a bigint', 2n ** 70n, '"1180591620717411303424"', '"bigint"'],
  ['a negative bigint', [-1n], '["-1"]', '{"0":"bigint"}'],
  ['a string', 'a "quote"', '"a \\"quote\\""'],
  ['a lone surrogate', '\ud800x', '"\\ud800x"'],
  ['the line separators of JavaScript', '\u2028\u2029\u0000', '"\u2028\u2029\\u0000"'],
  ['a Date', new Date(0), '"1970-01-01T00:00:00.000Z"', '"Date"'],
  ['an invalid Date', new Date(Number.NaN), 'null', '"Date"'],
  ['the last Date', new Date(8.64e15), '"+275760-09-13T00:00:00.000Z"', '"Date"'],
  ['a RegExp', /a\/[/]b/giu, '"/a\\\\/[/]b/giu"', '"RegExp"'],
  ['an empty RegExp', new RegExp(''), '"/(?:)/"', '"RegExp"'],
  ['a URL', new URL('https://example.org/a?b#c'), '"https://example.org/a?b#c"', '"URL"'],
  ['an Error', new Error('broken'), '{"name":"Error","message":"broken"}', '"Error"'],
  ['a TypeError', new TypeError('t'), '{"name":"TypeError","message":"t"}', '"TypeError"'],
  [
    'an AggregateError',
    new AggregateError([new Error('a')], 'all'),
    '{"name":"AggregateError","message":"all","errors":[{"name":"Error","message":"a"}]}',
    '["AggregateError",{"errors":{"0":"Error"}}]',
  ],
  [
    'an Error with its own properties',
    Object.assign(new Error('x'), { code: 'E', at: new Date(1) }),
    '{"name":"Error","message":"x","code":"E","at":"1970-01-01T00:00:00.001Z"}',
    '["Error",{"at":"Date"}]',
  ],
  [
    'an Error with a name of its own',
    Object.assign(new Error('x'), { name: 'Mine' }),
    '{"name":"Mine","message":"x"}',
    '"Error"',
  ],
  [
    'an Error with a cause, in a cycle',
    cyclicError,
    '{"name":"TypeError","message":"first","code":7,"cause":{"name":"Error","message":"second","cause":null}}',
    '["TypeError",{"cause":["Error",{"cause":1}]},1]',
  ],
  [
    'an Error whose cause is undefined',
    new Error('x', { cause: undefined }),
    '{"name":"Error","message":"x"}',
    '["Error",{"cause":"undefined"}]',
  ],
  [
    'a Map',
    new Map<unknown, unknown>([
      ['b', 1],
      ['1', new Date(0)],
    ]),
    '[["b",1],["1","1970-01-01T00:00:00.000Z"]]',
    '["Map",{"1":{"1":"Date"}}]',
  ],
  [
    'a Map with any keys',
    new Map<unknown, unknown>([
      [{ a: 1n }, 1],
      [Number.NaN, 2],
      [undefined, 3],
    ]),
    '[[{"a":"1"},1],[null,2],[null,3]]',
    '["Map",{"0":{"0":{"a":"bigint"}},"1":{"0":"NaN"},"2":{"0":"undefined"}}]',
  ],
  ['an empty Map', new Map(), '[]', '"Map"'],
  ['a Set', new Set<unknown>(['b', 'a', new Set([1])]), '["b","a",[1]]', '["Set",{"2":"Set"}]'],
  ['a plain object', { a: [1, 'x', null, { b: false }] }, '{"a":[1,"x",null,{"b":false}]}'],
  ['an object with undefined in it', { a: undefined, b: 1 }, '{"b":1}', '{"a":"undefined"}'],
  ['an array with undefined in it', [undefined], '[null]', '{"0":"undefined"}'],
  [
    'an object without a prototype',
    Object.assign(Object.create(null) as object, { a: 1n }),
    '{"a":"1"}',
    '["null-prototype",{"a":"bigint"}]',
  ],
  [
    'keys that look like paths',
    { 'a.b': 1n, '': 2n, '1': 3n, '@': 4n },
    '{"1":"3","a.b":"1","":"2","@":"4"}',
    '{"1":"bigint","a.b":"bigint","":"bigint","@":"bigint"}',
  ],
  [
    'a property called constructor',
    { constructor: 'Lotus', c: { constructor: { name: 'x' } } },
    '{"constructor":"Lotus","c":{"constructor":{"name":"x"}}}',
  ],
  [
    'a sparse array',
    sparse,
    '[null,1,null,null,"1970-01-01T00:00:00.001Z",null]',
    '{"0":"hole","2":"hole","3":"undefined","4":"Date","5":"hole"}',
  ],
  ['an ArrayBuffer', new Uint8Array([1, 2, 255]).buffer, '"AQL/"', '"ArrayBuffer"'],
  ['a DataView on a part of a buffer', new DataView(bytes.buffer, 1, 3), '"AQID"', '"DataView"'],
  ['a Float64Array', new Float64Array([1, Number.NaN, -0]), '[1,"NaN","-0"]', '"Float64Array"'],
  [
    'all typed arrays',
    typedArrays,
    JSON.stringify(typedArrays.map(readsAs)),
    JSON.stringify(
      Object.assign(
        {},
        typedArrays.map((array) => array[Symbol.toStringTag]),
      ),
    ),
  ],
  ['a part of a buffer', bytes.subarray(3, 5), '"AwQ="', '"Uint8Array"'],
  [
    'a declared class',
    new Person('Ada'),
    '{"name":"Ada","since":"1970-01-01T00:00:00.000Z","friend":null}',
    '{"since":"Date"}',
  ],
  [
    'a declared class inside',
    [new Employee('Eve')],
    '[{"name":"Eve","since":"1970-01-01T00:00:00.000Z","friend":null,"salary":"1"}]',
    '{"0":["@employee",{"since":"Date","salary":"bigint"}]}',
  ],
  [
    'a declared class that is an error',
    { e: new Failure('no', 3) },
    '{"e":{"code":3,"message":"no"}}',
    '{"e":"@failure"}',
  ],
  ['a declared class that is an error, alone', new Failure('no', 3), '{"code":3,"message":"no"}'],
  ['a Message', new Greeting('hi', null), '{"text":"hi","to":null}'],
  [
    'a reference to a source',
    { s: sourceRef('ChatServer', 'a/b') },
    '{"s":{"type":"ChatServer","key":"a/b"}}',
    '{"s":"source"}',
  ],
  ['one object twice', { x: shared, y: shared }, '{"x":{"a":1},"y":{"a":1}}', '{"x":["",{},1],"y":1}'],
  [
    'one Date twice',
    [cyclicPerson.since, cyclicPerson.since],
    '["1970-01-01T00:00:00.000Z","1970-01-01T00:00:00.000Z"]',
    '{"0":["Date",{},1],"1":1}',
  ],
  ['an object that contains itself', cyclic, '{"name":"root","self":null}', '["",{"self":1},1]'],
  ['an array that contains itself', cyclicList, '[1,null]', '["",{"1":1},1]'],
  ['a Map that contains itself', cyclicMap, '[["me",null],[null,"as key"]]', '["Map",{"0":{"1":1},"1":{"0":1}},1]'],
  ['a Set that contains itself', cyclicSet, '[1,null,{"back":null}]', '["Set",{"1":1,"2":{"back":1}},1]'],
  [
    'an instance that contains itself',
    { p: cyclicPerson },
    '{"p":{"name":"Ada","since":"1970-01-01T00:00:00.000Z","friend":null}}',
    '{"p":["@person",{"since":"Date","friend":1},1]}',
  ],
  [
    'a cycle through everything',
    throughAll,
    '[["person",{"name":"Bob","since":"1970-01-01T00:00:00.000Z","friend":{"name":"Cy","since":"1970-01-01T00:00:00.000Z","friend":null,"map":null,"set":[null]}}]]',
    '["Map",{"0":{"1":["@person",{"since":"Date","friend":["@person",{"since":"Date","map":1,"set":["Set",{"0":1}]}]}]}},1]',
  ],
];

function readsAs(array: (typeof typedArrays)[number]): unknown {
  const tag = array[Symbol.toStringTag];
  if (tag === 'Uint8Array' || tag === 'Uint8ClampedArray') return Buffer.from(array as Uint8Array).toString('base64');
  return Array.from(array as ArrayLike<number | bigint>, (value) =>
    typeof value === 'bigint' || !Number.isFinite(value) || Object.is(value, -0)
      ? Object.is(value, -0)
        ? '-0'
        : String(value)
      : value,
  );
}

/** Encodes a message of this many similar objects, and returns one of them. */
function encodePart(count: number): WeakRef<object> {
  const list = Array.from({ length: count }, () => ({ alike: [0] }));
  codec().encode(list);
  return new WeakRef(list[0]!);
}

describe('Codec', () => {
  test.each(TABLE.map(([name, value, data, meta]) => ({ name, value, data, meta })))(
    'carries $name',
    ({ value, data, meta }) => {
      const encoded = codec().encode(value);
      expect([encoded.data, encoded.meta]).toEqual([data, meta]);
      expect(isSameGraph(decode(encoded), value)).toBe(true);
    },
  );

  test('carries every value of the table inside each container', () => {
    const failed: string[] = [];
    for (const [name, value] of TABLE) {
      for (const container of [
        [value],
        { value },
        new Map([[value, 1]]),
        new Set([value]),
        new Greeting('', value),
        Object.assign(new Error('e'), { value }),
      ]) {
        // As keys and members, -0 becomes 0 already in the Map and the Set.
        if (isSameGraph(roundTrip(container), container)) continue;
        failed.push(`${name} in ${container.constructor.name}`);
      }
    }
    expect(failed).toEqual([]);
  });

  test('restores an instance without running its constructor', () => {
    const encoded = codec().encode(new Employee('Eve'));
    const before = Person.constructed;
    const copy = decode(encoded) as Employee;
    expect(Person.constructed).toBe(before);
    expect(copy).toBeInstanceOf(Employee);
    expect(copy.initial).toBe('E');
  });

  test('runs no setter of a class', () => {
    @Serializable({ name: 'with-setter' })
    class WithSetter {
      static calls = 0;
      set name(_name: unknown) {
        WithSetter.calls++;
      }
    }
    const copy = codec().decode({ name: '1970-01-01T00:00:00.000Z' }, 'with-setter', { name: 'Date' });
    expect(Object.getOwnPropertyDescriptor(copy, 'name')?.value).toEqual(new Date(0));
    expect(WithSetter.calls).toBe(0);
  });

  test('sends a source as a reference, never by value', () => {
    const encoded = codec().encode({ from: new ChatServer('lobby 1') });
    expect(encoded.data).toBe('{"from":{"type":"ChatServer","key":"lobby 1"}}');
    expect((decode(encoded) as { from: unknown }).from).toEqual(sourceRef(ChatServer, 'lobby 1'));
    expect((roundTrip(new ChatServer('a')) as object) instanceof SourceRef).toBe(true);
  });

  test('omits the stack of an error, and of its cause', () => {
    const { data, meta } = codec().encode({ error: new Error('x', { cause: new RangeError('y') }) });
    expect(`${data}${meta}`).not.toContain('codec.spec');
    expect((roundTrip(new RangeError('y')) as Error).stack).toBe('RangeError: y');
  });

  test('sends a Buffer as its bytes', () => {
    expect(isSameGraph(roundTrip(Buffer.from([1, 2])), new Uint8Array([1, 2]))).toBe(true);
  });

  test('recognises values of another realm', () => {
    const foreign: unknown = vm.runInNewContext(
      '({ d: new Date(5), m: new Map([[1, { a: [2] }]]), r: /x/g, e: new TypeError("t"), u: new Uint16Array([7]) })',
    );
    const copy = roundTrip(foreign);
    expect(
      isSameGraph(copy, {
        d: new Date(5),
        m: new Map([[1, { a: [2] }]]),
        r: /x/g,
        e: new TypeError('t'),
        u: new Uint16Array([7]),
      }),
    ).toBe(true);
  });

  test('adds no metadata if JSON is enough for a message', () => {
    const list = Array.from({ length: 500 }, (_, index) => ({ id: index % 7, name: 'same' }));
    const { data, type, meta } = codec().encode({ list });
    expect([data, type, meta]).toEqual([JSON.stringify({ list }), undefined, undefined]);
  });

  test('takes the short path every time if JSON is enough for a message', () => {
    for (const count of [10, 100, 1_000, 10_000, 100]) {
      const list = Array.from({ length: count }, (_, index) => ({ index, alike: [0] }));
      expect([isPlainJson(list), isPlainJson(list)]).toEqual([true, true]);
    }
  });

  test.each([3, 12, 40, 300, 20_000])('finds the only object that occurs twice among %i', (count) => {
    for (const twice of [{ a: 1 }, ['x'], {}]) {
      for (const first of [0, Math.floor(count / 3)]) {
        const list: unknown[] = Array.from({ length: count }, (_, index) => ({ index, alike: [0] }));
        list.splice(first, 0, twice);
        list.push({ deep: { twice } });
        const copy = roundTrip(list) as unknown[];
        expect((copy.at(-1) as { deep: { twice: unknown } }).deep.twice).toBe(copy[first]);
      }
    }
  });

  test.each([20, 100, 300, 1_500])('finds the only object that occurs twice among %i similar ones', (count) => {
    for (const make of [() => [7], () => ({ on: true }), () => ({ id: 7, name: 'same' }), () => ({})]) {
      for (const first of [0, 1, count >> 1, count - 1]) {
        const list = Array.from({ length: count }, make);
        expect(codec().encode(list).meta).toBeUndefined();
        list.push(list[first]!);
        const copy = roundTrip(list) as unknown[];
        expect(copy.findIndex((item) => item === copy[count])).toBe(first);
      }
    }
  });

  test('writes each instance by its own class and content, whatever the one before was', () => {
    const renamed = Object.create(Greeting.prototype) as Greeting;
    const hidden = Object.defineProperty(new Greeting('hidden'), 'toJSON', { value: () => ({ text: 'shown' }) });
    const twice = {};
    const messages = [
      () => new Greeting('a'),
      () => Object.assign(renamed, { text: 'b' }),
      () => new Person('Ada'),
      () => ({ text: 'c' }),
      () => hidden,
      () => new Greeting('d', new Date(0)),
      () => new Employee('Grace'),
      () => new Greeting('e', [twice, twice]),
      () => new Failure('f', 1),
      () => Greeting.prototype,
      () => [new Greeting('g')],
    ];
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...messages)), (makes) => {
        const used = codec();
        for (const make of makes) expect(used.encode(make())).toEqual(codec().encode(make()));
      }),
    );
  });

  test('no longer takes instances for those of a class that their prototype has left', () => {
    class Moved {
      readonly text = 'a';
    }
    const types = new TypeRegistry();
    types.register(Moved, 'moved');
    const used = new Codec(types);
    expect(used.encode(new Moved()).type).toBe('moved');
    Object.defineProperty(Moved.prototype, 'constructor', { value: Undeclared });
    expect(() => used.encode(new Moved())).toThrow(UnserializableError);
  });

  test('finds the only object that occurs twice while a getter sends another message', () => {
    const other = Array.from({ length: 500 }, (_, index) => ({ index: 1_000 + index }));
    const twice = { a: 1 };
    const list: unknown[] = Array.from({ length: 100 }, (_, index) => ({ index }));
    list[0] = twice;
    list[50] = {
      get length() {
        return codec().encode(other).data.length;
      },
    };
    list.push(twice);
    const copy = roundTrip(list) as unknown[];
    expect(copy.at(-1)).toBe(copy[0]);
    expect((copy[50] as unknown[]).length).toBe(JSON.stringify(other).length);
  });

  test('sends the next message as usual after a getter has thrown', () => {
    const list: unknown[] = Array.from({ length: 100 }, (_, index) => ({ index }));
    const broken = {
      get it(): unknown {
        throw new RangeError('broken');
      },
    };
    expect(() => codec().encode([...list, broken])).toThrow('broken');
    expect(codec().encode(list)).toEqual({ data: JSON.stringify(list) });
    expect(codec().encode([...list, list[3]]).meta).toBeDefined();
  });

  test('keeps no part of a message', async () => {
    const sent = [3, 60, 300, 10_000].map(encodePart);
    // The target of a WeakRef lives until the end of the task that created or read it.
    await new Promise((resolve) => setImmediate(resolve));
    globalThis.gc!();
    expect(sent.map((part) => part.deref())).toEqual([undefined, undefined, undefined, undefined]);
  });

  test('stays small and fast if objects share their parts at every level', () => {
    let shares: unknown = { leaf: true };
    for (let level = 0; level < 100; level++) shares = { left: shares, right: shares, also: [shares] };
    const { data, meta } = codec().encode(shares);
    expect(data.length + meta!.length).toBeLessThan(60_000);
    expect(isSameGraph(decode({ data, meta }), shares)).toBe(true);
  });

  test('changes neither the message nor its content', () => {
    const message = Object.freeze({ m: Object.freeze(new Map([['a', Object.freeze(new Person('x'))]])), u: undefined });
    codec().encode(message);
    expect(Object.keys(message)).toEqual(['m', 'u']);
  });
});

const undeclared = (text: string) =>
  `${text}; declare the class with @Serializable(), let it extend Message, or make it the class of a channel`;

describe('Codec refuses to send', () => {
  class OrderRepository {}
  class List extends Array<number> {}
  class Registry extends Map<string, number> {}
  @Serializable({ name: 'declared-list' })
  class DeclaredMap extends Map<string, number> {}
  class Subclass extends Person {}
  class HttpFailure extends Error {}
  const deep: unknown[] = [];
  let end = deep;
  for (let level = 0; level < 300; level++) end.push((end = []));

  test.each<[unknown, string]>([
    [
      { order: { repository: new OrderRepository() } },
      undeclared('message.order.repository: OrderRepository is not @Serializable'),
    ],
    [new Greeting('x', new Undeclared()), undeclared('message.to: Undeclared is not @Serializable')],
    [new Undeclared(), undeclared('message: Undeclared is not @Serializable')],
    [
      { to: new Greeting('x'), also: new (class Nested extends Message {})() },
      undeclared('message.also: Nested is not @Serializable'),
    ],
    [new Subclass('x'), undeclared('message: Subclass is not @Serializable')],
    [new HttpFailure('x'), undeclared('message: HttpFailure is not @Serializable')],
    [
      {
        a: [
          1,
          {
            'b c': (
              () => () =>
                1
            )(),
          },
        ],
      },
      'message.a[1]["b c"]: a function cannot be sent',
    ],
    [{ handle: decode }, 'message.handle: the function decode cannot be sent'],
    [Symbol('s'), 'message: Symbol(s) cannot be sent'],
    [new Map([['k', [Symbol('s')]]]), 'message.get("k")[0]: Symbol(s) cannot be sent'],
    [new Map([[Undeclared, 1]]), 'message.keys()[0]: the function Undeclared cannot be sent'],
    [new Set([1, Promise.resolve()]), undeclared('message.values()[1]: Promise is not @Serializable')],
    [{ list: new List() }, undeclared('message.list: List is not @Serializable')],
    [new Registry(), undeclared('message: Registry is not @Serializable')],
    [new DeclaredMap(), 'message: DeclaredMap extends Map; only own properties travel, so hold a Map in one'],
    [new WeakMap(), undeclared('message: WeakMap is not @Serializable')],
    [[new String('boxed')], undeclared('message[0]: String is not @Serializable')],
    [
      JSON.parse('{"a":{"__proto__":1}}'),
      'message.a: a property "__proto__" cannot be sent; no receiver would accept it',
    ],
    [
      JSON.parse('{"constructor":{"prototype":1}}'),
      'message: a property "constructor.prototype" cannot be sent; no receiver would accept it',
    ],
    [{ n: 10n ** 10_000n }, 'message.n: a bigint may have 10000 digits, not 10001'],
    [
      [new RegExp('a'.repeat(10_001))],
      'message[0]: the regular expressions of a message may have 10000 characters together',
    ],
    [
      new Set(Array.from({ length: 10_001 }, (_, index) => index)),
      'message: the Maps and Sets of a message may have 10000 numbers as keys together; send an array',
    ],
    [{ a: Object.assign([], { length: 20_000 }) }, 'message.a: it has more than 10000 holes; send a Map instead'],
    [deep, `message${'[0]'.repeat(6)}…${'[0]'.repeat(6)}: it is nested deeper than 256 levels`],
  ])('case %#', (value, text) => {
    expect(() => codec().encode(value)).toThrow(
      new UnserializableError(text.split(': ')[0]!, text.slice(text.indexOf(': ') + 2)),
    );
  });

  test('an array of endless length, quickly', () => {
    const endless: unknown[] = [];
    endless.length = 4_294_967_295;
    expect(() => codec().encode(endless)).toThrow('holes');
  });
});

describe('toJSON()', () => {
  @Serializable({ name: 'to-json-account' })
  class Account {
    readonly password = 'hunter2';
    self: Account = this;
    constructor(readonly owner: string) {}
    toJSON(): object {
      return { owner: this.owner, initial: this.owner.slice(0, 1), since: new Date(0) };
    }
  }

  @Serializable({ name: 'to-json-inherited' })
  class Inheriting extends Account {}

  test.each([
    ['as the message', (account: unknown) => account],
    ['in an object', (account: unknown) => ({ account })],
    ['in arrays, Maps and Sets', (account: unknown) => [new Map([['k', new Set([account])]])]],
  ])('decides which data of an instance is sent, %s, and keeps its class', (_where, wrap) => {
    for (const account of [new Account('ada'), new Inheriting('ada')]) {
      const written = write(wrap(account));
      expect(written.data + String(written.meta)).not.toMatch(/password|hunter2|self/);
      expect(written.data).toContain('{"owner":"ada","initial":"a","since":"1970-01-01T00:00:00.000Z"}');
      const arrived = new Codec(new TypeRegistry()).decode(
        JSON.parse(written.data),
        written.type,
        written.meta === undefined ? undefined : JSON.parse(written.meta),
      );
      const found = findInstance(arrived);
      expect(found).toBeInstanceOf(account.constructor);
      expect((found as { since?: unknown }).since).toEqual(new Date(0));
    }
  });

  test('is used if it belongs to the instance itself, even if it is not enumerable', () => {
    expect(write(giving(() => ({ shown: 1 }))).data).toBe('{"shown":1}');
    const quiet = Object.defineProperty(new Person('ada'), 'toJSON', { value: () => ({ shown: 1 }) });
    expect(write(quiet)).toEqual({ data: '{"shown":1}', type: 'person', meta: undefined });
    expect(() => write(Object.defineProperty(new Person('ada'), 'toJSON', { value: () => 'text' }))).toThrow('"text"');
  });

  test('may return the instance itself, which is then sent as it is, without its functions', () => {
    @Serializable({ name: 'to-json-this' })
    class Itself {
      readonly shown = 1;
      toJSON(): this {
        return this;
      }
    }
    expect(write([new Itself()]).data).toBe('[{"shown":1}]');
    expect(write(new Itself()).data).toBe('{"shown":1}');
  });

  test('may lead back to its instance', () => {
    const account = new Account('ada');
    account.toJSON = () => ({ owner: 'ada', me: account });
    const on = new Codec(new TypeRegistry());
    const { data, type, meta } = on.encode(account);
    const copy = on.decode(JSON.parse(data), type, JSON.parse(meta!)) as { me: unknown };
    expect(copy.me).toBe(copy);
  });

  test.each([
    ['nothing', () => undefined, 'returned undefined'],
    ['a text', () => 'ada', 'returned "ada"'],
    ['an array', () => [1], 'returned an array'],
    ['a Date', () => new Date(0), 'returned an instance of Date'],
    [
      'a promise',
      () => Promise.resolve({}),
      'returned an instance of Promise; it must return an object, not a promise',
    ],
  ])('that returns %s is refused with the path', (_what, toJSON, problem) => {
    expect(() => write({ accounts: [giving(toJSON)] })).toThrow(`message.accounts[0]: toJSON() of Any ${problem}`);
  });

  test.each<[string, () => unknown]>([
    ['returns', () => Promise.reject(new Error('late'))],
    ['returns a property with', () => ({ late: Promise.reject(new Error('late')) })],
  ])('that %s a promise which rejects is refused, and the process continues', async (_what, toJSON) => {
    expect(() => write(giving(toJSON as () => object))).toThrow(UnserializableError);
    // An unhandled rejection would fail this test.
    await new Promise((resolve) => setTimeout(resolve));
  });

  test('that throws is refused with the path and the error', () => {
    const cause = new Error('no session');
    const failing = giving(() => {
      throw cause;
    });
    let thrown: unknown;
    try {
      write(new Map([['k', failing]]));
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(UnserializableError);
    expect(thrown).toMatchObject({
      path: 'message.get("k")',
      message: 'message.get("k"): toJSON() of Any failed: no session',
      cause,
    });
  });

  test('of a plain object is an ordinary function, and refused', () => {
    expect(() => write({ a: { toJSON: () => ({}) } })).toThrow('message.a.toJSON: the function toJSON cannot be sent');
  });
});

function write(message: unknown): EncodedMessage {
  return codec().encode(message);
}

function giving(toJSON: () => unknown): object {
  @Serializable({ name: 'to-json-any' })
  class Any {
    readonly hidden = 'hunter2';
    readonly toJSON = toJSON;
  }
  return new Any();
}

function findInstance(value: unknown): unknown {
  if (Array.isArray(value)) return findInstance(value[0]);
  if (value instanceof Map) return findInstance([...value.values()][0]);
  if (value instanceof Set) return findInstance([...value][0]);
  const { account } = value as { account?: unknown };
  return account ?? value;
}

describe('An error while a value is read', () => {
  const cause = new Error('not loaded');
  const fail = (): never => {
    throw cause;
  };
  const lazy = (base: object = {}): object => Object.defineProperty(base, 'owner', { get: fail, enumerable: true });
  const items = Object.defineProperty([1, 2], 1, { get: fail, enumerable: true });

  test.each<[string, () => unknown, string]>([
    ['a getter of the message', () => lazy(), 'message.owner'],
    ['a getter of an instance', () => lazy(new Greeting('x')), 'message.owner'],
    ['a getter deep inside', () => ({ a: [0, { b: lazy() }] }), 'message.a[1].b.owner'],
    ['an item of an array', () => ({ items }), 'message.items[1]'],
    ['the key of a Map', () => new Map([[lazy(), 1]]), 'message.keys()[0].owner'],
    ['a value of a Map', () => new Map([['k', lazy()]]), 'message.get("k").owner'],
    ['the prototype of a proxy', () => new Proxy({}, { getPrototypeOf: fail }), 'message'],
    ['the keys of a proxy', () => ({ a: new Proxy({}, { ownKeys: fail }) }), 'message.a'],
    ['a getter of an error', () => ({ e: Object.defineProperty(new Error('x'), 'name', { get: fail }) }), 'message.e'],
  ])('is reported with path and cause: %s', (_, make, path) => {
    expect(() => new Codec(new TypeRegistry()).encode(make())).toThrow(
      expect.objectContaining({
        code: 'UNSERIALIZABLE',
        path,
        message: `${path}: it cannot be read: not loaded`,
        cause,
      }),
    );
  });

  test('is reported for a revoked proxy, alone and inside', () => {
    const { proxy: revoked, revoke } = Proxy.revocable({}, {});
    revoke();
    expect(() => new Codec(new TypeRegistry()).encode(revoked)).toThrow(/^message: it cannot be read: .*revoked/);
    expect(() => new Codec(new TypeRegistry()).encode({ a: [revoked] })).toThrow(
      /^message\.a\[0\]: it cannot be read: .*revoked/,
    );
  });

  test('is reported with the path even if the thrown value cannot be read', () => {
    const { proxy: revoked, revoke } = Proxy.revocable({}, {});
    revoke();
    const failing = {
      get owner(): unknown {
        // oxlint-disable-next-line typescript/only-throw-error -- an application may throw anything
        throw revoked;
      },
    };
    expect(() => new Codec(new TypeRegistry()).encode(failing)).toThrow('message.owner: it cannot be read: a value');
  });
});
