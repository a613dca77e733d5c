import { deepStrictEqual, notStrictEqual, strictEqual } from 'node:assert/strict';
import type { ChannelLog, LogItem, LogRead } from '../core/channel-log.js';

/** A log to be tried, and what its readers cannot do themselves. */
export interface ChannelLogUnderTest {
  /** A log without items, of its own epoch. */
  open(): ChannelLog<string> | Promise<ChannelLog<string>>;
  /** Makes a log forget all that it holds, as time or the lack of room does; offsets go on. */
  forget(log: ChannelLog<string>): void | Promise<void>;
}

/** One thing that a log guarantees. */
export interface ConformanceTest {
  /** A sentence that begins with what is tested. */
  readonly name: string;
  /** Rejects with an `AssertionError` if it does not hold. */
  readonly run: () => Promise<void>;
}

function message(body: string, postId?: string): LogItem<string> {
  return { kind: 'message', channel: 'news', node: 'a node', serial: undefined, body, bytes: body.length, postId };
}

async function append(log: ChannelLog<string>, ...bodies: string[]): Promise<number[]> {
  const offsets: number[] = [];
  for (const body of bodies) offsets.push((await log.append(message(body))).offset);
  return offsets;
}

function found(read: LogRead<string>): (readonly [offset: number, body: string])[] {
  if (!read.found) throw new Error(`the log says "${read.reason}"`);
  return read.entries.map(({ offset, item }) => [offset, item.kind === 'gap' ? `gap: ${item.reason}` : item.body]);
}

function failure(read: LogRead<string>): string {
  return read.found ? 'found' : read.reason;
}

type Check = (log: ChannelLog<string>, logs: ChannelLogUnderTest) => Promise<void>;

