import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { Deferred } from '../../../lib/core/deferred.js';
import { Hub } from '../../../lib/core/hub.js';
import { NodeRequests } from '../../../lib/core/node-requests.js';
import { isSame } from '../../../lib/core/ordered-channel.js';
import { Revocations } from '../../../lib/core/revocations.js';
import { revokedAuthenticationChannel } from '../../../lib/core/revoked-channel.js';
import type { Transport } from '../../../lib/core/transport.js';
import {
  RevokedAuthenticationAuthId,
  RevokedAuthenticationScope,
  RevokedAuthenticationUser,
  type RevokedAuthentication,
} from '../../../lib/protocol/authentication.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { REVOCATIONS, REVOCATIONS_NAME } from '../../../lib/protocol/revocation.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { Queue } from '../../support/queue.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

const User = new RevokedAuthenticationUser();
const Kept = defineChannel<number>('unit/revocations/kept', undefined, {
  history: { maxMessages: 100, ttlMs: 60_000 },
});

const hubs: Hub[] = [];
afterEach(async () => {
  for (const hub of hubs.splice(0)) await hub.close();
});

async function node(
  broker: MemoryBroker,
  transport: Transport & Partial<MemoryTransport> = new MemoryTransport(broker),
) {
  const reporter = new RecordingReporter();
  const hub = new Hub({ reporter, transport });
  hubs.push(hub);
  const revocations = new Revocations(hub);
  const known = revocations.start();
  await hub.start();
  const ada = (issuedAt = 1) => hub.sessions.open({ auth: { userId: 'ada', authId: 'phone', issuedAt } });
  const ended = (session = ada()) => new Promise((resolve) => session.onClose((reason) => resolve(reason)));
  return { hub, reporter, transport: transport as MemoryTransport, revocations, known, ada, ended };
}

/** A channel without history, as a queue. */
async function heard(hub: Hub, channel: Parameters<Hub['listen']>[0] = 'news') {
  const messages = new Queue<unknown>();
  await hub.listen(channel, (message: unknown) => messages.push(message), hub.root).ready;
  return messages;
}

/** Makes a revocation. Resolves when the history has it, with the promise of the call. */
async function stored(hub: Hub, revoke: () => Promise<boolean>): Promise<[Promise<boolean>]> {
  const before = await hub.positionOf(REVOCATIONS);
  const told = revoke();
  while (isSame(before, await hub.positionOf(REVOCATIONS)));
  return [told];
}

/** Lets nothing arrive any more, while the broker counts it as subscribed. Returns how to end that. */
function deafen(transport: MemoryTransport): () => void {
  const deliver = transport.deliver.bind(transport);
  transport.deliver = () => {};
  return () => void (transport.deliver = deliver);
}

/** What a call gives after 2 s, in which it waits three times. */
async function afterTwoSeconds(broker: MemoryBroker, told: Promise<boolean>): Promise<boolean> {
  for (const ms of [250, 500, 1_250]) {
    for (let turn = 0; turn < 100; turn++) await broker.turn();
    jest.advanceTimersByTime(ms);
  }
  return told;
}

function fakeTimers(): Disposable {
  jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask', 'performance', 'Date'] });
  return { [Symbol.dispose]: () => void jest.useRealTimers() };
}

