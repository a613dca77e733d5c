import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { AuthenticationInfo } from '../../../lib/protocol/authentication.js';
import { reservedChannel, type Channel } from '../../../lib/protocol/channel.js';
import { InvalidMessageError, TransportUnavailableError } from '../../../lib/protocol/errors.js';
import { MAX_LISTED, readConnectionQuestion, readListing } from '../../../lib/gateway/connection-order.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { GatewayNode, StreamReader, ruleOf } from '../../support/gateway-node.js';

afterEach(() => GatewayNode.closeAll());

const unsubscribe = (connection: string, channel: string) =>
  ({ kind: 'unsubscribe', target: { connection }, channel }) as const;
const disconnect = (userId: string) => ({ kind: 'disconnect', target: { userId }, reconnect: false }) as const;

/** A ready client of a user. */
async function clientOf(node: GatewayNode, user: string, ...channels: string[]) {
  const reader = node.connect(channels, { user });
  await reader.ready();
  return reader;
}

/** The grants of channels to a sign-in, by the rules of these tests' nodes. */
const grantsTo = (auth: AuthenticationInfo | null, ...channels: string[]) =>
  channels.map((channel) => ({ channel, auth, rule: ruleOf(channel) }));

async function twoNodes() {
  const broker = new MemoryBroker();
  return { broker, a: await GatewayNode.start(broker), b: await GatewayNode.start(broker) };
}

describe('Ending a subscription of a client', () => {
  test('ends only that one, on whatever node it is requested, and informs the client', async () => {
    const { a, b } = await twoNodes();
    for (const asked of [a, b]) {
      const reader = await a.open('news', 'other');
      const { id } = reader.connection;
      expect(await asked.gateway.directory.order(unsubscribe(id, 'news'))).toEqual({ result: 1, isComplete: true });
      void a.post('news', 'not for it any more');
      void a.post('other', 'still for it');
      expect(await reader.until('messaging:withdrawn')).toEqual({ channels: ['news'], reason: 'ended' });
      expect(await reader.next(1)).toEqual(['still for it']);
      expect(await asked.gateway.directory.order(unsubscribe(id, 'news'))).toEqual({ result: 0, isComplete: true });
    }
  });

  test('keeps later posts from the client, however late they come from another node', async () => {
    const { a, b } = await twoNodes();
    const reader = await a.open('news', 'other');
    void b.post('news', 'on its way');
    a.gateway.directory.order(unsubscribe(reader.connection.id, 'news')).catch(() => {});
    await b.post('other', 'last');
    expect(await reader.next(2)).toEqual(['messaging:withdrawn', 'last']);
  });

  test('is reported to a native EventSource without an id, and its stream continues', async () => {
    const node = await GatewayNode.start();
    const reader = node.get(['news', 'other']);
    await reader.ready();
    const { lastEventId } = reader;
    expect(reader.connection.withdraw(['news'], 'revoked')).toBe(true);
    expect(reader.raw.at(-1)).toBe('event: messaging:withdrawn\ndata: {"channels":["news"],"reason":"revoked"}\n\n');
    expect(reader.lastEventId).toBe(lastEventId);
    void node.post('news', 'not for it');
    void node.post('other', 'for it');
    node.flusher.settle();
    expect(await reader.next(2)).toEqual(['messaging:withdrawn', 'for it']);
  });

  test.each(['client', 'native'] as const)(
    'before a stream of a %s has begun is reported at its beginning',
    async (form) => {
      const node = await GatewayNode.start();
      const reader = form === 'client' ? node.connect(['news', 'other']) : node.get(['news', 'other']);
      expect(reader.connection.withdraw(['news'], 'ended')).toBe(true);
      expect((await reader.ready()).channels).toMatchObject([
        { channel: 'news', error: 'CHANNEL_DENIED' },
        { channel: 'other' },
      ]);
      expect(reader.raw.filter((text) => text.includes('withdrawn'))).toEqual([]);
    },
  );

  test('while it is being added denies it in the answer', async () => {
    const node = await GatewayNode.start();
    const reader = await node.open();
    const answer = reader.connection.subscribe([{ channel: 'news' }, { channel: 'other' }]);
    expect(reader.connection.withdraw(['news'], 'ended')).toBe(true);
    expect(await answer).toEqual([{ channel: 'news', error: 'CHANNEL_DENIED' }, { channel: 'other' }]);
    expect(reader.connection.names).toEqual(['other']);
  });

  test('of a wrong connection, or one that the client never had, ends nothing', async () => {
    const { a, b } = await twoNodes();
    const { connection } = await a.open('news');
    for (const id of ['', 'x', `${a.hub.node}.${randomUUID()}`, connection.id.slice(0, -1)]) {
      expect(await b.gateway.directory.order(unsubscribe(id, 'news'))).toEqual({ result: 0, isComplete: true });
    }
    const alone = await GatewayNode.start();
    const elsewhere = `${randomUUID()}.${randomUUID()}`;
    expect(await alone.gateway.directory.order(unsubscribe(elsewhere, 'news'))).toMatchObject({ result: 0 });
    expect(connection.names).toEqual(['news']);
  });

  test('whose node does not answer rejects: whether it has ended is unknown', async () => {
    const { a, b, broker } = await twoNodes();
    const { connection } = await a.open('news');
    broker.cut();
    const order = b.gateway.directory.order(unsubscribe(connection.id, 'news'));
    await expect(order).rejects.toThrow(TransportUnavailableError);
  });
});

