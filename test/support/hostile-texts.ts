import { Good } from './hostile-messages.js';
import type { Random } from './random.js';

// The parts of all hostile inputs. All of it follows from the numbers that it is made with.

/** The servers that inputs are for. */
export interface Targets {
  /** Ids of the servers, and of one that the test plays. */
  readonly nodes: readonly string[];
  /** Open streams of other users on the servers. */
  readonly connections: readonly string[];
  /** Epochs of logs and of histories, given to other clients. */
  readonly epochs: readonly string[];
  /** Event ids of other clients' native streams. */
  readonly vectors: readonly string[];
  /** The prefix of names in Redis. */
  readonly prefix: string;
}

/** Channels with history that accept anything; beside them is one that must stay intact. */
export const KEPT = ['kept/a', 'kept/b', 'kept/c'] as const;

export const USERS = ['good', 'victim', 'ada', '7', '__proto__', 'constructor', ''];
export const CHANNELS = [
  Good.name,
  'checked',
  'transformed',
  'open/a',
  'open/b',
  'open/:name',
  'decided/yes',
  'decided/truthy',
  'decided/fail',
  'decided/:how',
  'scoped/a',
  'scoped/:name',
  'any/a',
  'any/:kind',
  'chain/1',
  'messaging:connections',
  'messaging:revocations',
  ...KEPT,
  'kept/:id',
  'nowhere',
  '__proto__',
  '*',
  '/',
  'open//',
  'open/\u0000',
  'open/\r\nevent: messaging:revoked',
  'x'.repeat(255),
  'x'.repeat(4_000),
  ':a/:b/:c',
  '\ud800',
];

export const NASTY_JSON: readonly string[] = [
  'null',
  'true',
  '-0',
  '1e999',
  '-1e999',
  '1e-999',
  '9007199254740993',
  '""',
  '"\\ud800"',
  '"\\u0000\\r\\n"',
  '[]',
  '{}',
  '{"length":1e9}',
  '{"length":-1}',
  '{"then":1}',
  '{"toJSON":1,"toString":1,"valueOf":1}',
  '{"__proto__":{"polluted":true}}',
  '{"constructor":{"prototype":{"polluted":true}}}',
  '[[[[[[[[[[]]]]]]]]]]',
  `${'['.repeat(3_000)}${']'.repeat(3_000)}`,
  `${'{"a":'.repeat(2_000)}1${'}'.repeat(2_000)}`,
  `[${'0,'.repeat(5_000)}0]`,
  `"${'z'.repeat(20_000)}"`,
  `{${Array.from({ length: 500 }, (_, n) => `"k${n}":${n}`).join()}}`,
];

export const NASTY_TEXT = [
  '\n',
  '\r\n',
  '\0',
  '\u001b[2J',
  '\ud800',
  '"',
  '\\',
  '{',
  '}',
  '[',
  ']',
  ':',
  ',',
  '1e999',
  'null',
];

export function pick<T>(random: Random, items: readonly T[]): T {
  return items[random(items.length)]!;
}

/** A text with a few broken places. */
export function damaged(random: Random, text: string): string {
  let result = text;
  for (let count = 1 + random(3); count > 0; count--) {
    const at = random(result.length + 1);
    const length = random(12);
    const [before, after] = [result.slice(0, at), result.slice(at)];
    result = pick(random, [
      () => before,
      () => before + after.slice(length),
      () => before + pick(random, NASTY_TEXT) + after,
      () => before + pick(random, NASTY_JSON) + after,
      () => before + after.slice(0, length) + after,
      () => before + String.fromCharCode(random(0x10000)) + after.slice(1),
    ])();
  }
  return result;
}

/** JSON with one value replaced. */
export function altered(random: Random, json: string): string {
  const values = [
    ...json.matchAll(/(?<=[:[,])(?:"(?:[^"\\]|\\.)*"|-?\d[\d.e+-]*|true|false|null|\{\}|\[\])(?=[,}\]])/g),
  ];
  if (values.length === 0) return pick(random, NASTY_JSON);
  const { 0: value, index } = pick(random, values);
  return json.slice(0, index) + pick(random, NASTY_JSON) + json.slice(index + value.length);
}

export function uuid(random: Random): string {
  const digits = (count: number): string => Array.from({ length: count }, () => random(16).toString(16)).join('');
  return [8, 4, 4, 4, 12].map(digits).join('-');
}

export function channelNames(random: Random): string[] {
  // Now and then, a thousand that exist nowhere.
  if (random(300) === 0) return Array.from({ length: 1_000 }, (_, n) => `nowhere/${n}/${random(1e6)}`);
  return Array.from({ length: random(8) }, () => pick(random, CHANNELS));
}

export function connectionId(random: Random, { nodes, connections }: Targets): string {
  if (random(6) === 0) return pick(random, ['x', '..', '%2e%2e', '%00', `${nodes[0]}.`, uuid(random), 'null']);
  return random(3) === 0 ? pick(random, connections) : `${pick(random, nodes)}.${uuid(random)}`;
}

export function messageData(random: Random): string {
  return pick(random, [
    () => '{"run":"not this run","n":1}',
    () => '{"name":"Ada","sync":1,"later":1}',
    () => '{"name":"Ada","sync":2,"later":1}',
    () => '{"name":7,"sync":1,"later":2}',
    () => '{"value":1,"trap":1}',
    () => '"text"',
    () => pick(random, NASTY_JSON),
  ])();
}
