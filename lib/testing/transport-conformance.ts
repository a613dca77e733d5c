import { deepStrictEqual, strictEqual } from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { filter, firstValueFrom } from 'rxjs';
import type { Transport, TransportStatus } from '../core/transport.js';
import { checkSuite, conformanceTrials, type ConformanceTest } from './conformance-test.js';
import { ReceivedMessages } from './received-messages.js';

/** Transports to be tried, and what their broker cannot do itself. */
export interface TransportUnderTest {
  /** A transport of one more node, not started; all of them are joined. */
  connect(): Transport;
  /** Takes the broker away from all nodes. Their transports must notice. */
  cut(): void | Promise<void>;
  /** Brings the broker back. It need not remember anything. */
  heal(): void | Promise<void>;
}

/** How {@link transportConformance} tries a transport. */
export interface TransportConformanceOptions {
  /** How long one test may take, in milliseconds. @defaultValue 15_000 */
  readonly testMs?: number | undefined;
}

const TEST_MS = 15_000;

/** What a node was given: a payload, or a loss with its reason in place of the channel. */
type Arrival = readonly [payload: string, subscription: string, channel: string];

/** What a node is given, in order. */
class Arrivals extends ReceivedMessages<Arrival, undefined> {
  readonly receiver = (...[payload, subscription, channel]: Arrival): void =>
    this.receive([payload, subscription, channel], undefined);
  readonly lost = (name: string, reason: string): void => this.receive(['LOST', name, reason], undefined);

  /** The names of the losses before the payload `end`; nothing else may have come. */
  async lostNamesUntilEnd(): Promise<string[]> {
    const names: string[] = [];
    for (;;) {
      const [payload, name, reason] = await this.next();
      if (payload === 'end') return names.toSorted();
      deepStrictEqual([payload, reason], ['LOST', 'broker']);
      names.push(name);
    }
  }
}

/** The nodes of one test. */
class TransportsOnTrial {
  private readonly open: Transport[] = [];
  private isCut = false;

  constructor(private readonly transports: TransportUnderTest) {}

  connect(): Transport {
    const transport = this.transports.connect();
    this.open.push(transport);
    return transport;
  }

  /** A node that is ready and subscribed to these names. */
  async node(...names: string[]): Promise<[Transport, Arrivals]> {
    const transport = this.connect();
    const received = new Arrivals();
    await transport.start(received.receiver, { lost: received.lost });
    await reached(transport, 'ready');
    await Promise.all(names.map((name) => transport.subscribe(name)));
    return [transport, received];
  }

  async cut(): Promise<void> {
    this.isCut = true;
    await this.transports.cut();
  }

  async heal(): Promise<void> {
    this.isCut = false;
    await this.transports.heal();
  }

  /** The broker is lost, noticed to be, and back. */
  async outage(during: () => void = () => undefined): Promise<void> {
    await this.cut();
    await Promise.all(this.open.map((transport) => reached(transport, 'waiting')));
    during();
    await this.heal();
    await Promise.all(this.open.map((transport) => reached(transport, 'ready')));
  }

  async close(): Promise<void> {
    await Promise.all(this.open.map((transport) => transport.close()));
    // After a failure the next test finds the broker.
    if (this.isCut) await this.heal();
  }
}

function reached(transport: Transport, state: TransportStatus['state']): Promise<TransportStatus> {
  return firstValueFrom(transport.status.pipe(filter((status) => status.state === state)));
}

