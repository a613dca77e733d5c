import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Hub } from '../../../lib/core/hub.js';
import { createStream } from '../../../lib/core/stream.js';
import { Revocations } from '../../../lib/core/revocations.js';
import {
  RevokedAuthenticationAuthId,
  RevokedAuthenticationScope,
  RevokedAuthenticationUser,
} from '../../../lib/protocol/authentication.js';
import { ConfigurationError, MessagingError } from '../../../lib/protocol/errors.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

function setup() {
  const hub = new Hub({ reporter: new RecordingReporter() });
  return { hub, revocations: new Revocations(hub), seen: [] as unknown[] };
}

const userOf = (request: unknown) => ({ userId: String(request) });

describe('a session that closes', () => {
  test('ends its listeners and no others', () => {
    const { hub, seen } = setup();
    const [one, two] = [hub.sessions.open(), hub.sessions.open()];
    const shared = (message: unknown) => seen.push(message);
    const listener = hub.listen('channel', shared, one);
    hub.listen('channel', shared, two);

    one.close();
    void hub.post('channel', 'x');

    expect(listener.closed).toBe(true);
    expect(seen).toEqual(['x']);
  });

  test('completes its streams', () => {
    const { hub, seen } = setup();
    const session = hub.sessions.open();
    createStream(hub, 'channel', session).subscribe({
      next: (m) => seen.push(m),
      complete: () => seen.push('complete'),
    });

    void hub.post('channel', 1);
    session.close();
    void hub.post('channel', 2);

    expect(seen).toEqual([1, 'complete']);
  });

  test('completes later subscriptions to its streams at once', () => {
    const { hub, seen } = setup();
    const session = hub.sessions.open();
    const stream = createStream(hub, 'channel', session);
    session.close();

    stream.subscribe({ complete: () => seen.push('complete') });

    expect(seen).toEqual(['complete']);
  });

  test('aborts its signal, even one that is requested afterwards', () => {
    const { hub } = setup();
    const [asked, late] = [hub.sessions.open(), hub.sessions.open()];
    const { signal } = asked;
    asked.close();
    late.close();
    expect(signal.aborted).toBe(true);
    expect(late.signal.aborted).toBe(true);
  });

  test('does so once, however often it is closed', () => {
    const { hub } = setup();
    const session = hub.sessions.open();
    let count = 0;
    session.onClose(() => count++);
    session.close();
    session.close();
    expect(count).toBe(1);
    expect(session.closeReason).toBe('ended');
  });

  test('ends all listeners that are left, one or several', () => {
    const { hub, seen } = setup();
    const session = hub.sessions.open();
    const listen = (name: string) => hub.listen('channel', () => seen.push(name), session);
    const gone = listen('gone');
    gone.unsubscribe();
    expect(session.registrations()).toEqual([]);
    const [one, two, three] = [listen('one'), listen('two'), listen('three')];
    two.unsubscribe();
    void hub.post('channel', 'x');
    expect(seen).toEqual(['one', 'three']);

    session.close();
    void hub.post('channel', 'x');
    expect([one, two, three].every(({ closed }) => closed)).toBe(true);
    expect(seen).toEqual(['one', 'three']);
  });

  test.each([5, {}, { dispose() {} }, null, undefined, 'f'])('refuses %p in place of a function', (value) => {
    const { hub, seen } = setup();
    const session = hub.sessions.open();
    session.onClose((reason) => seen.push(reason));
    expect(() => session.onClose(value as never)).toThrow(MessagingError);
    expect(() => session.onClose(value as never)).toThrow('Session.onClose takes a function, not ');
    session.close();
    expect(() => session.onClose(value as never)).toThrow(MessagingError);
    expect(seen).toEqual(['ended']);
  });

  test('by a call at the end of the stack calls all functions that wait for its end', async () => {
    const { hub, seen } = setup();
    const session = hub.sessions.open();
    const listener = hub.listen('channel', (message) => seen.push(message), session);
    createStream(hub, 'channel', session).subscribe({ complete: () => seen.push('complete') });
    session.signal.addEventListener('abort', () => seen.push('abort'));
    session.onClose((reason) => seen.push(reason));
    const fill = (): void => {
      try {
        fill();
      } catch {
        session.close();
      }
    };
    fill();
    await Promise.resolve();
    void hub.post('channel', 1);
    expect([session.closed, listener.closed, hub.sessions.size]).toEqual([true, true, 1]);
    expect(seen).toEqual(['abort', 'ended', 'complete']);
  });

  test('may end any number of sessions, each closed by the previous one', async () => {
    const { hub, seen } = setup();
    const sessions = Array.from({ length: 10_000 }, () => hub.sessions.open());
    sessions.forEach((session, index) => {
      session.onClose(() => sessions[index + 1]?.close());
      session.onClose(() => seen.push(index));
    });
    sessions[0]!.close();
    for (let i = 0; i < 100; i++) await Promise.resolve();
    expect(sessions.filter(({ closed }) => !closed)).toEqual([]);
    expect(seen).toHaveLength(10_000);
  });

  test('runs its functions in order, and later ones at once', () => {
    const { hub, seen } = setup();
    const session = hub.sessions.open();
    for (const name of ['one', 'two', 'three']) session.onClose((reason) => seen.push(`${name}: ${reason}`));
    session.close();
    session.onClose((reason) => seen.push(`late: ${reason}`));
    expect(seen).toEqual(['one: ended', 'two: ended', 'three: ended', 'late: ended']);
  });

  test('informs observers and calls functions in order, each with the reason', () => {
    const { hub, seen } = setup();
    const session = hub.sessions.open();
    class Observer {
      sessionClosed(reason: string): void {
        seen.push([this, reason]);
      }
    }
    const [one, two, late] = [new Observer(), new Observer(), new Observer()];
    session.onClose(one);
    session.onClose((reason) => seen.push(reason));
    session.onClose(two);
    session.close();
    session.onClose(late);
    expect(seen).toEqual([[one, 'ended'], 'ended', [two, 'ended'], [late, 'ended']]);
  });

  test('no longer counts among the open sessions', () => {
    const { hub } = setup();
    const before = hub.sessions.size;
    const session = hub.sessions.open();
    expect(hub.sessions.size).toBe(before + 1);
    session.close();
    expect(hub.sessions.size).toBe(before);
  });
});

