import 'reflect-metadata';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { IsInt, IsOptional, IsString, Max, MaxLength, Min, ValidateNested } from 'class-validator';
import { of } from 'rxjs';
import { Hub } from '../../lib/core/hub.js';
import type { MessageContext } from '../../lib/core/message-context.js';
import type { Transport, TransportReceiver, TransportStatus } from '../../lib/core/transport.js';
import { loadClassValidatorCheck } from '../../lib/nest/class-validator-check.js';
import { defineChannel } from '../../lib/protocol/channel.js';
import { encodeEnvelope, envelopePrefix } from '../../lib/protocol/envelope.js';
import { InvalidMessageError } from '../../lib/protocol/errors.js';
import { Serializable } from '../../lib/protocol/serializable.js';
import { SourceRef, sourceRef } from '../../lib/protocol/source.js';
import { randomFrom, type Random } from '../support/random.js';
import { RecordingReporter } from '../support/recording-reporter.js';
import { isSameGraph } from '../support/same-graph.js';

// A server reads every payload on Redis: here damaged and hostile ones, from the transport to the listeners.

const MUTATIONS = 100_000;
const ROUND = 1_000;
const SLOWEST = 50;
// Far above what the slowest takes even on a busy machine, which is why it is asked three times, and far below what the
// longest would take if the time grew with the square of the length.
const MOST_MS = 1_000;
// Ends the run, which would otherwise continue for hours.
const FAR_TOO_SLOW_MS = 5_000;

@Serializable({ name: 'receive-fuzz-user' })
class User {
  [property: string]: unknown;
  @IsInt()
  @Min(1)
  @Max(1_000)
  id: unknown;
  @IsString()
  @MaxLength(20)
  name: unknown;
  @IsOptional()
  @ValidateNested()
  friend?: unknown;

  constructor(id: number, name: string) {
    this.id = id;
    this.name = name;
  }

  set role(_role: string) {
    throw new Error('a setter ran');
  }
}

@Serializable({ name: 'receive-fuzz-room' })
class Room {
  constructor(
    readonly owner: User,
    readonly members: Map<unknown, unknown>,
    public self?: Room,
  ) {}
}

@Serializable({ name: 'receive-fuzz-failure' })
class Failure extends Error {}

/** Passes payloads to all listeners, in the same call, so that errors and durations are visible. */
class Line implements Transport {
  readonly status = of<TransportStatus>({ state: 'ready' });
  receive: TransportReceiver = () => {
    throw new Error('nobody has started');
  };

  async start(receiver: TransportReceiver): Promise<void> {
    this.receive = receiver;
  }

  async publish(): Promise<boolean> {
    return false;
  }

  async subscribe(): Promise<void> {}

  unsubscribe(): void {}

  async close(): Promise<void> {}
}

const Users = defineChannel('users', User);

/** The ways to a listener: its subscription, and the channel of the payload. */
const WAYS: readonly [subscription: string, channel: string][] = [
  ['rooms', 'rooms'],
  ['rooms/:id', 'rooms/7'],
  ['users', 'users'],
];

function messages(): unknown[] {
  const ada = Object.assign(new User(7, 'Ada'), {
    at: new Date(0),
    tags: new Set<unknown>(['a', /b/g]),
    none: undefined,
  });
  const bob = Object.assign(new User(8, 'Bob'), { friend: ada });
  const members = new Map<unknown, unknown>([
    ['a', ada],
    [bob, Object.assign([1], { 3: -0 })],
    [1, [ada, bob, 2n]],
  ]);
  const room = new Room(ada, members);
  room.self = room;
  const many = Array.from({ length: 12 }, (_, index) => ({ index, at: new Date(index), big: BigInt(index) }));
  return [
    { id: 'm', list: [1, 'two', null, { three: [true] }], at: 1.5 },
    ada,
    Object.assign(new User(9, 'Cy'), { friend: bob }),
    room,
    {
      room,
      errors: [new TypeError('t', { cause: new Failure('c') }), new AggregateError([1n], 'all')],
      not: Number.NaN,
    },
    {
      bytes: new Uint8Array([1, 2, 3]),
      floats: new Float64Array([1, Number.NaN, -0]),
      big: new BigInt64Array([1n]),
      buffer: new ArrayBuffer(4),
      view: new DataView(new ArrayBuffer(2)),
    },
    [
      new URL('https://example.org/'),
      sourceRef('ChatServer', 'lobby'),
      Object.assign(Object.create(null) as object, { a: 1n, b: new Set([1, 2, 3]) }),
    ],
    { many, first: many[0], last: many.at(-1) },
  ];
}

