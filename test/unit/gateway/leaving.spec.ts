import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Deferred } from '../../../lib/core/deferred.js';
import { Leaving, backWithin } from '../../../lib/gateway/leaving.js';
import { OwedAnswers, type Answered } from '../../../lib/gateway/owed-answers.js';
import type { Returned } from '../../../lib/gateway/recovery-wire.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { GatewayNode, type GatewayNodeOptions } from '../../support/gateway-node.js';

const LEAVE_MS = 5_000;
/** Longer than a test may take, and not longer than Jest may wait after a failure. */
const LONG_MS = 30_000;
const CONNECTIONS = [
  ['a', 'al'],
  ['b', 'al'],
] as const;

defineChannel('leaving/:room', undefined, { history: { maxMessages: 100, ttlMs: 60_000 } });

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

/** Asks a node that leaves, as other nodes do. */
function askerOf(leaving: Leaving, owed: OwedAnswers) {
  return (returned: readonly Returned[]): Answered => {
    const answered = owed.begin();
    leaving.noteQuestion(returned);
    return answered;
  };
}

/** Resolves when a function has been called so often. */
async function whenCalled(spy: { readonly mock: { readonly calls: readonly unknown[] } }, times = 1): Promise<void> {
  while (spy.mock.calls.length < times) await new Promise((resolve) => setImmediate(resolve));
}

/** A node that leaves now, and whether it is gone. */
function leave(connections: readonly Returned[] = CONNECTIONS, hasOthers = Promise.resolve(true)) {
  const owed = new OwedAnswers();
  const leaving = new Leaving(connections, LEAVE_MS, hasOthers, owed);
  let isGone = false;
  void leaving.whenOver().then(() => (isGone = true));
  return {
    leaving,
    ask: askerOf(leaving, owed),
    isGoneAfter: async (ms: number) => {
      await jest.advanceTimersByTimeAsync(ms);
      return isGone;
    },
  };
}

