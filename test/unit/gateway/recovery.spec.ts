import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { filter, firstValueFrom } from 'rxjs';
import { MAX_IDLE_FEEDS } from '../../../lib/gateway/channel-feeds.js';
import { positionOwner } from '../../../lib/gateway/admission.js';
import { MAX_NATIVE_ID_LENGTH } from '../../../lib/gateway/native-position.js';
import { Deferred } from '../../../lib/core/deferred.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { encodeEnvelope, envelopePrefix } from '../../../lib/protocol/envelope.js';
import { MAX_NODE_LENGTH } from '../../../lib/protocol/split-envelope.js';
import { LimitExceededError } from '../../../lib/protocol/errors.js';
import type { Position } from '../../../lib/protocol/position.js';
import type { TransportEvents, TransportReceiver } from '../../../lib/core/transport.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { Queue } from '../../support/queue.js';
import { GatewayNode, claimsOf, type StreamReader } from '../../support/gateway-node.js';
import { turnsUntil } from '../../support/turns.js';

afterEach(async () => {
  jest.useRealTimers();
  await GatewayNode.closeAll();
});

const Rooms = defineChannel('rooms/:roomId');

/** A broker that can stop answering, like a paused Redis. */
class StallingBroker extends MemoryBroker {
  private waiting: Parameters<MemoryBroker['request']>[] | undefined;

  stall(): void {
    this.waiting ??= [];
  }

  goOn(): void {
    const { waiting = [] } = this;
    this.waiting = undefined;
    for (const request of waiting) super.request(...request);
  }

  override request(...request: Parameters<MemoryBroker['request']>): void {
    if (this.waiting === undefined) super.request(...request);
    else this.waiting.push(request);
  }
}

/** Keeps publications until the broker is back, as the Redis transport does for a while. */
class PatientTransport extends MemoryTransport {
  override async publish(channel: string, payload: string): Promise<boolean> {
    await firstValueFrom(this.status.pipe(filter(({ state }) => state === 'ready')));
    return super.publish(channel, payload);
  }
}

/** Gives a post up when its time is over, which the test decides; the broker may take it later all the same. */
class ImpatientTransport extends MemoryTransport {
  private readonly late = new Map<string, Deferred<boolean>>();
  /** The channels that were posted to. */
  readonly posted = new Queue<string>();
  /** Called before each post. */
  posting: (channel: string) => void = () => {};

  override publish(channel: string, payload: string): Promise<boolean> {
    this.posting(channel);
    const late = new Deferred<boolean>();
    this.late.set(channel, late);
    this.posted.push(channel);
    return Promise.race([super.publish(channel, payload), late.promise]);
  }

  giveUp(channel: string): void {
    this.late.get(channel)!.resolve(false);
  }
}

/** Misses what it is told to miss, and reports losses when it is told to. */
class LosingTransport extends MemoryTransport {
  isDeaf = false;
  /** The channels of what arrives. */
  readonly arrived = new Queue<string>();
  private told: TransportEvents = {};

  override start(receiver: TransportReceiver, events: TransportEvents): Promise<void> {
    this.told = events;
    return super.start(receiver, events);
  }

  override deliver(channel: string, ...payload: [string, Position?]): void {
    if (this.isDeaf) return;
    this.arrived.push(channel);
    super.deliver(channel, ...payload);
  }

  lose(name: string): void {
    this.told.lost?.(name, 'broker', 1_000);
  }
}

/** Lets the posts to one channel wait while others go on, as a Cluster that shards channels does while a slot moves. */
class OvertakingTransport extends MemoryTransport {
  isAsked = false;
  private readonly going = new Deferred();
  private outcome: Promise<boolean> | undefined = undefined;

  override publish(channel: string, payload: string): Promise<boolean> {
    if (channel !== 'news') return super.publish(channel, payload);
    return (this.outcome = this.going.promise.then(() => super.publish(channel, payload)));
  }

  async settled(): Promise<void> {
    this.isAsked = true;
    await this.outcome;
  }

  goOn(): void {
    this.going.resolve();
  }
}

/** A position of a server that does not exist. */
const madeUp = (): Position => ({ epoch: `${randomUUID()}.1.0.${'A'.repeat(16)}`, offset: 0 });

async function twoNodes(broker: MemoryBroker = new MemoryBroker(), options = {}) {
  return { broker, a: await GatewayNode.start(broker, options), b: await GatewayNode.start(broker, options) };
}

const move = (position: Position, change: Partial<Position>): Position => ({ ...position, ...change });
const byText = (one: unknown, other: unknown): number => (String(one) < String(other) ? -1 : 1);
function fakeTime(): void {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
}

/** Passes fake time, in steps between which nodes do their work. */
async function pass(ms: number): Promise<void> {
  for (let past = 0; past < ms; past += 100) {
    for (let count = 0; count < 5; count++) await turn();
    jest.advanceTimersByTime(100);
  }
}

/** The result of a promise, after as much fake time as it takes. On a busy machine, written data needs some. */
async function soon<T>(promise: Promise<T>): Promise<T> {
  const state = { isWaiting: true };
  const waiting = promise.finally(() => (state.isWaiting = false));
  while (state.isWaiting) await pass(100);
  return waiting;
}

const nameOf = (channel: unknown): string =>
  typeof channel === 'string' ? channel : (channel as { name: string }).name;
async function startedTransport(broker: MemoryBroker): Promise<MemoryTransport> {
  const transport = new MemoryTransport(broker);
  await transport.start(() => {});
  return transport;
}

/** A message of another server. */
function messageOf(node: string, serial: number, channel: string, data: string): string {
  return encodeEnvelope(
    channel,
    envelopePrefix(node),
    { postedAt: 1, serial },
    {
      data: JSON.stringify(data),
    },
  );
}

const textAt = (offset: number) => [offset, '{"channel":"news","at":1,"data":"x"}', 33];
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const answersOf = async (reader: StreamReader) =>
  (await reader.ready()).channels.map(({ channel, ...rest }) => {
    const { recovered, reason } = rest as { recovered?: boolean; reason?: string };
    return [channel, recovered, ...(reason === undefined ? [] : [reason])];
  });

