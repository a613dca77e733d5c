import { describe, expect, test } from '@jest/globals';
import { LimitReached } from '../../../lib/core/limit-reached.js';
import { resolveLimits, type Limits } from '../../../lib/protocol/limits.js';
import { ClientLimits } from '../../../lib/sse/client-limits.js';
import { keptBytes } from '../../support/kept-memory.js';
import { StreamPlaces, type StreamPlace } from '../../../lib/sse/stream-places.js';

const ada = { userId: 'ada' };

/** The result, or the reached limit. */
function outcomeOf<T>(act: () => T): T | string {
  try {
    return act();
  } catch (error) {
    return (error as LimitReached).limit;
  }
}
const errorOf = (act: () => unknown): unknown => {
  try {
    return act();
  } catch (error) {
    return error;
  }
};
const fifty = <T>(act: () => T) => Array.from({ length: 50 }, () => outcomeOf(act));
const at = (limits: Partial<Limits>) => new ClientLimits(resolveLimits(limits), () => 0);
const places = (limits: Partial<Limits>) => new StreamPlaces(resolveLimits(limits));
const isPlace = (taken: StreamPlace | string): taken is StreamPlace => typeof taken !== 'string';
const refusals = (taken: readonly unknown[], limit: string) =>
  taken.filter((each) => each === `limits.${limit}`).length;

describe('Places for streams', () => {
  test('are limited for a server and a user, even for 50 at once', () => {
    const slots = places({ maxConnections: 20, maxConnectionsPerUser: 3, maxAnonymousConnections: 20 });
    const take = (auth: { userId: string | number } | null) => outcomeOf(() => slots.take(undefined, auth));
    const adas = fifty(() => slots.take(undefined, ada));
    expect(refusals(adas, 'maxConnectionsPerUser')).toBe(47);
    const others = fifty(() => slots.take(undefined, null));
    expect(refusals(others, 'maxConnections')).toBe(33);
    adas.find(isPlace)!.giveBack();
    expect(isPlace(take({ userId: 7 }))).toBe(true);
    expect(take(ada)).toBe('limits.maxConnections');
    others.filter(isPlace)[0]!.giveBack();
    expect(isPlace(take(ada))).toBe(true);
    others.filter(isPlace)[1]!.giveBack();
    expect(take(ada)).toBe('limits.maxConnectionsPerUser');
    expect(isPlace(take(null))).toBe(true);
    expect(slots.size).toBe(20);
  });

  test.each([1, 3, 49, 50])('are limited for one address, even for 50 at once: %i', (most) => {
    const slots = places({ maxConnectionsPerAddress: most });
    const taken = fifty(() => slots.take('192.0.2.1', undefined));
    expect(refusals(taken, 'maxConnectionsPerAddress')).toBe(50 - most);
    expect(isPlace(outcomeOf(() => slots.take('192.0.2.2', null)))).toBe(true);
    expect(isPlace(outcomeOf(() => slots.take(undefined, null)))).toBe(true);
    taken.find(isPlace)!.giveBack();
    expect(isPlace(outcomeOf(() => slots.take('192.0.2.1', null)))).toBe(true);
    expect(outcomeOf(() => slots.take('192.0.2.1', null))).toBe('limits.maxConnectionsPerAddress');
  });

  test('are limited for anonymous connections, even for 50 at once; users keep their own', () => {
    const slots = places({ maxConnections: 20 });
    const taken = fifty(() => slots.take(undefined, null));
    expect(refusals(taken, 'maxAnonymousConnections')).toBe(34);
    expect(taken.filter(isPlace)).toHaveLength(16);
    expect(isPlace(outcomeOf(() => slots.take(undefined, ada)))).toBe(true);
    taken.find(isPlace)!.giveBack();
    expect(isPlace(outcomeOf(() => slots.take(undefined, null)))).toBe(true);
    expect(outcomeOf(() => slots.take(undefined, null))).toBe('limits.maxAnonymousConnections');
  });

  test('count while their user is unknown, and then for that user; each is given back once', () => {
    const slots = places({ maxConnections: 3, maxConnectionsPerUser: 1, maxConnectionsPerAddress: 3 });
    const [first, second, third] = [1, 2, 3].map(() => slots.take('192.0.2.1', undefined));
    expect(outcomeOf(() => slots.take('192.0.2.1', undefined))).toBe('limits.maxConnections');
    expect(outcomeOf(() => first!.identify(ada))).toBeUndefined();
    expect(outcomeOf(() => second!.identify(ada))).toBe('limits.maxConnectionsPerUser');
    expect(outcomeOf(() => third!.identify(null))).toBeUndefined();
    for (const place of [first, second, third, first, second]) place!.giveBack();
    expect(slots.size).toBe(0);
    // Identified too late.
    second!.identify({ userId: 'bob' });
    const again = slots.take('192.0.2.1', { userId: 'bob' });
    expect(outcomeOf(() => slots.take('192.0.2.1', ada))).not.toBe('limits.maxConnectionsPerUser');
    again.giveBack();
  });

  test('of a server blame the server, and those of a client blame the client; both set a time to come back', () => {
    const full = places({ maxConnections: 1 });
    full.take(undefined, null);
    expect(errorOf(() => full.take(undefined, ada))).toMatchObject({
      isOfServer: true,
      retryAfterMs: 5_000,
      message: 'This server holds 1 connections (limits.maxConnections)',
    });
    const narrow = places({ maxConnectionsPerAddress: 1 });
    narrow.take('a', null);
    expect(errorOf(() => narrow.take('a', ada))).toMatchObject({ isOfServer: false, retryAfterMs: 5_000 });
  });
});

