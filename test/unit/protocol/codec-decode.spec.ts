import { describe, expect, test } from '@jest/globals';
import { Codec } from '../../../lib/protocol/codec.js';
import { ERRORS, TYPED_ARRAYS, isErrorTag, isTypedArrayTag } from '../../../lib/protocol/codec/builtin-type.js';
import { InvalidMessageError } from '../../../lib/protocol/errors.js';
import { Serializable } from '../../../lib/protocol/serializable.js';
import { TypeRegistry } from '../../../lib/protocol/type-registry.js';
import { ThreadClock } from '../../support/thread-clock.js';

@Serializable({ name: 'account' })
class Account {
  declare readonly id: number;
  declare readonly owner?: string;
  readonly plan = 'free';
}

/** Reads a message twice: where its class is only declared, and where the application uses it, which is a shorter way for most messages. */
function decode(data: string, meta?: string, type?: string): unknown {
  const used = new TypeRegistry();
  used.register(Account);
  const [known, found] = [used, new TypeRegistry()].map((types) => outcomeOf(new Codec(types), data, meta, type));
  expect(known).toStrictEqual(found);
  if (found instanceof InvalidMessageError) throw found;
  return found;
}

function outcomeOf(codec: Codec, data: string, meta?: string, type?: string): unknown {
  try {
    return codec.decode(JSON.parse(data), type, meta === undefined ? undefined : JSON.parse(meta));
  } catch (error) {
    return error;
  }
}

const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);

describe('Codec.decode refuses', () => {
  test.each<[data: string, meta: string | undefined, type: string | undefined, reason: string]>([
    ['{"a":{"__proto__":{"polluted":1}}}', undefined, undefined, 'it has a property "__proto__", which is not allowed'],
    ['{"\\u005f_proto__":1}', undefined, 'account', 'it has a property "__proto__", which is not allowed'],
    [
      '[{"constructor":{"prototype":{"polluted":1}}}]',
      undefined,
      undefined,
      'it has a property "constructor", which is not allowed',
    ],
    ['{}', '{"__proto__":"undefined"}', undefined, 'it has a property "__proto__", which is not allowed'],
    ['{"a":1}', '["",{},0,{"a":"__proto__"}]', undefined, 'it has a property "__proto__", which is not allowed'],
    [
      '{"a":{"prototype":1}}',
      '["",{},0,{"a":"constructor"}]',
      undefined,
      'it has a property "constructor", which is not allowed',
    ],
    [
      '{"p":{"prototype":1},"constructor":1}',
      '{"p":["",{},1],"constructor":1}',
      undefined,
      'message.constructor: it has a property "constructor", which is not allowed',
    ],
    [nested(257), undefined, undefined, 'it is nested deeper than 256 levels'],
    [nested(100_000), undefined, undefined, 'it is nested deeper than 256 levels'],
    ['{}', undefined, 'nobody', `its type "nobody" is not known here; name it with defineMessage('name', Class)`],
    ['{}', undefined, 'Object', `its type "Object" is not known here; name it with defineMessage('name', Class)`],
    ['{}', undefined, '__proto__', `its type "__proto__" is not known here; name it with defineMessage('name', Class)`],
    [
      '{"a":[{}]}',
      '{"a":{"0":"@nobody"}}',
      undefined,
      `message.a[0]: its type "nobody" is not known here; name it with defineMessage('name', Class)`,
    ],
    ['[]', undefined, 'account', 'an array is no "account"'],
    ['"x"', undefined, 'account', 'a string is no "account"'],
    ['null', '"undefined"', 'account', 'its note cannot be a string'],
    ['{}', '"@account"', 'account', 'its note cannot be a string'],
    ['1', '"Date"', undefined, 'a number is no "Date"'],
    ['"Jan 1 2020"', '"Date"', undefined, 'a string is no "Date"'],
    ['"1"', '"Date"', undefined, 'a string is no "Date"'],
    ['"x"', '"bigint"', undefined, 'a string is no "bigint"'],
    ['" 1"', '"bigint"', undefined, 'a string is no "bigint"'],
    ['"/(/"', '"RegExp"', undefined, 'a string is no "RegExp"'],
    ['"/a/gg"', '"RegExp"', undefined, 'a string is no "RegExp"'],
    ['"a/g"', '"RegExp"', undefined, 'a string is no "RegExp"'],
    [
      JSON.stringify(Array(3).fill(`/${'a'.repeat(5000)}/`)),
      '{"0":"RegExp","1":"RegExp","2":"RegExp"}',
      undefined,
      'message[1]: its regular expressions are too long',
    ],
    ['"x"', '"URL"', undefined, 'a string is no "URL"'],
    ['"x"', '"Error"', undefined, 'a string is no "Error"'],
    ['{}', '"Map"', undefined, 'an object is no "Map"'],
    ['[[1]]', '"Map"', undefined, 'an array is no "Map"'],
    ['[[1,2],[1,3]]', '"Map"', undefined, 'it has an entry twice'],
    ['[1,1]', '"Set"', undefined, 'it has an entry twice'],
    ['[65536]', '"Uint16Array"', undefined, 'an array is no "Uint16Array"'],
    ['[0.5]', '"Int32Array"', undefined, 'an array is no "Int32Array"'],
    ['{"length":4294967295}', '"Float64Array"', undefined, 'an object is no "Float64Array"'],
    ['4294967295', '"Uint8Array"', undefined, 'a number is no "Uint8Array"'],
    ['"AQI"', '"Uint8Array"', undefined, 'a string is no "Uint8Array"'],
    ['"A Q="', '"ArrayBuffer"', undefined, 'a string is no "ArrayBuffer"'],
    ['["18446744073709551616"]', '"BigUint64Array"', undefined, 'an array is no "BigUint64Array"'],
    ['{"type":"X","key":1}', '"source"', undefined, 'an object is no "source"'],
    ['{"type":"X","key":""}', '"source"', undefined, 'an object is no "source"'],
    ['{"type":"a/b:*","key":"x"}', '"source"', undefined, 'an object is no "source"'],
    ['{}', '"Function"', undefined, 'an object is no "Function"'],
    ['{}', '"constructor"', undefined, 'an object is no "constructor"'],
    ['{"a":1}', '{"a":7}', undefined, 'message.a: it has no "7"'],
    ['{"a":[],"b":[]}', '{"a":["",{},1],"b":["",{},1]}', undefined, 'message.b: it has an entry twice'],
    ['{"a":1}', '{"b":"Date"}', undefined, 'it has no "b"'],
    ['{"a":1}', '{"toString":"Date"}', undefined, 'it has no "toString"'],
    ['[1]', '{"4294967294":"hole"}', undefined, 'it has no "4294967294"'],
    ['[1]', '{"length":"Date"}', undefined, 'it has no "length"'],
    ['[1]', '{"-0":"Date"}', undefined, 'it has no "-0"'],
    ['1', '{"a":"Date"}', undefined, 'a number is no "object"'],
    ['1', 'null', undefined, 'its note cannot be null'],
    ['[]', '["",[],1]', undefined, 'its note cannot be an array'],
    ['[]', '["",{},1.5]', undefined, 'its note cannot be an array'],
    ['[]', '["",{},1,{},2]', undefined, 'its note cannot be an array'],
    ['[]', '["",{},0,{}]', undefined, 'an array is no "object"'],
  ])('%.60s %s %s', (data, meta, type, reason) => {
    let thrown: unknown;
    try {
      decode(data, meta, type);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(InvalidMessageError);
    expect((thrown as Error).message).toBe(reason);
  });

  test.each<[what: string, data: unknown, meta: unknown]>([
    ['a bigint of a million digits', '9'.repeat(1_000_000), 'bigint'],
    [
      'many patterns that take long to read',
      Array(1_000).fill('/[\\p{L}--\\p{Lu}]/vi'),
      Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [index, 'RegExp'])),
    ],
    ['a date of a million characters', `1${'0'.repeat(1_000_000)}`, 'Date'],
    ['notes nested very deeply', [], JSON.parse('{"0":'.repeat(10_000) + '1' + '}'.repeat(10_000))],
    ['numbers chosen to collide', Array.from({ length: 50_000 }, (_, index) => index * 65_536), 'Set'],
  ])('%s, quickly', (_what, data, meta) => {
    const codec = new Codec(new TypeRegistry());
    const cpu = new ThreadClock();
    const start = cpu.now();
    expect(() => codec.decode(data, undefined, meta)).toThrow(InvalidMessageError);
    expect(cpu.now() - start).toBeLessThan(400);
  });
});

