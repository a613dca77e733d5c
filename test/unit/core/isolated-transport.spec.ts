import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { firstValueFrom, from } from 'rxjs';
import { Hub } from '../../../lib/core/hub.js';
import { IsolatedTransport } from '../../../lib/core/isolated-transport.js';
import type { HistoryStore } from '../../../lib/core/history-store.js';
import type { Transport, TransportStatus } from '../../../lib/core/transport.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { TransportUnavailableError } from '../../../lib/protocol/errors.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

const failing = (): never => {
  throw new Error('broken');
};
const rejecting = (): Promise<never> => Promise.reject(new Error('broken'));
const hanging = (): Promise<never> => new Promise(() => undefined);
const ways: [string, () => unknown][] = [
  ['throws', failing],
  ['rejects', rejecting],
];

/** A hub over a transport with one replaced method. */
function setup(method: keyof Transport, replacement: (...args: never[]) => unknown) {
  const reporter = new RecordingReporter();
  const transport = Object.assign(new MemoryTransport(new MemoryBroker()), { [method]: replacement });
  const hub = new Hub({ reporter, transport: new IsolatedTransport(transport, reporter) });
  const session = hub.sessions.open();
  const failures = () =>
    reporter.callbackFailures.map(({ callback, error }) => `${callback}: ${(error as Error).message}`);
  return { reporter, transport, hub, session, failures };
}

const Kept = defineChannel<number>('isolated/kept', undefined, { history: { maxMessages: 10, ttlMs: 60_000 } });
const KeptOnes = defineChannel<number, 'isolated/kept/:id'>('isolated/kept/:id', undefined, {
  history: { maxMessages: 10, ttlMs: 60_000 },
});
const at = (offset: number) => ({ epoch: 'e', offset });
const page = (change: object) => ({ gap: undefined, entries: [], next: at(0), end: at(0), ...change });
const entry = (offset: unknown) => ({ offset, payload: '' });

/** A hub whose store gives a different answer. */
function withStore(method: keyof HistoryStore, replacement: (...args: never[]) => unknown) {
  const reporter = new RecordingReporter();
  const transport = new MemoryTransport(new MemoryBroker());
  const history = { ...transport.history, [method]: replacement };
  const isolated = new IsolatedTransport(Object.assign(transport, { history }), reporter);
  const hub = new Hub({ reporter, transport: isolated });
  const failures = () =>
    reporter.callbackFailures.map(({ callback, channel, error }) => {
      const place = channel === undefined ? callback : `${callback} on ${channel}`;
      return `${place}: ${(error as Error).message}`;
    });
  return { hub, failures };
}

const ready = (text?: string): TransportStatus => ({
  state: 'ready',
  ...(text !== undefined && { error: new Error(text) }),
});

/** After unhandled rejections have been reported. */
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

afterEach(() => void jest.useRealTimers());