const GUARANTEES: Readonly<Record<string, (trial: TransportsOnTrial) => Promise<void>>> = {
  'A transport carries a payload to every subscribed node, and to no other': async (trial) => {
    const [a, atA] = await trial.node('news');
    const [, atB] = await trial.node('news');
    const [, atC] = await trial.node('other');
    strictEqual(await a.publish('news', 'hello'), true);
    deepStrictEqual(await atA.next(), ['hello', 'news', 'news']);
    deepStrictEqual(await atB.next(), ['hello', 'news', 'news']);
    await a.publish('other', 'end');
    deepStrictEqual(await atC.next(), ['end', 'other', 'other']);
    deepStrictEqual(atB.pending, []);
  },
  'A transport never delivers inside publish': async (trial) => {
    const [a, atA] = await trial.node('news');
    const published = a.publish('news', 'hello');
    deepStrictEqual(atA.pending, []);
    await published;
    await atA.next();
  },
  'A transport keeps the order of one publisher’s payloads on a channel': async (trial) => {
    const [a] = await trial.node();
    const [, atB] = await trial.node('news');
    const payloads = Array.from({ length: 500 }, (_, index) => String(index));
    const accepted = await Promise.all(payloads.map((payload) => a.publish('news', payload)));
    strictEqual(accepted.every(Boolean), true);
    deepStrictEqual(
      (await atB.take(500)).map(([payload]) => payload),
      payloads,
    );
  },
  'A transport keeps payloads as they are, whatever they contain': async (trial) => {
    const [a, atA] = await trial.node('news');
    const payloads = ['', '\0\r\n', 'żółć 🦊', 'x'.repeat(100_000)];
    for (const payload of payloads) await a.publish('news', payload);
    deepStrictEqual(
      (await atA.take(4)).map(([payload]) => payload),
      payloads,
    );
  },
  'A transport takes channel names with any permitted character': async (trial) => {
    const names = ['a b', 'żółć 🦊', '[x]', 'a?b', 'back\\slash', '__proto__', 'constructor', 'x'.repeat(255)];
    const [a, atA] = await trial.node(...names);
    for (const name of names) await a.publish(name, 'payload');
    // Channels have no common order.
    deepStrictEqual((await atA.take(names.length)).map(([, , channel]) => channel).toSorted(), names.toSorted());
  },
  'A transport hands over a payload once for each subscription that it matches': async (trial) => {
    const [a, atA] = await trial.node('rooms/:roomId', 'rooms/:id', 'rooms/42', ':kind/42', 'rooms/:roomId/users');
    await a.publish('rooms/42', 'hello');
    const subscriptions = (await atA.take(4)).map(([, subscription, channel]) => `${subscription} <- ${channel}`);
    deepStrictEqual(subscriptions.toSorted(), [
      ':kind/42 <- rooms/42',
      'rooms/42 <- rooms/42',
      'rooms/:id <- rooms/42',
      'rooms/:roomId <- rooms/42',
    ]);
  },
  'A transport matches a template segment by segment and literally': async (trial) => {
    const [a, atA] = await trial.node('rooms/:roomId', 'odd[ab]?\\/:x', 'end');
    for (const name of ['rooms/1/2', 'rooms/', 'Rooms/1', 'oddax/1', 'oddb?\\/1']) await a.publish(name, 'no');
    await a.publish('odd[ab]?\\/1', 'yes');
    await a.publish('rooms/:odd', 'yes');
    await a.publish('end', 'end');
    deepStrictEqual((await atA.take(3)).map(String).toSorted(), [
      'end,end,end',
      'yes,odd[ab]?\\/:x,odd[ab]?\\/1',
      'yes,rooms/:roomId,rooms/:odd',
    ]);
  },
  'A transport delivers the library’s own channels to no template of the application': async (trial) => {
    const [a, atA] = await trial.node(':a/:b', 'messaging:own/:x', 'messaging:own/1');
    await a.publish('messaging:own/1', 'own');
    await a.publish('x/y', 'theirs');
    const received = await atA.take(3);
    deepStrictEqual(received.map(([, subscription]) => subscription).toSorted(), [
      ':a/:b',
      'messaging:own/1',
      'messaging:own/:x',
    ]);
    strictEqual(received.find(([, subscription]) => subscription === ':a/:b')?.[2], 'x/y');
  },
  'A transport delivers a payload once, even if its name is subscribed twice': async (trial) => {
    const [a, atA] = await trial.node('news', 'news');
    await a.publish('news', '1');
    await a.subscribe('news');
    await a.publish('news', '2');
    deepStrictEqual(
      (await atA.take(2)).map(([payload]) => payload),
      ['1', '2'],
    );
  },
  'A transport keeps an interest that is dropped and taken up again at once': async (trial) => {
    const [a, atA] = await trial.node('news');
    a.unsubscribe('news');
    await a.subscribe('news');
    await a.publish('news', 'hello');
    deepStrictEqual(await atA.next(), ['hello', 'news', 'news']);
  },
  'A transport takes interests and payloads before the start': async (trial) => {
    const a = trial.connect();
    const received = new Arrivals();
    const subscribed = a.subscribe('news');
    const [, atB] = await trial.node('news');
    const published = a.publish('news', 'early');
    await a.start(received.receiver);
    await subscribed;
    strictEqual(await published, true);
    strictEqual((await atB.next())[0], 'early');
  },
  'A transport resolves a subscription that is dropped before it is registered': async (trial) => {
    const a = trial.connect();
    const subscribed = a.subscribe('news');
    a.unsubscribe('news');
    strictEqual(await subscribed, undefined);
  },
  'A transport ignores the end of an interest that never existed': async (trial) => {
    const [a] = await trial.node();
    a.unsubscribe('unknown');
  },
  'A transport reports its status from connecting to closed, and the latest one to late subscribers': async (trial) => {
    const a = trial.connect();
    const states: string[] = [];
    const completed = new Promise<void>((resolve) => {
      a.status.subscribe({ next: ({ state }) => states.push(state), complete: resolve });
    });
    await a.start(() => undefined);
    await reached(a, 'ready');
    await a.close();
    await completed;
    deepStrictEqual(states, ['connecting', 'ready', 'closed']);
    strictEqual((await firstValueFrom(a.status)).state, 'closed');
  },
  'A transport is silent once closed: it accepts nothing and leaves nothing pending': async (trial) => {
    const [a, atA] = await trial.node('news');
    const [b] = await trial.node();
    const pending = a.subscribe('later');
    await a.close();
    await a.close();
    await pending;
    await a.subscribe('news');
    a.unsubscribe('news');
    strictEqual(await a.publish('news', 'no'), false);
    strictEqual(await b.publish('news', 'no'), true);
    deepStrictEqual(atA.pending, []);
  },
  'A transport can be closed before the start, and during it': async (trial) => {
    const early = trial.connect();
    const published = early.publish('news', 'no');
    await early.close();
    strictEqual(await published, false);
    await early.start(() => undefined);
    const during = trial.connect();
    const started = during.start(() => undefined);
    await during.close();
    await started;
    strictEqual((await firstValueFrom(during.status)).state, 'closed');
  },
  'A transport reports a lost broker, accepts nothing meanwhile, and works as before once the broker is back': async (
    trial,
  ) => {
    const [a, atA] = await trial.node('news', 'rooms/:roomId');
    const [b] = await trial.node();
    await trial.cut();
    const { error } = await reached(a, 'waiting');
    strictEqual(error instanceof Error, true, 'the status has no error');
    strictEqual(await a.publish('news', 'lost'), false);
    const subscribed = a.subscribe('late');
    await trial.heal();
    await Promise.all([reached(a, 'ready'), reached(b, 'ready')]);
    await subscribed;
    for (const channel of ['news', 'rooms/1', 'late']) strictEqual(await b.publish(channel, 'back'), true);
    await atA.take(2);
    const received = await atA.take(3);
    deepStrictEqual(received.map(([payload, , channel]) => `${channel}: ${payload}`).toSorted(), [
      'late: back',
      'news: back',
      'rooms/1: back',
    ]);
  },
  'A transport starts without a broker, reports that, and becomes ready when the broker comes': async (trial) => {
    await trial.cut();
    const a = trial.connect();
    const received = new Arrivals();
    await a.start(received.receiver);
    const subscribed = a.subscribe('news');
    strictEqual((await firstValueFrom(a.status)).state, 'waiting');
    await trial.heal();
    await reached(a, 'ready');
    await subscribed;
    await a.publish('news', 'hello');
    strictEqual((await received.next())[0], 'hello');
  },
  'A transport reports one loss for each name registered when the broker was lost, and for no other': async (trial) => {
    const [a, atA] = await trial.node('news', 'rooms/:roomId', 'dropped');
    await trial.outage(() => {
      a.unsubscribe('dropped');
      void a.subscribe('new');
    });
    await a.publish('new', 'end');
    deepStrictEqual(await atA.lostNamesUntilEnd(), ['news', 'rooms/:roomId']);
    await trial.outage();
    await a.publish('new', 'end');
    deepStrictEqual(await atA.lostNamesUntilEnd(), ['new', 'news', 'rooms/:roomId']);
  },
  'A transport reports a loss between the payloads before and after it': async (trial) => {
    const [a, atA] = await trial.node('news');
    await Promise.all([1, 2, 3].map((count) => a.publish('news', `before ${count}`)));
    await trial.outage();
    await a.publish('news', 'after');
    const payloads = (await atA.take(5)).map(([payload]) => payload);
    deepStrictEqual(payloads, ['before 1', 'before 2', 'before 3', 'LOST', 'after']);
  },
  'A transport reports no loss at the first start, however late the broker comes': async (trial) => {
    await trial.cut();
    const [a, received] = [trial.connect(), new Arrivals()];
    const subscribed = a.subscribe('news');
    await a.start(received.receiver, { lost: received.lost });
    await trial.heal();
    await subscribed;
    await reached(a, 'ready');
    await a.publish('news', 'first');
    deepStrictEqual(await received.next(), ['first', 'news', 'news']);
  },
  'A transport that has `hearers` knows how many nodes hear a name': async (trial) => {
    const [a] = await trial.node();
    if (a.hearers === undefined) return;
    const [b] = await trial.node('news', 'rooms/:roomId');
    const [c] = await trial.node('news', 'rooms/:roomId', 'other/:id');
    for (const each of [a, b, c]) strictEqual(await each.hearers!('news'), 2);
    strictEqual(await a.hearers('other'), 0);
    await c.close();
    while ((await a.hearers('news')) !== 1) await nextTurn();
    await b.close();
    while ((await a.hearers('news')) !== 0) await nextTurn();
    await trial.cut();
    strictEqual(await a.hearers('news'), undefined);
    await trial.heal();
    await a.close();
    strictEqual(await a.hearers('news'), undefined);
  },
};

/**
 * What every `Transport` has to pass, for any test runner. Histories are not among it.
 *
 * @example
 * ```ts
 * test.each(transportConformance(() => myBroker))('$name', ({ run }) => run());
 * ```
 *
 * @param start - gives what is tested, once for each test; it may be the same broker each time
 * @throws ConfigurationError for a start that is not a function, and for wrong options
 */
export function transportConformance(
  start: () => TransportUnderTest | Promise<TransportUnderTest>,
  options: TransportConformanceOptions = {},
): ConformanceTest[] {
  checkSuite('transportConformance', start, options, 'testMs');
  const { testMs = TEST_MS } = options;
  return conformanceTrials(GUARANTEES, 'transport', async () => new TransportsOnTrial(await start()), testMs);
}