describe('Codec.decode, if sender and receiver differ in a class,', () => {
  test('keeps a property that is not in the class', () => {
    expect(decode('{"id":1,"added":{"x":2}}', undefined, 'account')).toMatchObject({ id: 1, added: { x: 2 } });
  });

  test('leaves a missing property missing: no initialiser runs', () => {
    const account = decode('{"id":1}', undefined, 'account') as Account;
    expect(Object.keys(account)).toEqual(['id']);
    expect(account).toBeInstanceOf(Account);
  });

  test('reads plain JSON of a sender without notes as an instance of the class', () => {
    expect(decode('{"id":1}', undefined, 'account')).toBeInstanceOf(Account);
  });

  test('does not look into parts that need no restoring', () => {
    const data: unknown = JSON.parse('{"a":{"b":1}}');
    expect(new Codec(new TypeRegistry()).decode(data, undefined, undefined)).toBe(data);
  });
});

test('A global class of the application is neither a typed array nor an error of the language', () => {
  const own = { OwnArray: class extends Uint8Array {}, OwnError: class extends Error {} };
  Object.assign(globalThis, own);
  try {
    const codec = new Codec(new TypeRegistry());
    expect(() => codec.decode([1], undefined, 'OwnArray')).toThrow('an array is no "OwnArray"');
    expect(() => codec.decode({}, undefined, 'OwnError')).toThrow('an object is no "Error"');
  } finally {
    for (const name of Object.keys(own)) Reflect.deleteProperty(globalThis, name);
  }
});

test('The patterns of tags match only the typed arrays and the errors', () => {
  const tags = [...TYPED_ARRAYS, ...ERRORS, 'Map', 'Array', 'Int64Array', 'BigInt8Array', 'Float8Array', 'UError', ''];
  expect(tags.filter(isTypedArrayTag)).toEqual(TYPED_ARRAYS);
  expect(tags.filter(isErrorTag)).toEqual(ERRORS);
});
