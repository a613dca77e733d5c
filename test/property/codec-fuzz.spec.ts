import { describe, expect, test } from '@jest/globals';
import { Codec } from '../../lib/protocol/codec.js';
import { decodeEnvelope, encodeEnvelope, envelopePrefix } from '../../lib/protocol/envelope.js';
import { InvalidMessageError } from '../../lib/protocol/errors.js';
import { Serializable } from '../../lib/protocol/serializable.js';
import { sourceRef } from '../../lib/protocol/source.js';
import { TypeRegistry } from '../../lib/protocol/type-registry.js';
import { randomFrom } from '../support/random.js';
import { ThreadClock } from '../support/thread-clock.js';

const MUTATIONS = 100_000;

@Serializable({ name: 'codec-fuzz-user' })
class User {
  [property: string]: unknown;
  set role(_role: string) {
    throw new Error('a setter ran');
  }
}

const codec = new Codec(new TypeRegistry());
const envelopes = [...messages()].map((message) =>
  encodeEnvelope('room', envelopePrefix('node-1'), { postedAt: 1, serial: 1 }, codec.encode(message)),
);

function* messages(): Iterable<unknown> {
  const user = Object.assign(new User(), { id: 7n, at: new Date(0), tags: new Set(['a', /b/g]), none: undefined });
  const room: Record<string, unknown> = {
    name: 'x',
    owner: user,
    members: new Map<unknown, unknown>([
      ['u', user],
      [user, Object.assign([1], { 3: -0 })],
    ]),
  };
  room['self'] = room;
  yield { id: 'm', list: [1, 'two', null, { three: [true] }], at: 1.5 };
  yield user;
  yield room;
  yield Object.assign(new User(), { room, error: new TypeError('t', { cause: new Error('c') }), nothing: Number.NaN });
  yield {
    bytes: new Uint8Array([1, 2, 3]),
    floats: new Float64Array([1, Number.NaN]),
    big: new BigInt64Array([1n]),
    b: new ArrayBuffer(4),
  };
  yield [
    new URL('https://example.org/'),
    sourceRef('ChatServer', 'lobby'),
    Object.assign(Object.create(null), { a: 1n }),
    new DataView(new ArrayBuffer(2)),
  ];
}

const SCRAPS = [
  '"__proto__":',
  '"constructor":{"prototype":{"polluted":1}},',
  '"Map"',
  '"Set"',
  '"Date"',
  '"RegExp"',
  '"bigint"',
  '"URL"',
  '"hole"',
  '"undefined"',
  '"null-prototype"',
  '"source"',
  '"Error"',
  '"@codec-fuzz-user"',
  '"@Object"',
  '"Float64Array"',
  '"ArrayBuffer"',
  '"NaN"',
  '["",{},1]',
  '1',
  '2',
  '-1',
  '1e9',
  'null',
  'true',
  '{}',
  '[]',
  '[[]]',
  '""',
  '"role":',
  '"length":',
  '"toString":',
  '"then":',
  ',',
  '{',
  '}',
  '[',
  ']',
  '"',
  ':',
  '4294967295',
  '"4294967295":',
  '"\\ud800"',
  '"/(/"',
  '"/a/gg"',
  '"9".',
  '"%"',
];
const VALUES: unknown[] = [
  null,
  true,
  0,
  -1,
  1,
  2,
  1e308,
  '',
  'x',
  '-0',
  '__proto__',
  'Map',
  'Set',
  'Date',
  'RegExp',
  '/((a+)+)+$/',
  'Error',
  '@codec-fuzz-user',
  '@nobody',
  'hole',
  'undefined',
  'URL',
  'ArrayBuffer',
  'Int8Array',
  'BigUint64Array',
  'Float16Array',
  'DataView',
  'source',
  'bigint',
  [],
  {},
  [[]],
  [[1, 2]],
  ['Map', {}, 1],
  ['', {}, 2],
  ['@codec-fuzz-user', { role: 'Date' }, 1, { id: '__proto__' }],
  { 0: 1 },
  { length: 'Date' },
  { constructor: 1 },
  JSON.parse('{"__proto__":{"polluted":1}}'),
];

function mutateText(text: string, random: (bound: number) => number): string {
  const at = random(text.length);
  const scrap = SCRAPS[random(SCRAPS.length)]!;
  const length = random(12);
  switch (random(5)) {
    case 0:
      return text.slice(0, at) + scrap + text.slice(at);
    case 1:
      return text.slice(0, at) + text.slice(at + length);
    case 2:
      return text.slice(0, at) + scrap + text.slice(at + length);
    case 3:
      return text.slice(0, at) + text.slice(random(text.length), random(text.length)) + text.slice(at);
    default:
      return text.slice(0, at) + String.fromCharCode(random(0x180)) + text.slice(at + 1);
  }
}

/** Another value, property or place somewhere in the tree: data that remains JSON gets further than other data. */
function mutateTree(text: string, random: (bound: number) => number): string {
  const envelope = JSON.parse(text) as { metadata: object; data: unknown };
  const places: [holder: Record<string, unknown>, key: string][] = [];
  const collect = (holder: object): void => {
    for (const [key, value] of Object.entries(holder)) {
      places.push([holder as Record<string, unknown>, key]);
      if (typeof value === 'object' && value !== null) collect(value as object);
    }
  };
  collect(envelope.metadata);
  collect({ data: envelope.data });
  const [holder, key] = places[random(places.length)]!;
  const [otherHolder, otherKey] = places[random(places.length)]!;
  switch (random(4)) {
    case 0:
      holder[key] = structuredClone(otherHolder[otherKey]);
      break;
    case 1:
      Reflect.deleteProperty(holder, key);
      break;
    case 2:
      // A list may not have a property of that name, nor every length.
      if (!Array.isArray(holder)) holder[otherKey] = VALUES[random(VALUES.length)];
      break;
    default:
      holder[key] = VALUES[random(VALUES.length)];
  }
  return JSON.stringify(envelope);
}

describe('A damaged envelope', () => {
  test('is read or refused with InvalidMessageError, quickly and without side effects', () => {
    const random = randomFrom(20_261_122);
    const prototypes = [
      Object.prototype,
      Array.prototype,
      Map.prototype,
      Date.prototype,
      Error.prototype,
      User.prototype,
    ];
    const before = prototypes.map((prototype) => Reflect.ownKeys(prototype).length);
    const outcomes = { read: 0, refused: 0 };
    const cpu = new ThreadClock();
    let slowestMs = 0;
    for (let count = 0; count < MUTATIONS; count++) {
      let payload = envelopes[count % envelopes.length]!;
      const isOfText = random(4) === 0;
      for (let times = 1 + random(3); times > 0; times--) {
        payload = isOfText ? mutateText(payload, random) : mutateTree(payload, random);
      }
      const start = cpu.now();
      try {
        const { data, type, meta } = decodeEnvelope(payload);
        codec.decode(data, type, meta);
        outcomes.read++;
      } catch (error) {
        if (!(error instanceof InvalidMessageError))
          throw new Error(`not an InvalidMessageError for ${payload}`, { cause: error });
        outcomes.refused++;
      }
      slowestMs = Math.max(slowestMs, cpu.now() - start);
    }
    expect(prototypes.map((prototype) => Reflect.ownKeys(prototype).length)).toEqual(before);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    // Both must be frequent, or the mutations prove nothing.
    expect(outcomes.read).toBeGreaterThan(MUTATIONS / 10);
    expect(outcomes.refused).toBeGreaterThan(MUTATIONS / 10);
    expect(slowestMs).toBeLessThan(500);
  }, 60_000);
});
