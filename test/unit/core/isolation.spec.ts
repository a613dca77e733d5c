// oxlint-disable unicorn/no-thenable, unicorn/prefer-add-event-listener, typescript/no-misused-promises, typescript/no-deprecated -- what applications do all the same
import { addAbortListener } from 'node:events';
import { describe, expect, test } from '@jest/globals';
import {
  Observable,
  Subject,
  asyncScheduler,
  delay,
  finalize,
  firstValueFrom,
  from,
  fromEvent,
  map,
  merge,
  mergeMap,
  take,
  takeUntil,
} from 'rxjs';
import { Hub } from '../../../lib/core/hub.js';
import { createStream } from '../../../lib/core/stream.js';
import { Revocations } from '../../../lib/core/revocations.js';
import type { Session } from '../../../lib/core/session.js';
import { RevokedAuthenticationUser } from '../../../lib/protocol/authentication.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

function setup() {
  const reporter = new RecordingReporter();
  const hub = new Hub({ reporter });
  return { hub, reporter, revocations: new Revocations(hub), seen: [] as unknown[] };
}

const failure = new Error('of the application');
const fail = (): never => {
  throw failure;
};

/** Resolves after every timer of RxJS and every tick of Node that would throw an uncaught error. */
const afterTheTurn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

/** Each way in which an application learns of a session's end and fails. */
const FAILURES: Record<string, (session: Session, hub: Hub) => void> = {
  'a listener of its signal': ({ signal }) => signal.addEventListener('abort', fail),
  'a listener of its signal, once': ({ signal }) => signal.addEventListener('abort', fail, { once: true }),
  'an async listener of its signal': ({ signal }) => signal.addEventListener('abort', async () => fail()),
  'a listener of its signal that returns a thenable': ({ signal }) =>
    signal.addEventListener('abort', (() => ({ then: fail })) as never),
  'an object that listens to its signal': ({ signal }) => signal.addEventListener('abort', { handleEvent: fail }),
  'an object that listens to its signal by a getter': ({ signal }) =>
    signal.addEventListener('abort', {
      get handleEvent() {
        return fail();
      },
    } as unknown as EventListenerObject),
  'onabort of its signal': ({ signal }) => void (signal.onabort = fail),
  "node's addAbortListener": ({ signal }) => void addAbortListener(signal, fail),
  onClose: (session) => session.onClose(fail),
  'complete of a stream': (session, hub) => void createStream(hub, 'x', session).subscribe({ complete: fail }),
  'complete behind an operator': (session, hub) =>
    void createStream(hub, 'x', session)
      .pipe(map((x) => x))
      .subscribe({ complete: fail }),
  'finalize of a stream': (session, hub) => void createStream(hub, 'x', session).pipe(finalize(fail)).subscribe(),
  'finalize inside a stream': (session, hub) =>
    void createStream(hub, 'x', session)
      .pipe(
        finalize(fail),
        map((x) => x),
      )
      .subscribe(),
  'finalize of merged streams': (session, hub) =>
    void merge(createStream(hub, 'x', session), new Subject())
      .pipe(finalize(fail), takeUntil(endOf(session)))
      .subscribe(),
  'a teardown of takeUntil': (session, hub) =>
    void createStream(hub, 'x', session)
      .pipe(takeUntil(new Observable(() => fail)))
      .subscribe(),
};

const endOf = ({ signal }: Session): Observable<unknown> => fromEvent(signal, 'abort');

