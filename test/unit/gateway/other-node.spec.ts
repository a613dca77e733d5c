import { expect, test } from '@jest/globals';
import type { ChannelFeed } from '../../../lib/gateway/channel-feed.js';
import { OtherNode } from '../../../lib/gateway/other-node.js';

function texts(channel: string) {
  return Array.from(
    { length: 500 },
    (_, index) => [index + 1, JSON.stringify({ channel, at: 1, data: index }), 30] as const,
  );
}

test('What another node answers about many channels at once is read in many turns of the loop', async () => {
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
  );
  const names = Array.from({ length: 20 }, (_, index) => `rooms/${index}`);
  const counted = { turns: 0, isDone: false };
  const count = (): void => {
    counted.turns++;
    if (!counted.isDone) setImmediate(count);
  };
  setImmediate(count);
  const found = await Promise.all(
    names.map((name) => {
      const feed = { name, log: { lastOffset: 0 } } as unknown as ChannelFeed;
      const claim = { node: 'there', offset: 0, proof: 'an epoch' };
      return node.recover({ feed, joined: 0, claim, owner: '' }, undefined);
    }),
  );
  counted.isDone = true;
  expect(found.map((each) => ('log' in each ? each.log.entries.length : 0))).toEqual(names.map(() => 500));
  // 10,000 entries, a thousand in each.
  expect(counted.turns).toBeGreaterThanOrEqual(10);
});
