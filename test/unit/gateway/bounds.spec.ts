import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { LimitReached } from '../../../lib/core/limit-reached.js';
import type { Session } from '../../../lib/core/session.js';
import { Sessions } from '../../../lib/core/sessions.js';
import { AuthorizerCalls } from '../../../lib/gateway/authorizer-calls.js';
import { ChannelDecisions, type ChannelDecider } from '../../../lib/gateway/channel-decisions.js';
import type { Refusal } from '../../../lib/gateway/refusal.js';
import type { Requester } from '../../../lib/gateway/requester.js';
import { RequestPlaces } from '../../../lib/gateway/request-places.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { GatewayNode, ruleOf } from '../../support/gateway-node.js';
import { RecordingReporter } from '../../support/recording-reporter.js';
import { turnsUntil } from '../../support/turns.js';

afterEach(() => void jest.useRealTimers());

/** A call that the test answers. */
class Pending {
  begun = 0;
  readonly #ends: ((value: boolean) => void)[] = [];

  readonly call = (): Promise<boolean> => {
    this.begun++;
    return new Promise((resolve) => this.#ends.push(resolve));
  };

  answerOne(): void {
    this.#ends.shift()!(true);
  }
}

const namesOf = (count: number): string[] => Array.from({ length: count }, (_, index) => `c${index}`);

/** Makes settled promises visible. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('Calls of authorizers', () => {
  test('run a limited number at a time, and the others in their order when those end', async () => {
    const calls = new AuthorizerCalls({ maxAtOnce: 3, timeoutMs: 1_000 });
    const pending = new Pending();
    const done: number[] = [];
    const all = Array.from({ length: 50 }, async (_, index) => {
      await calls.run(pending.call);
      done.push(index);
    });
    for (let ended = 0; ended < 50; ended++) {
      await settled();
      expect(pending.begun).toBe(Math.min(50, ended + 3));
      pending.answerOne();
    }
    await Promise.all(all);
    expect(done).toEqual(Array.from({ length: 50 }, (_, index) => index));
    const again = calls.run(() => Promise.resolve('free'));
    expect(await again).toBe('free');
  });

  test('free their place when they throw, and when they take too long', async () => {
    jest.useFakeTimers({ doNotFake: ['setImmediate'] });
    const calls = new AuthorizerCalls({ maxAtOnce: 1, timeoutMs: 1_000 });
    await expect(calls.run(() => Promise.reject(new Error('away')))).rejects.toThrow('away');
    const never = calls.run(() => new Promise(() => {})).catch((error: unknown) => error);
    const next = calls.run(() => Promise.resolve('next'));
    jest.advanceTimersByTime(999);
    await settled();
    expect(jest.getTimerCount()).toBe(1);
    jest.advanceTimersByTime(1);
    expect(await never).toMatchObject({
      message: 'it did not decide within 1000 ms (gateway.authorizerTimeoutMs)',
    });
    expect(await next).toBe('next');
    expect(jest.getTimerCount()).toBe(0);
  });
});

describe('Decisions about the channels of requests', () => {
  const decide = jest.fn<ChannelDecider['decide']>();
  const channels = { decide, faultOf: () => undefined };
  const sessions = new Sessions(new RecordingReporter());
  const requester = (session: Session = sessions.open()) => ({
    session,
    request: {},
    address: undefined,
  });

  test('are answered in the order of the request, up to as many channels as a connection may have', async () => {
    decide.mockImplementation(async (channel) => {
      if (channel.endsWith('1')) await settled();
      return ruleOf(channel);
    });
    const decisions = new ChannelDecisions(channels, new RequestPlaces(1), 30);
    const { answers } = await decisions.decide(namesOf(30), requester());
    expect(answers).toEqual(namesOf(30).map((channel) => ({ channel })));
    decide.mockClear();
    const more = await decisions.decide(namesOf(31), requester());
    expect(more.answers.at(-1)).toEqual({ channel: 'c30', error: 'LIMIT_EXCEEDED' });
    expect(decide).toHaveBeenCalledTimes(30);
  });

  test('name the rules of the granted channels, separately from the answers for the client', async () => {
    decide.mockImplementation(async (channel) => (channel === 'c1' ? 'CHANNEL_DENIED' : ruleOf(channel)));
    const decisions = new ChannelDecisions(channels, new RequestPlaces(1), 2);
    expect(await decisions.decide(namesOf(3), requester())).toEqual({
      answers: [
        { channel: 'c0' },
        { channel: 'c1', error: 'CHANNEL_DENIED' },
        { channel: 'c2', error: 'LIMIT_EXCEEDED' },
      ],
      rules: new Map([['c0', ruleOf('c0')]]),
    });
  });

  test('are made about 16 channels of a request at a time', async () => {
    const pending = new Pending();
    decide.mockImplementation(async (channel) => {
      await pending.call();
      return ruleOf(channel);
    });
    const result = new ChannelDecisions(channels, new RequestPlaces(1), 1_000).decide(namesOf(100), requester());
    await settled();
    expect(pending.begun).toBe(16);
    for (let ended = 0; ended < 100; ended++) {
      pending.answerOne();
      await settled();
    }
    expect((await result).answers).toHaveLength(100);
  });

  test('are made for a limited number of requests at a time; of 50 at once the others are refused', async () => {
    const pending = new Pending();
    decide.mockImplementation(async (channel) => {
      await pending.call();
      return ruleOf(channel);
    });
    const decisions = new ChannelDecisions(channels, new RequestPlaces(10), 1_000);
    const all = Array.from({ length: 50 }, () => decisions.decide(['a'], requester()).then(() => 'decided', reasonOf));
    await settled();
    for (let ended = 0; ended < 10; ended++) pending.answerOne();
    const outcomes = await Promise.all(all);
    expect(outcomes.filter((outcome) => outcome === 'decided')).toHaveLength(10);
    expect(outcomes.filter((outcome) => outcome === 'gateway.maxPendingRequests')).toHaveLength(40);
    const again = decisions.decide(['a'], requester());
    await settled();
    pending.answerOne();
    expect((await again).answers).toEqual([{ channel: 'a' }]);
  });

  test('end when the client leaves', async () => {
    const pending = new Pending();
    decide.mockImplementation(async (channel) => {
      await pending.call();
      return ruleOf(channel);
    });
    const session = sessions.open();
    const result = new ChannelDecisions(channels, new RequestPlaces(1), 1_000)
      .decide(namesOf(100), requester(session))
      .catch(reasonOf);
    await settled();
    session.close();
    for (let ended = 0; ended < 16; ended++) pending.answerOne();
    expect(await result).toBe('clientLeft');
    expect(pending.begun).toBe(16);
  });

  test('leave others their turn', async () => {
    decide.mockImplementation((channel) => {
      const end = performance.now() + 1;
      while (performance.now() < end);
      return Promise.resolve(ruleOf(channel));
    });
    const decisions = new ChannelDecisions(channels, new RequestPlaces(1), 1_000).decide(namesOf(100), requester());
    expect(await turnsUntil(decisions)).toBeGreaterThan(10);
  });
});

describe('The places for waiting requests', () => {
  const sessions = new Sessions(new RecordingReporter());
  const by = (userId: string | undefined, address?: string) => {
    const auth = userId === undefined ? undefined : { userId };
    return { session: sessions.open({ auth }), request: {}, address };
  };

  test('are limited to a quarter for one user at any address, and for all anonymous clients of one address', async () => {
    const places = new RequestPlaces(18);
    for (let again = 0; again < 2; again++) {
      expect(await begunOf(places, by('ada', '192.0.2.1'))).toEqual([5]);
      expect(await begunOf(places, by(undefined, '192.0.2.1'))).toEqual([5]);
      const all = [by('ada'), by(undefined, '192.0.2.1'), by('bob', '192.0.2.1'), by('eve'), by('zoe')];
      expect(await begunOf(places, ...all)).toEqual([5, 5, 5, 3, 0]);
    }
    expect(places['byAsker'].size).toBe(0);
  });

  test('are not divided among anonymous clients without a known address', async () => {
    expect(await begunOf(new RequestPlaces(18), by(undefined))).toEqual([18]);
  });

  test('blame the client with too many requests, or no client', async () => {
    const places = new RequestPlaces(5);
    const fill = (requester: Requester, count: number) => {
      for (let n = 0; n < count; n++) places.during(requester, () => new Promise(() => {})).catch(() => {});
    };
    fill(by('ada'), 2);
    const refused = { limit: 'gateway.maxPendingRequests', retryAfterMs: 5_000 };
    const ask = (requester: Requester) => places.during(requester, () => Promise.resolve());
    await expect(ask(by('ada'))).rejects.toMatchObject({ ...refused, isOfServer: false });
    fill(by(undefined), 3);
    await expect(ask(by('bob'))).rejects.toMatchObject({ ...refused, isOfServer: true });
  });
});

describe('Changes of connections on another server', () => {
  const nothing = { subscribe: [], unsubscribe: [], claims: new Map(), replays: [], renew: false };
  afterEach(() => GatewayNode.closeAll());

  function change(node: GatewayNode, connection: string): Promise<unknown> {
    const requester = { session: node.hub.sessions.open(), request: {}, address: undefined };
    return node.gateway.change(connection, nothing, requester).catch(reasonOf);
  }

  /** Asks for 50, each once the one before has been decided about. @returns how many are refused at once, and what becomes of all */
  async function fifty(node: GatewayNode, connection: string) {
    let refused = 0;
    const all: Promise<unknown>[] = [];
    for (let n = 0; n < 50; n++) {
      const one = change(node, connection);
      all.push(one.then((outcome) => (outcome === 'gateway.maxPendingRequests' ? refused++ : outcome)));
      await settled();
    }
    return { refused, all };
  }

