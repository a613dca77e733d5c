import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Deferred } from '../../../lib/core/deferred.js';
import type { AppendOutcome } from '../../../lib/core/history-store.js';
import { OutboundGate } from '../../../lib/transport/outbound-gate.js';
import { MAX_BATCH_BYTES } from '../../../lib/transport/payload-batch.js';
import { RedisHistoryAppends } from '../../../lib/transport/redis-history-appends.js';
import type { RedisLink } from '../../../lib/transport/redis-link.js';
import { RedisNames } from '../../../lib/transport/redis-names.js';
import { RedisPublisher } from '../../../lib/transport/redis-publisher.js';
import { BOUNDS, offsetOf } from '../../support/history-posts.js';

/** One call of the append script. */
interface Call extends Deferred<unknown> {
  readonly number: number;
  /** The batch that must come right before it, and the lowest batch that may be tried again. */
  readonly chain: string;
}

/** A link whose Redis answers as the test directs, because no real Redis fails on demand in the middle of a pipeline. */
class AnsweringLink {
  isUp = true;
  readonly calls: Call[] = [];
  gathered = 0;
  readonly client: { isCluster: boolean; call: (...args: string[]) => Promise<unknown> };

  constructor(isCluster: boolean) {
    this.client = {
      isCluster,
      call: (...args) => {
        const [number, chain] = args.slice(10) as [string, string];
        const call = Object.assign(new Deferred<unknown>(), { number: Number(number), chain });
        this.calls.push(call);
        return call.promise;
      },
    };
  }

  gather(): void {
    this.gathered++;
  }

  /** The calls since the last time: the number of each batch, and its required predecessor. */
  sent(): string[] {
    return this.calls.splice(0).map(({ number, chain }) => `${number}${chain && ` after ${chain}`}`);
  }
}

const UNHEARD = { refused: () => {}, unanswered: () => {}, answered: () => {} };
const FULL = 'x'.repeat(MAX_BATCH_BYTES);
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

function appended(offset: number): string {
  return `ok epoch ${offset} 1732270000000 master`;
}

function replyError(text: string): Error {
  return Object.assign(new Error(text), { name: 'ReplyError' });
}

let history: RedisHistoryAppends;
let redis: AnsweringLink;

function create(isCluster = false): void {
  redis = new AnsweringLink(isCluster);
  history = new RedisHistoryAppends(
    new RedisNames('messaging:', undefined),
    'node',
    10_000,
    UNHEARD,
    new OutboundGate(() => {}),
  );
  history.attach(redis as unknown as RedisLink);
}

function post(payload: string): Promise<AppendOutcome> {
  return history.append('news', { payload }, BOUNDS);
}

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
  create();
});
afterEach(() => {
  history.close();
  jest.useRealTimers();
});

describe('The posts of one turn to a channel', () => {
  test('leave in full batches as soon as one is full, and the rest at the end of the turn, each after the previous one', async () => {
    void post(FULL);
    expect(redis.sent()).toEqual(['1']);
    void post(FULL);
    void post('rest');
    expect(redis.sent()).toEqual(['2 after 1 1']);
    await turn();
    expect(redis.sent()).toEqual(['3 after 2 1']);
  });

  test('leave together with posts to other channels, or at once if there are no others or if they fill a batch', async () => {
    void post('1');
    await turn();
    void history.append('full', { payload: FULL }, BOUNDS);
    expect(redis.gathered).toBe(0);
    for (const channel of ['one', 'another']) void history.append(channel, { payload: '1' }, BOUNDS);
    await turn();
    expect(redis.gathered).toBeGreaterThan(0);
  });

  test('wait for an answer if eight batches are under way', async () => {
    for (let count = 0; count < 9; count++) void post(FULL);
    await turn();
    const [first] = redis.calls;
    expect(redis.sent()).toHaveLength(8);
    first!.resolve(appended(1));
    await turn();
    expect(redis.sent()).toEqual(['9 after 8 2']);
  });

  test('leave one batch after another at a Cluster, which may send each to another member', async () => {
    create(true);
    const outcomes = [post(FULL), post(FULL)];
    await turn();
    const [first] = redis.calls;
    expect(redis.sent()).toEqual(['1']);
    first!.resolve(appended(1));
    expect(offsetOf(await outcomes[0]!)).toBe(1);
    expect(redis.sent()).toEqual(['2']);
  });
});

