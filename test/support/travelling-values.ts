import { expect } from '@jest/globals';
import { Exclude, Expose } from 'class-transformer';
import { Message, MessageSource, Serializable, sourceRef } from 'nestjs-messaging';

/** One value that a message may be or hold, according to docs/codec.md. */
export interface TravellingValue {
  /** In the singular; the titles of tests begin with it. */
  readonly name: string;
  /** Creates a new one each time, so that no test receives the value of another. */
  readonly value: () => unknown;
  /** The value for a reader that knows only JSON. Written by hand, because the codec must not judge itself. */
  readonly json: string;
  /** The name of its event in a stream; if left out, `message`, as for all values without a declared class. */
  readonly event?: string;
  /** The value that arrives instead, if it differs by intention. */
  readonly becomes?: { readonly what: string; readonly value: () => unknown };
  /** Checks the parts of the received value that `isSameGraph` ignores. */
  also?(received: unknown): void;
}

@Serializable({ name: 'table-person' })
class Person {
  friend: Person | null = null;
  constructor(
    readonly name: string,
    readonly born: Date,
  ) {}
}

@Serializable({ name: 'table-employee' })
class Employee extends Person {
  salary = 1n;
  // Its own undefined, which JSON leaves out.
  room: string | undefined = undefined;
}

@Serializable({ name: 'table-page' })
class Page<T> {
  constructor(
    readonly items: readonly T[],
    readonly index: ReadonlyMap<string, T>,
  ) {}
}