describe('a session', () => {
  test('closes when the signal it was opened with is aborted', () => {
    const { hub } = setup();
    const controller = new AbortController();
    const session = hub.sessions.open({ signal: controller.signal });
    controller.abort();
    expect(session.closed).toBe(true);
  });

  test('that is opened with an aborted signal is closed from the start', () => {
    const { hub } = setup();
    expect(hub.sessions.open({ signal: AbortSignal.abort() }).closed).toBe(true);
  });

  test('closes at the end of a using block', () => {
    const { hub } = setup();
    let outside;
    {
      using session = hub.sessions.open();
      outside = session;
    }
    expect(outside.closed).toBe(true);
  });

  test('that is opened after the hub has closed is closed from the start', async () => {
    const { hub } = setup();
    const open = hub.sessions.open();
    await hub.close();
    expect(open.closeReason).toBe('shutdown');
    expect(hub.sessions.open().closed).toBe(true);
  });

  test('of the application closes when the hub retires, even if it is opened later; the session of the library stays open', async () => {
    const { hub, seen } = setup();
    const session = hub.sessions.open();
    hub.listen('channel', (message) => seen.push(['application', message]), hub.root);
    hub.listen('channel', (message) => seen.push(['request', message]), session);
    hub.listen('channel', (message) => seen.push(['library', message]), hub.own);

    hub.retire();
    void hub.post('channel', 'x');

    expect(seen).toEqual([['library', 'x']]);
    expect([hub.root, session, hub.sessions.open()].map(({ closeReason }) => closeReason)).toEqual(
      Array(3).fill('shutdown'),
    );
    await hub.close();
    void hub.post('channel', 'y');
    expect(seen).toHaveLength(1);
    expect(hub.own.closeReason).toBe('shutdown');
  });

  test('asks for its user until it gets an answer, then remembers it', () => {
    const { hub } = setup();
    const answers = [null, { userId: 'ada' }, { userId: 'bob' }];
    const session = hub.sessions.open({ auth: () => answers.shift() ?? null });
    expect(session.auth).toBeNull();
    expect(session.auth).toEqual({ userId: 'ada' });
    expect(session.auth).toEqual({ userId: 'ada' });
  });

  test('has its own id', () => {
    const { hub } = setup();
    const session = hub.sessions.open();
    expect(session.id).toMatch(/^[0-9a-f-]{36}$/);
    expect(session.id).toBe(session.id);
    expect(session.id).not.toBe(hub.sessions.open().id);
  });
});