describe('Ending a subscription of a user', () => {
  const order = { kind: 'unsubscribe', target: { userId: 'ada' }, channel: 'news' } as const;

  test('ends it on all connections of the user', async () => {
    const { a, b } = await twoNodes();
    const readers = [
      await clientOf(a, 'ada', 'news', 'other'),
      await clientOf(b, 'ada', 'news'),
      await clientOf(b, 'ada'),
    ];
    const bob = await clientOf(b, 'bob', 'news');
    expect(await a.gateway.directory.order(order)).toEqual({ result: 2, isComplete: true });
    expect([...readers, bob].map(({ connection }) => connection.names)).toEqual([['other'], [], [], ['news']]);
  });

  test.each(['is being decided about', 'is about to begin'])('keeps it from a stream that %s', async (state) => {
    const { a, b } = await twoNodes();
    const session = a.hub.sessions.open({ auth: { userId: 'ada' } });
    const reservation = a.gateway.reserve(session);
    const isOpen = state === 'is about to begin';
    let connection = isOpen ? a.gateway.open(reservation) : undefined;
    expect(await b.gateway.directory.order(order)).toEqual({ result: 0, isComplete: true });
    connection ??= a.gateway.open(reservation);
    const asked = [{ channel: 'news' }, { channel: 'other' }];
    const reader = new StreamReader(session, connection, () => connection.stream(asked, new Map(), { form: 'client' }));
    expect((await reader.ready()).channels).toMatchObject([
      { channel: 'news', error: 'CHANNEL_DENIED' },
      { channel: 'other' },
    ]);
    expect(connection.names).toEqual(['other']);
  });
});