function pick<T>(from: readonly T[], random: Random): T {
  return from[random(from.length)]!;
}

/** One of some values, as a copy, because its new owner may be changed again. */
function fresh(from: readonly unknown[], random: Random): unknown {
  return structuredClone(pick(from, random));
}

const KEYS = [
  '__proto__',
  'constructor',
  'prototype',
  'role',
  'then',
  'toJSON',
  'toString',
  'hasOwnProperty',
  'length',
  'stack',
  'cause',
  'name',
  '',
  '0',
  '-1',
  '1e3',
  '01',
  '4294967294',
  '4294967295',
  '9007199254740993',
  '1e400',
];
const NOTES: readonly unknown[] = [
  'undefined',
  'hole',
  'NaN',
  '-0',
  'Infinity',
  'bigint',
  'Date',
  'RegExp',
  'URL',
  'Map',
  'Set',
  'Error',
  'AggregateError',
  'ArrayBuffer',
  'DataView',
  'Uint8Array',
  'Float64Array',
  'BigUint64Array',
  'Float16Array',
  'null-prototype',
  'source',
  '@receive-fuzz-user',
  '@receive-fuzz-room',
  '@receive-fuzz-failure',
  '@nobody',
  '@Object',
  '@',
  '__proto__',
  'constructor',
  '',
  0,
  1,
  2,
  -1,
  1.5,
  1e21,
  null,
  [],
  ['Map', {}, 1],
  ['', {}, 2],
  ['', {}, 1, { name: '__proto__' }],
  ['', {}, 1, { three: '__proto__' }],
  ['@receive-fuzz-user', { role: 'Date' }, 1, { id: 'constructor' }],
  ['', { a: 1 }, 1],
  { 0: 1 },
  { constructor: { prototype: 1 } },
  { length: 'undefined' },
];
const VALUES: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1e308,
  2 ** 53,
  '',
  'x',
  '-0',
  '1'.repeat(300),
  '/((a+)+)+$/',
  '/(/',
  '/[/]/v',
  'AAAA',
  '%',
  'https://[',
  '1970-01-01T00:00:00.000Z',
  [],
  {},
  [[]],
  [[1, 2]],
  [
    ['a', 1],
    ['a', 2],
  ],
  { type: 'ChatServer', key: 'a/b' },
  { constructor: { prototype: { polluted: 1 } } },
  JSON.parse('{"__proto__":{"polluted":1}}'),
  [1, 1],
];
const VERSIONS: readonly unknown[] = [0, 2, -1, 1.5, '1', null, true, [1], { v: 1 }, 1e300];
const SCRAPS = [
  '{',
  '}',
  '[',
  ']',
  '"',
  ':',
  ',',
  '\\',
  '\\u',
  '"__proto__":',
  'null',
  '1e999',
  '-',
  '\u0000',
  '\ud800',
  '[[',
];

interface Packet {
  [key: string]: unknown;
}
type Place = readonly [holder: Record<string, unknown>, key: string];

/** Every property and item within, as a place for a change. */
function placesIn(holder: unknown, places: Place[] = []): Place[] {
  if (typeof holder !== 'object' || holder === null) return places;
  for (const [key, value] of Object.entries(holder)) {
    places.push([holder as Record<string, unknown>, key]);
    placesIn(value, places);
  }
  return places;
}

function placeIn(holder: unknown, random: Random): Place {
  const places = placesIn(holder);
  return places.length === 0 ? [{ none: 1 }, 'none'] : pick(places, random);
}

/** Sets a property as JSON.parse does, so that `__proto__` is an ordinary one; in an array, an item. */
function define(holder: object, key: string, value: unknown): void {
  if (Array.isArray(holder)) {
    if (Number(key) < holder.length) holder[Number(key)] = value;
    else holder.push(value);
    return;
  }
  Object.defineProperty(holder, key, { value, writable: true, enumerable: true, configurable: true });
}

function nested(depth: number, random: Random): unknown {
  let value: unknown = 1;
  const isObject = random(2) === 0;
  for (let level = 0; level < depth; level++) value = isObject ? { a: value } : [value];
  return value;
}

function meta(packet: Packet): unknown {
  return (packet['metadata'] as Packet | undefined)?.['meta'];
}