describe('a revocation', () => {
  const people = [
    { userId: 'ada', authId: 'phone', scopes: ['read', 'write'] },
    { userId: 'ada', authId: 'laptop', scopes: ['read'] },
    { userId: 'bob', authId: 'phone', scopes: ['write'] },
  ];
  const closedBy = async (userId: string | number, what: unknown) => {
    const { hub, revocations } = setup();
    const sessions = people.map((auth) => hub.sessions.open({ auth }));
    const nobody = hub.sessions.open();
    const told = revocations.revoke(userId, what);
    const closed = sessions.map(({ closeReason }) => closeReason === 'revoked');
    expect(nobody.closed).toBe(false);
    expect(await told).toBe(true);
    return closed;
  };

  test('of a user ends all sessions of that user before it returns', async () => {
    expect(await closedBy('ada', new RevokedAuthenticationUser())).toEqual([true, true, false]);
  });

  test('of one sign-in ends only the session of that sign-in', async () => {
    expect(await closedBy('ada', new RevokedAuthenticationAuthId('phone'))).toEqual([true, false, false]);
  });

  test('of scopes ends the sessions of the user that hold one of them', async () => {
    expect(await closedBy('ada', new RevokedAuthenticationScope(['write', 'admin']))).toEqual([true, false, false]);
    expect(await closedBy('ada', new RevokedAuthenticationScope(['admin']))).toEqual([false, false, false]);
  });

  test('treats a number and its decimal string as the same user', async () => {
    const { hub, revocations } = setup();
    const session = hub.sessions.open({ auth: { userId: 7 } });
    await revocations.revoke('7', new RevokedAuthenticationUser());
    expect(session.closed).toBe(true);
  });

  test('treats a number as its decimal string, for sign-ins too', async () => {
    const { hub, revocations } = setup();
    const session = hub.sessions.open({ auth: { userId: 7, authId: '8' } });
    await revocations.revoke(7, new RevokedAuthenticationAuthId(8));
    expect(session.closed).toBe(true);
  });

  test('that comes while the user of a session is being looked up ends the session once the user is known', async () => {
    const { hub, revocations } = setup();
    const [ada, bob, late] = ['ada', 'bob', 'ada'].map((userId) => {
      let answer: (() => void) | undefined;
      const auth = new Promise<{ userId: string }>((resolve) => (answer = () => resolve({ userId })));
      return { session: hub.sessions.open({ auth: () => auth }), answer: () => answer?.() };
    });
    const asked = [ada!, bob!].map(({ session }) => session.authenticated());
    // Nothing has asked for the third one yet.
    await revocations.revoke('ada', new RevokedAuthenticationUser());
    for (const { session, answer } of [ada!, bob!, late!]) {
      expect(session.closed).toBe(false);
      answer();
    }
    expect(await Promise.all(asked)).toEqual([{ userId: 'ada' }, { userId: 'bob' }]);
    await late!.session.authenticated();
    expect([ada!, bob!, late!].map(({ session }) => session.closeReason)).toEqual(['revoked', undefined, 'revoked']);
  });

  test.each([
    ['ada', undefined],
    ['ada', 'phone'],
    ['ada', {}],
    ['ada', new RevokedAuthenticationAuthId('')],
    ['ada', new RevokedAuthenticationScope([])],
    ['ada', new RevokedAuthenticationScope('read' as never)],
    ['', new RevokedAuthenticationUser()],
    [undefined, new RevokedAuthenticationUser()],
  ])('of %j with %j names nobody and is refused', (userId, what) => {
    const { hub, revocations } = setup();
    const session = hub.sessions.open({ auth: { userId: 'ada' } });
    expect(() => revocations.revoke(userId as string, what)).toThrow(ConfigurationError);
    expect(session.closed).toBe(false);
  });
});

