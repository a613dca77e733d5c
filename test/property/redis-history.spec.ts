import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { BEGINNING, type AppendOutcome, type HistoryEntry } from '../../lib/core/history-store.js';
import { MAX_BATCH_BYTES } from '../../lib/transport/payload-batch.js';
import type { RedisTransport } from '../../lib/transport/redis-transport.js';
import { RedisNodes } from '../support/redis-nodes.js';
import { RedisServer } from '../support/redis-server.js';
import { TcpProxy } from 'nestjs-messaging/testing';

const BOUNDS = { maxMessages: 100_000, ttlMs: 60_000 };

let server: RedisServer;
beforeAll(async () => {
  server = await RedisServer.start();
});
afterAll(() => server.kill());

/** The actions of one of two nodes; posts of one turn go together. */
type Step =
  | {
      readonly kind: 'post';
      readonly node: 0 | 1;
      readonly posts: readonly { id: number | undefined; text: number; isLong: boolean }[];
    }
  /** Pending batches get no answer, or do not reach Redis; then the connection breaks. */
  | { readonly kind: 'cut'; readonly node: 0 | 1; readonly way: 'up' | 'down' }
  | { readonly kind: 'flush' }
  /** As if another Redis had taken over. */
  | { readonly kind: 'another' };

const node = fc.constantFrom(0 as const, 1 as const);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('post' as const),
      node,
      posts: fc.array(
        fc.record({
          id: fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }),
          text: fc.integer({ min: 0, max: 1 }),
          // Fills a batch, so that several are pending.
          isLong: fc.boolean(),
        }),
        { minLength: 1, maxLength: 5 },
      ),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('cut' as const), node, way: fc.constantFrom('up', 'down') }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'flush' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'another' as const }) },
);

interface Post {
  readonly node: number;
  readonly payload: string;
  readonly id: string | undefined;
  readonly digest: string | undefined;
  readonly outcome: Promise<AppendOutcome>;
}

let runs = 0;

test('each post is appended once, in the order of its node, whatever is repeated; so are posts with the same id', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
      await using nodes = new RedisNodes();
      const channel = `run/${++runs}`;
      const probe = nodes.probe(server);
      const [listener, received] = await nodes.node(server.url, [channel]);
      const proxies = [nodes.use(await TcpProxy.start(server.port)), nodes.use(await TcpProxy.start(server.port))];
      const transports: RedisTransport[] = [];
      for (const { port } of proxies) {
        const [transport] = await nodes.node({ host: '127.0.0.1', port, publishTimeoutMs: 10_000 });
        transports.push(transport);
      }
      const posts: Post[] = [];
      for (const each of steps) {
        if (each.kind === 'flush') await probe.redis.script('FLUSH');
        if (each.kind === 'another') await another(probe.redis, channel);
        if (each.kind === 'cut') {
          proxies[each.node]!.mute(each.way, 0);
          setImmediate(() => proxies[each.node]!.cut());
        }
        if (each.kind !== 'post') continue;
        const { history } = transports[each.node]!;
        for (const { id: name, text, isLong } of each.posts) {
          const short = name === undefined ? `${posts.length}` : `${name} ${text}`;
          const payload = isLong ? short.padEnd(MAX_BATCH_BYTES) : short;
          const [id, digest] = name === undefined ? [] : [`id${name}`, `of${text}${isLong}`];
          const outcome = history.append(channel, { payload, id, digest }, BOUNDS);
          posts.push({ node: each.node, payload, id, digest, outcome });
        }
        if (each.posts.length > 2) await posts.at(-1)!.outcome;
      }
      const outcomes = await Promise.all(posts.map(({ outcome }) => outcome));
      const { entries, gap, next, end } = await listener.history.read(channel, BEGINNING);
      expect([gap, next]).toEqual([undefined, end]);
      expect(entries.map(({ offset }) => offset)).toEqual(entries.map((_, index) => index + 1));
      // Published once each, in the same order.
      const heard = await received.take(entries.length);
      expect(heard.map(([payload, , , position]) => ({ offset: position!.offset, payload }))).toEqual(entries);
      expect(received.pending).toEqual([]);
      expect(faultsOf(posts, outcomes, entries).map((fault) => fault.replace(/ {9,}/, ' …'))).toEqual([]);
      // From each position, of any epoch, it continues with the messages behind it.
      for (const outcome of outcomes) {
        if (outcome.kind !== 'appended') continue;
        const read = await listener.history.read(channel, outcome.position);
        const behind = read.gap === 'epoch' ? read.next.offset : outcome.position.offset + read.entries.length;
        expect(behind).toBe(entries.length);
      }
    }),
    { numRuns: 60 },
  );
}, 60_000);

async function another(
  redis: { eval(script: string, keys: number, ...args: string[]): Promise<unknown> },
  channel: string,
): Promise<void> {
  const script = `for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('HSET', key, 'run', 'another') end`;
  await redis.eval(script, 0, `*}h|${channel}`);
}

/** The errors in the results of posts. */
function faultsOf(
  posts: readonly Post[],
  outcomes: readonly AppendOutcome[],
  entries: readonly HistoryEntry[],
): string[] {
  const faults: string[] = [];
  const places = new Map<string, number>();
  const used = new Set<number>();
  const lastOf = [0, 0];
  for (const [index, outcome] of outcomes.entries()) {
    const { node: by, payload, id } = posts[index]!;
    if (outcome.kind === 'refused') {
      // Only for another message with its id.
      if (entries.some((entry) => entry.payload === payload)) faults.push(`"${payload}" is there, and was refused`);
      continue;
    }
    if (outcome.kind === 'unknown') {
      faults.push(`"${payload}" is unknown`);
      continue;
    }
    const { offset } = outcome.position;
    if (entries[offset - 1]?.payload !== payload) faults.push(`"${payload}" is not at ${offset}`);
    if (id !== undefined) {
      if ((places.get(id) ?? offset) !== offset) faults.push(`"${payload}" is at ${places.get(id)} and at ${offset}`);
      places.set(id, offset);
    } else {
      if (used.has(offset)) faults.push(`two are at ${offset}`);
      if (offset <= lastOf[by]!) faults.push(`"${payload}" at ${offset} is before what its node posted before`);
      lastOf[by] = offset;
    }
    used.add(offset);
  }
  if (used.size !== entries.length) faults.push(`${entries.length} are there, of ${used.size}`);
  return faults;
}