/** Changes of a parsed payload: data that remains JSON gets further than other data. */
const OF_TREE: Readonly<Record<string, (packet: Packet, random: Random) => void>> = {
  'another value': (packet, random) => {
    const [holder, key] = placeIn(packet['data'], random);
    define(holder, key, fresh(VALUES, random));
  },
  'another note': (packet, random) => {
    const [holder, key] = placeIn(meta(packet), random);
    define(holder, key, fresh(NOTES, random));
  },
  'a note more': (packet, random) => {
    const [, key] = placeIn(packet['data'], random);
    const notes = meta(packet);
    const [holder] = placeIn(notes ?? {}, random);
    define(
      typeof notes === 'object' && notes !== null && !Array.isArray(notes) ? notes : holder,
      key,
      fresh(NOTES, random),
    );
  },
  'another note of it all': (packet, random) => {
    const metadata = packet['metadata'];
    if (typeof metadata === 'object' && metadata !== null) define(metadata, 'meta', fresh(NOTES, random));
  },
  'another key': (packet, random) => {
    const [holder, key] = placeIn(random(2) === 0 ? packet['data'] : packet, random);
    const value = holder[key];
    Reflect.deleteProperty(holder, key);
    define(holder, pick(KEYS, random), value);
  },
  'a key more': (packet, random) => {
    const [holder, key] = placeIn(packet, random);
    const value = holder[key];
    const target = typeof value === 'object' && value !== null ? value : holder;
    define(target, pick(KEYS, random), fresh(VALUES, random));
  },
  'a part gone': (packet, random) => {
    const [holder, key] = placeIn(packet, random);
    Reflect.deleteProperty(holder, key);
  },
  'a part in another place': (packet, random) => {
    const [from, name] = placeIn(packet, random);
    const [to, key] = placeIn(packet, random);
    define(to, key, structuredClone(from[name]));
  },
  'a part many times': (packet, random) => {
    const lists = placesIn(packet['data']).filter(([holder, key]) => Array.isArray(holder[key]));
    if (lists.length === 0) return;
    const [holder, key] = pick(lists, random);
    const list = holder[key] as unknown[];
    const item = pick(list, random) ?? 0;
    // Now and then so often that quadratic work would take very long.
    const most = random(500) === 0 ? 300_000 / (JSON.stringify(item).length + 1) : 12;
    const isCounted = random(2) === 0;
    for (let time = 0; time < most; time++) {
      if (isCounted) list.push(Array.isArray(item) ? [time, 1] : time);
      else list.push(structuredClone(item));
    }
  },
  'ids swapped': (packet, random) => {
    const ids = placesIn(meta(packet)).filter(([holder, key]) => typeof holder[key] === 'number');
    if (ids.length === 0) return;
    const [holder, key] = pick(ids, random);
    const [other, otherKey] = pick(ids, random);
    [holder[key], other[otherKey]] = [other[otherKey], holder[key]];
  },
  'another version': (packet, random) => {
    const metadata = packet['metadata'];
    if (typeof metadata === 'object' && metadata !== null) define(metadata, 'v', fresh(VERSIONS, random));
  },
  'another type': (packet, random) => {
    const metadata = packet['metadata'];
    const types = ['receive-fuzz-user', 'receive-fuzz-room', 'Object', 'Map', 'nobody', '', '__proto__', 7, null];
    if (typeof metadata === 'object' && metadata !== null) define(metadata, 'type', pick(types, random));
  },
  'no metadata, as stock clients send': (packet) => {
    Reflect.deleteProperty(packet, 'metadata');
  },
  'deep nesting': (packet, random) => {
    const [holder, key] = placeIn(packet, random);
    const depth = pick([10, 100, 255, 256, 257, 1_000], random);
    define(holder, key, nested(depth, random));
  },
};

/** Changes of the text itself. */
const OF_TEXT: Readonly<Record<string, (text: string, random: Random) => string>> = {
  'bytes flipped': (text, random) => {
    const bytes = Buffer.from(text);
    for (let times = 1 + random(4); times > 0; times--) {
      const at = random(bytes.length);
      bytes[at] = bytes[at]! ^ (1 << random(8));
    }
    return bytes.toString();
  },
  truncated: (text, random) => text.slice(0, random(text.length)),
  'a piece out': (text, random) => {
    const at = random(text.length);
    return text.slice(0, at) + text.slice(at + random(12));
  },
  'a piece twice': (text, random) => {
    const [at, start] = [random(text.length), random(text.length)];
    return text.slice(0, at) + text.slice(start, start + random(60)) + text.slice(at);
  },
  'a scrap in it': (text, random) => {
    const at = random(text.length);
    return text.slice(0, at) + pick(SCRAPS, random) + text.slice(at + random(3));
  },
  'a digit changed': (text, random) => text.replace(/\d/, String(random(10))),
  'a huge number': (text, random) => {
    let left = 1 + random(8);
    return text.replaceAll(/\d+/g, (digits) =>
      left-- === 1 ? pick(['1e400', '-1e400', '9'.repeat(400)], random) : digits,
    );
  },
  'deep beyond any stack': (text, random) => {
    const depth = random(100) === 0 ? 200_000 : random(1_000);
    return text.replace('"data":', `"data":${'['.repeat(depth)}${']'.repeat(depth)},"also":`);
  },
  'longer than the limit': (text, random) => (random(50) === 0 ? text + ' '.repeat(1_048_576) : `${text} `),
};