describe('The user of a session', () => {
  test('is looked up with the request of the session', () => {
    const { hub } = setup();
    const [ada, bob] = ['ada', 'bob'].map((request) => hub.sessions.open({ auth: userOf, request }));
    expect([ada!.auth?.userId, bob!.auth?.userId]).toEqual(['ada', 'bob']);
  });

  test('is looked up again until there is one, because guards may not have run yet', () => {
    const { hub } = setup();
    let user: { userId: string } | null = null;
    const session = hub.sessions.open({ auth: () => user });
    expect(session.auth).toBeNull();
    user = { userId: 'ada' };
    expect(session.auth).toEqual({ userId: 'ada' });
  });

  test('is looked up again after a failure, because guards may not have run yet, but not once they have', async () => {
    const { hub } = setup();
    let count = 0;
    const session = hub.sessions.open({
      auth: () => {
        count++;
        throw new Error('no user yet');
      },
    });
    expect([session.auth, await session.authenticated(), count]).toEqual([null, null, 2]);
    expect(await session.settleAuthentication()).toBeNull();
    expect([session.auth, await session.authenticated(), await session.settleAuthentication()]).toEqual([
      null,
      null,
      null,
    ]);
    expect(count).toBe(3);
  });

  test('is looked up again if there was no user, even after the guards', async () => {
    const { hub } = setup();
    let user: { userId: string } | null = null;
    const session = hub.sessions.open({ auth: async () => Promise.resolve(user) });
    expect(await session.settleAuthentication()).toBeNull();
    user = { userId: 'ada' };
    expect(await session.authenticated()).toEqual(user);
  });

  test('is unavailable before it is known', async () => {
    const { hub } = setup();
    const session = hub.sessions.open({ auth: async () => Promise.resolve({ userId: 'ada' }) });
    expect(() => session.auth).toThrow(ConfigurationError);
    expect(() => session.auth).toThrow('await session.authenticated() first');
    expect(await session.authenticated()).toEqual({ userId: 'ada' });
    expect(session.auth).toEqual({ userId: 'ada' });
  });

  test('is looked up once, however many callers ask', async () => {
    const { hub } = setup();
    let count = 0;
    const session = hub.sessions.open({ auth: async () => Promise.resolve({ userId: ++count }) });
    await Promise.all([session.authenticated(), session.authenticated()]);
    await session.authenticated();
    expect(count).toBe(1);
  });

  test.each(['at once', 'later'])(
    'is looked up once by a function that revokes, reads the user and opens sessions before it answers %s',
    async (when) => {
      const { hub, revocations, seen } = setup();
      const reporter = hub.reporter as RecordingReporter;
      const user = { userId: 'ada', authId: 'one' };
      const within: Promise<unknown>[] = [];
      let count = 0;
      const session = hub.sessions.open({
        auth: () => {
          count++;
          void revocations.revoke('bob', new RevokedAuthenticationUser());
          try {
            void session.auth;
          } catch (error) {
            seen.push(error);
          }
          session.timeIsUp();
          within.push(session.authenticated());
          const other = hub.sessions.open({ auth: () => user });
          void revocations.revoke('ada', new RevokedAuthenticationAuthId('one'));
          seen.push(other.closeReason);
          return when === 'at once' ? user : Promise.resolve(user);
        },
      });

      expect(await session.authenticated()).toEqual(user);
      expect(await Promise.all(within)).toEqual([user]);

      expect(count).toBe(1);
      expect(seen).toEqual([expect.any(ConfigurationError), 'revoked']);
      // Revocations meanwhile count.
      expect(session.closeReason).toBe('revoked');
      expect(reporter.callbackFailures).toEqual([]);
    },
  );

  test('is looked up for any number of sessions by a revocation, even if each lookup revokes in turn', async () => {
    const { hub, revocations } = setup();
    const count = 5_000;
    let asked = 0;
    const auth = () => {
      asked++;
      void revocations.revoke(`user ${asked}`, new RevokedAuthenticationUser());
      return asked === count ? { userId: 'ada', issuedAt: 1 } : null;
    };
    const opened = Array.from({ length: count }, () => hub.sessions.open({ auth }));

    await revocations.revoke('ada', new RevokedAuthenticationUser());

    expect(asked).toBe(count);
    expect(opened.at(-1)!.closeReason).toBe('revoked');
    expect((hub.reporter as RecordingReporter).callbackFailures).toEqual([]);
  });

  test('is null once the lookup has finished, until the next lookup', async () => {
    const { hub, revocations } = setup();
    let user: { userId: string } | null = null;
    let count = 0;
    const session = hub.sessions.open({
      auth: async () => {
        count++;
        return Promise.resolve(user);
      },
    });
    expect(await session.authenticated()).toBeNull();
    expect(session.auth).toBeNull();
    // A revocation does not ask anonymous sessions, of which there may be ten thousand.
    await revocations.revoke('ada', new RevokedAuthenticationUser());
    expect(count).toBe(1);
    user = { userId: 'ada' };
    expect(await session.authenticated()).toEqual({ userId: 'ada' });
  });
});

