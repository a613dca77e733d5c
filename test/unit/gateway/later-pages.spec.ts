import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { Deferred } from '../../../lib/core/deferred.js';
import { HistoryFeed } from '../../../lib/gateway/history-feed.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { TransportUnavailableError } from '../../../lib/protocol/errors.js';
import type { PositionEvent, ReplayEvent } from '../../../lib/protocol/gateway.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { GatewayNode, type GatewayNodeOptions, type StreamReader } from '../../support/gateway-node.js';
import { turns } from '../../support/turns.js';

// Pages of a history that a client does not get before it is told that it has the channel.

afterEach(() => GatewayNode.closeAll());
afterEach(() => void jest.restoreAllMocks());

const history = { maxMessages: 100, ttlMs: 60_000 };
const Orders = defineChannel<string, 'later-pages/:id'>('later-pages/:id', undefined, { history });
/** A client may be sent one of them at once. */
const long = (text: string) => text.padEnd(900, '.');
const many = (count: number) => Array.from({ length: count }, (_, index) => String(index));
const LAST_TWO = { epoch: 'last', offset: 2 };

const start = () => GatewayNode.start(new MemoryBroker(), { maxBufferedBytes: 1_500 });

async function post(node: GatewayNode, id: string, ...texts: readonly string[]): Promise<void> {
  for (const text of texts) expect(await node.hub.post(Orders.for({ id }), long(text))).toBe(true);
}

const find = Object.getOwnPropertyDescriptor(HistoryFeed.prototype, 'find')!.value as HistoryFeed['find'];

/** Holds reads of a number of last messages back, from some time on. */
function holdReads(isHeld: () => boolean) {
  const [isAsked, mayRead] = [new Deferred(), new Deferred()];
  jest.spyOn(HistoryFeed.prototype, 'find').mockImplementation(async function (this: HistoryFeed, from) {
    if (typeof from === 'number' && isHeld()) {
      isAsked.resolve();
      await mayRead.promise;
    }
    return find.call(this, from);
  });
  return { isAsked: isAsked.promise, release: () => mayRead.resolve() };
}

/** The first characters of the messages of each channel so far. */
function textsOf({ raw }: StreamReader): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [, id, text] of raw.join('').matchAll(/"channel":"later-pages\/(\w+)","at":\d+,"data":"(\d)/g)) {
    texts[id!] = (texts[id!] ?? '') + text;
  }
  return texts;
}

describe('A client that asked for the last messages of more histories than it is sent at once', () => {
  test('misses nothing that is posted after it was told that it has a channel, however late that is read', async () => {
    const node = await start();
    await post(node, 'a', '1', '2');
    await post(node, 'b', '1', '2');
    const { isAsked, release } = holdReads(() => reader.raw.some((text) => text.includes('messaging:ready')));
    const reader = node.connect(['a', 'b'].map((id) => ({ channel: `later-pages/${id}`, position: LAST_TWO })));
    await reader.ready();
    await isAsked;
    await post(node, 'a', '3', '4', '5');
    await post(node, 'b', '3', '4', '5');
    release();
    await turns(20);
    expect(textsOf(reader)).toEqual({ a: '12345', b: expect.stringMatching(/^1?2?345$/) });
  });
});

describe('A client that asked for the last messages while the history cannot be read', () => {
  const ONE_EACH = { maxBufferedBytes: 1_500 };

  test.each<{
    result: string;
    posted: readonly string[];
    gets: readonly string[];
    options?: GatewayNodeOptions;
    last?: number;
  }>([
    { result: 'has a gap if more may have come since', posted: ['2', '3', '4'], gets: ['gap broker', '3', '4'] },
    { result: 'has no gap if it gets all that there is', posted: [], gets: ['1'] },
    { result: 'has no gap if all are fewer than it asked for', posted: ['2', '3'], last: 3, gets: ['1', '2', '3'] },
    {
      result: 'has a gap if more may have come since, and those that it gets are read one by one',
      posted: ['2', '3', '4'],
      options: ONE_EACH,
      gets: ['gap broker', '3', '4'],
    },
    {
      result: 'has no gap if all are read one by one',
      posted: ['2', '3'],
      last: 3,
      options: ONE_EACH,
      gets: ['1', '2', '3'],
    },
    {
      result: 'has a gap if more may have come since, and one of the last is invalid',
      posted: ['2', '3'.repeat(2_000), '4'],
      options: { limits: { maxMessageBytes: 2_000 } },
      gets: ['gap broker', '4'],
    },
    {
      result: 'has a gap if more may have come since than are kept',
      posted: many(130),
      last: 200,
      gets: ['gap broker', ...many(130).slice(25)],
    },
  ])('$result', async ({ posted, gets, options, last = 2 }) => {
    const broker = new MemoryBroker();
    const [node, other] = [await GatewayNode.start(broker, options), await GatewayNode.start(broker)];
    await post(other, 'a', '1');
    broker.cut(node.transport);
    const reader = node.connect([{ channel: 'later-pages/a', position: { epoch: 'last', offset: last } }]);
    await reader.ready();
    await post(other, 'a', ...posted);
    broker.heal();
    const got: string[] = [];
    while (got.at(-1) !== gets.at(-1)) {
      const { event, data } = await reader.events.next();
      if (event === undefined) got.push((JSON.parse(data) as { data: string }).data.replaceAll('.', ''));
      else
        got.push(
          ...(JSON.parse(data) as PositionEvent).channels.flatMap(({ reason }) => (reason ? `gap ${reason}` : [])),
        );
    }
    expect(got).toEqual(gets);
  });
});