  test('wait, a limited number at a time, for a server that has never answered or no longer answers', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await GatewayNode.start(broker), await GatewayNode.start(broker)];
    const madeUp = await fifty(a, `${randomUUID()}.${randomUUID()}`);
    expect(madeUp.refused).toBe(40);
    await Promise.all(madeUp.all);

    const reader = await b.open();
    expect(await change(a, reader.connection.id)).toEqual({ channels: [] });
    const session = b.hub.sessions.open();
    const notBegun = b.gateway.open(b.gateway.reserve(session));
    const waiting = await fifty(a, notBegun.id);
    expect(waiting.refused).toBe(0);
    session.close();
    await Promise.all(waiting.all);

    await b.hub.close();
    await change(a, reader.connection.id);
    expect((await fifty(a, reader.connection.id)).refused).toBe(40);
  });
});

/** How many of 50 concurrent requests begin for each requester; then all of them end. */
async function begunOf(places: RequestPlaces, ...requesters: Requester[]): Promise<number[]> {
  return Promise.all(
    requesters.map(async (requester) => {
      const pending = new Pending();
      const all = Array.from({ length: 50 }, () => places.during(requester, pending.call).catch(reasonOf));
      await settled();
      const { begun } = pending;
      for (let ended = 0; ended < begun; ended++) pending.answerOne();
      const refused = (await Promise.all(all)).filter((outcome) => outcome === 'gateway.maxPendingRequests');
      expect(refused).toHaveLength(50 - begun);
      return begun;
    }),
  );
}

/** The reason of a refusal: the reached limit, or another one. */
function reasonOf(error: unknown): string {
  return error instanceof LimitReached ? error.limit : (error as Refusal).reason;
}
