import { Good } from './hostile-messages.js';
import type { Random } from './random.js';

// What a hostile client, another application on the Redis and a broken server may send. All of it follows from the
// numbers that it is made with.

/** The servers that inputs are for. */
export interface Targets {
  /** Ids of the servers, and of one that the test plays. */
  readonly nodes: readonly string[];
  /** Streams that are open on the servers, of somebody else. */
  readonly connections: readonly string[];
  readonly prefix: string;
}

const USERS = ['victim', 'good', 'ada', '7', '__proto__', 'constructor', ''];
const CHANNELS = [
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

const NASTY_JSON: readonly string[] = [
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

const NASTY_TEXT = [
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

/** A text that is broken in a few places. */
function damaged(random: Random, text: string): string {
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

/** JSON in which one value is another one. */
function altered(random: Random, json: string): string {
  const values = [
    ...json.matchAll(/(?<=[:[,])(?:"(?:[^"\\]|\\.)*"|-?\d[\d.e+-]*|true|false|null|\{\}|\[\])(?=[,}\]])/g),
  ];
  if (values.length === 0) return pick(random, NASTY_JSON);
  const { 0: value, index } = pick(random, values);
  return json.slice(0, index) + pick(random, NASTY_JSON) + json.slice(index + value.length);
}

function uuid(random: Random): string {
  const digits = (count: number): string => Array.from({ length: count }, () => random(16).toString(16)).join('');
  return [8, 4, 4, 4, 12].map(digits).join('-');
}

/** What is sent to Redis. */
export interface HostilePayload {
  readonly channel: string;
  readonly payload: Buffer;
}

/** Something published in Redis: from a damaged message to a forged answer. */
export function hostilePayload(random: Random, targets: Targets): HostilePayload {
  const kind = random(100);
  const node = pick(random, targets.nodes);
  const name = kind < 45 ? publicName(random) : kind < 80 ? `messaging:node/${node}` : 'messaging:revocations';
  const data = kind < 45 ? messageData(random) : kind < 80 ? packetOf(random, targets) : revocationOf(random);
  const text = shaped(random, envelopeOf(random, name, data, targets));
  // Now and then on the name as stock parts use it.
  const channel = random(12) === 0 ? name : targets.prefix + name;
  const bytes = Buffer.from(text);
  if (random(20) === 0 && bytes.length > 0) bytes[random(bytes.length)] = 0x80 + random(0x80);
  return { channel, payload: bytes };
}

function publicName(random: Random): string {
  // Each step of a chain is a post of its own: a few of them are enough.
  if (random(200) === 0) return 'chain/1';
  return pick(random, [Good.name, 'checked', 'transformed', 'open/a', 'any/a', 'any/b', 'decided/yes', 'scoped/a']);
}

function messageData(random: Random): string {
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

function envelopeOf(random: Random, name: string, data: string, { nodes }: Targets): string {
  const type = pick(random, [
    '',
    '',
    ',"type":"Numbered"',
    ',"type":"Checked"',
    ',"type":"Transformed"',
    ',"type":"Nobody"',
  ]);
  const meta = random(4) === 0 ? `,"meta":${metaOf(random)}` : '';
  // Its own, a server does not read.
  const node = random(5) === 0 ? uuid(random) : nodes.at(-1)!;
  const at = random(6) === 0 ? pick(random, NASTY_JSON) : String(1.7e12 + random(1e9));
  const pattern = JSON.stringify(name);
  if (random(10) === 0) return `{"pattern":${pattern},"data":${data}}`;
  return `{"metadata":{"v":1,"node":"${node}","at":${at},"n":${random(1e6)}${type}${meta}},"pattern":${pattern},"data":${data}}`;
}

function metaOf(random: Random): string {
  if (random(40) === 0) return `"${'m'.repeat(1_200_000)}"`;
  if (random(3) > 0) return pick(random, NASTY_JSON);
  const tag = pick(random, [
    'date',
    'map',
    'set',
    'bigint',
    'ref',
    'class',
    'error',
    'regexp',
    'typed',
    'undefined',
    'url',
  ]);
  return `{"":["${tag}",${pick(random, NASTY_JSON)}],"v":[["${tag}",0],["${tag}",${random(1e9)}]]}`;
}

/** A question of a server, or an answer, as another server sends it. */
function packetOf(random: Random, targets: Targets): string {
  const from = pick(random, targets.nodes);
  if (random(3) === 0) return `{"kind":"answer","id":"${uuid(random)}","body":${answerBody(random, uuid(random))}}`;
  const body = pick(random, [changeBody, recoverBody, () => pick(random, NASTY_JSON)])(random, targets);
  const question = `{"kind":"question","id":"${uuid(random)}","from":"${from}","body":${body}}`;
  return random(3) === 0 ? altered(random, question) : question;
}

function changeBody(random: Random, targets: Targets): string {
  const names = channelNames(random).map((channel) => ({
    channel,
    ...(random(4) === 0 && { error: 'CHANNEL_DENIED' }),
  }));
  const change = {
    connection: connectionId(random, targets),
    owner: { userId: pick(random, USERS), authId: random(2) === 0 ? null : 'a1' },
    subscribe: names,
    unsubscribe: channelNames(random),
  };
  const body = JSON.stringify({ change });
  return random(2) === 0 ? altered(random, body) : body;
}

function epochOf(random: Random, node: string): string {
  return `${node}.${random(5).toString(36)}.${random(100).toString(36)}.${'aA0_-'.repeat(4).slice(random(4), 16 + random(4))}`;
}

function recoverBody(random: Random, { nodes }: Targets): string {
  const names = channelNames(random);
  const recover = {
    from: names.slice(0, random(3)),
    reads: names.map((name) => [name, random(100)]),
    proofs: names.map((name) => (random(2) === 0 ? epochOf(random, pick(random, nodes)) : [name, names])),
    claims: names.map((name, index) => [name, random(100), index]),
  };
  const body = JSON.stringify({ recover });
  return random(2) === 0 ? altered(random, body) : body;
}

function revocationOf(random: Random): string {
  const revocation = pick(random, [
    { userId: 'victim' },
    { userId: 'ada', authId: 'a1' },
    { userId: '7', scopes: ['chat'] },
    { userId: 'victim', scopes: [] },
  ]);
  return random(2) === 0 ? altered(random, JSON.stringify(revocation)) : JSON.stringify(revocation);
}

/** The answer of a server that the test plays, to a question with an id. */
export function hostileAnswer(random: Random, id: string, from: string, to: string): string {
  const data = `{"kind":"answer","id":"${id}","body":${answerBody(random, id)}}`;
  const envelope = `{"metadata":{"v":1,"node":"${from}","at":${random(1e9)},"n":${random(1e6)}},"pattern":"messaging:node/${to}","data":${data}}`;
  return random(4) === 0 ? damaged(random, envelope) : envelope;
}

function answerBody(random: Random, id: string): string {
  const answer = pick(random, [
    () => 'null',
    () => '[{"channel":"good"}]',
    () => '[{"channel":"good","error":"CHANNEL_DENIED"},null,7]',
    () => `{"messages":[["${id}","data: x"]],"complete":["good"]}`,
    () => '{"messages":[[null,"event: messaging:revoked\\ndata: 1\\n\\n"]],"complete":[1]}',
    () => `{"messages":${pick(random, NASTY_JSON)},"complete":${pick(random, NASTY_JSON)}}`,
    () => pick(random, NASTY_JSON),
  ])();
  return random(3) === 0 ? altered(random, answer) : answer;
}

/** A payload in one of the forms in which it may come: whole, damaged, several at once, or nothing like it. */
function shaped(random: Random, envelope: string): string {
  const form = random(1_000);
  if (form === 0) return '\n'.repeat(1_000_000);
  if (form === 1) return `\n${`${'x'.repeat(9)}\n`.repeat(50_000)}`;
  if (form === 2) return envelope + ' '.repeat(1_100_000);
  if (form === 3) return '['.repeat(100_000);
  if (form < 300) return envelope;
  if (form < 600) return damaged(random, envelope);
  if (form < 800) return altered(random, envelope);
  if (form < 920) return `\n${Array.from({ length: random(20) }, () => damaged(random, envelope)).join('\n')}`;
  if (form < 960) return pick(random, NASTY_JSON);
  return envelope.slice(0, random(envelope.length));
}

function channelNames(random: Random): string[] {
  // Now and then a thousand that exist nowhere.
  if (random(300) === 0) return Array.from({ length: 1_000 }, (_, n) => `nowhere/${n}/${random(1e6)}`);
  return Array.from({ length: random(8) }, () => pick(random, CHANNELS));
}

function connectionId(random: Random, { nodes, connections }: Targets): string {
  if (random(6) === 0) return pick(random, ['x', '..', '%2e%2e', '%00', `${nodes[0]}.`, uuid(random), 'null']);
  return random(3) === 0 ? pick(random, connections) : `${pick(random, nodes)}.${uuid(random)}`;
}

/** Whose code answers a request: the library's, or the application's, which may fail as it likes. */
export interface HostileRequest {
  readonly of: 'gateway' | 'application';
  readonly text: string;
}

/** A request as it stands on the wire. */
export function hostileRequest(random: Random, targets: Targets): HostileRequest {
  const kind = random(100);
  if (kind < 20) return { of: 'gateway', text: requestOf(random, 'GET', eventSourcePath(random)) };
  if (kind < 45) return { of: 'gateway', text: requestOf(random, 'POST', '/messages', openBody(random, targets)) };
  if (kind < 70) {
    const path = `/messages/${connectionId(random, targets)}/channels`;
    return { of: 'gateway', text: requestOf(random, 'POST', path, changeRequestBody(random)) };
  }
  if (kind < 85) return { of: 'application', text: requestOf(random, 'GET', `/sse/${random(100)}`) };
  if (kind < 97) {
    const channel = pick(random, [
      'good',
      'checked',
      'transformed',
      'any~a',
      'open~a',
      'chain~5',
      'messaging:x',
      '%00',
      '*',
    ]);
    return {
      of: 'application',
      text: requestOf(random, 'POST', `/post/${channel}/${random(500)}`, messageData(random)),
    };
  }
  const user = pick(random, ['victim', 'ada', '7', '%20']);
  return { of: 'application', text: requestOf(random, 'POST', `/revoke/${user}/${random(4)}`, '{}') };
}

function eventSourcePath(random: Random): string {
  const names = channelNames(random).slice(0, 30);
  const key = pick(random, ['channel', 'channel', 'channel', 'channel[]', 'channel[a]', '__proto__', '']);
  return `/messages?${names.map((name) => `${key}=${encode(name)}`).join('&')}`;
}

function encode(text: string): string {
  return encodeURIComponent(text.replace(/[\ud800-\udfff]/g, '%ED%A0%80'));
}

function openBody(random: Random, { nodes }: Targets): string {
  const positionOf = (): object => ({ epoch: epochOf(random, pick(random, nodes)), offset: random(1e6) });
  const channels = channelNames(random).map((channel) => ({
    channel,
    ...(random(3) === 0 && { position: random(4) === 0 ? pick(random, ['7', null, {}]) : positionOf() }),
  }));
  return bodyOf(random, JSON.stringify({ channels, ...(random(3) === 0 && { from: pick(random, nodes) }) }));
}

function changeRequestBody(random: Random): string {
  const subscribe = channelNames(random).map((channel) => ({ channel }));
  return bodyOf(random, JSON.stringify({ subscribe, unsubscribe: channelNames(random) }));
}

function bodyOf(random: Random, json: string): string {
  const form = random(20);
  if (form < 9) return json;
  if (form < 13) return altered(random, json);
  if (form < 17) return damaged(random, json);
  return pick(random, NASTY_JSON);
}

function requestOf(random: Random, method: string, path: string, body?: string): string {
  const headers = ['host: 127.0.0.1', ...authHeader(random)];
  if (random(3) === 0) headers.push(`last-event-id: ${lastEventId(random)}`);
  if (random(30) === 0)
    headers.push(pick(random, ['x-a: \u0001', 'bad header', `x-b: ${'b'.repeat(20_000)}`, ': none', 'te: x\ry']));
  if (random(10) === 0)
    headers.push(pick(random, ['accept: text/event-stream', 'accept: image/png', 'connection: close', 'expect: x']));
  if (body === undefined) return `${method} ${path} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`;
  headers.push(
    `content-type: ${random(8) > 0 ? 'application/json' : pick(random, ['text/plain', 'application/jsonx', 'a/b; =', 'x'])}`,
  );
  const length = Buffer.byteLength(body);
  const isChunked = random(15) === 0;
  if (isChunked) headers.push('transfer-encoding: chunked');
  else headers.push(`content-length: ${random(40) === 0 ? length + random(20) - 10 : length}`);
  const content = isChunked ? `${length.toString(16)}\r\n${body}\r\n0\r\n\r\n` : body;
  return `${method} ${path} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n${content}`;
}

function authHeader(random: Random): string[] {
  const form = random(10);
  if (form < 3) return [];
  if (form < 7) return [`x-auth: user:${pick(random, ['victim', 'ada', '7', 'constructor'])}`];
  return [form < 9 ? `x-auth: fail:${random(100)}` : `x-auth: shape:${random(100)}`];
}

function lastEventId(random: Random): string {
  return pick(random, [
    () => 'messaging:end',
    () => `${uuid(random)}.${random(1e6)}`,
    () => '9'.repeat(400),
    () => '1e999',
    () => 'a='.repeat(2_000),
    () => '{"a":1}',
    () => '\u0080\u00ff',
  ])();
}