describe('Ending the connections of a user', () => {
  test('ends all of them, on all nodes, and no others', async () => {
    const { a, b } = await twoNodes();
    const readers = [await clientOf(a, 'ada', 'news'), await clientOf(b, 'ada'), await clientOf(b, '7')];
    const others = [await clientOf(a, 'bob'), await a.open('news'), await clientOf(b, 'ada ')];
    expect(await a.gateway.directory.order(disconnect('ada'))).toEqual({ result: 2, isComplete: true });
    expect(await b.gateway.directory.order(disconnect('7'))).toEqual({ result: 1, isComplete: true });
    expect(readers.map(({ session }) => session.closeReason)).toEqual(Array(3).fill('disconnected'));
    expect(others.map(({ session }) => session.closeReason)).toEqual(Array(3).fill(undefined));
    expect([a.gateway['connections'].size, b.gateway['connections'].size]).toEqual([2, 1]);
  });

  test('ends connections that are just being opened as soon as they are open', async () => {
    const { a, b } = await twoNodes();
    const sessions = ['ada', 'bob'].map((userId) => a.hub.sessions.open({ auth: { userId } }));
    const reservations = sessions.map((session) => a.gateway.reserve(session));
    expect(await b.gateway.directory.order(disconnect('ada'))).toEqual({ result: 1, isComplete: true });
    for (const reservation of reservations) a.gateway.open(reservation);
    expect(sessions.map(({ closeReason }) => closeReason)).toEqual(['disconnected', undefined]);
    const left = a.hub.sessions.open({ auth: { userId: 'ada' } });
    a.gateway.reserve(left);
    left.close();
    expect(a.gateway['opening'].size).toBe(0);
  });

  test('expects clients back that are asked to come back, and no others', async () => {
    const node = await GatewayNode.start();
    const [ada, bob] = [await clientOf(node, 'ada', 'news'), await clientOf(node, 'bob', 'news')];
    await node.gateway.directory.order({ ...disconnect('ada'), reconnect: true });
    await node.gateway.directory.order(disconnect('bob'));
    expect([ada, bob].map(({ session }) => session.closeReason)).toEqual(['reconnect', 'disconnected']);
    expect(node.gateway['lost'].recent).toEqual([[ada.connection.id, ada.connection.owner]]);
  });

  test('is not complete while a node does not answer, and while the broker is away', async () => {
    const { a, b, broker } = await twoNodes();
    const c = await GatewayNode.start(broker);
    const [here, there, cut] = [await clientOf(a, 'ada'), await clientOf(b, 'ada'), await clientOf(c, 'ada')];
    jest.spyOn(c.hub, 'post').mockResolvedValue(true);
    expect(await a.gateway.directory.order(disconnect('ada'))).toEqual({ result: 2, isComplete: false });
    // That node has done it anyway.
    for (const { session } of [here, there, cut]) expect(session.closed).toBe(true);
    const again = await clientOf(a, 'ada');
    broker.cut();
    expect(await a.gateway.directory.order(disconnect('ada'))).toEqual({ result: 1, isComplete: false });
    expect(again.session.closed).toBe(true);
  });

  test('is not complete if an answer cannot be read, which is reported', async () => {
    const { a, b } = await twoNodes();
    await clientOf(b, 'ada');
    jest.spyOn(b.gateway.directory, 'answer').mockResolvedValue(-1);
    expect(await a.gateway.directory.order(disconnect('ada'))).toEqual({ result: 0, isComplete: false });
    expect(a.reporter.rejections).toMatchObject([{ channel: 'messaging:nodes' }]);
  });

  test('is not complete if a node fails to answer', async () => {
    const { a, b } = await twoNodes();
    jest.spyOn(b.gateway.directory, 'answer').mockRejectedValue(new Error('broken'));
    expect(await a.gateway.directory.order(disconnect('ada'))).toEqual({ result: 0, isComplete: false });
  });
});