describe('A client that comes back to its server', () => {
  test('gets missed messages, then live ones, and the stream continues in its epoch', async () => {
    const node = await GatewayNode.start();
    const first = await node.open('news');
    void node.post('news', 'read');
    expect(await first.next(1)).toEqual(['read']);
    first.close();
    for (const text of ['missed', 'missed too']) void node.post('news', text);

    const back = node.connect(first.wanted('news'));
    expect(await back.next(2)).toEqual(['missed', 'missed too']);
    const { channels } = await back.ready();
    const { epoch } = first.positions.get('news')!;
    expect(channels).toEqual([{ channel: 'news', position: { epoch, offset: 3 }, recovered: true }]);
    void node.post('news', 'live');
    expect(await back.next(1)).toEqual(['live']);
    expect(back.positions.get('news')).toEqual({ epoch, offset: 4 });
  });

  test('gets each post made while its stream begins once', async () => {
    const node = await GatewayNode.start();
    const first = await node.open('news');
    first.close();
    const back = node.connect(first.wanted('news'));
    void node.post('news', 'meanwhile');
    expect(await back.next(2)).toEqual(['meanwhile', 'messaging:ready']);
    void node.post('news', 'later');
    expect(await back.next(1)).toEqual(['later']);
    expect(back.pending).toEqual([]);
  });

  test('by a change gets missed messages too, in the stream, while the other channels continue', async () => {
    const node = await GatewayNode.start();
    const first = await node.open('news', 'other');
    first.close();
    void node.post('news', 'missed');
    const back = await node.open('other');
    const change = back.connection.subscribe(
      [{ channel: 'news' }, { channel: 'fresh' }],
      claimsOf(first.wanted('news')),
    );
    void node.post('other', 'goes on');
    await change;
    void node.post('fresh', 'heard');
    void node.post('news', 'not missed');
    const events = await back.next(6);
    expect(events.filter((event) => typeof event === 'string' && !event.startsWith('messaging:'))).toEqual(
      expect.arrayContaining(['goes on', 'heard', 'missed', 'not missed']),
    );
    expect(events.indexOf('missed')).toBeLessThan(events.indexOf('not missed'));
    expect(back.pending).toEqual([]);
  });

  test('that requests a channel again gets a position after the waiting messages, and nothing twice', async () => {
    const node = await GatewayNode.start();
    const reader = await node.open('news');
    const claims = claimsOf(reader.wanted('news'));
    for (const text of ['one', 'two']) void node.post('news', text);
    await reader.connection.subscribe([{ channel: 'news' }], claims);
    expect(await reader.next(2)).toEqual(['one', 'two']);
    expect(await reader.position()).toEqual({
      channels: [{ channel: 'news', position: reader.positions.get('news') }],
    });
    expect(reader.positions.get('news')!.offset).toBe(2);
    expect(reader.pending).toEqual([]);
  });

  test('and lost a channel meanwhile gets nothing of it, and learns of that', async () => {
    const node = await GatewayNode.start();
    const first = await node.open('news', 'other');
    first.close();
    void node.post('news', 'missed');
    const back = node.connect(first.wanted('news', 'other'));
    back.connection.withdraw(['news'], 'ended');
    expect(await answersOf(back)).toEqual([
      ['news', undefined],
      ['other', true],
    ]);
  });

  test('gets missed messages of its few channels, however many other channels strangers have opened and left', async () => {
    const node = await GatewayNode.start();
    const first = await node.open('quiet', 'other');
    first.close();
    const user = node.connect(['its own'], { user: 'al' });
    await user.ready();
    user.close();
    const perStranger = MAX_IDLE_FEEDS / 10;
    // One after another, from the same user and from strangers.
    for (let count = 0; count < 12; count++) {
      const names = Array.from({ length: perStranger }, (_, index) => `rooms/${count}-${index}`);
      const stranger = node.connect(names, count % 2 === 0 ? {} : { user: 'eve' });
      await stranger.ready();
      stranger.close();
    }
    expect(node.gateway['feeds']['idle'].size).toBe(MAX_IDLE_FEEDS);
    void node.post('quiet', 'missed');
    void node.post('its own', 'missed too');
    expect(await node.connect(first.wanted('quiet', 'other')).next(1)).toEqual(['missed']);
    expect(await node.connect(user.wanted('its own'), { user: 'al' }).next(1)).toEqual(['missed too']);
  });

  test('gets a gap for a loss of its server, in its place among the missed messages, and is recovered', async () => {
    const broker = new MemoryBroker();
    const node = await GatewayNode.start(broker);
    const here = await node.open('news');
    const first = await node.open('news');
    first.close();
    await node.post('news', 'before');
    broker.cut(node.transport);
    broker.heal();
    expect(await here.next(2)).toEqual(['before', 'gap broker']);
    await node.post('news', 'after');
    const back = node.connect(first.wanted('news'));
    expect(await back.next(3)).toEqual(['before', 'gap broker', 'after']);
    expect(await answersOf(back)).toEqual([['news', true]]);
    // Clients that were connected learn of it once, and have read past it.
    here.close();
    expect(await answersOf(node.connect(here.wanted('news')))).toEqual([['news', true]]);
  });

  test('gets one gap for messages that could not reach it while the broker was away', async () => {
    const broker = new MemoryBroker();
    const node = await GatewayNode.start(broker);
    broker.cut();
    const reader = await node.open('news');
    broker.heal();
    expect(await reader.next(1)).toEqual(['gap broker']);
    expect(reader.pending).toEqual([]);
  });
});

describe('Recovery is refused', () => {
  test('for messages read by another user or an anonymous client, on the same server and on another one', async () => {
    const { a, b } = await twoNodes();
    const al = a.connect(['secret', 'news'], { user: 'al' });
    const native = a.get(['secret', 'news'], undefined, { user: 'al' });
    await Promise.all([al.ready(), native.ready()]);
    for (const reader of [al, native]) reader.close();
    await a.post('secret', 'for al alone');
    for (const node of [a, b]) {
      for (const user of ['eve', undefined]) {
        const client = { ...(user && { user }) };
        expect(await answersOf(node.connect(al.wanted('secret'), client))).toEqual([['secret', false, 'epoch']]);
        const stranger = node.get(['secret', 'news'], native.lastEventId, client);
        expect(await stranger.next(3)).toEqual(['messaging:ready', 'gap epoch', 'gap epoch']);
      }
      const client = { user: 'al' };
      expect(await node.connect(al.wanted('secret'), client).next(1)).toEqual(['for al alone']);
      expect(await node.get(['secret', 'news'], native.lastEventId, client).next(1)).toEqual(['for al alone']);
    }
  });

  test.each<[string, string, (position: Position) => Position]>([
    [
      'forged',
      'epoch',
      (position) => move(position, { epoch: position.epoch.replace(/.$/, (last) => (last === 'x' ? 'y' : 'x')) }),
    ],
    ['of another admission', 'epoch', (position) => move(position, { epoch: position.epoch.replace('.2.', '.0.') })],
    ['from before the client was admitted', 'epoch', (position) => move(position, { offset: 1 })],
    ['from the future', 'epoch', (position) => move(position, { offset: 1_000 })],
    ['no epoch', 'epoch', (position) => move(position, { epoch: '' })],
    ['of a missing node', 'node', (position) => move(position, { epoch: position.epoch.replace(/^.{8}/, '00000000') })],
  ])('with a gap, and no earlier message, for a position that is %s', async (_what, reason, changed) => {
    const node = await GatewayNode.start(new MemoryBroker());
    const others = await node.open('news');
    for (const text of ['secret', 'secret too']) await node.post('news', text);
    const first = await node.open('news');
    await node.post('news', 'missed');
    const position = changed(first.positions.get('news')!);
    expect(position).not.toEqual(first.positions.get('news'));
    fakeTime();
    const back = node.connect([{ channel: 'news', position: changed({ ...first.positions.get('news')!, offset: 2 }) }]);
    expect(await soon(answersOf(back))).toEqual([['news', false, reason]]);
    expect(back.raw).toHaveLength(1);
    await node.post('news', 'live');
    expect(await soon(back.next(1))).toEqual(['live']);
    expect(await soon(others.next(4))).toEqual(['secret', 'secret too', 'missed', 'live']);
  });

  test('with a gap for the position of another channel', async () => {
    const node = await GatewayNode.start();
    const first = await node.open('mine', 'other');
    void node.post('other', 'not yours');
    const back = node.connect([{ channel: 'other', position: first.positions.get('mine')! }]);
    expect(await answersOf(back)).toEqual([['other', false, 'epoch']]);
  });

  test('with a gap for the position of a log that this server has closed', async () => {
    const node = await GatewayNode.start(undefined, { recoveryMs: 0 });
    const first = await node.open('news');
    first.close();
    const back = node.connect(first.wanted('news'));
    expect(await answersOf(back)).toEqual([['news', false, 'epoch']]);
  });

  test('with a gap in a channel with too many missed messages, but not in a quiet one', async () => {
    const node = await GatewayNode.start(undefined, { maxBufferedBytes: 10_000 });
    const first = await node.open('busy', 'quiet', 'other');
    first.close();
    void node.post('quiet', 'kept');
    for (let count = 0; count < 100; count++) void node.post('busy', 'x'.repeat(1_000));
    void node.post('other', 'kept too');
    const back = node.connect(first.wanted('busy', 'quiet', 'other'));
    expect(await back.next(2)).toEqual(['kept', 'kept too']);
    expect(await answersOf(back)).toEqual([
      ['busy', false, 'trimmed'],
      ['quiet', true],
      ['other', true],
    ]);
  });

  test('with a gap in the busiest channels if all together exceed the buffer of a client', async () => {
    const node = await GatewayNode.start(undefined, { maxBufferedBytes: 10_000 });
    const names = Array.from({ length: 10 }, (_, index) => `c/${index}`);
    const first = await node.open(...names);
    first.close();
    names.forEach((name, index) => void node.post(name, 'x'.repeat(500 + 300 * index)));
    const back = node.connect(first.wanted(...names));
    const answers = await answersOf(back);
    expect(answers.map(([, recovered]) => recovered)).toEqual(names.map((_, index) => index < 6));
  });
});