describe('A post to a channel with a batch under way', () => {
  test('waits for its answer, unless a batch is full', async () => {
    void post('1');
    await turn();
    const [first] = redis.calls;
    void post('2');
    await turn();
    expect(redis.sent()).toEqual(['1']);
    void post(FULL);
    expect(redis.sent()).toEqual(['2 after 1 1']);
    void post('4');
    await turn();
    first!.resolve(appended(1));
    await turn();
    expect(redis.sent()).toEqual([]);
  });
});

describe('A batch after one that Redis did not append', () => {
  test('is repeated after the next try of that one, not sooner, and both are appended', async () => {
    const outcomes = [post(FULL), post(FULL), post(FULL)];
    const [first, second, third] = redis.calls.splice(0);
    first!.reject(replyError('BUSY Redis is busy'));
    second!.resolve('early');
    await turn();
    expect(redis.sent()).toEqual([]);
    jest.advanceTimersByTime(50);
    // The third one is still pending: whenever it arrives, Redis refuses it unless the second one is there.
    const [again, behind] = redis.calls;
    expect(redis.sent()).toEqual(['1', '2 after 1 1']);
    third!.resolve('early');
    await turn();
    const [last] = redis.calls;
    expect(redis.sent()).toEqual(['3 after 2 1']);
    again!.resolve(appended(1));
    behind!.resolve(appended(2));
    last!.resolve(appended(3));
    expect((await Promise.all(outcomes)).map(offsetOf)).toEqual([1, 2, 3]);
  });

  test('is repeated without it once that one is refused', async () => {
    const outcomes = [post(FULL), post(FULL)];
    const [first, second] = redis.calls.splice(0);
    first!.reject(replyError('OOM command not allowed'));
    second!.resolve('early');
    expect((await outcomes[0]!).kind).toBe('refused');
    await turn();
    const [again] = redis.calls;
    expect(redis.sent()).toEqual(['2']);
    again!.resolve(appended(1));
    expect(offsetOf(await outcomes[1]!)).toBe(1);
  });

  test('is refused with the reason of that one if this lasts too long', async () => {
    const outcomes = [post(FULL), post(FULL)];
    const [first, second] = redis.calls.splice(0);
    first!.reject(replyError('BUSY Redis is busy'));
    second!.resolve('early');
    await turn();
    jest.setSystemTime(Date.now() + 10_000);
    redis.isUp = false;
    history.down();
    history.close();
    for (const outcome of await Promise.all(outcomes)) {
      expect(outcome).toMatchObject({ kind: 'refused', error: { message: expect.stringContaining('BUSY') } });
    }
  });
});

async function outcomeOf(outcome: Promise<AppendOutcome>): Promise<string> {
  const settled = await outcome;
  return settled.kind === 'appended' ? 'appended' : `${settled.kind}: ${settled.error?.message}`;
}

/** A second post that is sent after 9 of its 10 s, because of a first one, and has then been under way for as long. */
async function sentLate() {
  void post('1');
  await turn();
  const [first] = redis.calls.splice(0);
  const second = post('2');
  await jest.advanceTimersByTimeAsync(9_000);
  first!.resolve(appended(1));
  await turn();
  const [call] = redis.calls;
  await jest.advanceTimersByTimeAsync(9_000);
  return { second, call: call! };
}

describe('A post whose time is over', () => {
  test('is not given up once it was sent: its answer may take as long again', async () => {
    const { second, call } = await sentLate();
    expect(redis.sent()).toEqual(['2']);
    call.resolve(appended(2));
    expect(offsetOf(await second)).toBe(2);
  });

  test('is refused if it was not sent, and otherwise may still be appended; each is told, with what to do', async () => {
    const sent = [post('1'), history.append('news', { payload: '2', id: 'two', digest: 'two' }, BOUNDS)];
    await turn();
    const unsent = post('3');
    await jest.advanceTimersByTimeAsync(10_000);
    expect(await Promise.all([...sent, unsent].map(outcomeOf))).toEqual([
      'unknown: It may still be appended, since it was sent: Redis has not answered within 10000 ms; only a post with an id can be repeated without a second copy',
      'unknown: It may still be appended, since it was sent: Redis has not answered within 10000 ms; repeat it with the same id without a second copy',
      'refused: It is not appended: it was not sent within 10000 ms, because Redis had not answered earlier posts',
    ]);
  });

  test('is refused as soon as it is clear that it was not appended', async () => {
    const { second, call } = await sentLate();
    call.reject(replyError('BUSY Redis is busy'));
    expect(await outcomeOf(second)).toBe('refused: It is not appended: BUSY Redis is busy');
    await jest.advanceTimersByTimeAsync(10_000);
    expect(redis.sent()).toEqual(['2']);
  });
});

