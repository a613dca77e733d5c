import { describe, expect, test } from '@jest/globals';
import type { ChannelFeed } from '../../../lib/gateway/channel-feed.js';
import { IdleFeeds } from '../../../lib/gateway/idle-feeds.js';

const feed = (name: string): ChannelFeed => ({ name }) as ChannelFeed;
const many = (count: number, name: string): ChannelFeed[] => Array.from({ length: count }, () => feed(name));

/** The names of the next feeds to go, in order. */
function leaving(feeds: IdleFeeds, count: number): string[] {
  return Array.from({ length: count }, () => {
    const gone = feeds.leastFair!;
    feeds.delete(gone);
    return gone.name;
  });
}

describe('Unused feeds', () => {
  test('go first if their last client left the most of them, the oldest of these first', () => {
    const feeds = new IdleFeeds();
    feeds.add(feed('first'), 'al');
    for (const each of many(8, 'eve')) feeds.add(each, 'eve');
    feeds.add(feed('last'), 'ed');
    expect(leaving(feeds, 9)).toEqual([...Array.from({ length: 7 }, () => 'eve'), 'first', 'last']);
    expect(leaving(feeds, 1)).toEqual(['eve']);
    expect([feeds.size, feeds.leastFair]).toEqual([0, undefined]);
  });

  test('are grouped by the client that left them last, and count as used once they are taken', () => {
    const feeds = new IdleFeeds();
    const shared = feed('shared');
    for (const each of [shared, ...many(3, 'eve')]) feeds.add(each, 'eve');
    feeds.delete(shared);
    feeds.delete(shared);
    feeds.add(shared, 'al');
    expect(leaving(feeds, 2)).toEqual(['eve', 'eve']);
    expect(feeds.before(performance.now()).map(({ name }) => name)).toEqual(['eve', 'shared']);
    expect(feeds.before(performance.now() - 60_000)).toEqual([]);
  });

  test('leave no record of their last clients behind', () => {
    const feeds = new IdleFeeds();
    for (let count = 0; count < 100; count++) feeds.add(feed('x'), `user ${count}`);
    leaving(feeds, 100);
    expect((feeds['leavers'] as Map<string, unknown>).size).toBe(0);
    expect((feeds['bySize'] as Set<unknown>[]).every((leavers) => leavers.size === 0)).toBe(true);
  });
});