describe('A list of connections', () => {
  test('contains the connections of a user or of a channel, from all nodes, with their users and channels', async () => {
    const { a, b } = await twoNodes();
    const [first, second] = [await clientOf(a, 'ada', 'news', 'other'), await clientOf(b, 'ada')];
    const [third, fourth] = [await clientOf(b, 'bob', 'news'), await b.open('news')];
    const [auth, bob] = [{ userId: 'ada' }, { userId: 'bob' }];
    const { directory } = b.gateway;
    expect(await directory.list({ of: { userId: 'ada' }, limit: 10 })).toEqual({
      isComplete: true,
      result: {
        more: false,
        connections: [
          { connection: second.connection.id, auth, channels: [], grants: [] },
          {
            connection: first.connection.id,
            auth,
            channels: ['news', 'other'],
            grants: grantsTo(auth, 'news', 'other'),
          },
        ],
      },
    });
    const { result } = await directory.list({ of: { channel: 'news' }, limit: 10 });
    expect(result.connections).toEqual([
      { connection: third.connection.id, auth: bob, channels: ['news'], grants: grantsTo(bob, 'news') },
      { connection: fourth.connection.id, auth: null, channels: ['news'], grants: grantsTo(null, 'news') },
      { connection: first.connection.id, auth, channels: ['news'], grants: grantsTo(auth, 'news') },
    ]);
  });

  test('contains no grants from a node of an earlier version', async () => {
    const { a, b } = await twoNodes();
    const info = { connection: 'c', auth: { userId: 'ada' }, channels: ['news'] };
    jest.spyOn(b.gateway.directory, 'answer').mockResolvedValue({ connections: [info], more: false });
    expect(await a.gateway.directory.list({ of: { channel: 'news' }, limit: 10 })).toEqual({
      isComplete: true,
      result: { more: false, connections: [{ ...info, grants: [] }] },
    });
  });

  test('contains each rule once in transit, and is readable for a node of an earlier version', async () => {
    const { a, b } = await twoNodes();
    const reader = await clientOf(a, 'ada', 'news');
    const answer = await a.gateway.directory.answer({ query: { of: { channel: 'news' }, limit: 10 } });
    expect(answer).toEqual({
      connections: [{ connection: reader.connection.id, auth: { userId: 'ada' }, channels: ['news'], rules: [0] }],
      more: false,
      rules: [ruleOf('news')],
    });
    const later = { ...(answer as object), later: 1 };
    jest.spyOn(a.gateway.directory, 'answer').mockResolvedValue(later);
    const { result } = await b.gateway.directory.list({ of: { channel: 'news' }, limit: 10 });
    expect(result.connections).toMatchObject([{ grants: grantsTo({ userId: 'ada' }, 'news') }]);
  });

  test('contains no more than requested from all nodes together, and states whether there are more', async () => {
    const { a, b } = await twoNodes();
    for (const node of [a, a, b]) await clientOf(node, 'ada', 'news');
    const list = async (limit: number) => {
      const { result } = await a.gateway.directory.list({ of: { channel: 'news' }, limit });
      return [result.connections.length, result.more];
    };
    expect(await Promise.all([1, 2, 3, 4].map(list))).toEqual([
      [1, true],
      [2, true],
      [3, false],
      [3, false],
    ]);
  });

  test('contains at most 256 KiB from one node, including the rules', async () => {
    const node = await GatewayNode.start();
    const names = Array.from({ length: 200 }, (_, index) => `${'n'.repeat(200)}${index}`);
    for (let n = 0; n < 10; n++) await clientOf(node, 'ada', ...names);
    const answer = await node.gateway.directory.answer({ query: { of: { userId: 'ada' }, limit: 100 } });
    const bytes = Buffer.byteLength(JSON.stringify(answer));
    expect([bytes > 250 * 1024, bytes <= 256 * 1024]).toEqual([true, true]);
    const { connections, more } = readListing(answer, 100);
    expect([connections.length, more]).toEqual([10, false]);
    for (const { channels, moreChannels, grants } of connections) {
      expect(channels.length).toBeGreaterThan(50);
      expect([channels.length + moreChannels!, grants.map(({ channel }) => channel)]).toEqual([200, channels]);
    }
  });

  test('contains all connections of a user, however many channels one of them has', async () => {
    const { a, b } = await twoNodes();
    const names = Array.from({ length: 990 }, (_, index) => String(index).padStart(248, 'n'));
    const readers = [await clientOf(b, 'eve', ...names)];
    for (const name of ['first', 'second']) readers.push(await clientOf(b, 'eve', name));
    for (const asked of [a, b]) {
      const { result } = await asked.gateway.directory.list({ of: { userId: 'eve' }, limit: 1_000 });
      expect([result.more, result.connections.map(({ connection }) => connection)]).toEqual([
        false,
        readers.map(({ connection }) => connection.id),
      ]);
      const [large, ...others] = result.connections;
      expect(large!.channels.length).toBeGreaterThan(300);
      expect(large!.channels.length + large!.moreChannels!).toBe(990);
      expect(others.map(({ channels, moreChannels }) => [channels, moreChannels])).toEqual([
        [['first'], undefined],
        [['second'], undefined],
      ]);
    }
  });

  test('states that there are more if one does not fit, and contains those that do', async () => {
    const node = await GatewayNode.start();
    const long = { userId: 'ada', scopes: ['s'.repeat(256 * 1024)] };
    const [large, small] = [long, { userId: 'ada' }].map((auth) => node.hub.sessions.open({ auth }));
    node.gateway.open(node.gateway.reserve(large!));
    const { id } = node.gateway.open(node.gateway.reserve(small!));
    const { result } = await node.gateway.directory.list({ of: { userId: 'ada' }, limit: 10 });
    expect([result.connections.map(({ connection }) => connection), result.more]).toEqual([[id], true]);
  });

  test('leaves others their turn', async () => {
    const node = await GatewayNode.start();
    await Promise.all(Array.from({ length: 50 }, () => node.open('news')));
    const now = jest.spyOn(performance, 'now');
    let time = 0;
    now.mockImplementation(() => (time += 4));
    let turns = 0;
    const count = (): void => void (turns++, (turning = setImmediate(count)));
    let turning = setImmediate(count);
    await node.gateway.directory.list({ of: { channel: 'news' }, limit: 100 });
    clearImmediate(turning);
    now.mockRestore();
    expect(turns).toBeGreaterThan(10);
  });
});

