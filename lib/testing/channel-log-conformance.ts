import { AssertionError, deepStrictEqual, notStrictEqual, strictEqual } from 'node:assert/strict';
import type { ChannelLog, LogItem, LogMessage, LogRead, ReadBounds } from '../core/channel-log.js';
import { inTime } from '../core/in-time.js';
import { GAP_REASONS, type Position } from '../protocol/position.js';
import { checkSuite, conformanceTests, type ConformanceTest } from './conformance-test.js';

/** A log to be tried, and what its readers cannot do themselves. */
export interface ChannelLogUnderTest {
  /** A log without items, of its own epoch. */
  open(): ChannelLog<string> | Promise<ChannelLog<string>>;
  /** Makes a log forget all that it holds, as time or the lack of room does; offsets go on. */
  forget(log: ChannelLog<string>): void | Promise<void>;
}

/** How {@link channelLogConformance} tries a log. */
export interface ConformanceOptions {
  /** How long the log may take for one thing that it is asked, in milliseconds. @defaultValue 2_000 */
  readonly stepMs?: number | undefined;
}

const STEP_MS = 2_000;

/** A log whose failures and silence are told as what they are: it does not do what it guarantees. */
class LogOnTrial {
  constructor(
    private readonly log: ChannelLog<string>,
    private readonly logs: ChannelLogUnderTest,
    private readonly stepMs: number,
  ) {}

  /** @throws AssertionError (rejects), as all of its methods do */
  append(item: LogItem<string>): Promise<Position> {
    return this.step('append()', () => this.log.append(item));
  }

  read(after: Position, bounds?: ReadBounds): Promise<LogRead<string>> {
    return this.step('read()', () => this.log.read(after, bounds));
  }

  position(): Promise<Position> {
    return this.step('position()', () => this.log.position());
  }

  forget(): Promise<void> {
    return this.step('forget()', () => this.logs.forget(this.log));
  }

  /** Another log. */
  async other(): Promise<LogOnTrial> {
    return new LogOnTrial(await this.step('open()', () => this.logs.open()), this.logs, this.stepMs);
  }

  private async step<T>(what: string, run: () => T | Promise<T>): Promise<T> {
    return inTime(run(), this.stepMs, () => {
      throw new AssertionError({ message: `${what} has not been answered within ${this.stepMs} ms` });
    });
  }
}

function message(body: string, postId?: string): LogMessage<string> {
  return { kind: 'message', channel: 'news', node: 'a node', serial: undefined, body, bytes: body.length, postId };
}

async function append(log: LogOnTrial, ...bodies: string[]): Promise<number[]> {
  const offsets: number[] = [];
  for (const body of bodies) offsets.push((await log.append(message(body))).offset);
  return offsets;
}

function found(read: LogRead<string>): (readonly [offset: number, body: string])[] {
  if (!read.found) throw new AssertionError({ message: `the log says "${read.reason}"` });
  return read.entries.map(({ offset, item }) => [offset, item.kind === 'gap' ? `gap: ${item.reason}` : item.body]);
}

/** Reads in vain. */
async function failure(log: LogOnTrial, after: Position): Promise<string> {
  const read = await log.read(after);
  deepStrictEqual({ ...read.end }, { ...(await log.position()) });
  return read.found ? 'found' : read.reason;
}

type Check = (log: LogOnTrial) => Promise<void>;