test('A client with 1,000 channels of long names gets the missed messages of each', async () => {
  const node = await GatewayNode.start();
  const names = Array.from({ length: 1_000 }, (_, index) => `${'x'.repeat(62)}${String(index).padStart(4, '0')}`);
  const first = await node.open(...names);
  first.close();
  for (const name of names) void node.post(name, name);
  // Each request has as many as its body holds.
  const back = await node.open();
  for (let from = 0; from < 1_000; from += 200) {
    const some = names.slice(from, from + 200);
    await back.connection.subscribe(
      some.map((channel) => ({ channel })),
      claimsOf(first.wanted(...some)),
    );
  }
  const got: unknown[] = [];
  while (got.length < 1_000) got.push(...(await back.next(1)).filter((text) => !String(text).startsWith('messaging:')));
  expect(got).toEqual(names);
  expect(back.raw.join('')).not.toContain('"recovered":false');
});

describe('A client that comes from another server', () => {
  test('gets missed messages once, in order', async () => {
    const { a, b } = await twoNodes();
    await b.open('news');
    const first = await a.open('news');
    await a.post('news', 1);
    expect(await first.next(1)).toEqual([1]);
    first.close();
    await a.post('news', 2);
    await b.post('news', 3);
    void a.hub.post('news', 'only there');
    const back = b.connect(first.wanted('news'));
    expect(await back.next(3)).toEqual([2, 3, 'only there']);
    expect(await answersOf(back)).toEqual([['news', true]]);
    await b.post('news', 4);
    expect(await back.next(1)).toEqual([4]);
    expect([...a.reporter.rejections, ...b.reporter.rejections, ...a.reporter.callbackFailures]).toEqual([]);
  });

  test('gets nothing twice and nothing out of order if posts reach that server late because the broker stood still', async () => {
    const broker = new StallingBroker();
    const { a, b } = await twoNodes(broker);
    const there = await b.open('news');
    const first = await a.open('news');
    await a.post('news', 1);
    expect(await first.next(1)).toEqual([1]);
    broker.stall();
    const posts = [2, 3].map((number) => a.post('news', number));
    expect(await first.next(2)).toEqual([2, 3]);
    first.close();
    const back = b.connect(first.wanted('news'));
    const own = b.post('news', 'of the other server');
    await turn();
    broker.goOn();
    await Promise.all([...posts, own]);
    await a.post('news', 4);
    expect((await back.next(3)).toSorted(byText)).toEqual([4, 'messaging:ready', 'of the other server']);
    expect(back.pending).toEqual([]);
    expect((await there.next(5)).toSorted(byText)).toEqual([1, 2, 3, 4, 'of the other server']);
  });

  test('continues exactly, on that server and on a third one, wherever its stream breaks off', async () => {
    const broker = new StallingBroker();
    const { a, b } = await twoNodes(broker);
    const c = await GatewayNode.start(broker);
    await b.open('news');
    const first = await a.open('news');
    broker.stall();
    // In the log of b: its own ones, then those of a. The client has read the first two of a.
    const posts = [b.post('news', 'b1'), a.post('news', 'a1'), b.post('news', 'b2'), a.post('news', 'a2')];
    expect(await first.next(2)).toEqual(['a1', 'a2']);
    first.close();
    const back = b.connect(first.wanted('news'));
    await turn();
    posts.push(b.post('news', 'b3'));
    broker.goOn();
    await Promise.all(posts);
    await a.post('news', 'a3');
    const got = await back.next(5);
    expect(got.filter((text) => text !== 'messaging:ready')).toEqual(['b1', 'b2', 'b3', 'a3']);
    // Each place at which the stream could have broken off.
    const places = new Map<string, Position>();
    let position = first.positions.get('news')!;
    const seen: unknown[] = [];
    for (const text of back.raw) {
      if (text.includes('messaging:ready')) {
        position = (JSON.parse(/^data: (.*)$/m.exec(text)![1]!) as { channels: { position: Position }[] }).channels[0]!
          .position;
      } else {
        for (const [, id, data] of text.matchAll(/^id: (\d+)\ndata: .*"data":"(.*)"\}$/gm)) {
          seen.push(data);
          position = { epoch: position.epoch, offset: Number(id) };
          places.set(seen.join(), position);
        }
      }
      places.set(seen.join(), position);
    }
    for (const [read, place] of places) {
      const rest = ['b1', 'b2', 'b3', 'a3'].slice(read === '' ? 0 : read.split(',').length);
      for (const node of [a, b, c]) {
        const again = node.connect([{ channel: 'news', position: place }]);
        const events = await again.next(rest.length + 1);
        expect([read, ...events.filter((text) => text !== 'messaging:ready')]).toEqual([read, ...rest]);
        expect(again.raw.join('')).toContain('"recovered":true');
        again.close();
      }
    }
  });

  test('gets nothing twice that it read there while another client was already here', async () => {
    const { a, b } = await twoNodes();
    await b.open('news');
    const [early, late] = [await a.open('news'), await a.open('news')];
    early.close();
    await a.post('news', 1);
    const first = b.connect(early.wanted('news'));
    expect(await first.next(2)).toEqual([1, 'messaging:ready']);
    await a.post('news', 2);
    expect(await late.next(2)).toEqual([1, 2]);
    late.close();
    const second = b.connect(late.wanted('news'));
    expect(await second.next(1)).toEqual(['messaging:ready']);
    await a.post('news', 3);
    expect(await second.next(1)).toEqual([3]);
    // Nor does a client that asks while the other one's question is on its way.
    const third = await a.open('news');
    third.close();
    const others = [b.connect(early.wanted('news'))];
    await a.post('news', 4);
    await turn();
    others.push(b.connect(third.wanted('news')));
    expect((await others[0]!.next(5)).filter((text) => text !== 'messaging:ready')).toEqual([1, 2, 3, 4]);
    expect((await others[1]!.next(2)).toSorted(byText)).toEqual([4, 'messaging:ready']);
  });

  test('gets both copies of a message that it has by the name of a channel and by a template', async () => {
    const { a, b } = await twoNodes();
    const names = ['rooms/1', Rooms.name];
    const first = await a.open(...names);
    await b.open(...names);
    first.close();
    await a.post('rooms/1', 'hello');
    const back = b.connect(first.wanted(...names));
    expect(await back.next(2)).toEqual(['hello', 'hello']);
    expect(await answersOf(back)).toEqual([
      ['rooms/1', true],
      ['rooms/:roomId', true],
    ]);
    back.close();
    await b.post('rooms/1', 'again');
    expect(await b.connect(back.wanted(...names)).next(2)).toEqual(['again', 'again']);
  });

  test('learns once that its server is gone, and gets nothing that it may have read', async () => {
    const { a, b } = await twoNodes();
    await b.open('news');
    const first = await a.open('news');
    await a.post('news', 'read');
    expect(await first.next(1)).toEqual(['read']);
    await a.hub.close();
    fakeTime();
    const back = b.connect(first.wanted('news'));
    await b.post('news', 'meanwhile');
    expect(await soon(answersOf(back))).toEqual([['news', false, 'node']]);
    await b.post('news', 'live');
    expect(await soon(back.next(1))).toEqual(['live']);
    expect(b.reporter.rejections).toEqual([]);
  });

  test('gets nothing twice if its server was cut off only for a moment, with posts that waited', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await GatewayNode.start(new PatientTransport(broker)), await GatewayNode.start(broker)];
    const first = await a.open('news');
    broker.cut(a.transport);
    void a.post('news', 'read');
    expect(await first.next(1)).toEqual(['read']);
    first.close();
    fakeTime();
    const back = b.connect(first.wanted('news'));
    // Nearly as long as posts may wait.
    await pass(1_900);
    broker.heal();
    await pass(10_000);
    // The question could be sent again, but there was a loss meanwhile.
    expect(await soon(back.next(1))).toEqual(['gap broker']);
    expect(await soon(answersOf(back))).toEqual([['news', true]]);
    await b.post('news', 'live');
    expect(await soon(back.next(1))).toEqual(['live']);
  });

  test('gets nothing twice if it leaves a server that is cut off when this one has already been given up for others', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await GatewayNode.start(new PatientTransport(broker)), await GatewayNode.start(broker)];
    const [first, second] = [await a.open('news'), await a.open('news')];
    broker.cut(a.transport);
    first.close();
    fakeTime();
    const gone = b.connect(first.wanted('news'));
    expect(await soon(answersOf(gone))).toEqual([['news', false, 'node']]);
    void a.post('news', 'read');
    expect(await second.next(1)).toEqual(['read']);
    second.close();
    const back = b.connect(second.wanted('news'));
    await pass(1_000);
    broker.heal();
    await soon(gone.next(1));
    await b.post('news', 'live');
    const told = await soon(back.next(3));
    expect(told.filter((each) => !/messaging:ready|gap/.test(String(each)))).toEqual(['live']);
  });

  test('is let in sooner if its server is gone and it has read nothing for a while', async () => {
    const { a, b } = await twoNodes();
    const first = await a.open('news');
    await a.hub.close();
    fakeTime();
    const [long, short] = [3_000, 1_000].map((awayMs) => b.connect(first.wanted('news'), { awayMs }));
    await pass(1_200);
    expect([long, short].map((each) => each!.pending)).toEqual([[], []]);
    await pass(200);
    expect([long, short].map((each) => each!.pending)).toEqual([['messaging:ready'], []]);
    await pass(300);
    expect(short!.pending).toEqual(['messaging:ready']);
    // It is known by now.
    const [later, silent] = [b.connect(first.wanted('news'), { awayMs: 3_000 }), b.connect(first.wanted('news'))];
    await pass(100);
    expect([later, silent].map((each) => each.pending)).toEqual([['messaging:ready'], []]);
    await pass(2_500);
    expect(await answersOf(silent)).toEqual([['news', false, 'node']]);
  });

  test('is let in soon if its server goes while it is asked', async () => {
    const { a, b } = await twoNodes();
    const first = await a.open('news');
    const asked = jest.spyOn(a.gateway['answers'], 'answer').mockReturnValue(new Promise(() => {}));
    fakeTime();
    const back = b.connect(first.wanted('news'), { awayMs: 10_000 });
    await pass(100);
    expect(asked).toHaveBeenCalledTimes(1);
    await a.hub.close();
    await pass(1_900);
    expect(back.pending).toEqual(['messaging:ready']);
    expect(await answersOf(back)).toEqual([['news', false, 'node']]);
  });

  test('learns that the broker is away if its server cannot be asked', async () => {
    const { broker, a, b } = await twoNodes();
    const first = await a.open('news');
    fakeTime();
    broker.cut(b.transport);
    expect(await soon(answersOf(b.connect(first.wanted('news'))))).toEqual([['news', false, 'broker']]);
  });

  test.each(['former', 'new'])(
    'gets once what its %s server has posted and the broker has not taken',
    async (which) => {
      const broker = new MemoryBroker();
      const a = await GatewayNode.start(new OvertakingTransport(broker));
      const b = await GatewayNode.start(new OvertakingTransport(broker));
      const first = await a.open('news');
      first.close();
      await b.open('news');
      const poster = which === 'former' ? a : b;
      void poster.post('news', 'waits');
      const back = b.connect(first.wanted('news'));
      // Without waiting for the broker, the client would be back already.
      while (!poster.transport!.isAsked && !back.pending.includes('messaging:ready')) await turn();
      poster.transport!.goOn();
      await poster.post('news', 'live');
      await poster.post('news', 'end');
      const told = await back.next(4);
      expect(told.filter((each) => each !== 'messaging:ready')).toEqual(['waits', 'live', 'end']);
    },
  );

  test.each([
    ['former', 'node'],
    ['new', 'broker'],
  ])('has a gap if the posts of its %s server are not answered', async (which, reason) => {
    const { a, b } = await twoNodes();
    const first = await a.open('news');
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
    jest.spyOn((which === 'former' ? a : b).hub, 'settled').mockReturnValue(new Promise(() => {}));
    expect(await soon(answersOf(b.connect(first.wanted('news'))))).toEqual([['news', false, reason]]);
  });

  test.each(['former', 'new'])('learns that the broker fails if its %s server cannot catch up', async (which) => {
    const { a, b } = await twoNodes();
    const first = await a.open('news');
    fakeTime();
    const catchUp = jest.spyOn((which === 'former' ? a : b).hub, 'catchUp').mockResolvedValue(false);
    const expected = which === 'former' ? 'node' : 'broker';
    expect(await soon(answersOf(b.connect(first.wanted('news'))))).toEqual([['news', false, expected]]);
    expect(catchUp).toHaveBeenCalled();
  });

  test('gets missed messages when the broker is back after a moment', async () => {
    const { broker, a, b } = await twoNodes();
    const first = await a.open('news');
    fakeTime();
    broker.cut(b.transport);
    first.close();
    await a.post('news', 'missed');
    const back = b.connect(first.wanted('news'));
    await pass(5_000);
    expect(back.pending).toEqual([]);
    broker.heal();
    await pass(500);
    expect(await soon(back.next(1))).toEqual(['missed']);
    expect(await soon(answersOf(back))).toEqual([['news', true]]);
    await a.post('news', 'live');
    expect(await soon(back.next(1))).toEqual(['live']);
  });

  test.each([
    ['stands still for so long that the question is given up', 0],
    ['does so and is away afterwards, twice', 2],
  ])('gets missed messages if the broker %s', async (_what, times) => {
    const broker = new StallingBroker();
    const a = await GatewayNode.start(broker);
    const b = await GatewayNode.start(new ImpatientTransport(broker));
    const first = await a.open('news');
    first.close();
    await a.post('news', 'missed');
    const transport = b.transport!;
    transport.posting = (channel) => channel === a.channel && broker.stall();
    const back = b.connect(first.wanted('news'));
    await transport.posted.until((channel) => channel === a.channel);
    transport.posting = () => {};
    // The node waits behind everything that the broker has not handled.
    const nodes = b.gateway['nodes'];
    const barrier = nodes.barrier.bind(nodes);
    const barriers = new Queue<undefined>();
    jest.spyOn(nodes, 'barrier').mockImplementation(() => {
      barriers.push(undefined);
      return barrier();
    });
    transport.giveUp(a.channel);
    for (let count = 0; count < times; count++) {
      await barriers.next();
      broker.cut(transport);
      broker.heal(transport);
      broker.goOn();
      broker.stall();
    }
    await barriers.next();
    broker.goOn();
    expect(await back.next(2)).toEqual(['missed', 'messaging:ready']);
    await a.post('news', 'live');
    expect(await back.next(1)).toEqual(['live']);
  });

  test('learns that the broker fails if it takes other posts, but no question to that server', async () => {
    const broker = new MemoryBroker();
    const a = await GatewayNode.start(broker);
    const b = await GatewayNode.start(new ImpatientTransport(broker));
    const first = await a.open('news');
    let questions = 0;
    jest.spyOn(b.transport!, 'publish').mockImplementation(async (channel) => {
      if (channel === a.channel) questions++;
      return channel !== a.channel;
    });
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
    expect(await soon(answersOf(b.connect(first.wanted('news'))))).toEqual([['news', false, 'broker']]);
    // It asks again for a while, at intervals.
    expect(questions).toBeGreaterThan(5);
    expect(questions).toBeLessThan(61);
  });

  test('gets a gap for messages that the server no longer has or does not know', async () => {
    const { a, b } = await twoNodes(undefined, { maxBufferedBytes: 3_000 });
    const first = await a.open('busy', 'quiet');
    const [busy, quiet] = [first.positions.get('busy')!, first.positions.get('quiet')!];
    for (let count = 0; count < 10; count++) await a.post('busy', 'x'.repeat(1_000));
    await a.post('quiet', 'missed');
    const forged = { ...quiet, epoch: quiet.epoch.replace(/.$/, (end) => (end === 'A' ? 'B' : 'A')) };
    const back = b.connect([
      { channel: 'busy', position: busy },
      { channel: 'quiet', position: quiet },
      { channel: 'other', position: quiet },
    ]);
    expect(await back.next(1)).toEqual(['missed']);
    expect(await answersOf(back)).toEqual([
      ['busy', false, 'trimmed'],
      ['quiet', true],
      ['other', false, 'epoch'],
    ]);
    expect(await answersOf(b.connect([{ channel: 'quiet', position: forged }]))).toEqual([['quiet', false, 'epoch']]);
  });

  test.each([
    ['names an invalid channel', ['x'.repeat(300)], '1.0,1.0~AAAAAAAAAAAAAAAA~0,0'],
    ['requests an invalid channel', ['x'.repeat(300)], '1.0,~AAAAAAAAAAAAAAAA~0,'],
    ['names nothing', [''], '1.0,1.0~AAAAAAAAAAAAAAAA~0,0'],
  ])('gets missed messages even if a stranger %s at the same time', async (_case, names, forged) => {
    const { a, b } = await twoNodes();
    const first = await a.open('news');
    first.close();
    await a.post('news', 'missed');
    const asked = ['news', ...names];
    const id = `${a.hub.node}~${forged}`;
    const strangers = [b.get(asked, id, { refused: names }), b.get(asked, id, { refused: names })];
    const back = b.connect(first.wanted('news'));
    expect(await back.next(1)).toEqual(['missed']);
    expect(await answersOf(back)).toEqual([['news', true]]);
    for (const stranger of strangers) expect(await stranger.next(2)).toEqual(['messaging:ready', 'gap epoch']);
    expect([a, b].flatMap(({ reporter }) => [reporter.rejections, reporter.callbackFailures].flat())).toEqual([]);
  });

  test('gets missed messages, however many invented servers others name, which cost the broker next to nothing', async () => {
    const { a, b } = await twoNodes();
    const first = await a.open('news');
    first.close();
    await a.post('news', 'missed');
    const [asks, looks] = [jest.spyOn(b.hub, 'post'), jest.spyOn(b.hub, 'hearers')];
    const listens = jest.spyOn(b.hub, 'listen');
    fakeTime();
    const names = Array.from({ length: 500 }, (_, index) => `rooms/${index}`);
    const strangers = Array.from({ length: 3 }, () =>
      b.connect(names.map((channel) => ({ channel, position: madeUp() }))),
    );
    const back = b.connect(first.wanted('news'));
    expect(await soon(back.next(1))).toEqual(['missed']);
    expect(await soon(answersOf(back))).toEqual([['news', true]]);
    for (const stranger of strangers) {
      expect((await soon(answersOf(stranger))).map(([, ...rest]) => rest)).toEqual(names.map(() => [false, 'node']));
    }
    const sent = asks.mock.calls.map(([channel]) => nameOf(channel));
    expect(sent.filter((name) => name.startsWith('messaging:node/'))).toEqual([a.channel]);
    // Four of each, with checks until they are given up.
    expect(looks.mock.calls.length).toBeLessThan(3 * 4 * 12 + 5);
    const barriers = listens.mock.calls.filter(([channel]) => nameOf(channel).startsWith('messaging:barrier/'));
    expect(barriers.length).toBeLessThan(12);
    // Nothing continues after it.
    expect(b.gateway['nodes']['pending'].size).toBe(0);
    expect(b.gateway['context'].recovery['others'].size).toBe(0);
  });

  test('from too many servers gets a gap in the channels of the last ones, and recovers the others', async () => {
    const broker = new MemoryBroker();
    const nodes = await Promise.all(Array.from({ length: 6 }, () => GatewayNode.start(broker)));
    const here = nodes.pop()!;
    const wanted = await Promise.all(
      nodes.map(async (node, index) => {
        const first = await node.open(`rooms/${index}`);
        first.close();
        return first.wanted(`rooms/${index}`)[0]!;
      }),
    );
    expect(await answersOf(here.connect(wanted))).toEqual([
      ...[0, 1, 2, 3].map((index) => [`rooms/${index}`, true]),
      ['rooms/4', false, 'node'],
    ]);
  });

  test('gets a gap for a loss of its former server', async () => {
    const { broker, a, b } = await twoNodes();
    await b.open('news');
    const first = await a.open('news');
    first.close();
    broker.cut(a.transport);
    await b.post('news', 'lost there');
    broker.heal();
    await b.post('news', 'heard by both');
    const back = b.connect(first.wanted('news'));
    expect(await back.next(2)).toEqual(['gap broker', 'heard by both']);
    expect(await answersOf(back)).toEqual([['news', true]]);
  });

  test('gets a gap for a loss of its former server that waits behind the question there, until revocations are read', async () => {
    const broker = new MemoryBroker();
    const transport = new LosingTransport(broker);
    const [a, b] = [await GatewayNode.start(transport), await GatewayNode.start(broker)];
    await b.open('news');
    const first = await a.open('news');
    first.close();
    // It takes longer than a gate lets messages through at a time.
    a.hub.listen(
      defineChannel('slow'),
      () => {
        for (const start = performance.now(); performance.now() - start < 20;);
      },
      a.hub.own,
      'a slow listener',
    );
    transport.isDeaf = true;
    await b.post('news', 'lost there');
    transport.isDeaf = false;
    const check = new Deferred();
    void a.hub.gate.guard(
      () => check.promise,
      () => true,
    );
    const back = b.connect(first.wanted('news'));
    await transport.arrived.until((channel) => channel === a.channel);
    await b.post('slow', 'behind the question');
    transport.lose('news');
    check.resolve();
    expect(await back.next(1)).toEqual(['gap broker']);
    expect(await answersOf(back)).toEqual([['news', true]]);
  });

  test('gets lost messages instead of a gap if its new server has a loss while it comes and others had the channel before', async () => {
    const broker = new MemoryBroker();
    const a = await GatewayNode.start(broker);
    const b = await GatewayNode.start(new PatientTransport(broker));
    await b.open('news');
    const first = await a.open('news');
    broker.cut(b.transport);
    const back = b.connect(first.wanted('news'));
    void a.post('news', 'missed by the new server');
    await turn();
    broker.heal();
    expect(await back.next(2)).toEqual(['missed by the new server', 'messaging:ready']);
    expect(back.pending).toEqual([]);
    await a.post('news', 'live');
    expect(await back.next(1)).toEqual(['live']);
  });

  test('names its former connection, so that a leaving server need not wait for it', async () => {
    const { a, b } = await twoNodes();
    const asked: unknown[] = [];
    Object.assign(a.gateway['answers'], { asked: (from: unknown) => asked.push(from) });
    const first = a.connect(['news'], { user: 'al' });
    await first.ready();
    first.close();
    const back = b.connect(first.wanted('news'), { from: first.connection.id, user: 'al' });
    await back.ready();
    expect(asked).toEqual([[[first.connection.id, positionOwner({ userId: 'al' })]]]);
  });

  test('gets more than one answer can hold, and a gap in place of a message that fits into none', async () => {
    const { a, b } = await twoNodes(undefined, { limits: { maxMessageBytes: 5_000 } });
    const first = await a.open('news');
    first.close();
    const texts = Array.from({ length: 20 }, (_, index) => String(index).padStart(900, '.'));
    for (const text of texts) await a.post('news', text);
    await a.post('news', '"'.repeat(1_200));
    const back = b.connect(first.wanted('news'));
    expect(await back.next(21)).toEqual([...texts, 'gap trimmed']);
    expect(await answersOf(back)).toEqual([['news', true]]);
  });

  test('is recovered with 199 others that missed 600 kB each, with one question to that server', async () => {
    const { a, b } = await twoNodes();
    const clients = await Promise.all(Array.from({ length: 200 }, () => a.open('news')));
    for (const client of clients) client.close();
    for (let count = 0; count < 600; count++) await a.post('news', 'x'.repeat(1_000));
    let reads = 0;
    const { log } = a.gateway['feeds'].get('news')!;
    const read = log.read.bind(log);
    log.read = (...args) => {
      reads++;
      return read(...args);
    };
    const back = clients.map((client) => b.connect(client.wanted('news')));
    for (const client of back) expect(await answersOf(client)).toEqual([['news', true]]);
    expect(reads).toBeLessThanOrEqual(2);
    expect(new Set(back.map(({ frames }) => frames[0])).size).toBe(1);
    expect(back[0]!.frames[0]!.bytes.length).toBeGreaterThan(600_000);
  });

  test('is recovered with 399 others that missed other channels, more together than one answer holds', async () => {
    const { a, b } = await twoNodes();
    const names = Array.from({ length: 400 }, (_, index) => `rooms/${index}`);
    const clients = await Promise.all(names.map((name) => a.open(name)));
    for (const client of clients) client.close();
    for (const name of names) await a.post(name, 'x'.repeat(6_000));
    const back = clients.map((client, index) => b.connect(client.wanted(names[index]!)));
    const answers = await Promise.all(back.map(answersOf));
    expect(answers.flat()).toEqual(names.map((name) => [name, true]));
    expect(b.reporter.rejections).toEqual([]);
  });

  test('is recovered in 780 channels with messages of 30 other servers each', async () => {
    const { broker, a, b } = await twoNodes();
    const names = Array.from({ length: 780 }, (_, index) => `rooms/${index}`);
    const stays = await a.open(...names);
    const others = Array.from({ length: 30 }, () => randomUUID());
    const transport = await startedTransport(broker);
    for (const name of names) {
      for (const other of others) await transport.publish(name, messageOf(other, 1, name, 'early'));
    }
    await a.post('rooms/0', 'missed');
    stays.close();
    const back = b.connect(stays.wanted(...names));
    expect((await answersOf(back)).filter(([, isRecovered]) => isRecovered !== true)).toEqual([]);
    expect(b.reporter.rejections).toEqual([]);
  });

  test('gets missed messages of channels with names too long for one question', async () => {
    const { a, b } = await twoNodes();
    const names = Array.from({ length: 900 }, (_, index) => `${'語'.repeat(240)}${index}`);
    const first = await a.open(...names);
    first.close();
    for (const name of names) await a.post(name, 'missed');
    const back = b.connect(first.wanted(...names));
    expect(await back.next(900)).toEqual(names.map(() => 'missed'));
    expect((await answersOf(back)).filter(([, isRecovered]) => isRecovered !== true)).toEqual([]);
  });

  test('gets missed messages by smaller questions if that server finds its answer too long', async () => {
    const { a, b } = await twoNodes();
    const names = Array.from({ length: 10 }, (_, index) => `rooms/${index}`);
    const clients = await Promise.all(names.map((name) => a.open(name)));
    for (const client of clients) client.close();
    for (const name of names) await a.post(name, name);
    const { answers } = a.gateway as unknown as { answers: { answer(value: unknown): Promise<unknown> } };
    const answer = answers.answer.bind(answers);
    answers.answer = async (value) => {
      const { claims, reads } = (value as { recover?: never; claims: unknown[]; reads: unknown[] }) ?? {};
      if (claims.length + reads.length > 1) throw new LimitExceededError('too long');
      return answer(value);
    };
    const back = clients.map((client, index) => b.connect(client.wanted(names[index]!)));
    expect((await Promise.all(back.map(answersOf))).flat()).toEqual(names.map((name) => [name, true]));
  });

  test('gets missed messages of other channels if the answer about one is invalid', async () => {
    const { a, b } = await twoNodes();
    const first = await a.open('one', 'two');
    first.close();
    await a.post('one', 'missed');
    // More than one turn reads.
    const texts = Array.from({ length: 1_100 }, (_, index) => index);
    for (const text of texts) await a.post('two', text);
    const { log } = a.gateway['feeds'].get('one')!;
    Object.assign(log, { vector: () => ({ toJSON: () => 'no vector' }) });
    const back = b.connect(first.wanted('one', 'two'));
    expect(await back.next(1_100)).toEqual(texts);
    expect(await answersOf(back)).toEqual([
      ['one', false, 'node'],
      ['two', true],
    ]);
  });

  test('is recovered after a message of a server with an id of maximum length', async () => {
    const { broker, a, b } = await twoNodes();
    const first = await a.open('news');
    const transport = await startedTransport(broker);
    await transport.publish('news', messageOf('n'.repeat(MAX_NODE_LENGTH), 1, 'news', 'read'));
    expect(await first.next(1)).toEqual(['read']);
    first.close();
    await a.post('news', 'missed');
    const back = b.connect(first.wanted('news'));
    expect(await back.next(1)).toEqual(['missed']);
    expect(await answersOf(back)).toEqual([['news', true]]);
  });

  test.each<[string, (asked: number, after: number) => unknown[]]>([
    ['nothing else', () => []],
    ['always the same', () => [textAt(1)]],
    [
      'more than it can have kept',
      (_asked, after) => Array.from({ length: 1_000 }, (_, index) => textAt(after + index + 1)),
    ],
  ])('is not disturbed by a server that always reports more, and sends %s', async (_what, entriesOf) => {
    const { a, b } = await twoNodes(undefined, { maxBufferedBytes: 500_000 });
    const first = await a.open('news');
    first.close();
    let asked = 0;
    const answer = ({ claims, reads }: { claims: unknown[]; reads: [string, number][] }) => ({
      verdicts: claims.map(() => []),
      reads: reads.map(([, after]) => ({ after, entries: entriesOf(++asked, after), vector: null, hasMore: true })),
    });
    Object.assign(a.gateway['answers'], { answer });
    const back = b.connect(first.wanted('news'));
    expect(await answersOf(back)).toEqual([['news', false, 'node']]);
    expect(asked).toBeLessThan(20);
    expect(b.reporter.rejections).toMatchObject([{ error: { code: 'INVALID_MESSAGE' } }]);
  });

  test('causes no further question after it has left again', async () => {
    const { a, b } = await twoNodes();
    const first = await a.open('news');
    first.close();
    const asked = new Queue<() => void>();
    const answer = ({ claims, reads }: { claims: unknown[]; reads: [string, number][] }) =>
      new Promise((resolve) =>
        asked.push(() =>
          resolve({
            verdicts: claims.map(() => []),
            reads: reads.map(([, after]) => ({ after, entries: [textAt(after + 1)], vector: null, hasMore: true })),
          }),
        ),
      );
    Object.assign(a.gateway['answers'], { answer });
    const back = b.connect(first.wanted('news'));
    for (let count = 0; count < 3; count++) (await asked.take(1))[0]!();
    const [last] = await asked.take(1);
    back.close();
    last!();
    for (let count = 0; count < 50; count++) await turn();
    expect(asked.pending).toEqual([]);
    expect([...b.gateway['context'].recovery['others']]).toEqual([]);
  });

  test('gets the messages read for others, whoever asks for foreign ones in between', async () => {
    const { a, b } = await twoNodes();
    const first = await a.open('news');
    first.close();
    await a.post('news', 'missed');
    const read = jest.spyOn(a.gateway['feeds'].get('news')!.log, 'read');
    const { epoch } = first.positions.get('news')!;
    const wanted = [first.wanted('news'), [{ channel: 'news', position: { epoch, offset: Number.MAX_SAFE_INTEGER } }]];
    const answers = [];
    for (const each of [0, 1, 0, 1, 0]) answers.push(...(await answersOf(b.connect(wanted[each]!))));
    expect(answers.map(([, isRecovered]) => isRecovered)).toEqual([true, false, true, false, true]);
    expect(read).toHaveBeenCalledTimes(1);
  });

  test('causes few reads of its missed messages there, however often it comes and from wherever in the log', async () => {
    const { a, b } = await twoNodes();
    const first = await a.open('news');
    for (let count = 0; count < 100; count++) await a.post('news', 'x'.repeat(1_000));
    await first.next(100);
    const position = first.positions.get('news')!;
    const read = jest.spyOn(a.gateway['feeds'].get('news')!.log, 'read');
    let missed = 0;
    // Each one from further back, alternating with clients that have read to the end of a growing log.
    for (let back = 1; back <= 50; back++) {
      await a.post('news', 'x'.repeat(1_000));
      const { offset: end } = (await first.next(1), first.positions.get('news')!);
      const latest = b.connect([{ channel: 'news', position: move(position, { offset: end }) }]);
      const early = b.connect([{ channel: 'news', position: move(position, { offset: position.offset - back }) }]);
      expect(await answersOf(latest)).toEqual([['news', true]]);
      expect(await answersOf(early)).toEqual([['news', true]]);
      for (const reader of [latest, early]) reader.close();
    }
    for (const { value } of read.mock.results) missed += (value as { entries: unknown[] }).entries.length;
    // All of it once or twice, and again after the cached answer expires; not 50 times.
    expect(missed).toBeLessThan(1_000);
  });

  test('costs that server only a look at its position if that is forged', async () => {
    const { a, b } = await twoNodes();
    const first = await a.open('news');
    first.close();
    await a.post('news', 'x'.repeat(10_000));
    const read = jest.spyOn(a.gateway['feeds'].get('news')!.log, 'read');
    const { epoch } = first.positions.get('news')!;
    const forged = { epoch: `${epoch.slice(0, -3)}xxx`, offset: 0 };
    expect(await answersOf(b.connect([{ channel: 'news', position: forged }]))).toEqual([['news', false, 'epoch']]);
    expect(read).not.toHaveBeenCalled();
    // Nor does it disturb an honest client that asks meanwhile.
    const back = b.connect([{ channel: 'news', position: forged }]);
    await turn();
    const honest = b.connect(first.wanted('news'));
    expect(await answersOf(back)).toEqual([['news', false, 'epoch']]);
    expect(await honest.next(1)).toEqual(['x'.repeat(10_000)]);
    expect(await answersOf(honest)).toEqual([['news', true]]);
  });

  test.each([
    [null],
    ['nothing'],
    [{ reads: [], verdicts: [[]] }],
    [{ reads: [null], verdicts: [] }],
    [{ reads: [{ after: 0, entries: { length: 1e9 }, vector: [] }], verdicts: [[]] }],
    [{ reads: [{ after: -1, entries: [], vector: [] }], verdicts: [[]] }],
    [{ reads: [{ after: 0, entries: [[1, '{"channel":"secret","at":1,"data":1}', 5]], vector: [] }], verdicts: [[]] }],
    [{ reads: [{ after: 0, entries: [[1, 'no JSON', 5]], vector: [] }], verdicts: [[]] }],
    [{ reads: [{ after: 0, entries: [[1, 'no reason']], vector: [] }], verdicts: [[]] }],
    [{ reads: [{ after: 0, entries: [], vector: { length: 1 } }], verdicts: [[]] }],
    [{ reads: [null], verdicts: ['no reason'] }],
  ])('is not disturbed by an invalid answer: %j', async (answer) => {
    const { a, b } = await twoNodes();
    const first = await a.open('news');
    Object.assign(a.gateway['answers'], { answer: () => answer });
    const back = b.connect(first.wanted('news'));
    expect(await answersOf(back)).toEqual([['news', false, 'node']]);
    expect(b.reporter.rejections).toMatchObject([{ error: { code: 'INVALID_MESSAGE' } }]);
  });
});

