import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { LogEntry, LogMessage, LogRead } from '../../lib/core/channel-log.js';
import { Cut } from '../../lib/core/cut.js';
import { merge } from '../../lib/core/recovery.js';
import { SerialVector } from '../../lib/core/serial-vector.js';
import { World, type Budget } from '../model/world.js';

describe('Recovery over long times', () => {
  // Explores at random the system that test/model explores in full, with more of everything.
  const budgets: [string, Budget][] = [
    ['streams that break', { clients: 3, posts: 30, otherPosts: 15, localPosts: 10, breaks: 25 }],
    ['links to the broker that are cut', { clients: 3, posts: 30, otherPosts: 15, localPosts: 5, breaks: 15, cuts: 8 }],
    ['nodes that are killed', { clients: 3, posts: 30, otherPosts: 15, breaks: 15, kills: 6 }],
    ['logs that forget', { clients: 3, posts: 30, otherPosts: 15, localPosts: 5, breaks: 15, trims: 8 }],
    [
      'all of that, and messages of foreign senders',
      {
        clients: 3,
        posts: 20,
        otherPosts: 10,
        localPosts: 5,
        foreignPosts: 5,
        breaks: 15,
        cuts: 4,
        kills: 3,
        trims: 3,
        lies: 2,
      },
    ],
  ];

  test.each(budgets)('misses, doubles or reorders nothing without a report, with %s', (_, budget) => {
    fc.assert(
      fc.property(fc.array(fc.nat(1_000), { minLength: 50, maxLength: 300 }), (choices) => {
        const world = new World(budget);
        const steps: string[] = [];
        const go = (choice: number, isOver: boolean): boolean => {
          const actions = world.actions().filter(({ isOutside }) => !isOver || !isOutside);
          const action = actions[choice % actions.length];
          if (action === undefined) return false;
          steps.push(action.name);
          action.do();
          expect({ steps, wrong: world.wrong() }).toEqual({ steps, wrong: undefined });
          return true;
        };
        for (const choice of choices) go(choice, false);
        // In the end, nothing more comes from outside.
        for (let count = 0; count < 1_000 && go(choices[count % choices.length]!, true); count++);
        expect(world.actions().every(({ isOutside }) => isOutside)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });
});

function bodies(list: readonly LogEntry<string>[]): string[] {
  return list.flatMap(({ item }) => (item.kind === 'message' ? [item.body] : []));
}

describe('The merge of the logs of two nodes', () => {
  interface Post {
    readonly node: string;
    readonly channel: string;
    readonly serial: number;
  }

  const POSTERS = ['A', 'B', 'C', 'D'];

  /** Posts in the order of the broker. Each poster's serials rise in each channel, not over all of them. */
  const posts = fc
    .array(
      fc.record({ node: fc.constantFrom(...POSTERS), channel: fc.constantFrom('rooms/1', 'rooms/2', 'rooms/3') }),
      { maxLength: 30 },
    )
    .chain((places) =>
      fc
        .shuffledSubarray(
          places.map((_, index) => index + 1),
          { minLength: places.length },
        )
        .map((serials) => {
          const free = new Map<string, number[]>();
          places.forEach(({ node, channel }, index) => {
            const key = `${node} ${channel}`;
            free.set(
              key,
              [...(free.get(key) ?? []), serials[index]!].toSorted((a, b) => a - b),
            );
          });
          return places.map((place): Post => ({
            ...place,
            serial: free.get(`${place.node} ${place.channel}`)!.shift()!,
          }));
        }),
    );

  const keyOf = ({ node, channel, serial }: Post): string => `${node} ${channel} ${serial}`;

  /**
   * The log of a node.
   *
   * @param heard - how many of the broker's posts have reached it
   * @param posted - how many posts the broker has, or will have, once it has the node's own latest post
   * @param isEarly - for each step, whether a post of its own precedes the posts that the broker has before it
   */
  function logOf(
    node: string,
    all: readonly Post[],
    heard: number,
    posted: number,
    isEarly: readonly boolean[],
  ): Post[] {
    const own = all.slice(0, posted).filter((post) => post.node === node);
    const others = all.slice(0, heard).filter((post) => post.node !== node);
    const log: Post[] = [];
    while (own.length + others.length > 0) {
      const isDue = own.length > 0 && (others.length === 0 || all.indexOf(own[0]!) < all.indexOf(others[0]!));
      const takesOwn = isDue || (own.length > 0 && isEarly[log.length % isEarly.length]);
      log.push((takesOwn ? own : others).shift()!);
    }
    return log;
  }

  function entries(log: readonly Post[], after: number): LogEntry<string>[] {
    return log.slice(after).map((post, index) => ({ offset: after + index + 1, item: itemOf(post) }));
  }

  function itemOf(post: Post): LogMessage<string> {
    return { kind: 'message', ...post, body: keyOf(post), bytes: 1 };
  }

  const scenario = posts.chain((all) =>
    fc.record({
      all: fc.constant(all),
      early: fc.array(fc.boolean(), { minLength: 1, maxLength: 8 }),
      // In the broker's order: the question, the answer, and the last message that this node has heard when the answer arrives.
      bounds: fc
        .tuple(fc.nat(all.length), fc.nat(all.length), fc.nat(all.length))
        .map((three) => three.toSorted((a, b) => a - b)),
      read: fc.nat(30),
    }),
  );

  /** A client's messages: those of A that it has read, then the recovered ones. */
  function recover(
    { all, early, bounds, read }: typeof scenario extends fc.Arbitrary<infer T> ? T : never,
    perChannel: boolean,
  ) {
    const [asked, answered, now] = bounds as [number, number, number];
    const [a, b] = [logOf('A', all, answered, now, early), logOf('B', all, now, all.length, early)];
    // Everything in B's log at the time of the question has reached A before the question.
    const from = b.findIndex((post) => all.indexOf(post) >= asked);
    const start = from < 0 ? b.length : from;
    const offset = Math.min(read, a.length);
    const vector = new SerialVector(perChannel);
    for (const { node, channel, serial } of a) vector.note(node, channel, serial);
    const answer = SerialVector.read(JSON.parse(JSON.stringify(vector)), 'the vector', perChannel);
    const here: LogRead<string> = { found: true, entries: entries(b, start), end: { epoch: 'B', offset: b.length } };
    const cut = new Cut('B', start, b.length, answer);
    const merged = merge({ found: true, entries: entries(a, offset) }, cut, here, start);
    return { a, b: b.slice(start), all, merged, before: a.slice(0, offset).map(keyOf), cut, log: b };
  }

  test('returns all messages of both, once, each poster in order', () => {
    fc.assert(
      fc.property(scenario, (plan) => {
        const { a, b, merged, before } = recover(plan, true);
        const got = [...before, ...bodies(merged.missed), ...bodies(merged.rest)];
        expect(got.toSorted()).toEqual([...new Set([...a, ...b].map(keyOf))].toSorted());
        expect(merged.gap).toBeUndefined();
        const last = new Map<string, number>();
        for (const key of got) {
          const [node, channel, serial] = key.split(' ') as [string, string, string];
          expect(Number(serial)).toBeGreaterThan(last.get(`${node} ${channel}`) ?? 0);
          last.set(`${node} ${channel}`, Number(serial));
        }
      }),
      { numRuns: 3_000 },
    );
  });

  test('lets a client that breaks off anywhere in the rest read on, with nothing missing and nothing doubled', () => {
    fc.assert(
      fc.property(scenario, fc.nat(30), (plan, count) => {
        const { merged, cut, log } = recover(plan, true);
        const got = merged.rest.slice(0, count);
        const after = got.at(-1)?.offset ?? merged.offset;
        const later = entries(log, after);
        const rest = merged.isCut ? cut.owed(later, log.length) : later;
        expect(bodies([...got, ...rest])).toEqual(bodies(merged.rest));
      }),
      { numRuns: 3_000 },
    );
  });

  test('would lose messages of a template if its channels were not counted separately', () => {
    const details = fc.check(
      fc.property(scenario, (plan) => {
        const { a, b, merged, before } = recover(plan, false);
        const got = [...before, ...bodies(merged.missed), ...bodies(merged.rest)];
        return got.length === new Set([...a, ...b].map(keyOf)).size;
      }),
      { numRuns: 3_000 },
    );
    expect(details.failed).toBe(true);
  });
});