const GUARANTEES: Readonly<Record<string, Check>> = {
  'A log counts offsets from 1, all in one epoch': async (log) => {
    const { epoch, offset } = await log.position();
    strictEqual(offset, 0);
    for (const expected of [1, 2, 3]) {
      deepStrictEqual({ ...(await log.append(message('a'))) }, { epoch, offset: expected });
      deepStrictEqual({ ...(await log.position()) }, { epoch, offset: expected });
    }
  },
  'A log keeps the order of its items, even if they are appended at once': async (log) => {
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
  'A log returns the items after a position, and its own end': async (log) => {
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
  'An empty log returns no items, and reports none as forgotten': async (log) => {
    const { epoch } = await log.position();
    const read = await log.read({ epoch, offset: 0 });
    deepStrictEqual(found(read), []);
    deepStrictEqual({ ...read.end }, { epoch, offset: 0 });
  },
  'A log keeps bodies as they are, whatever they contain': async (log) => {
    const bodies = ['', '\0\r\n', 'żółć 🦊', '"\\', 'x'.repeat(10_000)];
    await append(log, ...bodies);
    const { epoch } = await log.position();
    deepStrictEqual(
      found(await log.read({ epoch, offset: 0 })).map(([, body]) => body),
      bodies,
    );
  },
  'A log returns each message with its channel, node, serial and size': async (log) => {
    const { epoch } = await log.position();
    const wanted = [undefined, 0, 7].map((serial, index) => {
      const [channel, node] = index === 1 ? ['news', ''] : ['Rooms/1', 'another node'];
      return { kind: 'message', channel, node, serial, body: 'a', bytes: 123 + index } as const;
    });
    for (const item of wanted) await log.append(item);
    const read = await log.read({ epoch, offset: 0 });
    const got = (read.found ? read.entries : []).map(({ item }) => {
      const { kind, channel, node, serial, body, bytes } = item as LogMessage<string>;
      return { kind, channel, node, serial, body, bytes };
    });
    deepStrictEqual(got, wanted);
  },
  'A log keeps gaps in their place, with their offset and reason': async (log) => {
    await append(log, 'a');
    const { epoch } = await log.position();
    for (const [index, reason] of GAP_REASONS.entries()) {
      strictEqual((await log.append({ kind: 'gap', reason })).offset, index + 2);
    }
    const end = GAP_REASONS.length + 2;
    deepStrictEqual(await append(log, 'b'), [end]);
    deepStrictEqual(found(await log.read({ epoch, offset: 0 })), [
      [1, 'a'],
      ...GAP_REASONS.map((reason, index) => [index + 2, `gap: ${reason}`]),
      [end, 'b'],
    ]);
  },
  'A log that is read in parts leaves nothing out; each part has at least one entry': async (log) => {
    await append(log, 'aaaa', 'bb', 'cc', 'dddddddd', 'e');
    const { epoch } = await log.position();
    const parts: string[] = [];
    for (let offset = 0; offset < 5;) {
      const read = await log.read({ epoch, offset }, { maxBytes: 4 });
      const part = found(read);
      // How far the log is, not how far the part is.
      deepStrictEqual({ ...read.end }, { epoch, offset: 5 });
      parts.push(part.map(([, body]) => body).join('+'));
      strictEqual(part[0]?.[0], offset + 1);
      offset += part.length;
    }
    deepStrictEqual(parts, ['aaaa', 'bb+cc', 'dddddddd', 'e']);
    const two = await log.read({ epoch, offset: 1 }, { maxEntries: 2 });
    deepStrictEqual({ ...two.end }, { epoch, offset: 5 });
    deepStrictEqual(found(two), [
      [2, 'bb'],
      [3, 'cc'],
    ]);
  },
  'A log reports a position of another log as such, not as forgotten': async (log) => {
    await append(log, 'a');
    const { epoch } = await log.position();
    const position = await (await log.other()).position();
    notStrictEqual(position.epoch, epoch);
    strictEqual(await failure(log, position), 'epoch');
    strictEqual(await failure(log, { epoch: '', offset: 0 }), 'epoch');
    strictEqual(await failure(log, { epoch: '', offset: 99 }), 'epoch');
  },
  'A log reports a position beyond its end': async (log) => {
    await append(log, 'a');
    const { epoch } = await log.position();
    strictEqual(await failure(log, { epoch, offset: 2 }), 'future');
    deepStrictEqual({ ...(await log.position()) }, { epoch, offset: 1 });
  },
  'A log reports forgotten items as trimmed, and continues in the same epoch': async (log) => {
    await append(log, 'a', 'b');
    const { epoch } = await log.position();
    await log.forget();
    deepStrictEqual({ ...(await log.position()) }, { epoch, offset: 2 });
    for (const offset of [0, 1]) strictEqual(await failure(log, { epoch, offset }), 'trimmed');
    deepStrictEqual(found(await log.read({ epoch, offset: 2 })), []);
    deepStrictEqual(await append(log, 'c'), [3]);
    deepStrictEqual(found(await log.read({ epoch, offset: 2 })), [[3, 'c']]);
    strictEqual(await failure(log, { epoch, offset: 1 }), 'trimmed');
  },
  'A log appends a post once, however often it is tried': async (log) => {
    const positions = [];
    for (const [body, postId] of [
      ['a', '1'],
      ['b', '2'],
      ['a', '1'],
      ['a', undefined],
      ['c', ''],
      ['c', ''],
    ] as const) {
      positions.push((await log.append(message(body, postId))).offset);
    }
    deepStrictEqual(positions, [1, 2, 1, 3, 4, 4]);
    const { epoch } = await log.position();
    deepStrictEqual(
      found(await log.read({ epoch, offset: 0 })).map(([, body]) => body),
      ['a', 'b', 'a', 'c'],
    );
  },
  'A log appends a forgotten post again': async (log) => {
    const { epoch } = await log.append(message('a', '1'));
    await log.forget();
    strictEqual((await log.append(message('a', '1'))).offset, 2);
    deepStrictEqual(found(await log.read({ epoch, offset: 1 })), [[2, 'a']]);
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
 * @throws ConfigurationError for a start that is not a function, and for wrong options
 */
export function channelLogConformance(
  start: () => ChannelLogUnderTest | Promise<ChannelLogUnderTest>,
  options: ConformanceOptions = {},
): ConformanceTest[] {
  checkSuite('channelLogConformance', start, options, 'stepMs');
  const { stepMs = STEP_MS } = options;
  return conformanceTests(GUARANTEES, 'log', async (check) => {
    const logs = await start();
    await check(new LogOnTrial(await logs.open(), logs, stepMs));
  });
}
