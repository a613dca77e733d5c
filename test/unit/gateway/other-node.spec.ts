import { describe, expect, jest, test } from '@jest/globals';
import { Deferred } from '../../../lib/core/deferred.js';
import type { ChannelFeed } from '../../../lib/gateway/channel-feed.js';
import { OtherNode } from '../../../lib/gateway/other-node.js';
import { Queue } from '../../support/queue.js';
import { turnsUntil } from '../../support/turns.js';

function texts(channel: string) {
  return Array.from(
    { length: 500 },
    (_, index) => [index + 1, JSON.stringify({ channel, at: 1, data: index }), 30] as const,
  );
}

test('The answer of another node about many channels at once is read in many turns of the event loop', async () => {
  const node = new OtherNode(
    'here',
    {
      ask: async ({ reads, claims }) => ({
        reads: reads.map(([name]) => ({ after: 0, entries: texts(name), vector: [], hasMore: false })),
        verdicts: claims.map(() => []),
      }),
      reasonOf: async () => 'node',
    },
    () => {},
    4,
  );
  const names = Array.from({ length: 20 }, (_, index) => `rooms/${index}`);
  const recovered = Promise.all(
    names.map((name) => {
      const feed = { name, log: { lastOffset: 0 } } as unknown as ChannelFeed;
      const claim = { node: 'there', offset: 0, proof: 'an epoch' };
      return node.recover({ feed, joined: 0, claim, owner: '' }, undefined);
    }),
  );
  const turns = await turnsUntil(recovered);
  const found = await recovered;
  expect(found.map((each) => ('log' in each ? each.log.entries.length : 0))).toEqual(names.map(() => 500));
  // 10,000 entries, a thousand in each.
  expect(turns).toBeGreaterThanOrEqual(10);
});

/** The answers to clients of that many channels; each log has ten parts. */
function ask(count: number, failAt: number, most = 4) {
  const counted = { asking: 0, atOnce: 0, asked: 0 };
  const node = new OtherNode(
    'here',
    {
      ask: async ({ reads, claims }) => {
        counted.atOnce = Math.max(counted.atOnce, ++counted.asking);
        const isFailing = ++counted.asked >= failAt;
        await new Promise((resolve) => setImmediate(resolve));
        counted.asking--;
        if (isFailing) throw new Error('gone');
        return {
          reads: reads.map(([, after]) => ({
            after,
            entries: [[after + 1, 'node']],
            vector: [],
            hasMore: after < 9,
          })),
          verdicts: claims.map(() => []),
        };
      },
      reasonOf: async () => 'node',
    },
    () => {},
    most,
  );
  const feeds = Array.from({ length: count }, (_, index) => ({
    name: `rooms/${index}`,
    isUsed: true,
    log: { lastOffset: 0, maxBytes: 10_000 },
  }));
  const told = feeds.map((feed) =>
    node.recover(
      {
        feed: feed as unknown as ChannelFeed,
        joined: 0,
        claim: { node: 'there', offset: 0, proof: 'an epoch' },
        owner: '',
      },
      undefined,
    ),
  );
  return { counted, told: Promise.all(told) };
}

describe('Another node', () => {
  test.each([1, 4, 49])('gets %i questions at a time, however many clients come from there', async (most) => {
    const { counted, told } = ask(50, Infinity, most);
    for (const each of await told) expect('log' in each && each.log.entries.length).toBe(10);
    expect(counted.atOnce).toBe(most);
  });

  test('does not keep clients waiting in line if it does not answer', async () => {
    const { counted, told } = ask(50, 2);
    expect(await told).toEqual(Array.from({ length: 50 }, () => ({ reason: 'node' })));
    expect(counted.asked).toBe(51);
    expect(counted.atOnce).toBeGreaterThan(40);
  });

  test.each(['answers', 'fails'])(
    'gets one question for all clients that come while it has as many as it may have, once it %s',
    async (how) => {
      const asked = new Queue<{ readonly claims: number; readonly answer: Deferred }>();
      const node = new OtherNode(
        'here',
        {
          ask: async ({ reads, claims }) => {
            const answer = new Deferred();
            asked.push({ claims: claims.length, answer });
            await answer.promise;
            return {
              reads: reads.map(([, after]) => ({ after, entries: [], vector: [], hasMore: false })),
              verdicts: claims.map(() => []),
            };
          },
          reasonOf: async () => 'node',
        },
        () => {},
        2,
      );
      const feed = { name: 'news', isUsed: true, log: { lastOffset: 0, maxBytes: 10_000 } } as unknown as ChannelFeed;
      const come = () =>
        node.recover({ feed, joined: 0, claim: { node: 'there', offset: 0, proof: 'e' }, owner: '' }, undefined);
      const told = [come()];
      const first = await asked.next();
      jest.useFakeTimers({ doNotFake: ['setImmediate', 'queueMicrotask', 'nextTick'] });
      told.push(come());
      jest.advanceTimersByTime(20);
      await asked.next();
      for (let count = 0; count < 10; count++) {
        told.push(come(), come());
        jest.advanceTimersByTime(20);
      }
      expect(asked.pending).toEqual([]);
      if (how === 'answers') first.answer.resolve();
      else first.answer.reject(new Error('gone'));
      expect((await asked.next()).claims).toBe(20);
      jest.useRealTimers();
      expect(await told[0]).toMatchObject(how === 'answers' ? { except: new Set() } : { reason: 'node' });
    },
  );
});