describe('a node that leaves', () => {
  test('stays until each of its clients is back elsewhere and has been quiet for a moment', async () => {
    const { ask, isGoneAfter } = leave();
    ask([['a', 'al']])(true);
    expect(await isGoneAfter(1_000)).toBe(false);
    ask([
      ['b', 'al'],
      ['somebody else', 'al'],
    ])(true);
    expect(await isGoneAfter(200)).toBe(false);
    // The client has more questions.
    ask([])(true);
    expect(await isGoneAfter(200)).toBe(false);
    expect(await isGoneAfter(60)).toBe(true);
  });

  test('ignores a client that names the connection of another user', async () => {
    const { ask, isGoneAfter } = leave(CONNECTIONS.slice(0, 1));
    ask([['a', 'eve']])(true);
    expect(await isGoneAfter(1_000)).toBe(false);
    ask([['a', 'al']])(true);
    expect(await isGoneAfter(260)).toBe(true);
  });

  test('leaves when its time is over, even if clients are still away', async () => {
    const { ask, isGoneAfter } = leave();
    ask([['a', 'al']])(true);
    expect(await isGoneAfter(LEAVE_MS - 10)).toBe(false);
    // Not even continued questions keep it.
    ask([])(true);
    expect(await isGoneAfter(20)).toBe(true);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('is not delayed by clients that ask without end', async () => {
    const { ask, isGoneAfter } = leave(CONNECTIONS.slice(0, 1));
    for (let ms = 0; ms < LEAVE_MS - 100; ms += 100) {
      ask([['a', 'al']])(true);
      expect(await isGoneAfter(100)).toBe(false);
    }
    ask([['a', 'al']])(true);
    expect(await isGoneAfter(120)).toBe(true);
  });

  test('stays while it answers, and for a moment after that', async () => {
    const { ask, isGoneAfter } = leave(CONNECTIONS.slice(0, 1));
    const answered = ask([['a', 'al']]);
    const answeredLater = ask([]);
    expect(await isGoneAfter(1_000)).toBe(false);
    answered(true);
    expect(await isGoneAfter(1_000)).toBe(false);
    answeredLater(true);
    expect(await isGoneAfter(240)).toBe(false);
    expect(await isGoneAfter(20)).toBe(true);
  });

  test('stays longer if another node still has to ask for the rest of an answer', async () => {
    const { ask, isGoneAfter } = leave(CONNECTIONS.slice(0, 1));
    ask([['a', 'al']])(false);
    ask([])(true);
    expect(await isGoneAfter(1_900)).toBe(false);
    expect(await isGoneAfter(200)).toBe(true);
  });

  test('does not stay longer than its time for an answer', async () => {
    const { ask, isGoneAfter } = leave(CONNECTIONS.slice(0, 1));
    ask([['a', 'al']]);
    expect(await isGoneAfter(LEAVE_MS - 10)).toBe(false);
    expect(await isGoneAfter(20)).toBe(true);
  });

  test('ends the wait of all callers', async () => {
    const { ask, leaving, isGoneAfter } = leave(CONNECTIONS.slice(0, 1));
    const isOver = leaving.whenOver();
    ask([['a', 'al']])(true);
    expect(await isGoneAfter(260)).toBe(true);
    await isOver;
    expect(jest.getTimerCount()).toBe(0);
  });

  test('counts its time from when it sent its clients away, however long closing the application was delayed since', async () => {
    const leaving = new Leaving(CONNECTIONS.slice(0, 1), LEAVE_MS, Promise.resolve(true), new OwedAnswers());
    await jest.advanceTimersByTimeAsync(LEAVE_MS);
    let isGone = false;
    void leaving.whenOver().then(() => (isGone = true));
    await jest.advanceTimersByTimeAsync(0);
    expect(isGone).toBe(true);
  });

  test('leaves at once if all of its clients came back while the application was closing', async () => {
    const owed = new OwedAnswers();
    const leaving = new Leaving(CONNECTIONS.slice(0, 1), LEAVE_MS, Promise.resolve(true), owed);
    askerOf(leaving, owed)([['a', 'al']])(true);
    await jest.advanceTimersByTimeAsync(300);
    await leaving.whenOver();
    expect(jest.getTimerCount()).toBe(0);
  });

  test('leaves at once if there is no other node', async () => {
    const { isGoneAfter } = leave(undefined, Promise.resolve(false));
    expect(await isGoneAfter(0)).toBe(true);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('stays if another node was too busy to answer, but asks something', async () => {
    const { ask, isGoneAfter } = leave(undefined, new Promise((resolve) => setTimeout(resolve, 1_000, false)));
    ask([['a', 'al']])(true);
    expect(await isGoneAfter(1_100)).toBe(false);
    ask([['b', 'al']])(true);
    expect(await isGoneAfter(300)).toBe(true);
  });
});

/** A node whose clients have left at its request. Unless told otherwise, it does not know that they are back. */
async function leftBy(broker: MemoryBroker, options: GatewayNodeOptions, ...channels: string[]) {
  const node = await GatewayNode.start(broker, options);
  const client = await node.open(...channels);
  const backMs = node.gateway.leave();
  client.close();
  return { node, client, backMs };
}

describe('a gateway that leaves', () => {
  beforeEach(() => void jest.useRealTimers());
  afterEach(() => GatewayNode.closeAll());

  test('answers for a client until it is back at another node, and sends it there in time', async () => {
    const broker = new MemoryBroker();
    const other = await GatewayNode.start(broker);
    const { node, client, backMs } = await leftBy(broker, { leaveMs: LONG_MS }, 'news');
    expect(backMs).toBe(LONG_MS - 3_000);
    const hasLeft = node.gateway.whenLeft();
    node.hub.retire();
    await other.post('news', 'missed');

    const back = other.connect(client.wanted('news'), { from: client.connection.id });

    expect(await back.next(2)).toEqual(['missed', 'messaging:ready']);
    await hasLeft;
  });

  test('does not leave before the client that is back has its answer, however long the broker takes', async () => {
    const broker = new MemoryBroker();
    const other = await GatewayNode.start(broker);
    const { node, client } = await leftBy(broker, { leaveMs: LONG_MS }, 'news');
    await other.post('news', 'missed');
    const goOn = new Deferred();
    const asked = jest.spyOn(node.hub, 'settled').mockReturnValue(goOn.promise);
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
    const hasLeft = node.gateway.whenLeft().then(() => node.hub.close());
    node.hub.retire();
    const back = other.connect(client.wanted('news'), { from: client.connection.id });
    await whenCalled(asked);
    await jest.advanceTimersByTimeAsync(1_000);
    goOn.resolve();
    expect(await back.next(2)).toEqual(['missed', 'messaging:ready']);
    await jest.advanceTimersByTimeAsync(300);
    await hasLeft;
  });

  test('does not leave before a client that it has lost long since has its answer', async () => {
    const broker = new MemoryBroker();
    const other = await GatewayNode.start(broker);
    const node = await GatewayNode.start(broker, { leaveMs: LONG_MS });
    const client = await node.open('news');
    client.close();
    await other.post('news', 'missed');
    const goOn = new Deferred();
    const asked = jest.spyOn(node.hub, 'settled').mockReturnValue(goOn.promise);
    const back = other.connect(client.wanted('news'), { from: client.connection.id });
    await whenCalled(asked);
    expect(node.gateway.leave()).toBe(LONG_MS - 3_000);
    const hasLeft = node.gateway.whenLeft().then(() => node.hub.close());
    node.hub.retire();
    goOn.resolve();
    expect(await back.next(2)).toEqual(['missed', 'messaging:ready']);
    await hasLeft;
  });

  test('does not leave before the client that is back has the rest of a long answer, however busy its new server is', async () => {
    const broker = new MemoryBroker();
    const other = await GatewayNode.start(broker);
    const limits = { maxMessageBytes: 5_000 };
    const { node, client } = await leftBy(broker, { leaveMs: LONG_MS, limits }, 'news');
    const texts = Array.from({ length: 6 }, (_, index) => String(index).padStart(900, '.'));
    for (const text of texts) await other.post('news', text);
    const goOn = new Deferred();
    const busy = jest.spyOn(other.hub, 'settled').mockResolvedValueOnce().mockReturnValue(goOn.promise);
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
    const hasLeft = node.gateway.whenLeft().then(() => node.hub.close());
    node.hub.retire();
    const back = other.connect(client.wanted('news'), { from: client.connection.id });
    await whenCalled(busy, 2);
    await jest.advanceTimersByTimeAsync(1_500);
    goOn.resolve();
    expect(await back.next(7)).toEqual([...texts, 'messaging:ready']);
    await jest.advanceTimersByTimeAsync(2_100);
    await hasLeft;
  });

  test('answers for each native EventSource until it is back at another node', async () => {
    const broker = new MemoryBroker();
    const other = await GatewayNode.start(broker);
    const node = await GatewayNode.start(broker, { leaveMs: LONG_MS });
    // Both connect at the same position.
    const clients = [node.get(['news']), node.get(['news'])] as const;
    for (const client of clients) await client.ready();
    node.gateway.leave();
    for (const client of clients) client.close();
    void other.post('news', 'missed');
    let isGone = false;
    const hasLeft = node.gateway.whenLeft().then(() => (isGone = true));
    node.hub.retire();

    const first = other.get(['news'], clients[0].lastEventId);
    expect(await first.next(1)).toEqual(['missed']);
    // However long that takes. A second request of the same client does not count as another client.
    const now = performance.now.bind(performance);
    const clock = jest.spyOn(performance, 'now').mockImplementation(() => now() + 8_000);
    const again = other.get(['news'], clients[0].lastEventId);
    expect(await again.next(1)).toEqual(['missed']);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(isGone).toBe(false);
    const second = other.get(['news'], clients[1].lastEventId);
    expect(await second.next(1)).toEqual(['missed']);
    await hasLeft;
    clock.mockRestore();
  });

  test.each(['our client', 'a native EventSource'])('answers for %s that it lost a moment before', async (kind) => {
    const broker = new MemoryBroker();
    const other = await GatewayNode.start(broker);
    const node = await GatewayNode.start(broker, { leaveMs: LONG_MS });
    const client = kind === 'our client' ? node.connect(['news']) : node.get(['news']);
    await client.ready();
    client.close();
    expect(node.gateway.leave()).toBe(LONG_MS - 3_000);
    void other.post('news', 'missed');
    const hasLeft = node.gateway.whenLeft();
    node.hub.retire();

    const back =
      kind === 'our client'
        ? other.connect(client.wanted('news'), { from: client.connection.id })
        : other.get(['news'], client.lastEventId);
    expect(await back.next(1)).toEqual(['missed']);
    await hasLeft;
  });

  test.each([
    ['then', { leaveMs: LONG_MS }],
    ['if it waits for no client', { leaveMs: 0 }],
  ])('tells the others %s: nobody waits for it any more, nor do servers that start later', async (_when, options) => {
    const broker = new MemoryBroker();
    const other = await GatewayNode.start(broker);
    const { node, client } = await leftBy(broker, options, 'news');
    const position = client.wanted('news');
    const first = other.connect(position, { from: client.connection.id });
    await first.ready();
    await node.gateway.whenLeft();
    await node.hub.close();
    const later = await GatewayNode.start(broker);
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate', 'performance'] });
    for (const server of [other, later]) {
      const back = server.connect(position);
      // Time stands still.
      for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
      expect(back.pending).toEqual(['messaging:ready']);
    }
  });

  test('does not tell so before the broker has its posts, and not at all if that takes long', async () => {
    const broker = new MemoryBroker();
    await GatewayNode.start(broker);
    const node = await GatewayNode.start(broker);
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
    jest.spyOn(node.hub, 'settled').mockReturnValue(new Promise(() => {}));
    const posts = jest.spyOn(node.hub, 'post');
    const hasLeft = node.gateway.whenLeft();
    await jest.advanceTimersByTimeAsync(1_000);
    await hasLeft;
    expect(posts).not.toHaveBeenCalled();
  });

  test('does not stay for a lost client that is back here or elsewhere, or whose authentication was revoked', async () => {
    const broker = new MemoryBroker();
    const other = await GatewayNode.start(broker);
    const node = await GatewayNode.start(broker, { leaveMs: LONG_MS });
    const [ours, native, moved] = [await node.open('news'), node.get(['news']), await node.open('news')];
    await native.ready();
    for (const client of [ours, native, moved]) client.close();
    const back = [
      node.connect(ours.wanted('news'), { from: ours.connection.id }),
      node.get(['news'], native.lastEventId),
      other.connect(moved.wanted('news'), { from: moved.connection.id }),
    ];
    for (const client of back) await client.ready();
    for (const client of back) client.session.end('revoked');
    // The last answer has reached the broker.
    const now = performance.now() + 300;
    const clock = jest.spyOn(performance, 'now').mockImplementation(() => now);
    expect(node.gateway.leave()).toBeUndefined();
    clock.mockRestore();
  });

  test('does not stay for a lost client of a channel with history', async () => {
    const broker = new MemoryBroker();
    const node = await GatewayNode.start(broker, { leaveMs: LONG_MS });
    const clients = [await node.open('leaving/a'), node.get(['leaving/a'])];
    await clients[1]!.ready();
    for (const client of clients) client.close();
    expect(node.gateway.leave()).toBeUndefined();
  });

  test.each([
    ['a whole template whose channels have histories', ['leaving/:room']],
    ['channels of both kinds', ['leaving/a', 'news']],
  ])('answers for a client of %s until it is back', async (_what, channels) => {
    const broker = new MemoryBroker();
    const other = await GatewayNode.start(broker);
    const { node, client, backMs } = await leftBy(broker, { leaveMs: LONG_MS }, ...channels);
    expect(backMs).toBe(LONG_MS - 3_000);
    let isGone = false;
    const hasLeft = node.gateway.whenLeft().then(() => (isGone = true));
    node.hub.retire();
    await other.post('leaving/a', 'missed');
    expect(isGone).toBe(false);

    const back = other.connect(client.wanted(...channels), { from: client.connection.id });

    await back.events.until(({ data }) => data.includes('missed'));
    await back.ready();
    await hasLeft;
  });

  test('does not stay for a client that was lost long ago, or that had no channel', async () => {
    const broker = new MemoryBroker();
    const node = await GatewayNode.start(broker, { leaveMs: LONG_MS });
    const [client, withoutChannel] = [await node.open('news'), await node.open()];
    client.close();
    const now = performance.now();
    const clock = jest.spyOn(performance, 'now').mockImplementation(() => now + 5_100);
    withoutChannel.close();
    expect(node.gateway.leave()).toBeUndefined();
    clock.mockRestore();
  });

  test('leaves once, even if it is asked twice', async () => {
    const broker = new MemoryBroker();
    const other = await GatewayNode.start(broker);
    const { node, client, backMs } = await leftBy(broker, { leaveMs: LONG_MS }, 'news');
    expect(node.gateway.leave()).toBe(backMs);
    const hasLeft = Promise.all([node.gateway.whenLeft(), node.gateway.whenLeft()]);
    node.hub.retire();
    await other.connect(client.wanted('news'), { from: client.connection.id }).ready();
    await hasLeft;
  });

  test.each<[string, GatewayNodeOptions, string[]]>([
    ['no client with a channel', {}, []],
    ['no client except on channels with history, which every node can read', {}, ['leaving/a', 'leaving/b']],
    ['nothing kept for its clients', { recoveryMs: 0 }, ['news']],
    ['no time to stay', { leaveMs: 0 }, ['news']],
  ])('does not stay if there is %s', async (_what, options, channels) => {
    const broker = new MemoryBroker();
    await GatewayNode.start(broker);
    const { node, backMs } = await leftBy(broker, { leaveMs: LONG_MS, ...options }, ...channels);
    expect(backMs).toBeUndefined();
    await node.gateway.whenLeft();
  });

  test('does not stay if it has no link to other nodes', async () => {
    const node = await GatewayNode.start(undefined, { leaveMs: LONG_MS });
    await node.open('news');
    expect(node.gateway.leave()).toBeUndefined();
    await node.gateway.whenLeft();
  });

  test('does not stay if there is no other node, or the broker is away', async () => {
    const broker = new MemoryBroker();
    const alone = await leftBy(broker, { leaveMs: LONG_MS }, 'news');
    expect(await alone.node.gateway.whenLeft()).toBeUndefined();
    const cutOff = await leftBy(broker, { leaveMs: LONG_MS }, 'news');
    broker.cut();
    expect(await cutOff.node.gateway.whenLeft()).toBeUndefined();
  });
});

test.each([
  [8_000, 5_000],
  [5_000, 2_500],
  [1_500, 750],
  [1, 0.5],
])('of the %d ms that a node stays, its clients must be back after %d', (leaveMs, backMs) => {
  expect(backWithin(leaveMs)).toBe(backMs);
});
