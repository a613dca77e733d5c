import { describe, expect, test } from '@jest/globals';
import { explore } from './explore.js';
import type { Budget, Fault } from './world.js';

// All that can happen to a client between two nodes and a broker, in every order, within small bounds. What a client has got
// must be in order, once, or covered by a gap; never from before it was let in; and no more gaps than there were losses.

const begin = 'with all at A';

/** A larger exploration, for a quarter of an hour: `MODEL=large`. */
const LARGE: Budget[] =
  process.env['MODEL'] === 'large'
    ? [
        { clients: 1, begin, posts: 1, breaks: 2, cuts: 1 },
        { clients: 2, begin, posts: 2, breaks: 2, sharesAnswers: true },
        { clients: 1, begin, posts: 1, otherPosts: 1, breaks: 2, cuts: 1 },
        { clients: 1, begin, posts: 2, otherPosts: 2, breaks: 2 },
        { clients: 1, begin, posts: 1, otherPosts: 1, foreignPosts: 1, localPosts: 1, breaks: 2 },
        { clients: 1, begin, posts: 1, otherPosts: 1, breaks: 1, cuts: 1, kills: 1 },
        { clients: 1, begin, posts: 1, otherPosts: 1, breaks: 2, trims: 2 },
        { clients: 2, begin, posts: 2, breaks: 2, kills: 1 },
        { clients: 3, begin, posts: 2, breaks: 3, sharesAnswers: true },
      ]
    : [];

function told(budget: Budget): string {
  const { fault: _, sharesAnswers = false, begin: from, clients, ...counts } = budget;
  const parts = Object.entries(counts).map(([kind, count]) => `${kind}: ${count}`);
  return `clients: ${clients}${from === undefined ? '' : ', all at A'}; ${parts.join(', ')}${sharesAnswers ? '; answers are shared' : ''}`;
}

describe('Recovery keeps its promises in every order of events', () => {
  test.each(
    [
      { clients: 1, posts: 2, breaks: 1 },
      { clients: 1, posts: 1, breaks: 1, lies: 1 },
      { clients: 1, begin, posts: 3, breaks: 1 },
      { clients: 1, begin, posts: 2, breaks: 2 },
      { clients: 1, begin, posts: 1, otherPosts: 2, breaks: 1 },
      { clients: 1, begin, posts: 1, localPosts: 1, breaks: 2 },
      { clients: 1, begin, otherPosts: 1, foreignPosts: 2, breaks: 1 },
      { clients: 1, begin, posts: 2, breaks: 1, trims: 1 },
      { clients: 1, begin, posts: 1, breaks: 1, cuts: 1 },
      { clients: 1, begin, posts: 1, breaks: 1, kills: 1 },
      { clients: 2, begin, posts: 1, breaks: 2 },
      { clients: 2, begin, posts: 1, breaks: 2, sharesAnswers: true },
      ...LARGE,
    ].map((budget) => [told(budget as Budget), budget as Budget] as const),
  )(
    '%s',
    (_, budget) => {
      const { wrong, steps, worlds } = explore(budget, LARGE.length > 0 ? 10_000_000 : 100_000);
      expect({ wrong, steps }).toEqual({});
      expect(worlds).toBeGreaterThan(200);
    },
    300_000,
  );
});

describe('The model notices when', () => {
  test.each<[string, Fault, Budget, RegExp]>([
    [
      'messages that the client has read are not compared with live ones',
      'no vector',
      { clients: 1, begin, posts: 1, breaks: 1 },
      /got a message twice/,
    ],
    [
      'a lost node is given up without a barrier',
      'no barrier',
      { clients: 1, begin, posts: 1, breaks: 1, kills: 1 },
      /got a message twice/,
    ],
    [
      'a node that is cut off is given up while its posts may still come',
      'given up while posts may still come',
      { clients: 1, begin, posts: 1, breaks: 1, cuts: 1 },
      /got a message twice/,
    ],
    [
      'a position after a merge does not say by which cut it is counted',
      'no cut',
      { clients: 1, begin, posts: 2, breaks: 2 },
      /got a message twice/,
    ],
    [
      'the position sent to a client lies behind messages that still wait for it',
      'position after the rest',
      { clients: 1, begin, posts: 1, breaks: 2 },
      /not been told/,
    ],
    [
      'a node notes where its own log is only with the answer',
      'from noted with the answer',
      { clients: 1, begin, posts: 1, breaks: 1 },
      /not been told/,
    ],
    [
      'a node asks before it is subscribed itself',
      'asked before it is subscribed',
      { clients: 1, begin, posts: 1, breaks: 1 },
      /not been told/,
    ],
    [
      'a node answers before it is subscribed again',
      'answered before it is subscribed again',
      { clients: 1, begin, posts: 1, breaks: 1, cuts: 1 },
      /not been told/,
    ],
    [
      'an answer is shared with a client that has read further than it reaches',
      'answer shared though the client has read further',
      { clients: 2, begin, posts: 1, breaks: 2, sharesAnswers: true },
      /got a message twice/,
    ],
    [
      'a log does not have the losses of its node',
      'no gaps in logs',
      { clients: 1, begin, posts: 1, cuts: 1 },
      /not been told/,
    ],
    [
      'a client may read messages from before it was let in',
      'no admission',
      { clients: 1, posts: 1, breaks: 1, lies: 1 },
      /from before it was let in/,
    ],
  ])('%s', (_, fault, budget, wrong) => {
    expect(explore({ ...budget, fault }).wrong).toMatch(wrong);
    expect(explore(budget).wrong).toBeUndefined();
  });
});
