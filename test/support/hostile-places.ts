import { RedisNames } from '../../lib/transport/redis-names.js';
import { KEPT, NASTY_JSON, NASTY_TEXT, damaged, pick, uuid, type Targets } from './hostile-texts.js';
import type { Random } from './random.js';

// The positions that a hostile client sends, and the writes of a neighbour to histories in Redis.

const OFFSETS = [0, 1, 2, 17, 1e6, 2 ** 53 - 1, 2 ** 53, -1, 0.5];

function signedEpoch(random: Random, node: string): string {
  const number = (): string => random(4e9).toString(36);
  const cut = random(3) === 0 ? `-${number()}` : '';
  return `${node}.${number()}.${number()}${cut}.${'aA0_-'.repeat(4).slice(random(4), 16 + random(4))}`;
}

/** A position as JSON: handed out, damaged or made up; signed, of a history, or nothing like it. */
export function hostilePosition(random: Random, { nodes, epochs }: Targets): string {
  const epoch = pick(random, [
    () => pick(random, epochs),
    () => damaged(random, pick(random, epochs)),
    () => signedEpoch(random, pick(random, nodes)),
    () => `h.${pick(random, ['', '-', '*', 'last', uuid(random), 'x'.repeat(200), '\r\nevent: messaging:end'])}`,
    () => pick(random, NASTY_TEXT),
  ])();
  if (random(8) === 0) return pick(random, NASTY_JSON);
  return `{"epoch":${JSON.stringify(epoch)},"offset":${pick(random, OFFSETS)}}`;
}

/** The requested past, as members of the request for a channel. */
export function hostileReplay(random: Random, targets: Targets): string {
  const replay = pick(random, [
    () => String(1 + random(50)),
    () => '"latest"',
    () => hostilePosition(random, targets),
    () => pick(random, ['0', '-1', '1e9', '"all"', '0.5']),
    () => pick(random, NASTY_JSON),
  ])();
  const listener = pick(random, ['', '', ',"listener":"1"', `,"listener":"${'l'.repeat(101)}"`, ',"listener":{}']);
  return `"replay":${replay}${listener}`;
}

/** A `Last-Event-ID`: of a native stream, of a history, or nothing like it. */
export function hostileEventId(random: Random, { nodes, vectors }: Targets): string {
  const number = (): string => random(4e9).toString(36);
  const many = <T>(make: () => T): T[] => Array.from({ length: 1 + random(6) }, make);
  return pick(random, [
    () => pick(random, vectors),
    () => damaged(random, pick(random, vectors)),
    () =>
      `${pick(random, nodes)}.${number()}~${many(() => `${number()}.${number()}`).join()}~${'m'.repeat(16)}~${many(number).join()}`,
    () =>
      `${pick(random, nodes)}.1~${','.repeat(random(9))}~${'m'.repeat(16)}~${many(() => `${number()}!${number()}%0Aid: 1`).join()}`,
    () => `messaging:${pick(random, ['', 'e', uuid(random), '\u00e9', 'x'.repeat(41)])}:${pick(random, OFFSETS)}`,
    () => 'messaging:end',
    () => '9'.repeat(400),
    () => 'a~'.repeat(4_000),
    () => '{"a":1}',
    () => '\u0080\u00ff',
  ])();
}

/** Something published for the next places of a history. */
export function hostileBatch(random: Random, channel: string): string {
  const epoch = pick(random, ['e', '', uuid(random), 'x'.repeat(1_000), '"', '\\u0000']);
  const offset = pick(random, [...OFFSETS, '"1"', 'null', '1e400']);
  const count = pick(random, [1, 2, 0, -1, 1e9, '[]']);
  const line = `{"metadata":{"v":1,"node":"n","at":1,"n":1},"pattern":"${channel}","data":${pick(random, NASTY_JSON)}}`;
  const head = `\n{"history":{"epoch":"${epoch}","offset":${offset},"count":${count}}}`;
  const text = head + `\n${line}`.repeat(random(5));
  return random(3) === 0 ? damaged(random, text) : text;
}

/** A command on the keys of such a channel. */
export function hostileCommand(random: Random, { prefix }: Targets): [string, ...string[]] {
  const keys = new RedisNames(prefix.slice(0, -1), undefined).history(pick(random, KEPT));
  const key = pick(random, [keys.state, keys.stream, keys.appender('node'), keys.post('1')]);
  const text = pick(random, [...NASTY_TEXT, 'x'.repeat(5_000), '9007199254740993', '-1', '0']);
  return pick<() => [string, ...string[]]>(random, [
    () => ['SET', key, text],
    () => ['DEL', key],
    () => ['HSET', keys.state, pick(random, ['epoch', 'offset', 'run', 'root', 'sweepAt', 'ttl', 'former']), text],
    () => ['HDEL', keys.state, pick(random, ['epoch', 'offset', 'run'])],
    () => ['XADD', keys.stream, '*', 'n', text, 't', text, 'p', text],
    () => ['XADD', keys.stream, '*', 'a', text],
    () => ['XTRIM', keys.stream, 'MAXLEN', '1'],
    () => ['RPUSH', key, text],
    () => ['PEXPIRE', key, '1'],
    () => ['PERSIST', key],
  ])();
}