const TREE_MUTATIONS = Object.values(OF_TREE);
const TEXT_MUTATIONS = Object.values(OF_TEXT);

function mutate(payload: string, random: Random): string {
  const isOfText = random(4) === 0;
  if (isOfText) return pick(TEXT_MUTATIONS, random)(payload, random);
  const packet = JSON.parse(payload) as Packet;
  for (let times = 1 + random(3); times > 0; times--) pick(TREE_MUTATIONS, random)(packet, random);
  return JSON.stringify(packet);
}

type Descriptors = Map<PropertyKey, PropertyDescriptor>;

/** The contents of objects, down to their functions. */
function snapshot(objects: readonly object[]): Descriptors[] {
  return objects.map(
    (object) => new Map(Reflect.ownKeys(object).map((key) => [key, Object.getOwnPropertyDescriptor(object, key)!])),
  );
}

/** The properties added, removed or changed since. */
function changedOf(objects: readonly object[], before: readonly Descriptors[]): string[] {
  return snapshot(objects).flatMap((now, index) => {
    const then = before[index]!;
    const keys = [...new Set([...now.keys(), ...then.keys()])];
    return keys.filter((key) => !isSameProperty(now.get(key), then.get(key))).map((key) => `${index}: ${String(key)}`);
  });
}

function isSameProperty(a: PropertyDescriptor | undefined, b: PropertyDescriptor | undefined): boolean {
  const fields = ['value', 'get', 'set', 'writable', 'enumerable', 'configurable'] as const;
  return a !== undefined && b !== undefined && fields.every((field) => Object.is(a[field], b[field]));
}

const PROTOTYPES: readonly object[] = [
  Object,
  Array,
  Function,
  Map,
  Set,
  Date,
  RegExp,
  Error,
  TypeError,
  URL,
  String,
  Number,
  BigInt,
  Promise,
  ArrayBuffer,
  Uint8Array,
  SourceRef,
  User,
  Room,
  Failure,
].flatMap((type) => [type, type.prototype as object]);

interface Slow {
  readonly ms: number;
  readonly payload: string;
  readonly way: number;
}

