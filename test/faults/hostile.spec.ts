import 'reflect-metadata';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { MessagingModule, MessagingService } from 'nestjs-messaging';
import { MessagingClient, type ClientStatus } from 'nestjs-messaging/client';
import { randomUUID } from 'node:crypto';
import { ADAPTER_NAMES, startApp, type TestApp } from '../support/apps.js';
import { Good, GoodKept, Numbered } from '../support/hostile-messages.js';
import { hostileAnswer, hostilePayload } from '../support/hostile-payloads.js';
import { hostileCommand } from '../support/hostile-places.js';
import { HostileProcess } from '../support/hostile-process.js';
import { hostileRequest, type HostileRequest } from '../support/hostile-requests.js';
import type { MeasuredServerState } from '../support/hostile-server.js';
import { pick, type Targets } from '../support/hostile-texts.js';
import { Queue } from '../support/queue.js';
import { randomFrom, type Random } from '../support/random.js';
import { converse, statusesOf } from '../support/raw-http.js';
import { RedisServer } from '../support/redis-server.js';
import { SseClient } from '../support/sse-client.js';

// Two servers, one for each adapter, whose own code fails wherever it is called; and everything that clients, other
// applications on their Redis and broken servers may send them. HOSTILE_SEED repeats a run, HOSTILE_ROUND a round of
// it; HOSTILE_INPUTS sends more or less.

const SEED = Number(process.env['HOSTILE_SEED'] ?? 20_261_125);
const INPUTS = Number(process.env['HOSTILE_INPUTS'] ?? 100_000);
const ONLY_ROUND = process.env['HOSTILE_ROUND'];

const ROUND = { payloads: 300, conversations: 70 };
const CONVERSATIONS_AT_ONCE = 12;
/** The prefix of names in Redis. */
const PREFIX = 'messaging:|';
const RUN = randomUUID();

/** A message that has not arrived by then never arrives. */
const PATIENCE_MS = 20_000;
// The longest turns take a quarter of it on a quiet machine: a batch of 16 MB from Redis, and the messages that waited
// until revocations were read. A processor that is shared with others needs up to twice the time for the same work.
const MAX_BUSY_MS = 300;
const MAX_HEAP_GROWTH_BYTES = 10 * 1024 * 1024;
const MOST_MEASUREMENTS = 20;
const MAX_LINES = 1_000;

