import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { NO_RULES, type ChannelRule } from '../../../lib/gateway/channel-rule.js';
import type { AuthenticationInfo } from '../../../lib/protocol/authentication.js';
import type { Revocation } from '../../../lib/protocol/revocation.js';
import type { RequestedChange } from '../../../lib/gateway/gateway.js';
import type { SubscribeError } from '../../../lib/protocol/gateway.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { GatewayNode, StreamReader, ruleOf } from '../../support/gateway-node.js';

afterEach(() => {
  jest.useRealTimers();
  return GatewayNode.closeAll();
});

const OWN: AuthenticationInfo = { userId: 'ada', authId: 'phone', scopes: ['read'], issuedAt: 1_000 };
const STEPPED_UP: AuthenticationInfo = { userId: 'ada', authId: 'key', scopes: ['read', 'admin'], issuedAt: 2_000 };
const OTHER: AuthenticationInfo = { ...STEPPED_UP, authId: 'other key', scopes: ['admin', 'audit'] };

/** A ready stream of a sign-in. */
async function streamOf(node: GatewayNode, auth: AuthenticationInfo | null, ...channels: string[]) {
  const session = node.hub.sessions.open({ auth });
  const connection = node.gateway.open(node.gateway.reserve(session));
  const answers = channels.map((channel) => ({ channel }));
  const reader = new StreamReader(session, connection, () => connection.stream(answers, new Map(), { form: 'client' }));
  await reader.ready();
  return reader;
}

/** A change of a stream, sent to any node with a sign-in. */
async function change(node: GatewayNode, { connection }: StreamReader, auth: AuthenticationInfo, ...names: string[]) {
  const asked = { subscribe: names, unsubscribe: [], claims: new Map(), replays: [], renew: false };
  return (await ask(node, connection.id, auth, asked)).channels;
}

async function renew(node: GatewayNode, { connection }: StreamReader, auth: AuthenticationInfo) {
  const asked = { subscribe: [], unsubscribe: [], claims: new Map(), replays: [], renew: true };
  return (await ask(node, connection.id, auth, asked)).renewed;
}

async function ask(node: GatewayNode, connection: string, auth: AuthenticationInfo, asked: RequestedChange) {
  using session = node.hub.sessions.open({ auth });
  return await node.gateway.change(connection, asked, { session, request: {} } as never);
}

/** From now on, the node decides on each channel by this function. */
function decideBy(node: GatewayNode, decide: (channel: string) => ChannelRule | SubscribeError): void {
  jest.spyOn(node.gateway['parts'].channels, 'decide').mockImplementation(async (channel) => decide(channel));
}

/** Applies a revocation on a node. */
function revoke(node: GatewayNode, what: Partial<Revocation>): void {
  const revocation = { userId: 'ada', at: Date.now(), ...what };
  node.hub.sessions.revocations.add(revocation);
  node.hub.sessions.revoke(revocation);
}

const grantsOf = (node: GatewayNode) => node.gateway['context'].grants['all'];
const waitingIn = (node: GatewayNode) => node.hub.sessions.wheel['buckets'].size;

/** The node that holds a stream, another one, and the one of the two that a client asks. */
async function startNodes(where: string) {
  const broker = new MemoryBroker();
  const [holder, other] = [await GatewayNode.start(broker), await GatewayNode.start(broker)];
  return { holder, other, asked: where === 'of another stream' ? other : holder };
}