describe('A server that receives damaged payloads', () => {
  const random = randomFrom(20_261_122);
  const line = new Line();
  const reporter = new RecordingReporter();
  const outcomes = { delivered: 0, rejected: 0, intact: 0, users: 0, rulesBroken: 0 };
  const unexpected: string[] = [];
  let heard: unknown[] = [];
  let slowest: Slow[] = [];
  let hub: Hub;
  let rejectedCount = 0;
  let before: ReturnType<typeof snapshot>;

  function hear(message: unknown, context: MessageContext): void {
    heard.push(message);
    // Everything that a listener may ask for.
    void [context.type, context.params, context.node, context.postedAt, context.channel, context.origin];
  }

  function timeOf(payload: string, way: number): number {
    const [subscription, channel] = WAYS[way]!;
    heard = [];
    const start = performance.now();
    line.receive(payload, subscription, channel);
    return performance.now() - start;
  }

  /** One payload to the listeners of one way; notes any outcome other than one delivery or one rejection. */
  function receive(payload: string, way: number): void {
    const complain = (what: string): void => void unexpected.push(`${what}: ${payload.slice(0, 2_000)}`);
    let ms = 0;
    try {
      ms = timeOf(payload, way);
    } catch (error) {
      complain(`thrown: ${String(error)}`);
    }
    if (ms > FAR_TOO_SLOW_MS) throw new Error(`${ms} ms for ${payload.length} characters: ${payload.slice(0, 2_000)}`);
    noteSlow({ ms, payload, way });
    // Removed, because so many errors at once would be a load of their own.
    const rejected = reporter.rejections.splice(0);
    if (heard.length + rejected.length !== 1) complain(`delivered ${heard.length}, rejected ${rejected.length} times`);
    for (const { error, channel } of rejected) {
      if (!(error instanceof InvalidMessageError)) complain(`rejected with ${String(error)}`);
      if (channel !== WAYS[way]![1]) complain(`rejected on ${channel}`);
      if (error.message.includes('id must not be')) outcomes.rulesBroken++;
    }
    outcomes.delivered += heard.length;
    outcomes.rejected += rejected.length;
    for (const message of heard) checkDelivered(message, complain);
  }

  function checkDelivered(message: unknown, complain: (what: string) => void): void {
    if (message instanceof User) {
      outcomes.users++;
      const { id, name } = message;
      const keepsRules = Number.isInteger(id) && Number(id) >= 1 && Number(id) <= 1_000 && typeof name === 'string';
      if (!keepsRules) complain('delivered against the rules of its class');
    }
    try {
      // As an event stream does at once with its messages.
      hub.codec.encode(message);
    } catch (error) {
      complain(`delivered, but cannot be sent on (${String(error)})`);
    }
  }

  function noteSlow(slow: Slow): void {
    if (slowest.length >= SLOWEST && slow.ms <= slowest.at(-1)!.ms) return;
    slowest = [...slowest, slow].toSorted((a, b) => b.ms - a.ms).slice(0, SLOWEST);
  }

  beforeAll(async () => {
    hub = new Hub({ reporter, transport: line, instanceCheck: await loadClassValidatorCheck() });
    const session = hub.sessions.open();
    hub.listen('rooms', hear, session);
    hub.listen('rooms/:id', hear, session);
    hub.listen(Users, hear, session);
    await hub.start();
    const good = messages().map((message) =>
      encodeEnvelope('rooms', envelopePrefix('node-1'), { postedAt: 1, serial: 1 }, hub.codec.encode(message)),
    );
    const stock = ['{"pattern":"users","data":{"id":7,"name":"Ada"}}', '{"pattern":"rooms","data":[1,{"a":null}]}'];
    const payloads = [...good, ...stock];

    before = snapshot(PROTOTYPES);
    for (let count = 1; count <= MUTATIONS; count++) {
      receive(mutate(pick(payloads, random), random), count % WAYS.length);
      if (count % ROUND > 0) continue;
      const index = (count / ROUND) % good.length;
      for (const way of WAYS.keys()) {
        receive(good[index]!, way);
        const message = messages()[index];
        const isCarried = WAYS[way]![0] !== Users.name || message instanceof User;
        if (isCarried ? heard.length === 1 && isSameGraph(heard[0], message) : heard.length === 0) outcomes.intact++;
      }
    }
    ({ rejectedCount } = hub);
  }, 120_000);

  test('delivers each once or rejects it once with an InvalidMessageError, never throws, and can send each delivered message on', () => {
    expect(unexpected.slice(0, 3)).toEqual([]);
    // Both must be frequent, or the mutations prove nothing.
    expect(outcomes.delivered).toBeGreaterThan(MUTATIONS / 10);
    expect(outcomes.rejected).toBeGreaterThan(MUTATIONS / 10);
    expect(outcomes.delivered + outcomes.rejected).toBe(MUTATIONS + (MUTATIONS / ROUND) * WAYS.length);
  });

  test('counts exactly the reported rejections', () => {
    expect(rejectedCount).toBe(outcomes.rejected);
  });

  test('delivers only instances that keep the rules of their class', () => {
    expect(outcomes.users).toBeGreaterThan(ROUND);
    expect(outcomes.rulesBroken).toBeGreaterThan(ROUND);
  });

  test('runs the listeners without a failure', () => {
    expect(reporter.listenerFailures).toEqual([]);
  });

  test('delivers each good message between them intact, but none on a channel of another class', () => {
    expect(outcomes.intact).toBe((MUTATIONS / ROUND) * WAYS.length);
  });

  test('leaves prototypes and classes unchanged', () => {
    expect(changedOf(PROTOTYPES, before)).toEqual([]);
  });

  test('handles even the slowest quickly', () => {
    const tooSlow = slowest.filter(({ payload, way }) => ![1, 2, 3].some(() => timeOf(payload, way) <= MOST_MS));
    expect(slowest).toHaveLength(SLOWEST);
    expect(tooSlow.map(({ ms, payload }) => [ms, payload.length, payload.slice(0, 200)])).toEqual([]);
  });
});