describe('code of the application at the end of a session', () => {
  describe.each(Object.entries(FAILURES))('in %s', (name, add) => {
    test('that throws is reported, and a revocation ends all sessions of the user', async () => {
      const { hub, reporter, revocations, seen } = setup();
      const sessions = [1, 2, 3].map(() => hub.sessions.open({ auth: { userId: 'ada' } }));
      for (const session of sessions) {
        add(session, hub);
        session.signal.addEventListener('abort', () => seen.push('signal'));
        session.onClose(() => seen.push('onClose'));
        createStream(hub, 'y', session).subscribe({ complete: () => seen.push('stream') });
      }

      expect(await revocations.revoke('ada', new RevokedAuthenticationUser())).toBe(true);
      await afterTheTurn();

      expect(sessions.map(({ closeReason }) => closeReason)).toEqual(['revoked', 'revoked', 'revoked']);
      expect(seen).toHaveLength(9);
      if (name === 'finalize of merged streams') return; // RxJS swallows failures behind takeUntil.
      expect(reporter.callbackFailures.map(({ error }) => error)).toEqual([failure, failure, failure]);
    });

    test('that throws does not keep the hub from closing', async () => {
      const { hub } = setup();
      const sessions = [1, 2].map(() => hub.sessions.open());
      for (const session of sessions) add(session, hub);
      await hub.close();
      await afterTheTurn();
      expect(sessions.every(({ closed }) => closed)).toBe(true);
    });
  });

  test('that throws is reported with the name of the function', () => {
    const { hub, reporter } = setup();
    const session = hub.sessions.open();
    session.signal.addEventListener('abort', fail);
    session.onClose(fail);
    createStream(hub, 'x', session).subscribe({ complete: fail });
    session.close();
    expect(reporter.callbackFailures).toEqual([
      { callback: 'A listener of the signal of a session', error: failure },
      { callback: 'onClose of a session', error: failure },
      { callback: 'A subscriber of createStream()', error: failure },
    ]);
  });

  test('may open a session for the same user again, which stays open', async () => {
    const { hub, revocations } = setup();
    const opened: Session[] = [];
    const open = (): void => {
      const session = hub.sessions.open({ auth: { userId: 'ada' } });
      opened.push(session);
      session.signal.addEventListener('abort', open);
    };
    open();
    await revocations.revoke('ada', new RevokedAuthenticationUser());
    expect(opened.map(({ closed }) => closed)).toEqual([true, false]);
  });

  test('may end the session and others meanwhile', () => {
    const { hub, seen } = setup();
    const [one, two] = [hub.sessions.open(), hub.sessions.open()];
    const stream = createStream(hub, 'x', one).subscribe({ complete: () => seen.push('stream') });
    one.onClose(() => {
      one.close();
      two.close();
      stream.unsubscribe();
      one.onClose(() => seen.push('added meanwhile'));
    });
    one.onClose(() => seen.push('next'));
    two.onClose(() => one.close());
    one.close();
    expect(two.closed).toBe(true);
    expect(seen).toEqual(['added meanwhile', 'next']);
  });
});

describe('the lookup of a session’s user', () => {
  test('may fail, which is reported and means no user; other sessions are revoked', async () => {
    const { hub, reporter, revocations } = setup();
    const unknown = hub.sessions.open({ auth: fail });
    const known = hub.sessions.open({ auth: { userId: 'ada' } });
    await revocations.revoke('ada', new RevokedAuthenticationUser());
    expect(known.closeReason).toBe('revoked');
    expect(unknown.closed).toBe(false);
    expect(unknown.auth).toBeNull();
    expect(reporter.callbackFailures[0]).toEqual({ callback: '"auth" of a session', error: failure });
  });
});

describe('the signal of a session', () => {
  test('treats its listeners like any other signal: once each, until they are removed, with the event and itself', () => {
    const { hub, seen } = setup();
    const session = hub.sessions.open();
    const { signal } = session;
    const listener = function (this: unknown, event: Event): void {
      seen.push(this === signal && event.target === signal && event.type);
    };
    const object = { handleEvent: () => seen.push('object') };
    const gone = (): unknown => seen.push('gone');
    for (const each of [listener, listener, object, object, gone]) signal.addEventListener('abort', each);
    signal.removeEventListener('abort', gone);
    signal.removeEventListener('abort', () => seen.push('never added')); // oxlint-disable-line unicorn/no-invalid-remove-event-listener
    signal.addEventListener('abort', null as never);
    const ended = new AbortController();
    signal.addEventListener('abort', () => seen.push('ended'), { signal: ended.signal });
    ended.abort();
    signal.onabort = () => seen.push('replaced');
    signal.onabort = () => seen.push('onabort');
    expect(signal.onabort).toBeInstanceOf(Function);
    session.close();
    expect(seen).toEqual(['abort', 'object', 'onabort']);
    expect(Object.keys(signal)).toEqual(Object.keys(new AbortController().signal));
  });

  test('serves AbortSignal.any, fromEvent, addAbortListener and fetch', async () => {
    const { hub, seen } = setup();
    const session = hub.sessions.open();
    const { signal } = session;
    const any = AbortSignal.any([signal, new AbortController().signal]);
    fromEvent(signal, 'abort').subscribe(() => seen.push('fromEvent'));
    addAbortListener(signal, () => seen.push('addAbortListener'))[Symbol.dispose]();
    addAbortListener(signal, () => seen.push('added'));
    const answer = fetch('data:text/plain,x', { signal });
    session.close();
    await expect(answer).rejects.toThrow(/abort/i);
    expect(any.aborted).toBe(true);
    expect(seen).toEqual(['fromEvent', 'added']);
  });
});

