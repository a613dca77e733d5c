import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { MessageContext } from '../../../lib/core/message-context.js';
import { LoggingReporter } from '../../../lib/nest/logging-reporter.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { ConfigurationError, InvalidMessageError, TransportUnavailableError } from '../../../lib/protocol/errors.js';
import { ThreadClock } from '../../support/thread-clock.js';

const MINUTE = 60_000;
const ESC = '\u001b';
let lines: string[];
let stacks: string[];

beforeEach(() => {
  jest.useFakeTimers();
  [lines, stacks] = [[], []];
  const record = (level: string) => (text: unknown, stack?: unknown) => {
    lines.push(`${level} ${String(text)}`);
    // Nest also passes on the name of the logger.
    if (stack !== undefined && stack !== 'Messaging') stacks.push(stack as string);
  };
  Logger.overrideLogger({ log: record('log'), warn: record('warn'), error: record('error') });
});
afterEach(() => {
  jest.useRealTimers();
  Logger.overrideLogger(['log', 'error', 'warn', 'debug', 'verbose']);
});

function listenerFailed(reporter: LoggingReporter, error: unknown, listener = 'Orders.bill', channel = 'orders') {
  reporter.listenerFailed(error, { channel, listener, context: {} as MessageContext });
}

describe('Lines of one kind', () => {
  test('are written at once up to five; the fifth states that further lines are counted', () => {
    const reporter = new LoggingReporter();
    for (let n = 1; n <= 5; n++) reporter.warn('kind', `text ${n}`);
    expect(lines).toEqual([
      'warn text 1',
      'warn text 2',
      'warn text 3',
      'warn text 4',
      'warn text 5 (further lines like this are counted and reported every 60 s)',
    ]);
    reporter.warn('kind', 'text 6');
    expect(lines).toHaveLength(5);
  });

  test('become one line a minute while they continue, with their number and the latest text', () => {
    const reporter = new LoggingReporter();
    for (let n = 1; n <= 1_000; n++) reporter.warn('kind', `text ${n}`);
    jest.advanceTimersByTime(MINUTE);
    expect(lines.slice(5)).toEqual(['warn 995 lines like this were held back, the latest: text 1000']);
    for (let n = 1; n <= 50; n++) reporter.warn('kind', `again ${n}`);
    jest.advanceTimersByTime(MINUTE);
    expect(lines.slice(6)).toEqual(['warn 50 lines like this were held back, the latest: again 50']);
  });

  test('are written at once again after a minute without any', () => {
    const reporter = new LoggingReporter();
    for (let n = 1; n <= 6; n++) reporter.warn('kind', `text ${n}`);
    jest.advanceTimersByTime(2 * MINUTE);
    lines.length = 0;
    reporter.warn('kind', 'after a while');
    expect(lines).toEqual(['warn after a while']);
    expect(jest.getTimerCount()).toBe(1);
    jest.advanceTimersByTime(MINUTE);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('do not hold back lines of another kind', () => {
    const reporter = new LoggingReporter();
    for (let n = 1; n <= 100; n++) reporter.warn('kind', 'text');
    reporter.warn('another', 'is told');
    expect(lines.at(-1)).toBe('warn is told');
  });

  test('that are held back are logged when the application ends', () => {
    const reporter = new LoggingReporter();
    for (let n = 1; n <= 8; n++) reporter.warn('kind', 'text');
    reporter.flush();
    expect(lines.at(-1)).toBe('warn 3 lines like this were held back, the latest: text');
    expect(jest.getTimerCount()).toBe(0);
  });
});

describe('The text of a line that is held back', () => {
  test('is made soon, for the latest of many only, and then no longer kept', () => {
    const reporter = new LoggingReporter();
    const read: number[] = [];
    for (let n = 1; n <= 1_000; n++) {
      const message = { get: () => `${read.push(n)} of them read` };
      reporter.messageRejected({ channel: 'orders', error: Object.defineProperty(new Error(), 'message', message) });
    }
    expect(read).toEqual([1, 2, 3, 4, 5]);
    jest.advanceTimersByTime(100);
    expect(read).toEqual([1, 2, 3, 4, 5, 1_000]);
    jest.advanceTimersByTime(MINUTE);
    expect(lines.at(-1)).toMatch(/^error 995 lines like this were held back, the latest: .*: 6 of them read$/);
    expect(read).toHaveLength(6);
  });

  test('is made when the application ends, if that comes first', () => {
    const reporter = new LoggingReporter();
    for (let n = 1; n <= 8; n++) listenerFailed(reporter, new Error(`text ${n}`));
    reporter.flush();
    expect(lines.at(-1)).toMatch(/^error 3 lines like this were held back, the latest: .*: text 8$/);
    expect(jest.getTimerCount()).toBe(0);
  });
});

describe('Lines of the link to the other servers', () => {
  test('end with the current state: the last line is logged after five seconds, however many lines came before', () => {
    const reporter = new LoggingReporter();
    for (let outage = 0; outage < 3; outage++) {
      reporter.state('warn', 'lost');
      reporter.state('log', 'back');
      jest.advanceTimersByTime(2_000);
    }
    jest.advanceTimersByTime(2_999);
    expect(lines.at(-1)).toMatch(/^warn lost \(further lines/);
    jest.advanceTimersByTime(1);
    expect(lines.slice(5)).toEqual(['log 1 lines like this were held back, the latest: back']);
    jest.advanceTimersByTime(2 * MINUTE);
    expect(lines).toHaveLength(6);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('that keep changing are no more than one a minute', () => {
    const reporter = new LoggingReporter();
    for (let second = 0; second < 60; second++) {
      reporter.state('warn', 'lost');
      jest.advanceTimersByTime(1_000);
    }
    expect(lines).toHaveLength(6);
    reporter.flush();
    expect(jest.getTimerCount()).toBe(0);
  });
});

describe('Kinds', () => {
  test('are counted separately up to 200; beyond that the log reports the limit, and continues to count', () => {
    const reporter = new LoggingReporter();
    for (let n = 1; n <= 200; n++) reporter.warn(`kind ${n}`, `text ${n}`);
    expect(lines).toHaveLength(200);
    for (let n = 201; n <= 10_000; n++) reporter.warn(`kind ${n}`, `text ${n}`);
    expect(lines).toHaveLength(205);
    expect(lines.at(-1)).toBe(
      'warn text 205 (200 kinds of lines are told apart; those of other kinds are counted and reported every 60 s)',
    );
    jest.advanceTimersByTime(MINUTE);
    expect(lines.slice(205)).toEqual(['warn 9795 lines like this were held back, the latest: text 10000']);
  });

  test('do not depend on names chosen by clients: 1,000 channels of one template are one kind', () => {
    defineChannel('log-rooms/:roomId');
    const reporter = new LoggingReporter();
    for (let n = 0; n < 1_000; n++) {
      reporter.messageRejected({ channel: `log-rooms/${n}`, error: new InvalidMessageError(`wrong: "piece ${n}x"`) });
      reporter.messageRejected({ channel: `messaging:node/${n}`, error: new InvalidMessageError(`wrong ${n}`) });
      listenerFailed(reporter, new Error(`no user ${n}`), 'Orders.bill', `log-rooms/${n}`);
      reporter.callbackFailed({ callback: 'A post', channel: `log-rooms/${n}`, error: new Error(`no room ${n}`) });
    }
    expect(lines).toHaveLength(20);
    expect(lines[3]).toBe('error A post failed on channel "log-rooms/0": no room 0');
  });

  test('have a line for each definition of a channel', () => {
    for (const name of ['log-shops/:shopId', 'log-stock']) defineChannel(name);
    const reporter = new LoggingReporter();
    for (let n = 0; n < 100; n++) {
      for (const channel of [`log-shops/${n}`, 'log-stock', `log-nobody/${n}`]) {
        reporter.callbackFailed({ callback: 'A post', channel, error: new Error('a') });
      }
    }
    expect(lines).toHaveLength(15);
  });

  test('that the status explains, because Redis is away, have one line without a stack; further lines are counted', () => {
    const reporter = new LoggingReporter();
    const refuse = (n: number) => {
      const error = new TransportUnavailableError(`It is not appended: for ${n} ms`);
      reporter.callbackFailed({ callback: 'A post', channel: 'log-away', error });
    };
    for (let n = 1; n <= 100; n++) refuse(n);
    expect(lines).toEqual([
      'error A post failed on channel "log-away": It is not appended: for 1 ms ' +
        '(further lines like this are counted and reported every 60 s)',
    ]);
    jest.advanceTimersByTime(MINUTE);
    expect(lines.slice(1)).toEqual([
      'error 99 lines like this were held back, the latest: A post failed on channel "log-away": It is not appended: for 100 ms',
    ]);
    expect(stacks).toEqual([]);
  });

  test('consist of the place in the code and the kind of error', () => {
    const reporter = new LoggingReporter();
    for (let n = 0; n < 10; n++) {
      listenerFailed(reporter, new Error('a'), 'A.a');
      listenerFailed(reporter, new TypeError('a'), 'A.a');
      listenerFailed(reporter, new ConfigurationError('a'), 'A.a');
      listenerFailed(reporter, 'text', 'A.a');
      listenerFailed(reporter, new Error('a'), 'B.b');
      reporter.callbackFailed({ callback: 'finalize of A.a', error: new Error('a') });
      reporter.streamFailed({ handler: 'A.a', error: new Error('a') });
      reporter.slowConsumer({ handler: 'A.a', bufferedBytes: n });
    }
    expect(lines).toHaveLength(8 * 5);
  });

  test('for failures of onListenerError are limited too', () => {
    const reporter = new LoggingReporter(() => {
      throw new Error('that too');
    });
    for (let n = 0; n < 100; n++) listenerFailed(reporter, new Error('a'));
    expect(lines).toHaveLength(10);
    expect(lines[1]).toBe('error onListenerError failed: that too');
  });
});

describe('The text for the log', () => {
  test('is one line, whatever characters it contains', () => {
    new LoggingReporter().warn('kind', `a\nb\r\tc${ESC}[2Jd\u0000\u009b\u2028\u202e\ud800é😀`);
    expect(lines).toEqual([`warn a\\nb\\r\\tc\\u{1b}[2Jd\\u{0}\\u{9b}\\u{2028}\\u{202e}\\u{d800}é😀`]);
  });

  test('is cut beyond 2,000 characters', () => {
    const reporter = new LoggingReporter();
    reporter.warn('kind', 'x'.repeat(2_000));
    reporter.warn('kind', 'x'.repeat(2_001));
    expect(lines).toEqual([`warn ${'x'.repeat(2_000)}`, `warn ${'x'.repeat(2_000)}… (2001 characters)`]);
    listenerFailed(reporter, new Error('y'.repeat(10_000_000)));
    expect(lines[2]!.length).toBeLessThan(2_100);
    expect(stacks[0]!.length).toBeLessThan(30_000);
  });

  test('contains the frames of the stack as lines, and no line from the message', () => {
    const forged = `no\n    at forged (file.js:1:1)\n[Nest] 1 LOG all is well${ESC}[0m`;
    listenerFailed(new LoggingReporter(), new Error(forged));
    expect(lines).toEqual([
      'error Listener Orders.bill failed on channel "orders": no\\n    at forged (file.js:1:1)\\n[Nest] 1 LOG all is well\\u{1b}[0m',
    ]);
    const [head, ...frames] = stacks[0]!.split('\n');
    expect(head).toBe('Error: no\\n    at forged (file.js:1:1)\\n[Nest] 1 LOG all is well\\u{1b}[0m');
    expect(frames.length).toBeGreaterThan(0);
    expect(frames.filter((frame) => !/^ {4}at .*(:\d+:\d+|<anonymous>)\)?$/.test(frame))).toEqual([]);
    expect(frames.filter((frame) => frame.includes('forged'))).toEqual([]);
  });

  test('contains no line but frames of a stack whose message was changed afterwards', () => {
    const error = new Error('first\nsecond');
    expect(error.stack).toContain('first');
    error.message = 'another';
    listenerFailed(new LoggingReporter(), error);
    expect(stacks[0]!.split('\n').filter((line) => !/^(Error$| {4}at )/.test(line))).toEqual([]);
  });

  test.each([
    ['a text', 'te\nxt', 'te\\nxt'],
    ['nothing', undefined, 'undefined'],
    ['a symbol', Symbol('s\n'), 'Symbol(s\\n)'],
    ['an object', { status: 404 }, 'an object'],
    ['an object with a message', { message: 'not found' }, 'not found'],
    ['an error without a message', new TypeError(), 'TypeError'],
    ['a getter that throws', Object.defineProperty(new Error('a'), 'message', { get: fail }), 'an instance of Error'],
    ['an error whose getters all throw', hostileError(), 'an instance of Error'],
    ['a proxy', new Proxy(new Error('a'), { get: fail, getPrototypeOf: fail }), 'a value that cannot be read'],
    ['a revoked proxy', revoked(), 'a value that cannot be read'],
    [
      'an heir of a proxy',
      Object.create(new Proxy({}, { get: fail, getPrototypeOf: fail })) as unknown,
      'a value that cannot be read',
    ],
    ['a function whose name is a getter', Object.defineProperty(() => 1, 'name', { get: fail }), 'a function'],
  ])('describes the thrown value: %s', (_what, error, text) => {
    const reporter = new LoggingReporter();
    listenerFailed(reporter, error);
    reporter.messageRejected({ channel: 'orders', error: error as Error });
    reporter.callbackFailed({ callback: 'onClose of a session', error });
    expect(lines).toEqual([
      `error Listener Orders.bill failed on channel "orders": ${text}`,
      `error A message on channel "orders" was not delivered: ${text}`,
      `error onClose of a session failed: ${text}`,
    ]);
  });

  test('is quick, however large the thrown value is', () => {
    const huge: Record<string, number> = {};
    for (let n = 0; n < 300_000; n++) huge[`key ${n}`] = n;
    const reporter = new LoggingReporter();
    jest.useRealTimers();
    const cpu = new ThreadClock();
    const start = cpu.now();
    listenerFailed(reporter, huge);
    listenerFailed(reporter, Object.assign(new Error('big'), { huge }));
    expect(cpu.now() - start).toBeLessThan(50);
  });
});

function fail(): never {
  throw new Error('must not be asked');
}

function hostileError(): Error {
  return Object.defineProperties(new Error('a'), {
    // First, because the engine creates it from the others on first access.
    stack: { get: fail },
    message: { get: fail },
    code: { get: fail },
    name: { get: fail },
  });
}

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}