describe('The rate of requests', () => {
  type Case = readonly [keyof Limits, (clients: ClientLimits) => void, (clients: ClientLimits) => void];
  const cases: Case[] = [
    ['maxOpensPerSecondPerAddress', (clients) => clients.openFrom('a'), (clients) => clients.openFrom('b')],
    ['maxOpensPerSecondPerUser', (clients) => clients.openBy(ada), (clients) => clients.openBy({ userId: 'bob' })],
    ['maxChangesPerSecondPerAddress', (clients) => clients.changeFrom('a'), (clients) => clients.changeFrom('b')],
    ['maxChangesPerSecondPerConnection', (clients) => clients.changeOf('1'), (clients) => clients.changeOf('2')],
    [
      'maxRecoveriesPerSecondPerAddress',
      (clients) => clients.recover(null, 'a'),
      (clients) => clients.recover(null, 'b'),
    ],
    ['maxRecoveriesPerSecondPerUser', (clients) => clients.recover(ada, 'a'), (clients) => clients.recover(null, 'a')],
  ];

  test.each(cases)('is limited to ten times %s at once; other clients have their own', (limit, ask, askAsOther) => {
    const clients = at({ [limit]: 3 });
    expect(
      refusals(
        fifty(() => ask(clients)),
        limit,
      ),
    ).toBe(20);
    expect(outcomeOf(() => askAsOther(clients))).toBeUndefined();
    expect(outcomeOf(() => ask(clients))).toBe(`limits.${limit}`);
  });

  test('does not count for unknown addresses and anonymous clients', () => {
    const clients = at({
      maxOpensPerSecondPerAddress: 1,
      maxOpensPerSecondPerUser: 1,
      maxRecoveriesPerSecondPerUser: 1,
    });
    const taken = fifty(() => {
      clients.openFrom(undefined);
      clients.openBy(null);
      clients.recover(null, undefined);
    });
    expect(taken.every((outcome) => outcome === undefined)).toBe(true);
  });

  test('lets all permitted connections come back at once', () => {
    const limits = { maxConnectionsPerUser: 3_000, maxConnectionsPerAddress: 20_000 };
    const clients = at(limits);
    for (let n = 0; n < 20_000; n++) clients.openFrom('a');
    for (let n = 0; n < 20_000; n++) clients.recover(null, 'a');
    for (let n = 0; n < 3_000; n++) clients.openBy(ada);
    for (let n = 0; n < 3_000; n++) clients.recover(ada, undefined);
    expect(outcomeOf(() => clients.openBy(ada))).toBe('limits.maxOpensPerSecondPerUser');
  });
});

describe('The limit of changes of a connection', () => {
  test('remembers no text that is too long to be the id of one', () => {
    const limits = at({});
    const bytes = keptBytes(() => {
      for (let count = 0; count < 1_000; count++) limits.changeOf(Buffer.from(`${count}`.padEnd(10_000)).toString());
      return limits;
    });
    expect(bytes).toBeLessThan(1_000_000);
  });
});