describe('The sign-in of a session', () => {
  const START = Date.parse('2026-01-01T00:00:00.000Z');
  beforeEach(() => void jest.useFakeTimers({ now: START }));
  afterEach(() => void jest.useRealTimers());
  const expiring = (ms: number, userId = 'ada') => ({ userId, expiresAt: START + ms });

  test('ends the session when it expires, with everything registered in it', () => {
    const { hub, seen } = setup();
    const session = hub.sessions.open({ auth: expiring(60_000) });
    const lasting = hub.sessions.open({ auth: { userId: 'ada' } });
    hub.listen('channel', (message) => seen.push(message), session);
    session.onClose((reason) => seen.push(reason));
    jest.advanceTimersByTime(59_999);
    void hub.post('channel', 'in time');
    jest.advanceTimersByTime(1);
    void hub.post('channel', 'late');
    expect(seen).toEqual(['in time', 'expired']);
    expect([session.closeReason, lasting.closeReason, hub.sessions.size]).toEqual(['expired', undefined, 2]);
  });

  test('ends the session at once if it has already expired', () => {
    const { hub } = setup();
    const [given, asked] = [hub.sessions.open({ auth: expiring(0) }), hub.sessions.open({ auth: () => expiring(-1) })];
    expect([given.closeReason, asked.closeReason]).toEqual(['expired', undefined]);
    expect(asked.auth).toEqual(expiring(-1));
    expect([asked.closeReason, hub.sessions.size]).toEqual(['expired', 1]);
  });

  test('ends the session as soon as a slow answer shows that it has expired meanwhile', async () => {
    const { hub } = setup();
    let answer: (() => void) | undefined;
    const auth = new Promise<ReturnType<typeof expiring>>((resolve) => (answer = () => resolve(expiring(1_000))));
    const session = hub.sessions.open({ auth: () => auth });
    const known = session.authenticated();
    jest.advanceTimersByTime(2_000);
    answer?.();
    expect(await known).toEqual(expiring(1_000));
    expect(session.closeReason).toBe('expired');
  });

  test.each(['at once', 'later'])(
    'is asked for if the session lasts and nobody else asks, when the answer comes %s',
    async (when) => {
      const { hub } = setup();
      let count = 0;
      const answer = () => {
        count++;
        return when === 'later' ? Promise.resolve(expiring(5_000)) : expiring(5_000);
      };
      const [listens, idle] = [hub.sessions.open({ auth: answer }), hub.sessions.open({ auth: answer })];
      for (let i = 0; i < 3; i++) hub.listen('channel', () => {}, listens);
      // A session that has ended by then is not asked.
      const short = hub.sessions.open({ auth: answer });
      hub.listen('channel', () => {}, short);
      short.close();
      await jest.advanceTimersByTimeAsync(1_250);
      expect([count, listens.closeReason]).toEqual([1, undefined]);
      await jest.advanceTimersByTimeAsync(3_750);
      expect([count, listens.closeReason, idle.closeReason]).toEqual([1, 'expired', undefined]);
    },
  );

  test('that expires leaves no timer after its session has closed', () => {
    const { hub } = setup();
    const sessions = Array.from({ length: 100 }, () => hub.sessions.open({ auth: expiring(3_600_000) }));
    for (const session of sessions) session.close();
    jest.advanceTimersByTime(250);
    expect(jest.getTimerCount()).toBe(0);
    expect(sessions[0]!.closeReason).toBe('ended');
  });

  test('gives way to a longer one of the same user, and the session ends with that one', () => {
    const { hub } = setup();
    const session = hub.sessions.open({ auth: expiring(10_000) });
    const later = { ...expiring(20_000), authId: 'two', scopes: ['read'] };
    expect(session.renew(later)).toBe(true);
    expect(session.auth).toBe(later);
    jest.advanceTimersByTime(10_000);
    expect(session.closed).toBe(false);
    jest.advanceTimersByTime(10_000);
    expect(session.closeReason).toBe('expired');
    // Once ended, neither of them is waited for.
    const short = hub.sessions.open({ auth: expiring(30_000) });
    short.renew(expiring(40_000));
    short.close();
    jest.advanceTimersByTime(250);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('gives way to one of the same user without an expiry', () => {
    const { hub } = setup();
    const session = hub.sessions.open({ auth: { userId: 7, expiresAt: START + 10_000 } });
    expect(session.renew({ userId: '7' })).toBe(true);
    jest.advanceTimersByTime(3_600_000);
    expect([session.closed, jest.getTimerCount()]).toEqual([false, 0]);
    expect(session.renew({ userId: '7', expiresAt: START + 4_000_000 })).toBe(false);
  });

  test.each([
    ['of another user', expiring(20_000, 'bob')],
    ['that lasts as long', { ...expiring(10_000), authId: 'two' }],
    ['that ends sooner', expiring(9_000)],
  ])('does not give way to one %s', (_, other) => {
    const { hub } = setup();
    const session = hub.sessions.open({ auth: expiring(10_000) });
    expect([session.isRenewedBy(other), session.renew(other)]).toEqual([false, false]);
    expect(session.auth).toEqual(expiring(10_000));
    jest.advanceTimersByTime(10_000);
    expect(session.closeReason).toBe('expired');
  });

  test('does not give way to a revoked one: the session ends', async () => {
    const { hub, revocations } = setup();
    const session = hub.sessions.open({ auth: { ...expiring(10_000), authId: 'one' } });
    await revocations.revoke('ada', new RevokedAuthenticationAuthId('two'));
    expect(session.closed).toBe(false);
    expect(session.renew({ ...expiring(20_000), authId: 'two' })).toBe(false);
    expect(session.closeReason).toBe('revoked');
  });

  test('does not give way once the session has closed, nor for an anonymous session', () => {
    const { hub } = setup();
    const [closed, nobody] = [hub.sessions.open({ auth: expiring(10_000) }), hub.sessions.open()];
    closed.close();
    expect([closed, nobody].map((session) => session.renew(expiring(20_000)))).toEqual([false, false]);
    jest.advanceTimersByTime(250);
    expect(jest.getTimerCount()).toBe(0);
  });
});