describe('A client of many histories', () => {
  test('waits for one read, not for one after the other, if the store does not answer', async () => {
    const broker = new MemoryBroker();
    const [node, other] = [await GatewayNode.start(broker), await GatewayNode.start(broker)];
    const ids = many(40);
    for (const id of ids) await post(other, id, '1', '2', '3');
    const unanswered: (() => void)[] = [];
    const held = jest.spyOn(node.transport!.history, 'read').mockImplementation(
      () =>
        new Promise((_, reject) => {
          unanswered.push(() => reject(new TransportUnavailableError('It has not answered in time')));
        }),
    );
    const reader = node.connect(ids.map((id) => ({ channel: `later-pages/${id}`, position: LAST_TWO })));
    let timesOver = 0;
    for (; !reader.raw.join('').includes('messaging:ready'); timesOver++) {
      while (unanswered.length === 0) await turns(1);
      await turns(20);
      for (const giveUp of unanswered.splice(0)) giveUp();
      await turns(20);
    }
    expect(timesOver).toBe(1);
    held.mockRestore();
    for (const giveUp of unanswered.splice(0)) giveUp();
    while (Object.values(textsOf(reader)).join('').length < 80) await turns(20);
    expect(textsOf(reader)).toEqual(Object.fromEntries(ids.map((id) => [id, '23'])));
  });
});

describe('A listener that asked for the last messages of a channel', () => {
  test('misses nothing that is posted after the answer, however late its page is read', async () => {
    const node = await start();
    await post(node, 'a', '1', '2');
    const reader = await node.open('later-pages/a');
    const { isAsked, release } = holdReads(() => true);
    await reader.connection.subscribe([], undefined, [{ channel: 'later-pages/a', listener: 'one', start: 2 }]);
    await isAsked;
    await post(node, 'a', '3', '4', '5', '6');
    release();
    const texts: string[] = [];
    for (let isInside = false; ;) {
      const { event, data } = await reader.events.next();
      if (event === 'messaging:replay') {
        const { done } = JSON.parse(data) as ReplayEvent;
        isInside = done === undefined;
        if (done === true) break;
      } else if (isInside) texts.push((JSON.parse(data) as { data: string }).data.replaceAll('.', ''));
    }
    expect(texts).toEqual(expect.arrayContaining(['3', '4', '5', '6']));
    expect(new Set(texts).size).toBe(texts.length);
  });
});

describe('A client that comes back to many histories with more missed messages than it may be sent at once', () => {
  test('has only a few pages read before it is told its channels, and then gets all messages, once and in order', async () => {
    const node = await start();
    const ids = many(40);
    const wanted = [];
    for (const id of ids) {
      await post(node, id, '0');
      const { epoch, offset } = await node.hub.positionOf(`later-pages/${id}`);
      wanted.push({ channel: `later-pages/${id}`, position: { epoch: `h.${epoch}`, offset } });
      await post(node, id, '1', '2', '3');
    }
    const reads = jest.spyOn(node.hub, 'readHistory');
    const reader = node.connect(wanted);
    await reader.ready();
    // As many as fill the room, and those that were under way by then.
    expect(reads.mock.calls.length).toBeLessThanOrEqual(6);
    await post(node, '7', '4');
    for (let pages = 0; pages < 200 && Object.values(textsOf(reader)).join('').length < 121; pages++) await turns(20);
    expect(textsOf(reader)).toEqual({ ...Object.fromEntries(ids.map((id) => [id, '123'])), 7: '1234' });
  });
});