describe('two servers whose own code fails at every call, and that receive every kind of input', () => {
  let redis: RedisServer;
  let peer: TestApp;
  let stranger: Redis;
  let fakeNode: Redis;
  let servers: HostileProcess[];
  let clients: GoodClient[];
  let targets: Targets;
  let sent = 0;
  const counts = { payloads: 0, commands: 0, answers: 0, gateway: 0, application: 0 };
  const statuses = new Map<string, number>();
  /** Internal errors that the library answered with. */
  const crashes: { requests: readonly HostileRequest[]; received: string }[] = [];
  /** Errors of user code that escaped into a process, and the round of the first one. */
  const firstRoundOf = new Map<string, number>();

  beforeAll(async () => {
    redis = await RedisServer.start();
    servers = await Promise.all(ADAPTER_NAMES.map((name) => HostileProcess.start(name, redis.url, RUN)));
    peer = await startApp({ imports: [MessagingModule.forRoot({ redis: redis.url })] });
    clients = await Promise.all(servers.map((server) => GoodClient.start(server)));
    stranger = new Redis(redis.url);
    const fakeId = randomUUID();
    const nodes = await Promise.all(servers.map((server) => server.node()));
    targets = {
      nodes: [...nodes, fakeId],
      connections: clients.map(({ connection }) => connection),
      epochs: clients.flatMap(({ epochs }) => epochs),
      vectors: await Promise.all(servers.map(vectorOf)),
      prefix: PREFIX,
    };
    fakeNode = new Redis(redis.url);
    const random = randomFrom(SEED);
    fakeNode.on('message', (_channel, text) => {
      const [, id] = /"id":"([\da-f-]{36})"/.exec(text) ?? [];
      const [, from] = /"from":"([\da-f-]{36})"/.exec(text) ?? [];
      if (id === undefined || from === undefined || random(4) === 0) return;
      counts.answers++;
      void stranger.publish(`${PREFIX}messaging:node/${from}`, hostileAnswer(random, id, fakeId, from));
    });
    await fakeNode.subscribe(`${PREFIX}messaging:node/${fakeId}`);
  }, 60_000);

  afterAll(async () => {
    for (const { client } of clients ?? []) client.close();
    await peer?.[Symbol.asyncDispose]();
    for (const server of servers ?? []) await server[Symbol.asyncDispose]();
    stranger?.disconnect();
    fakeNode?.disconnect();
    await redis?.[Symbol.asyncDispose]();
  });

  /** Posts a message that must reach a listener and a client of each server, and waits until it has. */
  async function postGood(): Promise<void> {
    const message = new Numbered(RUN, ++sent);
    const messaging = peer.app.get(MessagingService);
    expect(await messaging.postMessage(Good, message, { global: true })).toBe(true);
    expect(await messaging.postMessage(GoodKept, message, { global: true })).toBe(true);
    for (const client of clients) expect(await client.take()).toEqual([sent, sent]);
  }

  async function publish(random: Random): Promise<void> {
    if (random(12) === 0) {
      counts.commands++;
      // Redis refuses some of it.
      await stranger.call(...hostileCommand(random, targets)).catch(() => {});
      return;
    }
    const { channel, payload } = hostilePayload(random, targets);
    counts.payloads++;
    await stranger.publish(channel, payload);
  }

  /** One connection with a few requests, in pieces, and perhaps a client that does not wait. */
  async function talk(random: Random): Promise<void> {
    const server = pick(random, servers);
    const requests = Array.from({ length: 1 + random(5) }, () => hostileRequest(random, targets));
    const whole = Buffer.from(requests.map(({ text }) => text).join(''), random(20) === 0 ? 'latin1' : 'utf8');
    const cut = random(5) === 0 ? whole.subarray(0, random(whole.length)) : whole;
    const at = random(cut.length + 1);
    for (const { of } of requests) counts[of]++;
    const received = await converse(server.url, {
      pieces: random(3) === 0 ? [cut.subarray(0, at), cut.subarray(at)] : [cut],
      answers: random(8) === 0 ? 0 : requests.length,
      patienceMs: random(3) === 0 ? random(20) : 50 + random(150),
      reset: random(2) === 0,
    });
    expect(received).not.toMatch(/node_modules|\n\s+at .*:\d+/);
    const whose = requests.every(({ of }) => of === 'gateway') ? 'gateway' : 'mixed';
    for (const status of statusesOf(received)) {
      if (whose === 'gateway' && (status === 500 || status > 504)) crashes.push({ requests, received });
      const key = `${server.name} ${whose} ${status}`;
      statuses.set(key, (statuses.get(key) ?? 0) + 1);
    }
  }

  async function round(index: number): Promise<void> {
    const random = randomFrom(SEED + index);
    const published = (async () => {
      for (let count = 0; count < ROUND.payloads; count++) await publish(random);
    })();
    const talks = Array.from({ length: ROUND.conversations }, (_, count) =>
      randomFrom(SEED ^ (index * 1_009 + count + 1)),
    );
    const talkers = Array.from({ length: CONVERSATIONS_AT_ONCE }, async () => {
      for (let own = talks.pop(); own !== undefined; own = talks.pop()) await talk(own);
    });
    await Promise.all([published, ...talkers, postGood()]);
    await postGood();
    for (const server of servers) {
      const { faults } = await server.state();
      for (const fault of faults) firstRoundOf.set(fault, firstRoundOf.get(fault) ?? index);
    }
  }

  const total = (): number => Object.values(counts).reduce((sum, count) => sum + count, 0);

  test('do not end, leak a failure, stall, grow, flood their log or lose a good message', async () => {
    console.log(`HOSTILE_SEED=${SEED} HOSTILE_INPUTS=${INPUTS}`);
    const heaps: number[][] = [];
    /** Before, with the good clients alone. */
    const open = await Promise.all(servers.map(openAlone));
    for (let index = 0; total() < INPUTS; index++) {
      if (ONLY_ROUND !== undefined && index !== Number(ONLY_ROUND)) {
        if (index > Number(ONLY_ROUND)) break;
        continue;
      }
      await round(index);
      const tenth = Math.floor((total() / INPUTS) * 10);
      if (tenth > heaps.length)
        heaps.push(await Promise.all(servers.map(async (each) => (await each.measure()).heapBytes)));
    }
    const states = await Promise.all(servers.map((server, index) => settled(server, heaps[0]![index]!, open[index]!)));
    console.log(
      JSON.stringify(
        {
          counts,
          statuses: Object.fromEntries([...statuses].toSorted(([one], [other]) => one.localeCompare(other))),
          heaps,
          states,
        },
        undefined,
        1,
      ),
    );
    // The questions of the servers to the one that the test plays.
    expect(counts.answers).toBeGreaterThan(0);
    expect(crashes.slice(0, 3)).toEqual([]);
    expect(Object.fromEntries(firstRoundOf)).toEqual({});
    expect(states.map((state) => state.open)).toEqual(open);
    for (const [index, { good, kept, heardRemote, lines, busyMs, heapBytes }] of states.entries()) {
      for (const each of [good, kept]) expect(each).toEqual({ count: sent, wrong: undefined });
      expect(heardRemote).toBeGreaterThan(0);
      expect(lines).toBeLessThan(MAX_LINES);
      expect(busyMs).toBeLessThan(MAX_BUSY_MS);
      expect(heapBytes - heaps[0]![index]!).toBeLessThan(MAX_HEAP_GROWTH_BYTES);
    }
    for (const client of clients) expect(client.statuses).toEqual(['connecting', 'open']);
    for (const server of servers.splice(0)) await server.close();
  }, 300_000);
});

