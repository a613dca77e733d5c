import { Good } from './hostile-messages.js';
import { hostileBatch, hostileEventId } from './hostile-places.js';
import {
  CHANNELS,
  KEPT,
  NASTY_JSON,
  USERS,
  altered,
  channelNames,
  connectionId,
  damaged,
  messageData,
  pick,
  uuid,
  type Targets,
} from './hostile-texts.js';
import type { Random } from './random.js';

// The payloads of another application on the same Redis, or of a broken server.

/** A payload for Redis. */
export interface HostilePayload {
  readonly channel: string;
  readonly payload: Buffer;
}

/** A payload published in Redis: from a damaged message to a forged answer. */
export function hostilePayload(random: Random, targets: Targets): HostilePayload {
  const kind = random(100);
  const node = pick(random, targets.nodes);
  if (kind >= 92) {
    const channel = pick(random, KEPT);
    return { channel: targets.prefix + channel, payload: Buffer.from(hostileBatch(random, channel)) };
  }
  const requests = pick(random, ['messaging:node', 'messaging:node', 'messaging:revocations/node']);
  const name = kind < 45 ? publicName(random) : kind < 80 ? `${requests}/${node}` : 'messaging:revocations';
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
  return pick(random, [
    Good.name,
    'checked',
    'transformed',
    'open/a',
    'any/a',
    'any/b',
    'decided/yes',
    'scoped/a',
    'kept/a',
  ]);
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
  // A server does not read its own.
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

/** A question or an answer, as another server sends it. */
function packetOf(random: Random, targets: Targets): string {
  const from = pick(random, targets.nodes);
  if (random(3) === 0) return `{"kind":"answer","id":"${uuid(random)}","body":${answerBody(random, uuid(random))}}`;
  const body = pick(random, [changeBody, recoverBody, ordersBody, confirmationBody, () => pick(random, NASTY_JSON)])(
    random,
    targets,
  );
  const question = `{"kind":"question","id":"${uuid(random)}","from":"${from}","body":${body}}`;
  return random(3) === 0 ? altered(random, question) : question;
}

function changeBody(random: Random, targets: Targets): string {
  const subscribe = channelNames(random);
  const positions = subscribe.map(() =>
    pick(random, ['null', `[${JSON.stringify(pick(random, targets.epochs))},${random(1e6)}]`]),
  );
  const replays = subscribe.map((name) => JSON.stringify([name, '1', pick(random, ['*', 'h.x', '']), random(100)]));
  const change = {
    connection: connectionId(random, targets),
    // Anyone who can write to Redis could end the subscriptions of the good client.
    auth: random(2) === 0 ? null : { userId: pick(random, USERS.slice(1)), scopes: ['chat'] },
    subscribe,
    rules: rulesOf(random, subscribe),
    unsubscribe: channelNames(random),
    renewal: random(3) === 0 ? renewalOf(random) : undefined,
    age: { tookMs: random(10_000), after: random(3) === 0 ? random(10) : undefined },
  };
  const text = JSON.stringify(change).slice(0, -1);
  const body = `{"change":${text},"positions":[${positions.join()}],"replays":[${replays.join()}]}}`;
  return random(2) === 0 ? altered(random, body) : body;
}

function renewalOf(random: Random): unknown {
  const granted = channelNames(random);
  return { granted, denied: channelNames(random), rules: rulesOf(random, granted) };
}

/** The rules that, by the payload, grant channels. */
function rulesOf(random: Random, names: readonly string[]): unknown {
  const rule = (name: string) => ({
    names: [name, '__proto__'],
    scopes: ['chat'],
    authorizers: ['x'.repeat(random(99))],
  });
  const of = names.map((_, index) => (random(3) === 0 ? null : index));
  return random(3) === 0 ? undefined : { all: names.map(rule), of };
}

function recoverBody(random: Random, targets: Targets): string {
  const names = [...new Set(channelNames(random))];
  const owner = 'o'.repeat(random(24));
  const claims = names.map((name, index) => [name, random(100), index, owner]);
  const recover = {
    from: names.slice(0, random(3)).map((name) => [random(2) === 0 ? name : connectionId(random, targets), owner]),
    reads: names.map((name) => [name, random(100)]),
    proofs: names.map((name) =>
      random(2) === 0
        ? pick(random, targets.epochs)
        : [hostileEventId(random, targets), random(2) === 0 ? names : [name]],
    ),
    claims,
    granted: claims.slice(0, random(3)),
  };
  const body = JSON.stringify({ recover });
  return random(2) === 0 ? altered(random, body) : body;
}

/** Who is connected, and who is to leave: of a user that nobody is. */
function ordersBody(random: Random, targets: Targets): string {
  const target =
    random(2) === 0 ? { connection: `${pick(random, targets.nodes)}.${uuid(random)}` } : { userId: 'nobody' };
  const connections = pick(random, [
    { query: { of: { channel: pick(random, CHANNELS) }, limit: random(2_000) } },
    { query: { of: { userId: pick(random, USERS) }, limit: random(2_000) } },
    { order: { kind: 'unsubscribe', target, channel: pick(random, CHANNELS) } },
    { order: { kind: 'disconnect', target, reconnect: random(2) === 0 } },
  ]);
  const body = JSON.stringify({ connections });
  return random(2) === 0 ? altered(random, body) : body;
}

/** Whether a server applies revocations that nobody has made. */
function confirmationBody(random: Random): string {
  const ids = Array.from({ length: random(102) }, () => pick(random, ['', uuid(random), 'x'.repeat(random(60))]));
  const body = JSON.stringify({ ids });
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

/** A payload in one of its possible forms: whole, damaged, several at once, or unrelated. */
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