const throwing = (): never => fail();
const name = (value: unknown) => Object.defineProperty<() => never>(() => fail(), 'name', { value });

describe('a listener that fails', () => {
  test.each<[string, () => unknown]>([
    ['a symbol for its name', name(Symbol('q'))],
    ['an object for its name', name({})],
    ['a name that throws', new Proxy(throwing, { get: (_target, key) => (key === 'name' ? fail() : throwing) })],
    [
      'a symbol for the name of an async function',
      Object.defineProperty(async () => fail(), 'name', { value: Symbol('q') }),
    ],
  ])('with %s disturbs no other listener, and is reported as anonymous', async (_what, listener) => {
    const { hub, reporter, seen } = setup();
    hub.listen('x', listener, hub.root);
    hub.listen('x', (message) => seen.push(message), hub.root);
    expect(await hub.post('x', 1)).toBe(true);
    await afterTheTurn();
    expect(seen).toEqual([1]);
    expect(reporter.listenerFailures).toMatchObject([{ error: failure, listener: 'anonymous listener' }]);
  });

  test.each<[string, () => unknown]>([
    ['a promise that rejects', async () => fail()],
    ['a thenable whose getter of then throws', () => Object.defineProperty({}, 'then', { get: fail })],
    ['a thenable whose then() throws', () => ({ then: fail })],
    [
      'a thenable that rejects twice, then throws',
      () => ({
        then: (_resolve: unknown, reject: (error: unknown) => void) => {
          reject(failure);
          reject(new Error('once more'));
          fail();
        },
      }),
    ],
  ])('by %s is reported once', async (_what, listener) => {
    const { hub, reporter } = setup();
    hub.listen('x', listener, hub.root);
    void hub.post('x', 1);
    await afterTheTurn();
    expect(reporter.listenerFailures).toMatchObject([{ error: failure, channel: 'x' }]);
  });

  test('may give a thenable that calls its function with the value, at once or later, without counting as a failure', async () => {
    const { hub, reporter, seen } = setup();
    type Resolve = (value: number) => void;
    hub.listen('x', () => ({ then: (resolve: Resolve) => resolve(seen.push('at once')) }), hub.root);
    hub.listen('x', () => ({ then: async (resolve: Resolve) => resolve(seen.push('later')) }), hub.root);
    void hub.post('x', 1);
    await afterTheTurn();
    expect(seen).toEqual(['at once', 'later']);
    expect(reporter.listenerFailures).toEqual([]);
  });
});