function deferred(): { promise: Promise<never>; reject: (error: Error) => void } {
  let reject!: (error: Error) => void;
  return { promise: new Promise((_, fail) => (reject = fail)), reject };
}

/** Everything open on a server, once it has noticed the end of the stream of {@link vectorOf}. */
async function openAlone(server: HostileProcess): Promise<MeasuredServerState['open']> {
  for (;;) {
    const { open } = await server.state();
    if (open.streams === 1) return open;
  }
}

/** The state of a server, once its pending data has arrived or is late, because the server holds it until then. */
async function settled(
  server: HostileProcess,
  heapBytes: number,
  open: MeasuredServerState['open'],
): Promise<MeasuredServerState> {
  for (let attempt = 1; ; attempt++) {
    const state = await server.measure();
    const isOver = state.open.sessions <= open.sessions && state.open.streams <= open.streams;
    if ((isOver && state.heapBytes - heapBytes < MAX_HEAP_GROWTH_BYTES) || attempt === MOST_MEASUREMENTS) return state;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** The position of another user's native stream. */
async function vectorOf({ url }: HostileProcess): Promise<string> {
  const channels = [Good, GoodKept].map(({ name }) => `channel=${name}`);
  await using client = await SseClient.connect(`${url}/messages?${channels.join('&')}`);
  return (await client.events.next()).id!;
}

/** A client beside all the others, which must notice nothing of them. */
class GoodClient {
  readonly messages = new Queue<Numbered>();
  readonly kept = new Queue<Numbered>();
  /** Parts of its positions. */
  epochs: string[] = [];
  readonly statuses: ClientStatus['state'][] = [];
  connection = '';

  private constructor(readonly client: MessagingClient) {
    client.onStatus(({ state }) => this.statuses.push(state));
  }

  /** The numbers of the next good message, and of the next one on the channel with history. */
  async take(): Promise<number[]> {
    const { promise: late, reject } = deferred();
    const timer = setTimeout(() => reject(new Error(`No good message within ${PATIENCE_MS} ms`)), PATIENCE_MS);
    try {
      const next = Promise.all([this.messages.next(), this.kept.next()]);
      return (await Promise.race([next, late])).map(({ n }) => n);
    } finally {
      clearTimeout(timer);
    }
  }

  static async start({ url }: HostileProcess): Promise<GoodClient> {
    let connection = '';
    let text = '';
    const good = new GoodClient(
      new MessagingClient({
        url: `${url}/messages`,
        headers: { 'x-auth': 'user:good' },
        // It receives damaged messages too.
        onError: () => {},
        fetch: async (input, init) => {
          const response = await fetch(input, init);
          if (!response.body) return response;
          const [read, kept] = response.body.tee();
          const reader = kept.getReader();
          while (!/"connection":"[^"]+".*\n/.test(text)) text += Buffer.from((await reader.read()).value!).toString();
          reader.cancel().catch(() => {});
          connection = /"connection":"([^"]+)"/.exec(text)![1]!;
          return new Response(read, response);
        },
      }),
    );
    await Promise.all([
      good.client.subscribe(Good, (message) => message.run === RUN && good.messages.push(message)),
      good.client.subscribe(GoodKept, (message) => message.run === RUN && good.kept.push(message)),
    ]);
    good.connection = connection;
    good.epochs = [...text.matchAll(/"epoch":"([^"]+)"/g)].map(([, epoch]) => epoch!);
    return good;
  }
}