describe.each(['that holds the stream', 'of another stream'])(
  'Another sign-in with more rights, on a node %s,',
  (where) => {
    test.each<[string, Partial<Revocation>]>([
      ['it is revoked', { authId: 'key' }],
      ['a scope that only it has is revoked', { scopes: ['admin', 'x'] }],
    ])(
      'grants a subscription of an open stream until %s; the stream and its own subscriptions continue',
      async (_, what) => {
        const { holder, asked } = await startNodes(where);
        const reader = await streamOf(holder, OWN, 'news');
        expect(await change(asked, reader, STEPPED_UP, 'audit', 'logs')).toEqual([
          { channel: 'audit' },
          { channel: 'logs' },
        ]);
        expect(await change(asked, reader, { ...OWN }, 'more')).toEqual([{ channel: 'more' }]);
        revoke(holder, { authId: 'someone else’s' });
        expect(reader.connection.names).toEqual(['news', 'audit', 'logs', 'more']);

        revoke(holder, what);
        for (const channel of ['audit', 'logs']) void holder.post(channel, 'not for it any more');
        void holder.post('news', 'still for it');
        expect(await reader.until('messaging:withdrawn')).toEqual({ channels: ['audit', 'logs'], reason: 'revoked' });
        expect(await reader.next(1)).toEqual(['still for it']);
        expect(reader.connection.names).toEqual(['news', 'more']);
        expect(reader.session.closed).toBe(false);
      },
    );

    test('grants it until it expires', async () => {
      const { holder, asked } = await startNodes(where);
      jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate', 'performance'] });
      const reader = await streamOf(holder, OWN, 'news');
      await change(asked, reader, { ...STEPPED_UP, expiresAt: Date.now() + 10_000 }, 'audit');
      jest.advanceTimersByTime(9_999);
      expect(reader.connection.names).toEqual(['news', 'audit']);
      jest.advanceTimersByTime(251);
      expect(await reader.until('messaging:withdrawn')).toEqual({ channels: ['audit'], reason: 'expired' });
      expect(reader.connection.names).toEqual(['news']);
      expect([grantsOf(holder).size, waitingIn(holder)]).toEqual([0, 0]);
    });

    test('grants nothing if it was revoked or has expired on its way', async () => {
      const { holder, asked } = await startNodes(where);
      const reader = await streamOf(holder, OWN);
      holder.hub.sessions.revocations.add({ userId: 'ada', authId: 'key', at: Date.now() });
      const denied = [{ channel: 'audit', error: 'CHANNEL_DENIED' }];
      const late = { ...OTHER, expiresAt: Date.now() - 1 };
      expect(await reader.connection.subscribe([{ channel: 'audit' }], new Map(), [], late)).toEqual(denied);
      expect(await reader.connection.subscribe([{ channel: 'audit' }], new Map(), [], STEPPED_UP)).toEqual(denied);
      // That node does not know of it yet, or refuses the request.
      const asking = change(asked, reader, STEPPED_UP, 'audit').catch(() => denied);
      expect(await asking).toEqual(denied);
      expect([reader.connection.names, grantsOf(holder).size]).toEqual([[], 0]);
    });
  },
);

describe('A stream that continues with a renewed sign-in', () => {
  const before = { ...OWN, expiresAt: Date.now() + 3_600_000 };
  const after = { ...OWN, issuedAt: 3_000, expiresAt: before.expiresAt + 3_600_000 };

  test('keeps subscriptions that the new sign-in may have too, until the stream ends', async () => {
    const node = await GatewayNode.start();
    const reader = await streamOf(node, before);
    await change(node, reader, STEPPED_UP, 'audit');
    await change(node, reader, after, 'news');
    expect(grantsOf(node).size).toBe(1);
    expect(reader.connection.renew(after, { granted: ['audit', 'news'], denied: [], rules: NO_RULES })).toBe(true);
    expect(grantsOf(node).size).toBe(0);
    revoke(node, { authId: 'key' });
    expect(reader.connection.names).toEqual(['audit', 'news']);
  });

  test('keeps subscriptions granted to another sign-in that the new one may not have, until the other one ends', async () => {
    const node = await GatewayNode.start();
    const reader = await streamOf(node, before, 'lost');
    await change(node, reader, STEPPED_UP, 'audit');
    expect(reader.connection.renew(after, { granted: [], denied: ['audit', 'lost'], rules: NO_RULES })).toBe(true);
    expect(await reader.until('messaging:withdrawn')).toEqual({ channels: ['lost'], reason: 'denied' });
    expect(reader.connection.names).toEqual(['audit']);
    revoke(node, { authId: 'key' });
    expect(reader.connection.names).toEqual([]);
  });

  test('keeps subscriptions made during the decision until the earlier sign-in would have expired', async () => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate', 'performance'] });
    const node = await GatewayNode.start();
    const reader = await streamOf(node, before, 'news', 'meanwhile');
    expect(reader.connection.renew(after, { granted: ['news'], denied: [], rules: NO_RULES })).toBe(true);
    jest.setSystemTime(before.expiresAt - 250);
    jest.advanceTimersByTime(500);
    expect(reader.connection.names).toEqual(['news']);
    expect(reader.session.closed).toBe(false);
  });
});

