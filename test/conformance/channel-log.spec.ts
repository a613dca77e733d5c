import { describe, expect, test } from '@jest/globals';
import { channelLogConformance, type ChannelLog, type LogItem } from 'nestjs-messaging/testing';
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

/** As if each were on another server, whose answers take their time. */
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

async function failures(start: Parameters<typeof channelLogConformance>[0]): Promise<string[]> {
  const failed: string[] = [];
  for (const { name, run } of channelLogConformance(start)) {
    await run().catch((error: Error) => error.name === 'AssertionError' && failed.push(name));
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
    const logs = memoryLogs();
    const open = (): ChannelLog<string> => {
      const log = logs.open();
      const { append, read, position } = change(log);
      return {
        append: append ?? ((item) => log.append(item)),
        read: read ?? ((after, bounds) => log.read(after, bounds)),
        position: position ?? (() => log.position()),
      };
    };
    return { open, forget: () => undefined };
  };
}

describe('The conformance suite of logs', () => {
  test.each<[string, (log: MemoryLog<string>) => Partial<ChannelLog<string>>, RegExp]>([
    ['counts from 0', (log) => ({ position: () => ({ epoch: log.epoch, offset: log.lastOffset - 1 }) }), /from 1 on/],
    [
      'gives what is at the position too',
      (log) => ({ read: ({ epoch, offset }, bounds) => log.read({ epoch, offset: Math.max(0, offset - 1) }, bounds) }),
      /what came after a position/,
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
      'takes a position to come for its end',
      (log) => ({
        read: ({ epoch, offset }, bounds) => log.read({ epoch, offset: Math.min(offset, log.lastOffset) }, bounds),
      }),
      /has not come so far/,
    ],
    [
      'appends later what it was given first',
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
  ])('finds a log that %s', async (_, change, name) => {
    expect(await failures(broken(change))).toContainEqual(expect.stringMatching(name));
  });
});
