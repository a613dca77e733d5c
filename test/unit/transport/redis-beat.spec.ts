import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { RedisBeat } from '../../../lib/transport/redis-beat.js';

beforeEach(() => void jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] }));
afterEach(() => void jest.useRealTimers());

/** Heartbeats over a connection that the test answers for, with a tick each second. */
class Beats {
  readonly events: string[] = [];
  bytes = 0;
  /** Redis' answer to a heartbeat: the number of receivers, an error, no answer, or that it cannot be sent. */
  answer: number | undefined | Error | 'never' | 'unsendable' = 1;
  isHeard = true;
  readonly beat: RedisBeat = new RedisBeat(
    {
      bytesRead: () => this.bytes,
      publish: () => this.publish(),
      failed: (error) => this.events.push(`failed: ${error?.message ?? 'unanswered'}`),
      deaf: () => this.events.push('deaf'),
    },
    1_000,
  );

  /** This many seconds, with this many bytes read in each. */
  async pass(seconds: number, bytes = 0): Promise<string[]> {
    for (let second = 0; second < seconds; second++) {
      await jest.advanceTimersByTimeAsync(1_000);
      this.bytes += bytes;
      this.beat.tick();
    }
    return this.events.splice(0);
  }

  private publish(): Promise<number | undefined> | undefined {
    const { answer } = this;
    if (answer === 'unsendable') return undefined;
    this.events.push('beat');
    if (answer === 'never') return new Promise(() => undefined);
    if (answer instanceof Error) return Promise.reject(answer);
    if (this.isHeard) queueMicrotask(() => this.beat.heard());
    return Promise.resolve(answer);
  }
}

test('a beat goes out at once and then every second tick, as long as beats come back', async () => {
  const beats = new Beats();
  expect(beats.beat.start()).toBe(true);
  expect(await beats.pass(6)).toEqual(['beat', 'beat', 'beat', 'beat']);
});

test('two missing beats mean deafness, found within 4 s of any moment, and reported once', async () => {
  const beats = new Beats();
  beats.beat.start();
  await beats.pass(2);
  beats.isHeard = false;
  expect(await beats.pass(3)).toEqual(['beat', 'beat']);
  expect(await beats.pass(1)).toEqual(['deaf']);
  expect(await beats.pass(10)).toEqual([]);
});

test('a single missing beat does not mean deafness', async () => {
  const beats = new Beats();
  beats.isHeard = false;
  beats.beat.start();
  await beats.pass(1);
  beats.beat.heard();
  expect(await beats.pass(2)).toEqual(['beat']);
});

test('a beat that Redis leaves unanswered proves nothing about the subscription, is reported once, and no other goes out', async () => {
  const beats = new Beats();
  beats.answer = 'never';
  beats.beat.start();
  expect(await beats.pass(60)).toEqual(['beat', 'failed: unanswered']);
});

test('a beat that fails proves nothing about the subscription, and is repeated', async () => {
  const beats = new Beats();
  beats.answer = new Error('refused');
  beats.beat.start();
  expect(await beats.pass(4)).toEqual(['beat', 'failed: refused', 'beat', 'failed: refused', 'beat']);
});

test('no beat goes out while posts cannot be sent', async () => {
  const beats = new Beats();
  beats.answer = 'unsendable';
  expect(beats.beat.start()).toBe(false);
  expect(await beats.pass(10)).toEqual([]);
  beats.answer = 1;
  expect(await beats.pass(2)).toEqual(['beat']);
});

test('no beat of a closed connection counts', async () => {
  const beats = new Beats();
  beats.isHeard = false;
  beats.beat.start();
  await beats.pass(1);
  beats.beat.stop();
  expect(await beats.pass(10)).toEqual([]);
  beats.beat.start();
  expect(await beats.pass(1)).toEqual(['beat', 'beat']);
});

test('the proven time is the time of the beat before the last one that came back', async () => {
  const beats = new Beats();
  expect(beats.beat.provenMs).toBe(-Infinity);
  beats.beat.start();
  const first = performance.now();
  await beats.pass(4);
  expect(beats.beat.provenMs).toBeGreaterThanOrEqual(first);
  expect(beats.beat.provenMs).toBeLessThanOrEqual(performance.now() - 2_000);
  const proven = beats.beat.provenMs;
  beats.isHeard = false;
  await beats.pass(10);
  expect(beats.beat.provenMs).toBeLessThanOrEqual(proven + 2_000);
});

describe('A beat that waits behind other messages', () => {
  test('has half a minute to come back', async () => {
    const beats = new Beats();
    beats.isHeard = false;
    beats.beat.start();
    expect(await beats.pass(29, 100_000)).toEqual(['beat']);
    expect(await beats.pass(40, 100_000)).toEqual(['beat', 'deaf']);
  });

  test('that nobody got, according to Redis, does not get that time', async () => {
    const beats = new Beats();
    beats.isHeard = false;
    beats.answer = 0;
    beats.beat.start();
    expect(await beats.pass(2, 100_000)).toEqual(['beat', 'beat', 'deaf']);
  });

  test('does not count as waiting because answers of Redis come over the same connection', async () => {
    const beats = new Beats();
    beats.isHeard = false;
    beats.beat.start();
    expect(await beats.pass(2, 50)).toEqual(['beat', 'beat', 'deaf']);
  });
});