describe('A subscription', () => {
  test('granted to a sign-in while it was revoked is lost', async () => {
    const node = await GatewayNode.start();
    const reader = await streamOf(node, OWN);
    const answer = change(node, reader, STEPPED_UP, 'audit');
    while (!reader.connection.has('audit')) await Promise.resolve();
    revoke(node, { authId: 'key' });
    expect(await answer).toEqual([{ channel: 'audit', error: 'CHANNEL_DENIED' }]);
  });

  test('that is also granted to the stream’s own sign-in outlasts the other one', async () => {
    const node = await GatewayNode.start();
    const reader = await streamOf(node, OWN, 'first');
    // Before, and after.
    await change(node, reader, STEPPED_UP, 'first', 'second');
    await change(node, reader, OWN, 'second');
    revoke(node, { authId: 'key' });
    expect(reader.connection.names).toEqual(['first', 'second']);
    expect(grantsOf(node).size).toBe(0);
  });

  test('that is granted again to another sign-in ends with the latest one', async () => {
    const node = await GatewayNode.start();
    const reader = await streamOf(node, OWN);
    await change(node, reader, STEPPED_UP, 'audit', 'logs');
    await change(node, reader, OTHER, 'audit');
    revoke(node, { authId: 'key' });
    expect(reader.connection.names).toEqual(['audit']);
    revoke(node, { scopes: ['audit'] });
    expect(reader.connection.names).toEqual([]);
  });

  test('that the latest sign-in loses is not kept by an earlier one', async () => {
    const node = await GatewayNode.start();
    const reader = await streamOf(node, OWN);
    await change(node, reader, OTHER, 'audit');
    await change(node, reader, STEPPED_UP, 'audit');
    revoke(node, { authId: 'key' });
    expect(reader.connection.names).toEqual([]);
  });

  test('of the stream’s own sign-in is not kept by another one if a renewal denies it', async () => {
    const node = await GatewayNode.start();
    const own = { ...OWN, expiresAt: Date.now() + 3_600_000 };
    const reader = await streamOf(node, own, 'news');
    await change(node, reader, STEPPED_UP, 'news');
    const later = { ...own, issuedAt: 3_000, expiresAt: own.expiresAt + 3_600_000 };
    expect(reader.connection.renew(later, { granted: [], denied: ['news'], rules: NO_RULES })).toBe(true);
    expect(reader.connection.names).toEqual([]);
  });

  test('is no grant if the sign-in is the stream’s own, or if nobody is signed in', async () => {
    const node = await GatewayNode.start();
    const reader = await streamOf(node, OWN, 'news');
    await change(node, reader, { ...OWN, scopes: [...OWN.scopes!] }, 'more');
    const nobody = await streamOf(node, null, 'news');
    await nobody.connection.subscribe([{ channel: 'more' }], new Map(), [], null);
    expect(grantsOf(node).size).toBe(0);
  });

  test('leaves nothing behind when the client leaves it, or its stream ends', async () => {
    const node = await GatewayNode.start();
    const [one, two] = [await streamOf(node, OWN), await streamOf(node, OWN)];
    const auth = { ...STEPPED_UP, expiresAt: Date.now() + 3_600_000 };
    for (const reader of [one, two]) await change(node, reader, auth, 'audit', 'logs');
    expect([grantsOf(node).size, waitingIn(node)]).toEqual([2, 1]);
    one.connection.unsubscribe(['audit']);
    expect(grantsOf(node).size).toBe(2);
    one.connection.unsubscribe(['logs']);
    two.close();
    expect([grantsOf(node).size, waitingIn(node)]).toEqual([0, 0]);
  });
});