describe('A transport of the application', () => {
  test.each<[string, () => unknown, string]>([
    ['throws', failing, 'broken'],
    ['rejects', rejecting, 'broken'],
    ['gives a number', () => Promise.resolve(5), 'it must resolve to true or false, not 5'],
    ['gives nothing', () => undefined, 'it must resolve to true or false, not undefined'],
  ])('whose publish %s does not accept the post, but local listeners get it', async (_, publish, text) => {
    const { hub, session, failures } = setup('publish', publish);
    await hub.start();
    const seen: unknown[] = [];
    hub.listen('news', (message) => seen.push(message), session);
    const accepted = hub.post('news', 1, { global: true });
    expect(seen).toEqual([1]);
    expect(await accepted).toBe(false);
    expect(failures()).toEqual([`"publish" of the transport: ${text}`]);
  });

  test.each(ways)('whose subscribe or unsubscribe %s is reported, and listeners work', async (way, call) => {
    for (const method of ['subscribe', 'unsubscribe'] as const) {
      const { hub, session, failures } = setup(method, call);
      await hub.start();
      const seen: unknown[] = [];
      const listener = hub.listen('news', (message) => seen.push(message), session);
      await hub.post('news', way);
      listener.unsubscribe();
      await turn();
      expect(seen).toEqual([way]);
      expect(failures()).toEqual([`"${method}" of the transport: broken`]);
    }
  });

  test.each(ways)('whose close %s is reported, and everything else ends', async (_, close) => {
    const { hub, failures } = setup('close', close);
    await hub.start();
    await hub.close();
    expect(failures()).toEqual(['"close" of the transport: broken']);
  });

  test.each(ways)('whose start %s fails the start', async (_, start) => {
    const { hub } = setup('start', start);
    await expect(hub.start()).rejects.toThrow('broken');
  });

  test('that never finishes starting or closing is waited for 10 s each, and reported', async () => {
    jest.useFakeTimers();
    for (const [method, rest] of [
      ['start', 'the application goes on without it'],
      ['close', 'the application ends without it'],
    ] as const) {
      const { hub, failures } = setup(method, hanging);
      const done = hub[method]();
      await jest.advanceTimersByTimeAsync(9_999);
      expect(failures()).toEqual([]);
      await jest.advanceTimersByTimeAsync(1);
      await done;
      expect(failures()).toEqual([`"${method}" of the transport: it has not resolved for 10 s; ${rest}`]);
      expect(jest.getTimerCount()).toBe(0);
    }
  });

  test('that reports the same status again does not change its status', async () => {
    const { hub, transport } = setup('hearers', () => undefined);
    const reports = [ready(), ready(), ready('full'), ready('full'), ready('slow'), ready('full'), ready()];
    Object.assign(transport, { status: from(reports) });
    const seen: (string | undefined)[] = [];
    hub.status.subscribe(({ error }) => seen.push(error?.message));
    expect(seen).toEqual([undefined, 'full', 'slow', 'full', undefined]);
    // For code that waits for a state.
    expect(await firstValueFrom(hub.status)).toEqual({ state: 'ready' });
  });

  test('whose start fails after its time is up is reported', async () => {
    jest.useFakeTimers();
    let fail!: (error: Error) => void;
    const { hub, failures } = setup('start', () => new Promise((_, reject) => (fail = reject)));
    const done = hub.start();
    await jest.advanceTimersByTimeAsync(10_000);
    await done;
    fail(new Error('too late'));
    await jest.advanceTimersByTimeAsync(0);
    expect(failures()[1]).toBe('"start" of the transport: too late');
  });

  test('leaves no timer behind if it starts and closes in time', async () => {
    const { hub } = setup('unsubscribe', () => undefined);
    jest.useFakeTimers({ doNotFake: ['setImmediate'] });
    await hub.start();
    await hub.close();
    expect(jest.getTimerCount()).toBe(0);
  });

  test('that hands over something other than text is reported, and gets no error itself', async () => {
    let receive!: (...args: unknown[]) => void;
    const { hub, reporter } = setup('start', (receiver: never) => {
      receive = receiver;
      return Promise.resolve();
    });
    await hub.start();
    receive(Buffer.from('{}'), 'news', 'news');
    receive('{}', 'news', undefined);
    expect(reporter.rejections.map(({ channel, error }) => [channel, error.message])).toEqual([
      ['news', 'the transport must hand over three strings, not an instance of Buffer, "news" and "news"'],
      ['', 'the transport must hand over three strings, not a string, "news" and undefined'],
    ]);
  });

  test('that reports wrong losses is reported, and its valid losses are passed on', async () => {
    const reporter = new RecordingReporter();
    const inner = new MemoryTransport(new MemoryBroker());
    const losses: unknown[] = [];
    inner.start = async (_, events) => {
      const lost = events!.lost as (...args: unknown[]) => void;
      lost('news', 'broker', 7);
      lost('news', 'broker', 'long');
      lost('news', 'weather');
      lost(5, 'broker');
    };
    await new IsolatedTransport(inner, reporter).start(() => undefined, { lost: (...args) => losses.push(args) });
    // A loss of unknown duration counts as a gap.
    expect(losses).toEqual([
      ['news', 'broker', 7],
      ['news', 'broker', undefined],
    ]);
    const failures = reporter.callbackFailures.map(({ callback, error }) => `${callback}: ${(error as Error).message}`);
    expect(failures).toEqual([
      expect.stringMatching(
        /^A call of "lost" by the transport: "lost" takes a subscription and one of .*, not "news" and "weather"$/,
      ),
      expect.stringMatching(
        /^A call of "lost" by the transport: "lost" takes a subscription and one of .*, not 5 and "broker"$/,
      ),
    ]);
  });

  test.each<[string, (() => unknown) | undefined, string[]]>([
    ['is missing', undefined, []],
    ['throws', failing, ['"hearers" of the transport: broken']],
    ['rejects', rejecting, ['"hearers" of the transport: broken']],
    ['returns true', () => true, ['"hearers" of the transport: it must resolve to a count or undefined, not true']],
    [
      'returns half a node',
      () => 0.5,
      ['"hearers" of the transport: it must resolve to a count or undefined, not 0.5'],
    ],
    ['never answers', hanging, []],
  ])('whose hearers %s gives no answer', async (_, hearers, expected) => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] });
    const reporter = new RecordingReporter();
    const transport = Object.assign(new MemoryTransport(new MemoryBroker()), { hearers });
    const answer = new IsolatedTransport(transport, reporter).hearers?.('news');
    await jest.advanceTimersByTimeAsync(2_000);
    expect(await answer).toBeUndefined();
    const failures = reporter.callbackFailures.map(({ callback, error }) => `${callback}: ${(error as Error).message}`);
    expect(failures).toEqual(expected);
  });

  test.each<[string, (() => unknown) | undefined, boolean, string[]]>([
    ['is missing', undefined, true, []],
    ['says so', () => Promise.resolve(true), true, []],
    ['throws', failing, false, ['"catchUp" of the transport: broken']],
    ['rejects', rejecting, false, ['"catchUp" of the transport: broken']],
    [
      'gives a number',
      () => 5,
      false,
      ['"catchUp" of the transport: it must resolve to true, false or undefined, not 5'],
    ],
    ['never resolves', hanging, false, []],
  ])('whose catchUp %s does its best', async (_, catchUp, hasCaughtUp, expected) => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] });
    const reporter = new RecordingReporter();
    const transport = Object.assign(new MemoryTransport(new MemoryBroker()), { catchUp }) as object as Transport;
    const answer = new IsolatedTransport(transport, reporter).catchUp();
    await jest.advanceTimersByTimeAsync(2_000);
    expect(await answer).toBe(hasCaughtUp);
    const failures = reporter.callbackFailures.map(({ callback, error }) => `${callback}: ${(error as Error).message}`);
    expect(failures).toEqual(expected);
  });

  test.each<[string, (() => unknown) | undefined, string[]]>([
    ['is missing', undefined, []],
    ['resolves', () => Promise.resolve(), []],
    ['throws', failing, ['"settled" of the transport: broken']],
    ['rejects', rejecting, ['"settled" of the transport: broken']],
    [
      'never resolves',
      hanging,
      ['"settled" of the transport: it has not resolved for 10 s; clients that change servers may get messages twice'],
    ],
  ])('whose settled %s keeps nobody waiting', async (_, settled, expected) => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] });
    const reporter = new RecordingReporter();
    const transport = Object.assign(new MemoryTransport(new MemoryBroker()), { settled }) as object as Transport;
    const done = new IsolatedTransport(transport, reporter).settled();
    await jest.advanceTimersByTimeAsync(10_000);
    await done;
    const failures = reporter.callbackFailures.map(({ callback, error }) => `${callback}: ${(error as Error).message}`);
    expect(failures).toEqual(expected);
  });
});