const GUARANTEES: Readonly<Record<string, Check>> = {
  'A log gives offsets from 1 on, and the same epoch with each': async (log) => {
    const { epoch, offset } = await log.position();
    strictEqual(offset, 0);
    for (const expected of [1, 2, 3]) {
      deepStrictEqual({ ...(await log.append(message('a'))) }, { epoch, offset: expected });
      deepStrictEqual({ ...(await log.position()) }, { epoch, offset: expected });
    }
  },
  'A log keeps the order in which items are appended, also if none waits for the one before': async (log) => {
    const bodies = Array.from({ length: 100 }, (_, index) => String(index));
    const positions = await Promise.all(bodies.map(async (body) => log.append(message(body))));
    deepStrictEqual(
      positions.map(({ offset }) => offset),
      bodies.map((_, index) => index + 1),
    );
    const read = found(await log.read({ epoch: positions[0]!.epoch, offset: 0 }));
    deepStrictEqual(
      read,
      bodies.map((body, index) => [index + 1, body]),
    );
  },
  'A log gives what came after a position, and how far it has come': async (log) => {
    await append(log, 'a', 'b', 'c');
    const { epoch } = await log.position();
    const read = await log.read({ epoch, offset: 1 });
    deepStrictEqual(found(read), [
      [2, 'b'],
      [3, 'c'],
    ]);
    deepStrictEqual({ ...read.end }, { epoch, offset: 3 });
    deepStrictEqual(found(await log.read({ epoch, offset: 3 })), []);
  },
  'A log gives what was appended as it was, whatever is in it': async (log) => {
    const bodies = ['', '\0\r\n', 'żółć 🦊', '"\\', 'x'.repeat(10_000)];
    await append(log, ...bodies);
    const { epoch } = await log.position();
    deepStrictEqual(
      found(await log.read({ epoch, offset: 0 })).map(([, body]) => body),
      bodies,
    );
  },
  'A log gives who posted a message, and where, with it': async (log) => {
    const item = { ...message('a'), channel: 'rooms/1', node: 'another node', serial: 7 };
    const { epoch } = await log.append(item);
    const read = await log.read({ epoch, offset: 0 });
    const [entry] = read.found ? read.entries : [];
    const { kind, channel, node, serial } = entry!.item as typeof item;
    deepStrictEqual(
      { kind, channel, node, serial },
      { kind: 'message', channel: 'rooms/1', node: 'another node', serial: 7 },
    );
  },
  'A log has gaps in their place, with an offset': async (log) => {
    await append(log, 'a');
    const { epoch, offset } = await log.append({ kind: 'gap', reason: 'broker' });
    strictEqual(offset, 2);
    await append(log, 'b');
    deepStrictEqual(found(await log.read({ epoch, offset: 0 })), [
      [1, 'a'],
      [2, 'gap: broker'],
      [3, 'b'],
    ]);
  },
  'A log read in parts leaves nothing out, and gives at least one entry': async (log) => {
    await append(log, 'aaaa', 'bb', 'cc', 'dddddddd', 'e');
    const { epoch } = await log.position();
    const parts: string[] = [];
    for (let offset = 0; offset < 5;) {
      const part = found(await log.read({ epoch, offset }, { maxBytes: 4 }));
      parts.push(part.map(([, body]) => body).join('+'));
      strictEqual(part[0]?.[0], offset + 1);
      offset += part.length;
    }
    deepStrictEqual(parts, ['aaaa', 'bb+cc', 'dddddddd', 'e']);
    deepStrictEqual(found(await log.read({ epoch, offset: 1 }, { maxEntries: 2 })), [
      [2, 'bb'],
      [3, 'cc'],
    ]);
  },
  'A log says that a position is of another log, and not that something was forgotten': async (log, logs) => {
    await append(log, 'a');
    const { epoch } = await log.position();
    const other = await logs.open();
    const position = await other.position();
    notStrictEqual(position.epoch, epoch);
    strictEqual(failure(await log.read(position)), 'epoch');
    strictEqual(failure(await log.read({ epoch: '', offset: 0 })), 'epoch');
    strictEqual(failure(await log.read({ epoch: '', offset: 99 })), 'epoch');
  },
  'A log says that it has not come so far': async (log) => {
    await append(log, 'a');
    const { epoch } = await log.position();
    const read = await log.read({ epoch, offset: 2 });
    strictEqual(failure(read), 'future');
    deepStrictEqual({ ...read.end }, { epoch, offset: 1 });
  },
  'A log that has forgotten something says so, and goes on in the same epoch': async (log, logs) => {
    await append(log, 'a', 'b');
    const { epoch } = await log.position();
    await logs.forget(log);
    deepStrictEqual({ ...(await log.position()) }, { epoch, offset: 2 });
    for (const offset of [0, 1]) strictEqual(failure(await log.read({ epoch, offset })), 'trimmed');
    deepStrictEqual(found(await log.read({ epoch, offset: 2 })), []);
    deepStrictEqual(await append(log, 'c'), [3]);
    deepStrictEqual(found(await log.read({ epoch, offset: 2 })), [[3, 'c']]);
    strictEqual(failure(await log.read({ epoch, offset: 1 })), 'trimmed');
  },
  'A log appends a post once, however often it is tried': async (log) => {
    const positions = [];
    for (const [body, postId] of [
      ['a', '1'],
      ['b', '2'],
      ['a', '1'],
      ['a', undefined],
    ] as const) {
      positions.push((await log.append(message(body, postId))).offset);
    }
    deepStrictEqual(positions, [1, 2, 1, 3]);
    const { epoch } = await log.position();
    deepStrictEqual(
      found(await log.read({ epoch, offset: 0 })).map(([, body]) => body),
      ['a', 'b', 'a'],
    );
  },
};

/**
 * What every {@link ChannelLog} has to pass, for any test runner.
 *
 * @example
 * ```ts
 * test.each(channelLogConformance(() => myLogs))('$name', ({ run }) => run());
 * ```
 *
 * @param start - gives what is tested, once for each test
 */
export function channelLogConformance(
  start: () => ChannelLogUnderTest | Promise<ChannelLogUnderTest>,
): ConformanceTest[] {
  return Object.entries(GUARANTEES).map(([name, check]) => ({
    name,
    run: async () => {
      const logs = await start();
      await check(await logs.open(), logs);
    },
  }));
}