describe('A question of a node about connections', () => {
  const INFO = { connection: 'c', auth: null, channels: ['a'] };
  const target = { connection: 'c' };
  test.each([
    ['nothing', {}],
    ['an order of an unknown kind', { order: { kind: 'delete', target } }],
    ['an order without a target', { order: { kind: 'disconnect', reconnect: true } }],
    ['an order for no target', { order: { kind: 'disconnect', target: {}, reconnect: true } }],
    ['an order for a user of another type', { order: { kind: 'disconnect', target: { userId: 7 }, reconnect: true } }],
    ['an order for a long connection', { order: { kind: 'disconnect', target: { connection: 'c'.repeat(101) } } }],
    ['an order without whether clients come back', { order: { kind: 'disconnect', target } }],
    ['an order without a channel', { order: { kind: 'unsubscribe', target } }],
    ['a query for nothing', { query: { of: {}, limit: 1 } }],
    ['a query without a limit', { query: { of: { userId: 'ada' } } }],
    ['a query for too much', { query: { of: { userId: 'ada' }, limit: MAX_LISTED + 1 } }],
  ])('is refused if it is %s', (_what, question) => {
    expect(() => readConnectionQuestion(question)).toThrow(InvalidMessageError);
  });

  test.each([
    ['no list', { more: false }],
    ['without whether there are more', { connections: [] }],
    [
      'longer than requested',
      { connections: ['a', 'b', 'c'].map((id) => ({ connection: id, auth: null, channels: [] })), more: true },
    ],
    ['of a connection without an id', { connections: [{ auth: null, channels: [] }], more: true }],
    ['of an invalid sign-in', { connections: [{ connection: 'c', auth: {}, channels: [] }], more: true }],
    ['of a connection without channels', { connections: [{ connection: 'c', auth: null }], more: true }],
    ['of a channel with two rules', { connections: [{ ...INFO, rules: [0, 0] }], more: true, rules: [ruleOf('a')] }],
    ['of a channel with a rule that its table lacks', { connections: [{ ...INFO, rules: [0] }], more: true }],
    ['of a rule without scopes', { connections: [], more: true, rules: [{ names: [], authorizers: [] }] }],
    ['granted to an invalid sign-in', { connections: [{ ...INFO, rules: [null], grantedTo: [[0, {}]] }], more: true }],
    [
      'with more sign-ins than channels',
      {
        connections: [
          {
            ...INFO,
            rules: [null],
            grantedTo: [
              [0, null],
              [0, null],
            ],
          },
        ],
        more: true,
      },
    ],
  ])('is not answered by a list that is %s', (_what, answer) => {
    expect(() => readListing(answer, 2)).toThrow(InvalidMessageError);
  });

  test('gets no answer if it cannot be read, and is reported', async () => {
    const { a, b } = await twoNodes();
    const reader = await clientOf(a, 'ada', 'news');
    const everybody = reservedChannel('nodes') as Channel;
    const packet = { kind: 'question', id: randomUUID(), from: b.hub.node, body: { connections: { order: null } } };
    await b.hub.post(everybody, packet, { scope: 'auto' });
    expect(await b.gateway.directory.order(unsubscribe(reader.connection.id, 'other'))).toMatchObject({ result: 0 });
    expect(a.reporter.callbackFailures).toMatchObject([{ callback: 'The answer to another server' }]);
    expect(reader.connection.names).toEqual(['news']);
  });
});