@Serializable({ name: 'table-failure' })
class Failure extends Error {
  constructor(
    message: string,
    readonly code: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

@Serializable({ name: 'table-account' })
class Account {
  @Expose({ name: 'full_name' })
  fullName = 'Ada Lovelace';
  since = new Date(0);
}

@Serializable({ name: 'table-member' })
class Member {
  readonly id = 7;
  @Exclude()
  readonly password: string = 'hunter2';
}

function handle(): void {}

@MessageSource({ name: 'table-server', key: 'id' })
class ChatServer {
  // No message could hold it: sources are services.
  readonly handle = handle;
  constructor(readonly id: string) {}
}

/** Without a decorator: known to servers that register it, or use it as the class of a channel. */
export class Greeting extends Message {
  constructor(
    readonly text: string,
    readonly at: Date,
    readonly to?: unknown,
  ) {
    super();
  }
}

const longText = 'x'.repeat(20_000);
const hugeDigits = '1234567890'.repeat(40);
const EPOCH = '"1970-01-01T00:00:00.000Z"';

/** Every value that travels. */
export const TRAVELLING_VALUES: readonly TravellingValue[] = [
  ...primitives(),
  ...valuesOfTheLanguage(),
  ...errors(),
  ...collections(),
  ...bytesAndNumbers(),
  ...objects(),
  ...instances(),
  ...sources(),
  ...graphs(),
];

function primitives(): TravellingValue[] {
  return [
    { name: 'undefined as the message', value: () => undefined, json: 'null' },
    {
      name: 'undefined in a property',
      value: () => ({ none: undefined, some: 1 }),
      json: '{"some":1}',
      also: (received: object) => expect(Object.keys(received).toSorted()).toEqual(['none', 'some']),
    },
    { name: 'undefined in an array', value: () => [undefined, 1, undefined], json: '[null,1,null]' },
    {
      name: 'undefined as key and as value of a Map',
      value: () =>
        new Map<unknown, unknown>([
          [undefined, 1],
          ['a', undefined],
        ]),
      json: '[[null,1],["a",null]]',
    },
    { name: 'undefined in a Set', value: () => new Set([undefined, null]), json: '[null,null]' },
    { name: 'null as the message', value: () => null, json: 'null' },
    {
      name: 'null in every place',
      value: () => [null, { a: null }, new Map([[null, null]])],
      json: '[null,{"a":null},[[null,null]]]',
    },
    { name: 'true', value: () => true, json: 'true' },
    { name: 'false', value: () => ({ is: false }), json: '{"is":false}' },
    { name: 'zero', value: () => 0, json: '0' },
    { name: 'minus zero', value: () => -0, json: '0' },
    {
      name: 'minus zero in every place',
      value: () => [-0, { a: -0 }, new Map([['a', -0]])],
      json: '[0,{"a":0},[["a",0]]]',
    },
    // Two rows, because a value that resembles plain JSON takes a shorter way through the codec.
    { name: 'minus zero among plain values', value: () => [{ a: -0 }, -0, 'x'], json: '[{"a":0},0,"x"]' },
    { name: 'NaN', value: () => Number.NaN, json: 'null' },
    { name: 'Infinity', value: () => ({ a: Infinity }), json: '{"a":null}' },
    { name: 'minus Infinity', value: () => [-Infinity], json: '[null]' },
    { name: 'the greatest safe integer', value: () => Number.MAX_SAFE_INTEGER, json: '9007199254740991' },
    { name: 'the least safe integer', value: () => Number.MIN_SAFE_INTEGER, json: '-9007199254740991' },
    { name: 'the smallest number', value: () => 5e-324, json: '5e-324' },
    { name: 'the greatest number', value: () => Number.MAX_VALUE, json: '1.7976931348623157e+308' },
    { name: 'a number with a fraction', value: () => [0.1, -1.5], json: '[0.1,-1.5]' },
    { name: 'the bigint zero', value: () => 0n, json: '"0"' },
    { name: 'a negative bigint', value: () => ({ big: -1n }), json: '{"big":"-1"}' },
    { name: 'a huge bigint', value: () => BigInt(hugeDigits), json: `"${hugeDigits}"` },
    { name: 'an empty text', value: () => '', json: '""' },
    {
      name: 'a text with quotes and line breaks',
      value: () => 'a "b"\r\n\n\\c\t',
      json: '"a \\"b\\"\\r\\n\\n\\\\c\\t"',
    },
    { name: 'a text with emoji', value: () => ['👩‍👩‍👧', 'ü'], json: '["👩‍👩‍👧","ü"]' },
    {
      name: 'a text with the line separators of Unicode',
      value: () => 'a\u2028b\u2029c\u0085',
      json: '"a\\u2028b\\u2029c\\u0085"',
    },
    { name: 'a text with NUL', value: () => '\0a\0', json: '"\\u0000a\\u0000"' },
    { name: 'a byte order mark', value: () => '\ufeffa', json: '"\\ufeffa"' },
    {
      name: 'a lone surrogate',
      value: () => ({ high: '\ud800', low: 'a\udc00b', swapped: '\udc00\ud800' }),
      json: '{"high":"\\ud800","low":"a\\udc00b","swapped":"\\udc00\\ud800"}',
    },
  ];
}

function valuesOfTheLanguage(): TravellingValue[] {
  return [
    { name: 'a Date', value: () => new Date('2026-11-22T12:00:00.123Z'), json: '"2026-11-22T12:00:00.123Z"' },
    { name: 'an invalid Date', value: () => ({ at: new Date(Number.NaN) }), json: '{"at":null}' },
    { name: 'the last Date there is', value: () => new Date(8.64e15), json: '"+275760-09-13T00:00:00.000Z"' },
    { name: 'the first Date there is', value: () => new Date(-8.64e15), json: '"-271821-04-20T00:00:00.000Z"' },
    { name: 'a Date of the year 0', value: () => new Date(-62_167_219_200_000), json: '"0000-01-01T00:00:00.000Z"' },
    { name: 'a RegExp with flags', value: () => /a\/[/]b\n/dgimsuy, json: '"/a\\\\/[/]b\\\\n/dgimsuy"' },
    {
      name: 'a RegExp of sets', // The flag is newer than the compiler's target language.
      value: () => ({ pattern: new RegExp('[\\p{L}--a]', 'v') }),
      json: '{"pattern":"/[\\\\p{L}--a]/v"}',
    },
    { name: 'an empty RegExp', value: () => new RegExp(''), json: '"/(?:)/"' },
    {
      name: 'a RegExp that has been run',
      value: () => Object.assign(/a/g, { lastIndex: 3 }),
      json: '"/a/g"',
      becomes: { what: 'one that has not', value: () => /a/g },
      also: (received: RegExp) => expect(received.lastIndex).toBe(0),
    },
    {
      name: 'a URL',
      value: () => new URL('https://ada:pw@example.org:8443/a%20b?q=ü#c'),
      json: '"https://ada:pw@example.org:8443/a%20b?q=%C3%BC#c"',
    },
    {
      name: 'a URL without a host',
      value: () => [new URL('mailto:ada@example.org')],
      json: '["mailto:ada@example.org"]',
    },
  ];
}

function errors(): TravellingValue[] {
  const types = [EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError];
  return [
    {
      name: 'an Error',
      value: () => new Error('broken'),
      json: '{"name":"Error","message":"broken"}',
      also: (received: Error) => {
        // The place of the throw must never leave the process.
        expect(received.stack).toBe('Error: broken');
        expect(Object.keys(received)).toEqual([]);
        expect(String(received)).toBe('Error: broken');
      },
    },
    ...types.map((type) => ({
      name: `${type === EvalError ? 'an' : 'a'} ${type.name}`,
      value: () => new type('t'),
      json: `{"name":"${type.name}","message":"t"}`,
    })),
    { name: 'an Error without a message', value: () => new Error(), json: '{"name":"Error","message":""}' },
    {
      name: 'an Error with a cause',
      value: () => new Error('outer', { cause: new TypeError('inner', { cause: 1n }) }),
      json: '{"name":"Error","message":"outer","cause":{"name":"TypeError","message":"inner","cause":"1"}}',
      also: (received: Error) => expect(Object.keys(received)).toEqual([]),
    },
    {
      name: 'an Error whose cause is undefined',
      value: () => new Error('x', { cause: undefined }),
      json: '{"name":"Error","message":"x"}',
    },
    {
      name: 'an Error with its own properties',
      value: () => Object.assign(new RangeError('x'), { code: 'E', at: new Date(0), status: undefined }),
      json: `{"name":"RangeError","message":"x","code":"E","at":${EPOCH}}`,
    },
    {
      name: 'an Error with a name of its own',
      value: () => Object.assign(new Error('x'), { name: 'Mine' }),
      json: '{"name":"Mine","message":"x"}',
    },
    {
      name: 'an AggregateError',
      value: () => new AggregateError([new Error('a'), 2n], 'all'),
      json: '{"name":"AggregateError","message":"all","errors":[{"name":"Error","message":"a"},"2"]}',
    },
    {
      name: 'an instance of a declared class of errors',
      value: () => new Failure('no', 7, { cause: new Failure('why', 8) }),
      // An inherited property, such as the name here, belongs to the class, which the event names.
      json: '{"code":7,"message":"no","cause":{"code":8,"message":"why"}}',
      event: 'table-failure',
      also: (received: Error) => expect(received.stack).toBe('Error: no'),
    },
  ];
}

function collections(): TravellingValue[] {
  return [
    { name: 'an empty Map', value: () => new Map(), json: '[]' },
    {
      name: 'a Map with keys of every kind, in their order',
      value: () =>
        new Map<unknown, unknown>([
          ['b', 1],
          [2, 'two'],
          ['2', 'text'],
          [1n, 'big'],
          [true, new Date(0)],
          [null, undefined],
          [undefined, null],
          [Number.NaN, -0],
          [new Date(0), 'date'],
          [{ a: 1n }, 'object'],
          [[1], 'array'],
          [new Person('Ada', new Date(0)), 'instance'],
          ['a', 'last'],
        ]),
      json:
        `[["b",1],[2,"two"],["2","text"],["1","big"],[true,${EPOCH}],[null,null],[null,null],[null,0],[${EPOCH},"date"],` +
        `[{"a":"1"},"object"],[[1],"array"],[{"friend":null,"name":"Ada","born":${EPOCH}},"instance"],["a","last"]]`,
    },
    {
      name: 'a Map as a key of a Map',
      value: () => new Map([[new Map([[new Set([1]), 2]]), new Map([['a', new Map()]])]]),
      json: '[[[[[1],2]],[["a",[]]]]]',
    },
    { name: 'an empty Set', value: () => ({ set: new Set() }), json: '{"set":[]}' },
    {
      name: 'a Set with members of every kind, in their order',
      value: () =>
        new Set<unknown>(['b', 'a', 2, '2', 1n, Number.NaN, null, undefined, new Date(0), {}, new Set(['x'])]),
      json: `["b","a",2,"2","1",null,null,null,${EPOCH},{},["x"]]`,
    },
    { name: 'an empty array', value: () => [], json: '[]' },
    {
      name: 'an array with holes',
      // oxlint-disable-next-line no-sparse-arrays -- holes are what this is about
      value: () => [, 1, , undefined, null, new Date(0), ,],
      json: `[null,1,null,null,null,${EPOCH},null]`,
      also: (received: unknown[]) => {
        expect(received).toHaveLength(7);
        expect(Object.keys(received)).toEqual(['1', '3', '4', '5']);
      },
    },
    {
      name: 'an array of nothing but holes',
      value: () => ({ holes: Object.assign([], { length: 3 }) }),
      json: '{"holes":[null,null,null]}',
    },
    { name: 'an array of arrays', value: () => [[], [[1n]], [[[]]]], json: '[[],[["1"]],[[[]]]]' },
  ];
}

function eightBytes(): ArrayBuffer {
  return Uint8Array.from([9, 1, 2, 3, 4, 5, 6, 9]).buffer;
}

function bytesAndNumbers(): TravellingValue[] {
  // Node 20 does not have it.
  const float16 = (globalThis as unknown as Record<string, (new (items: number[]) => object) | undefined>)[
    'Float16Array'
  ];
  return [
    { name: 'an Int8Array', value: () => new Int8Array([-128, 127]), json: '[-128,127]' },
    { name: 'a Uint8Array', value: () => new Uint8Array([0, 1, 255]), json: '"AAH/"' },
    { name: 'an empty Uint8Array', value: () => ({ bytes: new Uint8Array(0) }), json: '{"bytes":""}' },
    { name: 'a Uint8ClampedArray', value: () => new Uint8ClampedArray([0, 255]), json: '"AP8="' },
    { name: 'an Int16Array', value: () => new Int16Array([-32768, 32767]), json: '[-32768,32767]' },
    { name: 'a Uint16Array', value: () => new Uint16Array([0, 65535]), json: '[0,65535]' },
    { name: 'an Int32Array', value: () => new Int32Array([-2147483648, 2147483647]), json: '[-2147483648,2147483647]' },
    { name: 'a Uint32Array', value: () => new Uint32Array([0, 4294967295]), json: '[0,4294967295]' },
    ...(float16 === undefined
      ? []
      : [{ name: 'a Float16Array', value: () => new float16([1.5, Number.NaN, -0]), json: '[1.5,"NaN","-0"]' }]),
    {
      name: 'a Float32Array',
      value: () => new Float32Array([1.5, Number.NaN, Infinity, -Infinity, -0, 0]),
      json: '[1.5,"NaN","Infinity","-Infinity","-0",0]',
    },
    {
      name: 'a Float64Array',
      value: () => new Float64Array([0.1, 5e-324, Number.NaN, Infinity, -Infinity, -0]),
      json: '[0.1,5e-324,"NaN","Infinity","-Infinity","-0"]',
    },
    {
      name: 'a BigInt64Array',
      value: () => new BigInt64Array([-(2n ** 63n), 2n ** 63n - 1n]),
      json: '["-9223372036854775808","9223372036854775807"]',
    },
    {
      name: 'a BigUint64Array',
      value: () => new BigUint64Array([0n, 2n ** 64n - 1n]),
      json: '["0","18446744073709551615"]',
    },
    {
      name: 'a view of a part of a buffer',
      value: () => ({ bytes: new Uint8Array(eightBytes(), 1, 3), pairs: new Uint16Array(eightBytes(), 2, 2) }),
      // Multi-byte numbers have the machine's byte order: little-endian everywhere that Node runs, except on s390x.
      json: '{"bytes":"AQID","pairs":[770,1284]}',
      // The rest of the buffer has not travelled with the part.
      also: ({ bytes, pairs }: { bytes: Uint8Array; pairs: Uint16Array }) =>
        expect([bytes.byteOffset, bytes.buffer.byteLength, pairs.byteOffset, pairs.buffer.byteLength]).toEqual([
          0, 3, 0, 4,
        ]),
    },
    {
      name: 'a pair of views of one buffer',
      value: () => {
        const common = new ArrayBuffer(2);
        return [new Uint8Array(common), new Uint8Array(common)];
      },
      json: '["AAA=","AAA="]',
      becomes: { what: 'a pair with a buffer each', value: () => [new Uint8Array(2), new Uint8Array(2)] },
      also: ([one, other]: Uint8Array[]) => expect(one!.buffer).not.toBe(other!.buffer),
    },
    { name: 'an ArrayBuffer', value: () => eightBytes(), json: '"CQECAwQFBgk="' },
    { name: 'an empty ArrayBuffer', value: () => [new ArrayBuffer(0)], json: '[""]' },
    { name: 'a DataView', value: () => new DataView(eightBytes()), json: '"CQECAwQFBgk="' },
    {
      name: 'a DataView of a part of a buffer',
      value: () => new DataView(eightBytes(), 1, 2),
      json: '"AQI="',
      also: (received: DataView) => expect([received.byteOffset, received.buffer.byteLength]).toEqual([0, 2]),
    },
    {
      name: 'a Buffer',
      value: () => ({ bytes: Buffer.from('hi') }),
      json: '{"bytes":"aGk="}',
      becomes: { what: 'a Uint8Array', value: () => ({ bytes: new Uint8Array([104, 105]) }) },
    },
  ];
}

function objects(): TravellingValue[] {
  return [
    { name: 'an empty object', value: () => ({}), json: '{}' },
    {
      name: 'a plain object',
      value: () => ({ a: [1, 'x', null, { b: false }] }),
      json: '{"a":[1,"x",null,{"b":false}]}',
    },
    {
      name: 'an object without a prototype',
      value: () => Object.assign(Object.create(null) as object, { a: 1n, toString: 'text' }),
      json: '{"a":"1","toString":"text"}',
    },
    {
      name: 'an object with property names that are numbers',
      value: () => ({ b: 1n, '10': 2n, '9': 3n, '-1': 4n, '01': 5n, '4294967295': 6n, a: 7n }),
      json: '{"9":"3","10":"2","b":"1","-1":"4","01":"5","4294967295":"6","a":"7"}',
      // Numbers first, as everywhere in the language, then all others in insertion order.
      also: (received: object) =>
        expect(Object.keys(received)).toEqual(['9', '10', 'b', '-1', '01', '4294967295', 'a']),
    },
    {
      name: 'an object with awkward property names',
      value: () => ({
        '': 1n,
        'a.b': 2n,
        'a[0]': 3n,
        '@x': 4n,
        'a/b': 5n,
        ' ': 6n,
        '\n': 7n,
        '\u2028': 8n,
        '\ud800': 9n,
      }),
      json: '{"":"1","a.b":"2","a[0]":"3","@x":"4","a/b":"5"," ":"6","\\n":"7","\\u2028":"8","\\ud800":"9"}',
    },
    {
      name: 'an object whose properties are called like what others look for in an object',
      value: () => ({
        constructor: new Date(0),
        prototype: 1n,
        hasOwnProperty: null,
        toJSON: new Map(),
        // oxlint-disable-next-line unicorn/no-thenable -- a promise of a message must not take it for another promise
        then: 'x',
        length: -0,
      }),
      json: `{"constructor":${EPOCH},"prototype":"1","hasOwnProperty":null,"toJSON":[],"then":"x","length":0}`,
    },
    {
      name: 'a plain object that looks like notes',
      value: () => ({ data: { a: 'Date' }, meta: { a: 'Date' }, at: new Date(0) }),
      json: `{"data":{"a":"Date"},"meta":{"a":"Date"},"at":${EPOCH}}`,
    },
  ];
}

function ada(): Person {
  return new Person('Ada', new Date(0));
}

function instances(): TravellingValue[] {
  const adaJson = `{"friend":null,"name":"Ada","born":${EPOCH}}`;
  return [
    { name: 'an instance of a declared class', value: ada, json: adaJson, event: 'table-person' },
    {
      name: 'an instance within an instance',
      value: () =>
        Object.assign(ada(), { friend: Object.assign(new Person('Bob', new Date(Number.NaN)), { friend: ada() }) }),
      json: `{"friend":{"friend":${adaJson},"name":"Bob","born":null},"name":"Ada","born":${EPOCH}}`,
      event: 'table-person',
    },
    {
      name: 'an instance within every container',
      value: () => ({ list: [ada()], map: new Map([['a', ada()]]), set: new Set([ada()]) }),
      json: `{"list":[${adaJson}],"map":[["a",${adaJson}]],"set":[${adaJson}]}`,
    },
    {
      name: 'an instance of a class that extends a declared one',
      value: () => new Employee('Ada', new Date(0)),
      json: `{"friend":null,"name":"Ada","born":${EPOCH},"salary":"1"}`,
      event: 'table-employee',
    },
    {
      name: 'an instance of a generic class',
      value: () => new Page([ada(), 1n], new Map<string, Person | bigint>([['a', 2n]])),
      json: `{"items":[${adaJson},"1"],"index":[["a","2"]]}`,
      event: 'table-page',
    },
    {
      name: 'an instance with a property that has another name outside',
      value: () => new Account(),
      json: `{"full_name":"Ada Lovelace","since":${EPOCH}}`,
      event: 'table-account',
      also: (received: Account) => expect(received.fullName).toBe('Ada Lovelace'),
    },
    {
      name: 'an instance with an excluded property',
      value: () => [new Member()],
      json: '[{"id":7}]',
      becomes: {
        what: 'one without it',
        value: () => [Object.assign(Object.create(Member.prototype) as Member, { id: 7 })],
      },
      also: ([received]: Member[]) => expect(Object.keys(received!)).toEqual(['id']),
    },
    {
      name: 'a Message of a class without a decorator',
      value: () => new Greeting('hello', new Date(0), [ada()]),
      json: `{"text":"hello","at":${EPOCH},"to":[${adaJson}]}`,
      event: 'Greeting',
    },
  ];
}

function sources(): TravellingValue[] {
  return [
    {
      name: 'a source',
      value: () => new ChatServer('lobby/ü*'),
      json: '{"type":"table-server","key":"lobby/ü*"}',
      becomes: { what: 'a reference to it', value: () => sourceRef('table-server', 'lobby/ü*') },
    },
    {
      name: 'a message from a source',
      value: () => new Greeting('hello', new Date(0), new ChatServer('lobby')),
      json: `{"text":"hello","at":${EPOCH},"to":{"type":"table-server","key":"lobby"}}`,
      event: 'Greeting',
      becomes: {
        what: 'one that refers to it',
        value: () => new Greeting('hello', new Date(0), sourceRef('table-server', 'lobby')),
      },
    },
    {
      name: 'a reference to a source',
      value: () => sourceRef(ChatServer, 7),
      json: '{"type":"table-server","key":"7"}',
    },
    {
      name: 'a reference to a source of a class that nobody knows',
      value: () => new Map([[sourceRef('nowhere', '1'), sourceRef('nowhere', '2')]]),
      json: '[[{"type":"nowhere","key":"1"},{"type":"nowhere","key":"2"}]]',
    },
  ];
}

function graphs(): TravellingValue[] {
  return [
    {
      name: 'an object in several places',
      value: () => {
        const [shared, date, bytes] = [{ n: 1n }, new Date(0), new Uint8Array(1)];
        return [shared, shared, { shared }, date, date, bytes, new Map([[bytes, date]]), new Set([shared])];
      },
      json: `[{"n":"1"},{"n":"1"},{"shared":{"n":"1"}},${EPOCH},${EPOCH},"AA==",[["AA==",${EPOCH}]],[{"n":"1"}]]`,
    },
    { name: 'a pair of equal objects', value: () => [{ a: 1 }, { a: 1 }], json: '[{"a":1},{"a":1}]' },
    {
      name: 'a large object in three places',
      value: () => {
        const shared = { text: longText };
        return [shared, shared, shared];
      },
      // Written out once more; a third time would more than double the message.
      json: `[{"text":"${longText}"},{"text":"${longText}"},null]`,
    },
    {
      name: 'a cycle through an object',
      value: () => {
        const room: Record<string, unknown> = { name: 'lobby' };
        return Object.assign(room, { self: room, inner: { room } });
      },
      json: '{"name":"lobby","self":null,"inner":{"room":null}}',
    },
    {
      name: 'a cycle through an array',
      value: () => {
        const list: unknown[] = [1];
        list.push(list, [list]);
        return list;
      },
      json: '[1,null,[null]]',
    },
    {
      name: 'a cycle through key and value of a Map',
      value: () => {
        const map = new Map<unknown, unknown>();
        return map.set('me', map).set(map, 'as key');
      },
      json: '[["me",null],[null,"as key"]]',
    },
    {
      name: 'a cycle through a Set',
      value: () => {
        const set = new Set<unknown>([1]);
        return set.add(set).add({ back: set });
      },
      json: '[1,null,{"back":null}]',
    },
    {
      name: 'a cycle through an instance',
      value: () => {
        const person = ada();
        person.friend = person;
        return person;
      },
      json: `{"friend":null,"name":"Ada","born":${EPOCH}}`,
      event: 'table-person',
    },
    {
      name: 'a cycle through an Error',
      value: () => {
        const first = new Error('first');
        const second = new TypeError('second', { cause: first });
        Object.defineProperty(first, 'cause', { value: second, enumerable: false });
        return { first };
      },
      json: '{"first":{"name":"Error","message":"first","cause":{"name":"TypeError","message":"second","cause":null}}}',
    },
    {
      name: 'a cycle through all of them',
      value: () => {
        const person = ada();
        const room: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
        const map = new Map<unknown, unknown>([['set', new Set<unknown>([[person, room]])]]);
        return Object.assign(room, { person: Object.assign(person, { map }), again: map });
      },
      json:
        `{"person":{"friend":null,"name":"Ada","born":${EPOCH},"map":[["set",[[null,null]]]]},` +
        '"again":[["set",[[null,null]]]]}',
    },
  ];
}