describe('A server that gets a question from another one', () => {
  test('refuses to read one log twice for one question', async () => {
    const { a, b } = await twoNodes();
    await a.open('news');
    const read = jest.spyOn(a.gateway['feeds'].get('news')!.log, 'read');
    const reads = Array.from({ length: 300 }, () => ['news', 0]);
    const recover = { from: [], reads, proofs: [], claims: [], granted: [] };
    await expect(b.gateway['nodes'].ask(a.hub.node, { recover }, 1_000)).rejects.toThrow(
      'failed while it made the answer',
    );
    expect(read).not.toHaveBeenCalled();
    expect(String(a.reporter.callbackFailures[0]?.error)).toContain('is to be read twice under one name');
  });

  test('continues other work while it answers', async () => {
    const { a, b } = await twoNodes();
    const names = Array.from({ length: 100 }, (_, index) => `rooms/${index}`);
    const first = await a.open(...names);
    first.close();
    for (const name of names) await a.post(name, 'missed');
    let now = 0;
    // Each reading of the clock is 2 ms later.
    const clock = jest.spyOn(performance, 'now').mockImplementation(() => (now += 2));
    let turns = 0;
    const { answers } = a.gateway as unknown as { answers: { make(value: unknown): Promise<unknown> } };
    const make = answers.make.bind(answers);
    answers.make = async (question) => {
      const made = make(question);
      turns += await turnsUntil(made);
      return made;
    };
    const back = b.connect(first.wanted(...names));
    expect(await back.next(100)).toEqual(names.map(() => 'missed'));
    clock.mockRestore();
    // 100 claims and as many logs, two of which fit in a turn.
    expect(turns).toBeGreaterThan(50);
  });
});