describe('a subscriber of a stream', () => {
  test('whose promise rejects is reported like a listener, with the failing message', async () => {
    const { hub, reporter } = setup();
    const stream = createStream<number>(hub, 'numbers', hub.root);
    stream.subscribe(async () => fail());
    stream.pipe(map((n) => n * 10)).subscribe({ next: async () => fail() });
    void hub.post('numbers', 1);
    void hub.post('letters', 'a');
    await afterTheTurn();
    expect(reporter.listenerFailures).toMatchObject([
      { error: failure, listener: 'createStream()', context: { channel: 'numbers' } },
      { error: failure, listener: 'createStream()', context: { channel: 'numbers' } },
    ]);
  });

  test('is reported if its promise for the end, or for an error, rejects', async () => {
    const { hub, reporter } = setup();
    const session = hub.sessions.open();
    createStream(hub, 'x', session).subscribe({ complete: async () => fail() });
    createStream(hub, 'x', session)
      .pipe(map(() => fail()))
      .subscribe({ error: async () => fail() });
    void hub.post('x', 1);
    session.close();
    await afterTheTurn();
    expect(reporter.listenerFailures).toMatchObject([{ error: failure, channel: 'x' }]);
    expect(reporter.callbackFailures).toEqual([{ callback: 'A subscriber of createStream()', error: failure }]);
  });

  test('that throws is reported like a listener, is still called, and disturbs no other subscriber', async () => {
    const { hub, reporter, seen } = setup();
    const stream = createStream<number>(hub, 'numbers', hub.root);
    stream.subscribe((n) => {
      seen.push(`throws ${n}`);
      fail();
    });
    stream.pipe(map((n) => n * 10)).subscribe((n) => {
      seen.push(`throws ${n}`);
      fail();
    });
    stream.subscribe((n) => seen.push(n));
    for (const n of [1, 2]) void hub.post('numbers', n);
    await afterTheTurn();
    expect(seen).toEqual(['throws 1', 'throws 10', 1, 'throws 2', 'throws 20', 2]);
    expect(reporter.listenerFailures).toHaveLength(4);
    expect(reporter.listenerFailures[0]).toMatchObject({
      error: failure,
      channel: 'numbers',
      listener: 'createStream()',
      context: { channel: 'numbers', origin: 'local' },
    });
  });

  test('without an error function has errors of its operators reported', async () => {
    const { hub, reporter } = setup();
    const subscription = createStream(hub, 'numbers', hub.root).pipe(map(fail)).subscribe();
    void hub.post('numbers', 1);
    await afterTheTurn();
    expect(subscription.closed).toBe(true);
    expect(reporter.listenerFailures).toMatchObject([{ error: failure }]);
  });

  test('with an error function gets such errors, and an error in that function is reported', async () => {
    const { hub, reporter, seen } = setup();
    createStream(hub, 'numbers', hub.root)
      .pipe(map(fail))
      .subscribe({
        error: (error) => {
          seen.push(error);
          throw new Error('of the handler');
        },
      });
    void hub.post('numbers', 1);
    await afterTheTurn();
    expect(seen).toEqual([failure]);
    expect(reporter.listenerFailures).toMatchObject([{ error: { message: 'of the handler' } }]);
  });

  test('that throws in another turn, or at its end, is reported', async () => {
    const { hub, reporter } = setup();
    const stream = createStream(hub, 'numbers', hub.root);
    stream.pipe(take(1), delay(0, asyncScheduler)).subscribe(fail);
    stream.pipe(mergeMap(async (n) => n)).subscribe({ next: fail });
    stream.pipe(finalize(fail), finalize(fail)).subscribe().unsubscribe();
    expect(reporter.callbackFailures).toHaveLength(2);
    void hub.post('numbers', 1);
    await afterTheTurn();
    await afterTheTurn();
    expect(reporter.callbackFailures.map(({ error }) => error)).toEqual([failure, failure, failure, failure]);
    expect(reporter.callbackFailures[0]!.callback).toBe('A subscriber of createStream()');
  });

  test('may be of any kind that RxJS has', async () => {
    const { hub, seen } = setup();
    const stream = createStream<number>(hub, 'numbers', hub.root);
    const first = firstValueFrom(stream);
    const subject = new Subject<number>();
    subject.subscribe((n) => seen.push(`subject ${n}`));
    const viaSubject = stream.subscribe(subject);
    merge(stream, from([0])).subscribe((n) => seen.push(`merged ${n}`));
    stream.subscribe(
      (n) => seen.push(`function ${n}`),
      () => {},
      () => seen.push('complete'),
    );
    const all = stream.forEach((n) => void seen.push(`forEach ${n}`));
    void hub.post('numbers', 1);
    viaSubject.unsubscribe();
    await hub.close();
    await all;
    expect(await first).toBe(1);
    expect(seen).toEqual(['merged 0', 'subject 1', 'merged 1', 'function 1', 'forEach 1', 'complete']);
  });
});

describe('a subscriber of the status', () => {
  test('that throws is reported', async () => {
    const { hub, reporter, seen } = setup();
    hub.status.pipe(finalize(fail)).subscribe(({ state }) => seen.push(state));
    hub.status.subscribe(fail);
    await afterTheTurn();
    expect(seen).toEqual(['ready']);
    expect(reporter.callbackFailures).toEqual([
      { callback: 'A subscriber of the status', error: failure },
      { callback: 'A subscriber of the status', error: failure },
    ]);
  });
});
