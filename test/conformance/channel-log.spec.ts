import { describe, expect, test } from '@jest/globals';
import { AssertionError } from 'node:assert';
import {
  channelLogConformance,
  historyStoreConformance,
  transportConformance,
  type ChannelLog,
  type LogItem,
  type LogMessage,
  type LogRead,
} from 'nestjs-messaging/testing';
import type { Position } from '../../lib/protocol/position.js';
import { MemoryLogs, type MemoryLog } from '../../lib/core/memory-log.js';

function memoryLogs() {
  const logs = new MemoryLogs({ node: 'node', keepMs: 60_000, maxBytes: 1_000_000, maxLogBytes: 100_000 });
  return {
    open: () => logs.open<string>(false),
    forget: (log: ChannelLog<string>) => {
      const { lastOffset } = log as MemoryLog<string>;
      while ((log as MemoryLog<string>).forgottenOffset < lastOffset) (log as MemoryLog<string>).forgetFirst();
    },
  };
}

/** As if each were on another server with slow answers. */
function distantLogs() {
  const { open, forget } = memoryLogs();
  const logs = new Map<ChannelLog<string>, MemoryLog<string>>();
  return {
    open: async () => {
      const log = open();
      const distant: ChannelLog<string> = {
        append: async (item) => log.append(item),
        read: async (after, bounds) => log.read(after, bounds),
        position: async () => log.position(),
      };
      logs.set(distant, log);
      return distant;
    },
    forget: async (log: ChannelLog<string>) => forget(logs.get(log)!),
  };
}

/** The guarantees that a log breaks; all failures are `AssertionError`s. */
async function failures(start: Parameters<typeof channelLogConformance>[0], stepMs?: number): Promise<string[]> {
  const failed: string[] = [];
  for (const { name, run } of channelLogConformance(start, stepMs === undefined ? undefined : { stepMs })) {
    await run().catch((error: unknown) => {
      if (!(error instanceof AssertionError)) throw error;
      failed.push(name);
    });
  }
  return failed;
}

describe.each([
  ['in memory', memoryLogs],
  ['elsewhere', distantLogs],
])('The log %s', (_, start) => {
  test.each(channelLogConformance(start))('$name', async ({ run }) => {
    await expect(run()).resolves.toBeUndefined();
  });
});

/** A log that makes one mistake. */
function broken(change: (log: MemoryLog<string>) => Partial<ChannelLog<string>>) {
  return () => {
    const { open, forget } = memoryLogs();
    const logs = new Map<ChannelLog<string>, MemoryLog<string>>();
    return {
      open: (): ChannelLog<string> => {
        const log = open();
        const { append, read, position } = change(log);
        const changed = {
          append: append ?? ((item) => log.append(item)),
          read: read ?? ((after, bounds) => log.read(after, bounds)),
          position: position ?? (() => log.position()),
        } satisfies ChannelLog<string>;
        logs.set(changed, log);
        return changed;
      },
      forget: (log: ChannelLog<string>) => forget(logs.get(log)!),
    };
  };
}

/** A log that stores changed items. */
const keeps = (change: (item: LogMessage<string>) => object) => (log: MemoryLog<string>) => ({
  append: (item: LogItem<string>) => log.append(item.kind === 'gap' ? item : { ...item, ...change(item) }),
});

/** A log that returns changed answers. */
const answers =
  (change: (read: LogRead<string>, offset: number, log: MemoryLog<string>) => object) => (log: MemoryLog<string>) => ({
    read: (...[after, bounds]: Parameters<ChannelLog<string>['read']>) => {
      const read = log.read(after, bounds);
      return { ...read, ...change(read, after.offset, log) } as LogRead<string>;
    },
  });

