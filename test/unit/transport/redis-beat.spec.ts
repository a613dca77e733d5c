import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { RedisBeat } from '../../../lib/transport/redis-beat.js';

beforeEach(() => void jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] }));
afterEach(() => void jest.useRealTimers());

/** Beats over a connection that the test answers for, with a tick each second. */
class Beats {
  readonly events: string[] = [];
  bytes = 0;
  /** What Redis answers to a beat: how many got it, an error, nothing at all, or that it cannot be sent. */
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

  /** So many seconds, with so many bytes read in each. */
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

test('one goes out at once and then every second tick, as long as they come back', async () => {
  const beats = new Beats();
  expect(beats.beat.start()).toBe(true);
  expect(await beats.pass(6)).toEqual(['beat', 'beat', 'beat', 'beat']);
});

test('two that do not come back are deafness, found within 4 s of any moment, and told once', async () => {
  const beats = new Beats();
  beats.beat.start();
  await beats.pass(2);
  beats.isHeard = false;
  expect(await beats.pass(3)).toEqual(['beat', 'beat']);
  expect(await beats.pass(1)).toEqual(['deaf']);
  expect(await beats.pass(10)).toEqual([]);
});

test('one that does not come back and one that does are none', async () => {
  const beats = new Beats();
  beats.isHeard = false;
  beats.beat.start();
  await beats.pass(1);
  beats.beat.heard();
  expect(await beats.pass(2)).toEqual(['beat']);
});

test('one that Redis leaves unanswered says nothing of the subscription, is told once, and no other goes out', async () => {
  const beats = new Beats();
  beats.answer = 'never';
  beats.beat.start();
  expect(await beats.pass(60)).toEqual(['beat', 'failed: unanswered']);
});

test('one that fails says nothing of the subscription, and is tried again', async () => {
  const beats = new Beats();
  beats.answer = new Error('refused');
  beats.beat.start();
  expect(await beats.pass(4)).toEqual(['beat', 'failed: refused', 'beat', 'failed: refused', 'beat']);
});

test('none goes out while posts cannot be sent', async () => {
  const beats = new Beats();
  beats.answer = 'unsendable';
  expect(beats.beat.start()).toBe(false);
  expect(await beats.pass(10)).toEqual([]);
  beats.answer = 1;
  expect(await beats.pass(2)).toEqual(['beat']);
});

test('none is counted of a connection that has gone', async () => {
  const beats = new Beats();
  beats.isHeard = false;
  beats.beat.start();
  await beats.pass(1);
  beats.beat.stop();
  expect(await beats.pass(10)).toEqual([]);
  beats.beat.start();
  expect(await beats.pass(1)).toEqual(['beat', 'beat']);
});

test('tells until when all has been heard: what was published before the beat that came back before the last', async () => {
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

describe('One that waits behind other messages', () => {
  test('is waited for, for half a minute', async () => {
    const beats = new Beats();
    beats.isHeard = false;
    beats.beat.start();
    expect(await beats.pass(29, 100_000)).toEqual(['beat']);
    expect(await beats.pass(40, 100_000)).toEqual(['beat', 'deaf']);
  });

  test('and that nobody got, as Redis says, is not waited for', async () => {
    const beats = new Beats();
    beats.isHeard = false;
    beats.answer = 0;
    beats.beat.start();
    expect(await beats.pass(2, 100_000)).toEqual(['beat', 'beat', 'deaf']);
  });

  test('is not taken for waiting because answers of Redis come by the same connection', async () => {
    const beats = new Beats();
    beats.isHeard = false;
    beats.beat.start();
    expect(await beats.pass(2, 50)).toEqual(['beat', 'beat', 'deaf']);
  });
});