describe('The history store of a transport of the application', () => {
  test.each<[string, () => unknown, string]>([
    ['throws', failing, 'broken'],
    ['rejects', rejecting, 'broken'],
    ['gives nothing', () => undefined, 'the outcome must be an object, not undefined'],
    [
      'returns an unknown kind',
      () => ({ kind: 'done' }),
      'the kind of the outcome must be appended, refused or unknown',
    ],
    [
      'returns no position',
      () => ({ kind: 'appended' }),
      'the position of the outcome must be a position { epoch, offset }',
    ],
  ])('that %s at an append does not accept the post', async (_, append, text) => {
    const { hub, failures } = withStore('append', append);
    await hub.start();
    expect(await hub.post(Kept, 1)).toBe(false);
    expect(failures()).toEqual([
      expect.stringContaining(`"history.append" of the transport on isolated/kept: ${text}`),
    ]);
  });

  test('that refuses a post without an error refuses it', async () => {
    const { hub, failures } = withStore('append', () => ({ kind: 'refused' }));
    await hub.start();
    expect(await hub.post(Kept, 1)).toBe(false);
    expect(failures()).toEqual(['A post on isolated/kept: undefined']);
  });

  test.each<[string, () => unknown, string]>([
    ['throws', failing, 'broken'],
    ['rejects', rejecting, 'broken'],
    ['gives nothing', () => undefined, 'the answer must be an object'],
    ['returns no position', () => page({ end: { epoch: 7 } }), 'end must be a position'],
    ['returns an unknown gap', () => page({ gap: 'lost' }), 'gap must be one of trimmed, epoch, future'],
    ['returns no entries', () => page({ entries: {} }), 'entries must be an array'],
    [
      'returns an entry without a payload',
      () => page({ entries: [{ offset: 1 }], next: at(1) }),
      'entries.payload must be a text',
    ],
    ['skips an entry', () => page({ entries: [entry(1), entry(3)], next: at(3) }), 'must rise by one'],
    ['continues elsewhere', () => page({ entries: [entry(1)], next: at(2), end: at(2) }), 'must rise by one'],
    ['makes no progress', () => page({ end: at(2) }), 'there must be an entry if next is before end'],
  ])('that %s at a read cannot be read now, and is reported', async (_, read, text) => {
    const { hub, failures } = withStore('read', read);
    await hub.start();
    await expect(hub.readHistory(Kept.name, 1)).rejects.toThrow(TransportUnavailableError);
    expect(failures()).toEqual([expect.stringContaining('"history.read" of the transport on isolated/kept: ')]);
    expect(failures()[0]).toContain(text);
  });

  test.each<[string, () => unknown]>([
    ['throws', failing],
    ['returns too few', () => []],
    ['returns no positions', () => [{ epoch: '', offset: 3 }]],
  ])('that %s when it is asked for positions cannot answer now, and is reported', async (_, positions) => {
    const { hub, failures } = withStore('positions', positions);
    await hub.start();
    await expect(hub.positionOf(Kept.name)).rejects.toThrow(TransportUnavailableError);
    expect(failures()).toHaveLength(1);
  });

  test.each<[string, () => unknown, string]>([
    ['throws', failing, 'broken'],
    ['returns no moment', () => ({ channels: [] }), 'now must be a moment'],
    ['returns no list', () => ({ now: {}, channels: 'all', isWhole: true }), 'channels must be an array'],
    ['does not state whether the list is complete', () => ({ now: {}, channels: [] }), 'isWhole must be'],
    ['returns an invalid name', () => ({ now: {}, channels: [5], isWhole: true }), 'channels'],
  ])('that %s when it is asked for changes cannot answer now, and is reported', async (_, changes, text) => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    const { hub, failures } = withStore('changes', changes);
    await hub.start();
    let isReady = false;
    void hub.listen(KeptOnes, () => {}, hub.root).ready.then(() => (isReady = true));
    for (let count = 0; count < 20; count++) await turn();
    expect(isReady).toBe(false);
    expect(failures()).toEqual([expect.stringContaining('"history.changes" of the transport: ')]);
    expect(failures()[0]).toContain(text);
    await hub.close();
  });

  test.each<[keyof HistoryStore, (hub: Hub) => Promise<unknown>, unknown]>([
    ['append', (hub) => hub.post(Kept, 1), false],
    ['read', (hub) => hub.readHistory(Kept.name, 1), expect.any(TransportUnavailableError)],
    ['positions', (hub) => hub.positionOf(Kept.name), expect.any(TransportUnavailableError)],
  ])('that does not answer at %s keeps no caller waiting forever', async (method, ask, expected) => {
    jest.useFakeTimers({ doNotFake: ['setImmediate', 'nextTick', 'queueMicrotask'] });
    const { hub, failures } = withStore(method, hanging);
    await hub.start();
    const answer = ask(hub).catch((error: unknown) => error);
    await jest.advanceTimersByTimeAsync(30_000);
    expect(await answer).toEqual(expected);
    expect(failures()).toEqual([expect.stringMatching(/it has not answered for \d+ s$/)]);
  });

  test('reports a missing link without a failure', async () => {
    const { hub, failures } = withStore('read', () => Promise.reject(new TransportUnavailableError('away')));
    await hub.start();
    await expect(hub.readHistory(Kept.name, 1)).rejects.toThrow('away');
    expect(failures()).toEqual([]);
  });
});

test('A message with a malformed position from a transport is rejected, not treated as one without history', async () => {
  const reporter = new RecordingReporter();
  let receive!: (...handed: unknown[]) => void;
  const transport = Object.assign(new MemoryTransport(new MemoryBroker()), {
    start: async (receiver: typeof receive) => void (receive = receiver),
  });
  const hub = new Hub({ reporter, transport: new IsolatedTransport(transport, reporter) });
  await hub.start();
  const seen: unknown[] = [];
  hub.listen('news', (message) => seen.push(message), hub.root);
  for (const position of [null, 7, { epoch: 'e' }, { epoch: 'a b', offset: 1 }]) receive('1', 'news', 'news', position);
  expect(seen).toEqual([]);
  expect(reporter.rejections.map(({ error }) => error.message)).toEqual(
    ['null', '7', 'an object', 'an object'].map(
      (what) => `the transport must hand over a position { epoch, offset } or none, not ${what}`,
    ),
  );
});
