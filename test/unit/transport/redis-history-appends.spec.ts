import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { Deferred } from '../../../lib/core/deferred.js';
import { OutboundGate } from '../../../lib/transport/outbound-gate.js';
import { RedisHistoryAppends } from '../../../lib/transport/redis-history-appends.js';
import type { RedisLink } from '../../../lib/transport/redis-link.js';
import { RedisNames } from '../../../lib/transport/redis-names.js';
import { RedisPublisher } from '../../../lib/transport/redis-publisher.js';

const BOUNDS = { maxMessages: 100, ttlMs: 60_000 };
const UNHEARD = { refused: () => {}, unanswered: () => {}, answered: () => {} };

beforeEach(() => void jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] }));
afterEach(() => void jest.useRealTimers());

/** A Redis that answers as the test says: with an error, or by appending. */
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
    if (this.failure !== undefined) {
      return Promise.reject(Object.assign(new Error(this.failure), { name: 'ReplyError' }));
    }
    const before = this.appended.length;
    this.appended.push(...payloads.split('\n').filter((payload) => payload !== ''));
    return Promise.resolve(['ok', 'e', String(before + 1), '', 'master 1']);
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

test('a post that was refused when its time was over is not appended later with others of its batch', async () => {
  const { link, appends, append } = start(2_000);
  link.isUp = false;
  const early = append('early');
  await jest.advanceTimersByTimeAsync(1_900);
  const late = append('late');
  // It loads its data, then serves.
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

test('posts whose time is over while others must go first resolve with false, and are never sent', async () => {
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
