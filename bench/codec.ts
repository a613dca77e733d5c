// The cost of encoding and decoding a message, against JSON alone and against alternative libraries:
// plain messages, which contain only JSON, and rich ones.
import 'reflect-metadata';
import { instanceToPlain, plainToInstance, Type } from 'class-transformer';
import * as devalue from 'devalue';
import { Serializable } from 'nestjs-messaging';
import { SuperJSON } from 'superjson';
import type { BenchOptions } from './run.js';
import { Tally, compareCalls, type CallCase } from './support/calls.js';

/** The parts used here of files that the package does not export. */
interface Internals {
  readonly Codec: new (types: object) => {
    encode(message: unknown): { data: string; type?: string; meta?: string };
    decode(data: unknown, type: string | undefined, meta: unknown): unknown;
  };
  readonly TypeRegistry: new () => object;
}

const ROUNDS = 15;
// The price of types for a message without any.
const PLAIN_GOAL = 1.3;
const OURS = 'Codec';
const JSON_ALONE = 'JSON';

@Serializable({ name: 'bench-user' })
class User {
  readonly id: number;
  readonly name: string;
  @Type(() => Date)
  readonly since = new Date(1.7e12);

  constructor(id: number) {
    this.id = id;
    this.name = `user ${id}`;
  }
}

const chat = (id: number): object => ({
  id: `m-${id}`,
  roomId: '42',
  author: { id, name: 'Ada Lovelace', admin: false },
  text: 'Hello, how are you today?',
  at: 1_732_270_000_000 + id,
  tags: ['a', 'b'],
  reply: null,
});
const rooms = (id: number): object => ({
  rooms: Array.from({ length: 100 }, (_, index) => ({
    id: index,
    name: `room ${index}`,
    open: index % 2 === 0,
    members: [1, 2, 3, id],
    owner: { id: index, name: `user ${index}`, score: index * 1.5 },
  })),
});
const samples = (id: number): object => ({ id, values: Array.from({ length: 1_000 }, (_, index) => index * 1.1) });
const article = (id: number): object => ({ id, title: 'x', body: 'Lorem ipsum dolor sit amet. '.repeat(100) });
const prices = (id: number): object =>
  Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`item-${index}`, index * 0.25 + id]));
const rich = (id: number): object => {
  const users = [new User(id), new User(id + 1), new User(id + 2)];
  return {
    id: BigInt(id),
    at: new Date(1.7e12 + id),
    users,
    byName: new Map(users.map((user) => [user.name, user])),
    tags: new Set(['a', 'b']),
    ratio: Number.NaN,
    link: new URL('https://example.org/rooms/42'),
  };
};

const tally = new Tally();

async function load(file: string): Promise<unknown> {
  return import(new URL(`../lib/protocol/${file}`, import.meta.url).href);
}

export async function run({ rounds = ROUNDS }: BenchOptions): Promise<void> {
  const { Codec } = (await load('codec.js')) as Internals;
  const { TypeRegistry } = (await load('type-registry.js')) as Internals;
  const codec = new Codec(new TypeRegistry());
  for (const [name, make] of Object.entries({ chat, rooms, samples, article, prices })) {
    await compareBoth(`plain, ${name}`, make, codec, rounds, PLAIN_GOAL);
  }
  await compareBoth('rich', rich, codec, rounds);
  await compareInstances(codec, rounds);
}

type Both = readonly [name: string, encode: (message: unknown) => unknown, decode: (encoded: never) => unknown];

function libraries(): Both[] {
  const superjson = new SuperJSON();
  superjson.registerClass(User, { identifier: 'bench-user' });
  const reducers = { User: (value: unknown) => value instanceof User && Object.assign({}, value) };
  const revivers = { User: (value: object) => Object.setPrototypeOf(value, User.prototype) as unknown };
  return [
    [
      JSON_ALONE,
      (message) => JSON.stringify(message, withoutBigInt(message)),
      (text: string): unknown => JSON.parse(text),
    ],
    ['superjson', (message) => superjson.stringify(message), (text: string) => superjson.parse(text)],
    [
      'devalue',
      (message) => devalue.stringify(message, reducers),
      (text: string): unknown => devalue.parse(text, revivers),
    ],
  ];
}

// JSON cannot encode one at all; it is here only for comparison.
function withoutBigInt(message: unknown): ((key: string, value: unknown) => unknown) | undefined {
  const { id } = message as { id?: unknown };
  return typeof id === 'bigint' ? (_key, value) => (typeof value === 'bigint' ? String(value) : value) : undefined;
}

function ours(codec: InstanceType<Internals['Codec']>): Both {
  return [
    OURS,
    (message) => codec.encode(message),
    ({ data, type, meta }: ReturnType<typeof codec.encode>) =>
      codec.decode(JSON.parse(data), type, meta === undefined ? undefined : JSON.parse(meta)),
  ];
}

async function compareBoth(
  title: string,
  make: (id: number) => object,
  codec: InstanceType<Internals['Codec']>,
  rounds: number,
  ratio?: number,
): Promise<void> {
  await compareAll(title, make, [...libraries(), ours(codec)], rounds, ratio);
}

/** One instance with a Date, the purpose of class-transformer. */
async function compareInstances(codec: InstanceType<Internals['Codec']>, rounds: number): Promise<void> {
  const classTransformer: Both = [
    'class-transformer',
    (message) => JSON.stringify(instanceToPlain(message)),
    (text: string) => plainToInstance(User, JSON.parse(text) as object),
  ];
  await compareAll('instance', (id) => new User(id), [...libraries(), classTransformer, ours(codec)], rounds);
}

async function compareAll(
  title: string,
  make: (id: number) => object,
  both: readonly Both[],
  rounds: number,
  ratio?: number,
): Promise<void> {
  // Many, in turn: recently read objects are read faster, and no application sends only one message.
  const messages = Array.from({ length: 50 }, (_, id) => make(id));
  const goal = ratio === undefined ? {} : { goal: { base: JSON_ALONE, ratio } };
  const cases = (call: (one: Both) => (message: unknown) => unknown, input: (one: Both) => unknown[]): CallCase[] =>
    both.map((one) => ({ name: one[0], call: inTurn(call(one), input(one)), ...(one[0] === OURS ? goal : {}) }));
  await compareCalls({
    title: `encode: ${title}`,
    cases: cases(
      ([, encode]) => encode,
      () => messages,
    ),
    tally,
    perCall: 1,
    rounds,
  });
  await compareCalls({
    title: `encode, then decode: ${title}`,
    cases: cases(
      ([, encode, decode]) =>
        (message) =>
          decode(encode(message) as never),
      () => messages,
    ),
    tally,
    perCall: 1,
    rounds,
  });
  await compareCalls({
    title: `decode: ${title}`,
    cases: cases(
      ([, , decode]) => decode as (message: unknown) => unknown,
      ([, encode]) => messages.map(encode),
    ),
    tally,
    perCall: 1,
    rounds,
  });
}

function inTurn(call: (input: unknown) => unknown, inputs: readonly unknown[]): () => void {
  let next = 0;
  return () => {
    const result = call(inputs[next]);
    next = next + 1 === inputs.length ? 0 : next + 1;
    // Uses the result, so that no call is optimised away.
    tally.total += typeof result === 'symbol' ? 0 : 1;
  };
}