describe('A revocation', () => {
  test('ends everything on other nodes, and is known to nodes that start later', async () => {
    const broker = new MemoryBroker();
    const [one, two] = [await node(broker), await node(broker)];
    const ended = two.ended();
    expect(await one.revocations.revoke('ada', User)).toBe(true);
    expect(await ended).toBe('revoked');
    const three = await node(broker);
    await three.known;
    expect([one, two, three].map(({ ada }) => ada().closeReason)).toEqual(['revoked', 'revoked', 'revoked']);
    expect([one, two, three].map(({ ada }) => ada(Date.now()).closeReason)).toEqual([undefined, undefined, undefined]);
  });

  test('made while a node was cut off reaches that node before any other message from other nodes', async () => {
    const broker = new MemoryBroker();
    const [one, two] = [await node(broker), await node(broker)];
    const [news, kept] = [await heard(two.hub), await heard(two.hub, Kept)];
    await one.hub.post(Kept, 1);
    expect(await kept.next()).toBe(1);
    const seen: unknown[] = [];
    const session = two.ada();
    two.hub.listen('news', (message: unknown) => seen.push(message), session);
    two.hub.listen(Kept, (message: unknown) => seen.push(message), session);
    broker.cut(two.transport);
    expect(await one.revocations.revoke('ada', User)).toBe(true);
    expect(await one.hub.post(Kept, 2)).toBe(true);
    broker.heal();
    // In the broker's order, this precedes the reading of the revocations.
    expect(await one.hub.post('news', 'after', { scope: 'global' })).toBe(true);
    expect([await news.next(), await kept.next()]).toEqual(['after', 2]);
    expect([session.closeReason, two.ada().closeReason]).toEqual(['revoked', 'revoked']);
    expect(seen).toEqual([]);
  });

  test('that a node did not hear reaches it before any message that it reads from a history', async () => {
    const broker = new MemoryBroker();
    const [one, two] = [await node(broker), await node(broker)];
    await two.known;
    const session = two.ada();
    // Its subscriptions are dead, and it has not noticed yet.
    const hearAgain = deafen(two.transport);
    const [told] = await stored(one.hub, () => one.revocations.revoke('ada', User));
    expect(await one.hub.post(Kept, 1)).toBe(true);
    expect(session.closed).toBe(false);
    const { deliveries } = await two.hub.readHistory(Kept.name, 1);
    expect(deliveries.map(({ message }) => message)).toEqual([1]);
    expect(session.closeReason).toBe('revoked');
    hearAgain();
    expect(await told).toBe(true);
  });

  test('is answered with true only after every other node has applied it, however long that takes', async () => {
    const broker = new MemoryBroker();
    const [one, two, three] = [await node(broker), await node(broker), await node(broker)];
    await Promise.all([two.known, three.known]);
    const session = two.ada();
    const readNow = two.hub.readNow.bind(two.hub);
    const mayRead = new Deferred();
    two.hub.readNow = async (...asked) => {
      await mayRead.promise;
      return readNow(...asked);
    };
    const ended = three.ended();
    const told = one.revocations.revoke('ada', User);
    let isTold = false;
    void told.then(() => (isTold = true));
    expect(await ended).toBe('revoked');
    for (let turn = 0; turn < 50; turn++) await broker.turn();
    expect([isTold, session.closed]).toEqual([false, false]);
    mayRead.resolve();
    expect(await told).toBe(true);
    expect(session.closeReason).toBe('revoked');
  });

  test('is answered with false if another node does not apply it within 2 s, and applied there later', async () => {
    using _ = fakeTimers();
    const broker = new MemoryBroker();
    const [one, two] = [await node(broker), await node(broker)];
    await two.known;
    const ended = two.ended();
    const hearAgain = deafen(two.transport);
    expect(await afterTwoSeconds(broker, one.revocations.revoke('ada', User))).toBe(false);
    hearAgain();
    expect(await one.revocations.revoke('eve', User)).toBe(true);
    expect(await ended).toBe('revoked');
  });

  test('does not wait for a node that has ended meanwhile', async () => {
    const broker = new MemoryBroker();
    const [one, two] = [await node(broker), await node(broker)];
    await two.known;
    deafen(two.transport);
    const [told] = await stored(one.hub, () => one.revocations.revoke('ada', User));
    await two.transport.close();
    expect(await told).toBe(true);
  });

  test('is not confirmed by a server of an earlier version, which answers no questions', async () => {
    using _ = fakeTimers();
    const broker = new MemoryBroker();
    const one = await node(broker);
    const old = new MemoryTransport(broker);
    await old.start(() => {});
    await old.subscribe(REVOCATIONS);
    expect(await afterTwoSeconds(broker, one.revocations.revoke('ada', User))).toBe(false);
    await old.close();
    expect(await one.revocations.revoke('ada', User)).toBe(true);
  });

  test('is not confirmed while the broker does not count the node that asks, and takes another one for it', async () => {
    using _ = fakeTimers();
    const broker = new MemoryBroker();
    const [one, two] = [await node(broker), await node(broker)];
    await two.known;
    deafen(two.transport);
    const uncounted = async () => {
      broker.cut(one.transport);
      broker.heal(one.transport);
      for (let turn = 0; turn < 10; turn++) await broker.turn();
      return 1;
    };
    jest.spyOn(one.transport, 'hearers').mockImplementationOnce(uncounted).mockImplementationOnce(uncounted);
    expect(await afterTwoSeconds(broker, one.revocations.revoke('ada', User))).toBe(false);
  });

  test('holds back no messages while another node asks about revocations that nobody has made', async () => {
    const broker = new MemoryBroker();
    const [one, two] = [await node(broker), await node(broker)];
    await Promise.all([one.known, two.known]);
    const news = await heard(two.hub);
    const asker = new NodeRequests(one.hub, () => null, `${REVOCATIONS_NAME}/`);
    await Promise.all(asker.listen().map(({ ready }) => ready));
    const reads = jest.spyOn(two.hub, 'readNow');
    const answers = Array.from({ length: 100 }, () => asker.ask(two.hub.node, { ids: ['unknown'] }, 2_000));
    let isAnswered = false;
    void Promise.all(answers).then(() => (isAnswered = true));
    await one.hub.post('news', 'meanwhile', { scope: 'global' });
    expect(await news.next()).toBe('meanwhile');
    expect(isAnswered).toBe(false);
    expect(await Promise.all(answers)).toEqual(Array(100).fill(false));
    expect(reads).toHaveBeenCalledTimes(1);
  });

  test.each<[string, string, RevokedAuthentication]>([
    ['a user', 'x'.repeat(10_001), User],
    ['a sign-in', 'ada', new RevokedAuthenticationAuthId('x'.repeat(10_001))],
    ['a scope', 'ada', new RevokedAuthenticationScope(['chat', 'x'.repeat(10_001)])],
    ['scopes', 'ada', new RevokedAuthenticationScope(Array(10_001).fill('chat'))],
  ])('with more of %s than other servers read is refused, and ends nothing', async (_, userId, what) => {
    const { hub, revocations } = await node(new MemoryBroker());
    const session = hub.sessions.open({ auth: { userId, authId: 'phone', scopes: ['chat'] } });
    expect(() => revocations.revoke(userId, what)).toThrow(/10001 .* at most 10000/);
    expect(session.closed).toBe(false);
  });

  test('is asked about together with others of the same moment', async () => {
    const broker = new MemoryBroker();
    const [one, two] = [await node(broker), await node(broker)];
    await Promise.all([one.known, two.known]);
    const questions: string[] = [];
    const publish = one.transport.publish.bind(one.transport);
    one.transport.publish = (channel, ...rest) => {
      if (channel === `${REVOCATIONS}/nodes`) questions.push(channel);
      return publish(channel, ...rest);
    };
    const told = await Promise.all(Array.from({ length: 250 }, (_, user) => one.revocations.revoke(user, User)));
    expect(told).toEqual(Array(250).fill(true));
    expect(questions).toHaveLength(3);
  });

  test('is answered with what the broker said if the transport cannot count its nodes', async () => {
    const broker = new MemoryBroker();
    const uncounted = () => Object.assign(new MemoryTransport(broker), { hearers: undefined });
    const [one, two] = [await node(broker, uncounted()), await node(broker, uncounted())];
    await two.known;
    deafen(two.transport);
    expect(await one.revocations.revoke('ada', User)).toBe(true);
  });

  test('is confirmed to nobody who asks with garbage, which is reported', async () => {
    const broker = new MemoryBroker();
    const [one, two] = [await node(broker), await node(broker)];
    await Promise.all([one.known, two.known]);
    const asker = new NodeRequests(one.hub, () => null, `${REVOCATIONS_NAME}/`);
    await Promise.all(asker.listen().map(({ ready }) => ready));
    const long = 'x'.repeat(44);
    for (const body of [null, {}, { ids: 'all' }, { ids: [long] }, { ids: Array(101).fill('x') }]) {
      await expect(asker.ask(two.hub.node, body, 2_000)).rejects.toThrow('it failed while it made the answer');
    }
    expect(two.reporter.callbackFailures).toHaveLength(5);
    expect(await asker.ask(two.hub.node, { ids: ['unknown'] }, 2_000)).toBe(false);
  });

  test('that could not be posted is posted once, as soon as possible', async () => {
    const broker = new MemoryBroker();
    const [one, two] = [await node(broker), await node(broker)];
    const [session, ended] = [two.ada(), two.ended()];
    const told = await heard(two.hub, revokedAuthenticationChannel('ada'));
    broker.cut(one.transport);
    const here = one.ada();
    expect(await one.revocations.revoke('ada', User)).toBe(false);
    expect([here.closeReason, one.ada().closeReason, session.closeReason]).toEqual(['revoked', 'revoked', undefined]);
    broker.heal();
    expect(await ended).toBe('revoked');
    expect(await one.revocations.revoke('ada', new RevokedAuthenticationAuthId('last'))).toBe(true);
    expect(await told.take(2)).toEqual([User, new RevokedAuthenticationAuthId('last')]);
  });

  test('is written again by the nodes if the broker has lost it', async () => {
    const broker = new MemoryBroker();
    const one = await node(broker);
    expect(await one.revocations.revoke('ada', new RevokedAuthenticationAuthId('phone'))).toBe(true);
    expect(await one.revocations.revoke('eve', new RevokedAuthenticationScope(['a', 'b']))).toBe(true);
    broker.cut();
    broker.wipe();
    broker.heal();
    const written = new Queue<unknown>();
    const probe = new MemoryTransport(broker);
    await probe.start((payload) => written.push((JSON.parse(payload) as { data: unknown }).data));
    await probe.subscribe(REVOCATIONS);
    expect(await written.take(2)).toMatchObject([{ userId: 'ada' }, { userId: 'eve' }]);
    const two = await node(broker);
    await two.known;
    expect(two.ada().closeReason).toBe('revoked');
    await probe.close();
  });

  test('ends a session whose request came before it, even if its sign-in has no issue time', async () => {
    const { hub, revocations, reporter } = await node(new MemoryBroker());
    const since = hub.sessions.revocations.order;
    await revocations.revoke('ada', User);
    expect(hub.sessions.open({ auth: { userId: 'ada' }, since }).closeReason).toBe('revoked');
    expect(reporter.warnings).toEqual([]);
    // No server knows, and it is reported once.
    for (const _ of [1, 2]) expect(hub.sessions.open({ auth: { userId: 'ada' } }).closed).toBe(false);
    expect(reporter.warnings).toEqual([expect.stringContaining('without issuedAt (or iat)')]);
  });

  test('is announced on its channel before the sessions end, on each node', async () => {
    const broker = new MemoryBroker();
    const [one, two] = [await node(broker), await node(broker)];
    const seen: string[] = [];
    for (const [name, { hub, ada }] of Object.entries({ one, two })) {
      ada().onClose(() => seen.push(`${name} ended`));
      hub.listen(
        revokedAuthenticationChannel('ada'),
        (what: unknown) => seen.push(`${name} ${what!.constructor.name}`),
        hub.root,
      );
    }
    const ended = two.ended();
    await one.revocations.revoke('ada', User);
    await ended;
    expect(seen).toEqual(['one RevokedAuthenticationUser', 'one ended', 'two RevokedAuthenticationUser', 'two ended']);
  });

  test('is announced on its channel without data that a browser must not get', async () => {
    const { hub, revocations } = await node(new MemoryBroker());
    const told = await heard(hub, revokedAuthenticationChannel('a/b*'));
    await revocations.revoke('a/b*', User);
    await revocations.revoke('a/b*', new RevokedAuthenticationScope(['chat']));
    expect((await told.take(2)).map((message) => hub.codec.encode(message))).toMatchObject([
      { type: 'RevokedAuthenticationUser', data: '{"kind":"user"}' },
      { type: 'RevokedAuthenticationScope', data: '{"kind":"scope","scopes":["chat"]}' },
    ]);
  });

  test('calls its listeners with the withdrawn authentication', async () => {
    const { hub, revocations } = await node(new MemoryBroker());
    const told: unknown[] = [];
    hub.sessions.onRevoked((revocation) => told.push(revocation));
    await revocations.revoke(7, new RevokedAuthenticationScope(['chat']));
    expect(told).toMatchObject([{ userId: '7', scopes: ['chat'], at: expect.any(Number) }]);
  });

  test('made several times at once ends sessions opened in between as well', async () => {
    const { hub, revocations } = await node(new MemoryBroker());
    const between = [1, 2, 3].map(() => {
      void revocations.revoke('ada', User);
      return hub.sessions.open({ auth: { userId: 'ada' } });
    });
    expect(await revocations.revoke('ada', User)).toBe(true);
    expect(between.map(({ closeReason }) => closeReason)).toEqual(['revoked', 'revoked', 'revoked']);
  });

  test('that is invalid is rejected, and the others are known', async () => {
    const broker = new MemoryBroker();
    const [one, two] = [await node(broker), await node(broker)];
    const ended = two.ended();
    const forger = new MemoryTransport(broker);
    await forger.start(() => {});
    for (const data of ['5', 'null', '{}', '{"userId":"ada","at":-1}', '{"userId":"ada","scopes":"x","at":1}']) {
      const payload = `{"metadata":{"v":1,"node":"n","at":1},"pattern":"${REVOCATIONS}","data":${data}}`;
      await forger.history.append(REVOCATIONS, { payload }, { maxMessages: 10, ttlMs: 60_000 });
    }
    await one.revocations.revoke('ada', User);
    expect(await ended).toBe('revoked');
    expect(two.reporter.rejections.map(({ channel }) => channel)).toEqual(Array(5).fill(REVOCATIONS));
    await forger.close();
  });

  test('that is published counts only if the history has it', async () => {
    const broker = new MemoryBroker();
    const [one, two] = [await node(broker), await node(broker)];
    const news = await heard(two.hub);
    await two.known;
    const session = two.ada();
    const forged = `{"metadata":{"v":1,"node":"n","at":1},"pattern":"${REVOCATIONS}","data":{"userId":"ada","at":${Date.now()}}}`;
    for (const position of [undefined, { epoch: 'forged', offset: 1 }]) {
      two.transport.deliver(REVOCATIONS, forged, position);
    }
    await one.hub.post('news', 'after', { scope: 'global' });
    expect(await news.next()).toBe('after');
    expect([session.closed, two.ada().closed]).toEqual([false, false]);
  });

  test('is written again within some seconds if the broker has silently lost it', async () => {
    using _ = fakeTimers();
    const broker = new MemoryBroker();
    const one = await node(broker);
    await one.revocations.revoke('ada', User);
    await heard(one.hub);
    broker.wipe();
    const written = new Queue<string>();
    const probe = new MemoryTransport(broker);
    await probe.start((payload) => written.push(payload));
    await probe.subscribe(REVOCATIONS);
    jest.advanceTimersByTime(12_500);
    expect(await written.next()).toContain('"userId":"ada"');
    const two = await node(broker);
    await two.known;
    expect(two.ada().closeReason).toBe('revoked');
    await probe.close();
  });

  test('that cannot be written again delays the posts of its node for some seconds, which is reported', async () => {
    using _ = fakeTimers();
    const broker = new MemoryBroker();
    const [one, two] = [await node(broker), await node(broker)];
    const news = await heard(two.hub);
    await one.known;
    const { history } = one.transport;
    const append = history.append.bind(history);
    history.append = async (channel, ...post) =>
      channel === REVOCATIONS ? { kind: 'unknown' } : append(channel, ...post);
    broker.cut(one.transport);
    expect(await one.revocations.revoke('ada', User)).toBe(false);
    broker.heal();
    const posted = one.hub.post('news', 'late', { scope: 'global' });
    for (let turn = 0; turn < 20; turn++) await broker.turn();
    expect(news.pending).toEqual([]);
    jest.advanceTimersByTime(5_000);
    expect(await posted).toBe(true);
    expect(await news.next()).toBe('late');
    expect(one.reporter.warnings).toEqual([expect.stringContaining('Posts go out although')]);
  });

  test('reaches all listening servers over a transport without histories', async () => {
    const broker = new MemoryBroker();
    const plain = () => Object.assign(new MemoryTransport(broker), { history: undefined });
    const [one, two] = [await node(broker, plain()), await node(broker, plain())];
    await Promise.all([one.known, two.known]);
    const ended = two.ended();
    expect(await one.revocations.revoke('ada', User)).toBe(true);
    expect(await ended).toBe('revoked');
    expect(two.ada().closeReason).toBe('revoked');
  });
});