describe('A batch under way without a waiting post', () => {
  test('is not repeated if it came too early', async () => {
    const outcomes = [post(FULL), post(FULL)];
    const [first, second] = redis.calls.splice(0);
    await jest.advanceTimersByTimeAsync(10_000);
    expect((await Promise.all(outcomes)).map(offsetOf)).toEqual(['unknown', 'unknown']);
    second!.resolve('early');
    first!.reject(replyError('BUSY Redis is busy'));
    await jest.advanceTimersByTimeAsync(50);
    expect(redis.sent()).toEqual([]);
    void post('next');
    await turn();
    expect(redis.sent()).toEqual(['3']);
  });
});

describe('Batches under way when the link breaks', () => {
  test('are repeated in order over the next link, and answers of the former link count', async () => {
    const outcomes = [post(FULL), post(FULL)];
    const [, second] = redis.calls.splice(0);
    redis.isUp = false;
    history.down();
    redis.isUp = true;
    history.up();
    const [first] = redis.calls;
    expect(redis.sent()).toEqual(['1', '2 after 1 1']);
    second!.resolve('early');
    await turn();
    expect(redis.sent()).toEqual([]);
    first!.resolve(appended(1));
    second!.resolve('ignored');
    expect(offsetOf(await outcomes[0]!)).toBe(1);
  });
});

/** A Redis that answers at once, as the test directs: with an error, or by appending. */
class ToldLink {
  isUp = true;
  failure: string | undefined = undefined;
  readonly appended: string[] = [];
  readonly client = { isCluster: false, call: (...args: string[]) => this.append(args.at(-1)!) };
  readonly publishing = { publish: (_channel: string, payload: string) => this.append(payload) };

  gather(): void {}

  overdue(): void {}

  isUnsent(): boolean {
    return false;
  }

  private append(payloads: string): Promise<unknown> {
    if (this.failure !== undefined) return Promise.reject(replyError(this.failure));
    const before = this.appended.length;
    this.appended.push(...payloads.split('\n').filter((payload) => payload !== ''));
    return Promise.resolve(`ok e ${before + 1} 1 master`);
  }
}

function start(timeoutMs: number) {
  const link = new ToldLink();
  const gate = new OutboundGate(() => {
    appends.opened();
    publisher.up();
  });
  const names = new RedisNames('messaging:', undefined);
  const appends = new RedisHistoryAppends(names, 'node', timeoutMs, UNHEARD, gate);
  appends.attach(link as unknown as RedisLink);
  const publisher = new RedisPublisher(timeoutMs, UNHEARD);
  publisher.attach(link, gate);
  const append = (payload: string) => appends.append('news', { payload }, BOUNDS).then(({ kind }) => kind);
  return { link, gate, appends, publisher, append };
}

test('a post that was refused after its time is not appended later with others of its batch', async () => {
  const { link, appends, append } = start(2_000);
  link.isUp = false;
  const early = append('early');
  await jest.advanceTimersByTimeAsync(1_900);
  const late = append('late');
  // It loads its data, then accepts commands.
  link.isUp = true;
  link.failure = 'LOADING Redis is loading the dataset in memory';
  appends.up();
  await jest.advanceTimersByTimeAsync(200);
  expect(await early).toBe('refused');
  link.failure = undefined;
  await jest.advanceTimersByTimeAsync(200);
  expect(await late).toBe('appended');
  expect(link.appended).toEqual(['late']);
  appends.close();
});

test('posts whose time ends while others must go first resolve with false, and are never sent', async () => {
  const { link, gate, appends, publisher, append } = start(2_000);
  const first = new Deferred();
  gate.attach({ except: 'revocations', run: () => first.promise });
  const shut = gate.shut();
  const posts = [append('kept'), publisher.publish('plain', 'plain')];
  await jest.advanceTimersByTimeAsync(2_000);
  expect(await Promise.all(posts)).toEqual(['refused', false]);
  const later = [append('kept later'), publisher.publish('plain', 'plain later')];
  first.resolve();
  await shut;
  expect(await Promise.all(later)).toEqual(['appended', true]);
  expect(link.appended.toSorted()).toEqual(['kept later', 'plain later']);
  appends.close();
  publisher.close();
});