describe('A native EventSource that comes back', () => {
  test('gets missed messages of each of its channels, from its own server and from another one', async () => {
    const { a, b } = await twoNodes();
    const names = ['news', Rooms.name];
    await b.open(...names);
    const first = a.get(names);
    await first.ready();
    await a.post('news', 1);
    await a.post('rooms/7', 2);
    expect(await first.next(2)).toEqual([1, 2]);
    first.close();
    await a.post('rooms/7', 3);
    await a.post('news', 4);
    // The other one first, because local messages are for clients that return here, too.
    for (const node of [b, a]) {
      const back = node.get(names, first.lastEventId);
      const events = await back.next(3);
      expect(events.slice(0, 2).toSorted(byText)).toEqual([3, 4]);
      expect(events[2]).toBe('messaging:ready');
      void node.hub.post('news', 'live, and only here');
      expect(await back.next(1)).toEqual(['live, and only here']);
      back.close();
      const again = node.get(names, back.lastEventId);
      expect(await again.next(1)).toEqual(['messaging:ready']);
      expect(again.pending).toEqual([]);
      again.close();
    }
  });

  test('continues from any point where its stream breaks off, even while it gets missed messages', async () => {
    const { a, b } = await twoNodes();
    const names = ['one', 'two'];
    const first = a.get(names);
    await first.ready();
    first.close();
    for (const [name, text] of [
      ['one', 'a'],
      ['two', 'b'],
      ['one', 'c'],
      ['two', 'd'],
    ])
      await a.post(name!, text);
    const back = b.get(names, first.lastEventId);
    await back.ready();
    const read: string[] = [];
    for (const text of back.raw) {
      const [, id] = /^id: (.*)$/m.exec(text)!;
      const [, data] = /^data: "(.)"$/m.exec(text) ?? [];
      if (data !== undefined) read.push(data);
      for (const node of [a, b]) {
        const again = node.get(names, id);
        const rest = await again.next(5 - read.length);
        expect([...read, ...rest.slice(0, -1)].toSorted(byText)).toEqual(['a', 'b', 'c', 'd']);
        again.close();
      }
    }
    expect(read.toSorted(byText)).toEqual(['a', 'b', 'c', 'd']);
  });

  test('gets gaps as events, and continues after them', async () => {
    const { a, b } = await twoNodes();
    const first = a.get(['news', 'other']);
    await first.ready();
    await a.hub.close();
    fakeTime();
    for (const id of [first.lastEventId!, 'of another library', first.lastEventId!.replace(/~.*~/, '~0.0,0.0~')]) {
      const back = b.get(['news', 'other'], id);
      const [ready, ...gaps] = await soon(back.next(3));
      expect(ready).toBe('messaging:ready');
      expect(gaps).toEqual(id === first.lastEventId ? ['gap node', 'gap node'] : ['gap epoch', 'gap epoch']);
      expect(await soon(b.get(['news', 'other'], back.lastEventId).next(1))).toEqual(['messaging:ready']);
    }
  });

  test('gets gaps if it has more channels than its position has room for', async () => {
    const node = await GatewayNode.start();
    const names = Array.from({ length: 1_000 }, (_, index) => `channels/${index}`);
    const first = node.get(names);
    await first.ready();
    void node.post(names[0]!, 'read');
    expect(await first.next(1)).toEqual(['read']);
    expect(first.lastEventId!.length).toBeLessThan(MAX_NATIVE_ID_LENGTH);
    const back = node.get(names, first.lastEventId);
    await back.ready();
    expect(await back.next(1_000)).toEqual(names.map(() => 'gap epoch'));
  });
});

test('A client of a server that keeps nothing gets a gap only if something may be missing', async () => {
  const node = await GatewayNode.start(undefined, { recoveryMs: 0 });
  const stays = await node.open('news');
  const first = await node.open('news');
  first.close();
  expect(await answersOf(node.connect(first.wanted('news')))).toEqual([['news', true]]);
  void node.post('news', 'missed');
  expect(await answersOf(node.connect(first.wanted('news')))).toEqual([['news', false, 'trimmed']]);
  expect(await stays.next(1)).toEqual(['missed']);
});