describe('The conformance suite of logs', () => {
  test.each<[string, (log: MemoryLog<string>) => Partial<ChannelLog<string>>, RegExp]>([
    ['counts from 0', (log) => ({ position: () => ({ epoch: log.epoch, offset: log.lastOffset - 1 }) }), /from 1/],
    [
      'also returns the item at the position',
      (log) => ({ read: ({ epoch, offset }, bounds) => log.read({ epoch, offset: Math.max(0, offset - 1) }, bounds) }),
      /items after a position/,
    ],
    [
      'leaves gaps out',
      (log) => ({ append: (item) => (item.kind === 'gap' ? log.position() : log.append(item)) }),
      /gaps in their place/,
    ],
    ['ignores bounds', (log) => ({ read: (after) => log.read(after) }), /read in parts/],
    ['ignores epochs', (log) => ({ read: ({ offset }) => log.read({ epoch: log.epoch, offset }) }), /another log/],
    [
      'takes each post again',
      (log) => ({ append: (item: LogItem<string>) => log.append({ ...item, postId: undefined } as LogItem<string>) }),
      /appends a post once/,
    ],
    [
      'mistakes a later position for its end',
      (log) => ({
        read: ({ epoch, offset }, bounds) => log.read({ epoch, offset: Math.min(offset, log.lastOffset) }, bounds),
      }),
      /beyond its end/,
    ],
    [
      'appends its first item too late',
      (log) => {
        let first: Promise<unknown> | undefined;
        return {
          append: async (item) => {
            if (first === undefined) await (first = Promise.resolve());
            return log.append(item);
          },
        };
      },
      /keeps the order/,
    ],
    [
      'reports the last returned entry as its end',
      answers((read) => {
        const last = read.found ? read.entries.at(-1) : undefined;
        return last === undefined ? {} : { end: { ...read.end, offset: last.offset } };
      }),
      /read in parts/,
    ],
    [
      'reports a foreign position as its end',
      answers((read, offset) => (read.found ? {} : { end: { ...read.end, offset } })),
      /beyond its end/,
    ],
    [
      'knows only one reason for gaps',
      (log) => ({ append: (item) => log.append(item.kind === 'gap' ? { ...item, reason: 'broker' } : item) }),
      /gaps in their place/,
    ],
    ['turns a missing serial into null', keeps(({ serial }) => ({ serial: serial ?? null })), /serial and size/],
    ['loses the serial 0', keeps(({ serial }) => ({ serial: serial || undefined })), /serial and size/],
    ['loses sizes', keeps(() => ({ bytes: 0 })), /serial and size/],
    ['changes names', keeps(({ channel }) => ({ channel: channel.toLowerCase() })), /serial and size/],
    ['ignores the empty id of a post', keeps(({ postId }) => ({ postId: postId || undefined })), /appends a post once/],
    [
      'still recognises forgotten posts',
      (log) => {
        const known = new Map<string, Position>();
        const append = (item: LogItem<string>) => {
          if (item.kind === 'gap' || item.postId === undefined) return log.append(item);
          if (!known.has(item.postId)) known.set(item.postId, log.append(item));
          return known.get(item.postId)!;
        };
        return { append };
      },
      /forgotten post again/,
    ],
    [
      'reports an empty log as trimmed',
      answers((_, __, { lastOffset }) => (lastOffset === 0 ? { found: false, reason: 'trimmed' } : {})),
      /empty log/,
    ],
    ['gives no position', (log) => ({ append: (item) => void log.append(item) as never }), /from 1/],
    ['fails', () => ({ position: () => Promise.reject(new TypeError('broken')) }), /from 1/],
  ])('finds a log that %s', async (_, change, name) => {
    expect(await failures(broken(change))).toContainEqual(expect.stringMatching(name));
  });

  test('finds a log that does not answer in the given time', async () => {
    const silent = broken(() => ({ append: () => new Promise<never>(() => {}) }));
    expect(await failures(silent, 1)).toHaveLength(channelLogConformance(silent).length - 1);
    const [first] = channelLogConformance(silent, { stepMs: 1 });
    await expect(first!.run()).rejects.toThrow('append() has not been answered within 1 ms');
  });

  test('reports the error of a failing log', async () => {
    const cause = new TypeError('no such key');
    const [first] = channelLogConformance(broken(() => ({ position: () => Promise.reject(cause) })));
    await expect(first!.run()).rejects.toMatchObject({ message: 'The log failed: TypeError: no such key', cause });
  });
});

describe.each([
  ['channelLogConformance()', 'stepMs', channelLogConformance],
  ['historyStoreConformance()', 'testMs', historyStoreConformance],
  ['transportConformance()', 'testMs', transportConformance],
] as [string, string, (start: never, options?: object) => unknown][])('%s', (name, time, suite) => {
  test.each<[unknown, string]>([
    [{ [time]: NaN }, `option "${time}" must be a whole number of at least 1, in milliseconds, not NaN`],
    [{ [time]: -1 }, `option "${time}" must be a whole number of at least 1, in milliseconds, not -1`],
    [{ [time]: '5' }, `option "${time}" must be a whole number of at least 1, in milliseconds, not "5"`],
    [{ timeMs: 5 }, `unknown option "timeMs"; the options are: ${time}`],
    [null, 'the options must be an object, not null'],
    [5, 'the options must be an object, not 5'],
  ])('refuses the options %j before it makes a test', (options, text) => {
    expect(() => suite((() => ({})) as never, options as object)).toThrow(`${name}: ${text}`);
  });

  test('accepts only a function that returns the subject of the tests', () => {
    for (const wrong of [undefined, null, {}]) {
      expect(() => suite(wrong as never)).toThrow(`${name}: give it a function that returns what is tested, not`);
    }
  });
});