describe.each(['that holds the stream', 'of another stream'])(
  'The grant of a subscription, decided on a node %s,',
  (where) => {
    async function start() {
      const { holder, other, asked } = await startNodes(where);
      const grants = async (userId = 'ada') => {
        const { result } = await other.gateway.directory.list({ of: { userId }, limit: 10 });
        return result.connections.flatMap((connection) => connection.grants);
      };
      return { holder, asked, grants };
    }
    const later: AuthenticationInfo = { ...OWN, issuedAt: 3_000, expiresAt: Date.now() + 7_200_000 };

    test('contains its rule, and the sign-in that it was granted to', async () => {
      const { holder, asked, grants } = await start();
      const reader = await streamOf(holder, OWN);
      await change(asked, reader, OWN, 'news');
      await change(asked, reader, STEPPED_UP, 'audit');
      expect(await grants()).toEqual([
        { channel: 'news', auth: OWN, rule: ruleOf('news') },
        { channel: 'audit', auth: STEPPED_UP, rule: ruleOf('audit') },
      ]);
    });

    test('follows the latest decision, and prefers the stream’s own sign-in', async () => {
      const { holder, asked, grants } = await start();
      const reader = await streamOf(holder, OWN);
      const names = ['own', 'raised', 'taken over'];
      await change(asked, reader, OWN, 'own');
      await change(asked, reader, STEPPED_UP, 'raised', 'taken over');
      const rule = { names: ['*'], scopes: ['admin'], authorizers: [] };
      decideBy(asked, () => rule);
      await change(asked, reader, OTHER, 'own', 'raised');
      await change(asked, reader, OWN, 'taken over');
      expect((await grants()).toSorted((a, b) => names.indexOf(a.channel) - names.indexOf(b.channel))).toEqual([
        { channel: 'own', auth: OWN, rule: ruleOf('own') },
        { channel: 'raised', auth: OTHER, rule },
        { channel: 'taken over', auth: OWN, rule },
      ]);
    });

    test('belongs to the renewed sign-in, with its rule; other sign-ins keep subscriptions that it may not have', async () => {
      const { holder, asked, grants } = await start();
      const own = { ...OWN, expiresAt: Date.now() + 3_600_000 };
      const reader = await streamOf(holder, own);
      await change(asked, reader, own, 'news', 'lost');
      await change(asked, reader, STEPPED_UP, 'audit', 'both');
      const rule = { names: ['renewed'], scopes: [], authorizers: ['Access.mayStay'] };
      decideBy(asked, (channel) => (['news', 'both'].includes(channel) ? rule : 'CHANNEL_DENIED'));
      expect(await renew(asked, reader, later)).toBe(true);
      expect(await grants()).toEqual([
        { channel: 'news', auth: later, rule },
        { channel: 'audit', auth: STEPPED_UP, rule: ruleOf('audit') },
        { channel: 'both', auth: later, rule },
      ]);
    });

    test('is one object for all subscriptions of a rule', async () => {
      const { holder, asked } = await start();
      decideBy(asked, () => ({ names: ['rooms/:id'], scopes: [], authorizers: ['Rooms.mayRead'] }));
      const readers = [await streamOf(holder, OWN), await streamOf(holder, OWN)];
      for (const reader of readers) await change(asked, reader, OWN, 'rooms/1', 'rooms/2');
      const rules = readers.flatMap(({ connection }) => connection.names.map((name) => connection.grantFor(name).rule));
      expect([rules.length, new Set(rules).size, Object.isFrozen(rules[0]?.authorizers)]).toEqual([4, 1, true]);
    });
  },
);
