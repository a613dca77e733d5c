import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { RedisClient } from '../../../lib/transport/redis-client.js';
import { RedisSilence } from '../../../lib/transport/redis-silence.js';

beforeEach(() => void jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] }));
afterEach(() => void jest.useRealTimers());

/** Redis' answer on a new connection: an error, `late` for none at all, or what ROLE gives. */
type Answer = Error | 'late' | unknown[];

/** A connection whose questions nobody answers unless a test says so, and the new ones that are opened beside it. */
class Silent {
  readonly events: string[] = [];
  readonly stream = { bytesRead: 0, bytesWritten: 0 };
  answer: Answer = ['master'];
  isSubscriber = false;
  readonly silence: RedisSilence;

  constructor() {
    const { stream } = this;
    const condition = (): object => ({ subscriber: this.isSubscriber });
    const duplicate = (): RedisClient => this.connect();
    const client = {
      isCluster: false,
      stream,
      duplicate,
      get condition() {
        return condition();
      },
    } as unknown as RedisClient;
    const dead = (): void => {
      this.events.push('dead');
      this.silence.end();
    };
    this.silence = new RedisSilence({ client, address: 'Redis', isMember: false, dead });
  }

  /** A question is asked, and this many half seconds pass. */
  async pass(looks: number, bytes = 0): Promise<string[]> {
    this.silence.asked();
    for (let look = 0; look < looks; look++) {
      await jest.advanceTimersByTimeAsync(500);
      this.stream.bytesRead += bytes;
      this.silence.look();
      // The look, and what follows from it.
      for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
    }
    return this.events.splice(0);
  }

  private connect(): RedisClient {
    const { answer } = this;
    this.events.push('opened');
    const call = (): Promise<unknown> => {
      if (answer === 'late') return new Promise(() => undefined);
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    };
    const made = Object.assign(new EventEmitter(), {
      isCluster: false,
      connect: () => Promise.resolve(),
      disconnect: () => this.events.push('closed'),
      call,
      ping: call,
    });
    return made as unknown as RedisClient;
  }
}

function reply(message: string): Error {
  return Object.assign(new Error(message), { name: 'ReplyError' });
}

describe('A connection that leaves a question unanswered', () => {
  test('is dead after as long again, if a new one is answered, and is told once', async () => {
    const silent = new Silent();
    expect(await silent.pass(1)).toEqual(['opened', 'closed']);
    await jest.advanceTimersByTimeAsync(499);
    expect(silent.events).toEqual([]);
    expect(await silent.pass(1)).toEqual(['dead']);
  });

  test('is not suspected if the answer comes before a look, and no longer once it comes', async () => {
    const silent = new Silent();
    silent.silence.asked();
    await jest.advanceTimersByTimeAsync(500);
    // It is read in the same turn.
    silent.silence.look();
    silent.silence.end();
    await new Promise(setImmediate);
    expect(silent.events).toEqual([]);
    expect(await silent.pass(1)).toEqual(['opened', 'closed']);
    silent.silence.end();
    await jest.advanceTimersByTimeAsync(10_000);
    await new Promise(setImmediate);
    expect(silent.events).toEqual([]);
  });

  test('is not dead while new ones are not answered either: one at a time is tried, a second long', async () => {
    const silent = new Silent();
    silent.answer = 'late';
    expect(await silent.pass(7)).toEqual(['opened', 'closed', 'opened', 'closed', 'opened', 'closed', 'opened']);
    silent.silence.end();
    expect(silent.events).toEqual(['closed']);
  });

  test('has as long as the outage lasted to come back after it, since lost packets are repeated at growing intervals', async () => {
    const silent = new Silent();
    silent.answer = 'late';
    await silent.pass(3);
    silent.answer = ['master'];
    // The next new connection is opened after 2.5 s and answered; before, one after 0.5 s and one after 1.5 s.
    expect(await silent.pass(2)).toEqual(['closed', 'opened', 'closed']);
    expect(await silent.pass(3)).toEqual([]);
    expect(await silent.pass(1)).toEqual(['dead']);
  });

  test('is dead after 4.5 s, however long the outage has lasted, if new ones are answered at the end', async () => {
    const silent = new Silent();
    silent.answer = 'late';
    await silent.pass(6);
    silent.answer = ['master'];
    expect(await silent.pass(1)).toEqual(['closed', 'opened', 'closed']);
    expect(await silent.pass(1)).toEqual([]);
    expect(await silent.pass(1)).toEqual(['dead']);
  });

  test.each([
    ['a replica', ['slave', '127.0.0.1', 6379]],
    ['a refusal', reply('NOAUTH Authentication required.')],
    ['a connection that fails', new Error('connect ECONNREFUSED')],
  ])('is not dead because of %s elsewhere', async (_, answer) => {
    const silent = new Silent();
    silent.answer = answer;
    expect(await silent.pass(8)).not.toContain('dead');
  });

  test.each(['NOPERM this user has no permissions to run the ‘ping’ command', 'LOADING Redis is loading'])(
    'is dead if a new one is answered with an error of a Redis that lives: %s',
    async (text) => {
      const silent = new Silent();
      silent.answer = reply(text);
      expect(await silent.pass(2)).toEqual(['opened', 'closed', 'dead']);
    },
  );

  test('is not suspected while something arrives; with subscriptions, a few messages prove nothing', async () => {
    const silent = new Silent();
    expect(await silent.pass(8, 1)).toEqual([]);
    silent.isSubscriber = true;
    expect(await silent.pass(8, 4_096)).toEqual([]);
    expect(await silent.pass(2, 4_095)).toEqual(['opened', 'closed', 'dead']);
  });

  test('has time for what was sent before the question, as far as no answer says that it has arrived', async () => {
    const silent = new Silent();
    // At 1 Mbit/s this takes 2 s.
    silent.stream.bytesWritten = 250_000;
    expect(await silent.pass(4)).toEqual([]);
    expect(await silent.pass(2)).toEqual(['opened', 'closed', 'dead']);
    silent.stream.bytesWritten += 100;
    expect(await silent.pass(2)).toEqual(['opened', 'closed', 'dead']);
    // An answer to something earlier says nothing of the rest.
    silent.stream.bytesWritten += 250_000;
    expect(await silent.pass(1)).toEqual([]);
    silent.stream.bytesRead++;
    expect(await silent.pass(5)).toEqual([]);
    expect(await silent.pass(2)).toEqual(['opened', 'closed', 'dead']);
    // A new connection, which registers everything.
    silent.stream.bytesWritten = 62_500;
    expect(await silent.pass(1)).toEqual([]);
    expect(await silent.pass(2)).toEqual(['opened', 'closed', 'dead']);
  });

  test('is suspected as soon as that time is over, not only at the next look', async () => {
    const silent = new Silent();
    silent.stream.bytesWritten = 25_000;
    expect(await silent.pass(1)).toEqual([]);
    await jest.advanceTimersByTimeAsync(99);
    await new Promise(setImmediate);
    expect(silent.events).toEqual([]);
    await jest.advanceTimersByTimeAsync(1);
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
    expect(silent.events.splice(0)).toEqual(['opened', 'closed']);
    expect(await silent.pass(1)).toEqual(['dead']);
  });

  test('is suspected anew, from then on, if something arrives while it is given time', async () => {
    const silent = new Silent();
    expect(await silent.pass(1)).toEqual(['opened', 'closed']);
    silent.stream.bytesRead++;
    expect(await silent.pass(1)).toEqual([]);
    expect(await silent.pass(1)).toEqual(['opened', 'closed']);
    expect(await silent.pass(1)).toEqual(['dead']);
  });
});
