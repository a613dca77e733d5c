import { expect, test } from '@jest/globals';
import type { ClientSubscription } from 'nestjs-messaging/client';
import { randomFrom, type Random } from '../../support/random.js';
import { Harness, soon } from './harness.js';

/** Answers requests, at random well or badly; tracks the names that a server would be subscribed to. */
class Server {
  connection = 0;
  subscribed = new Set<string>();
  maxInFlight = 0;

  constructor(
    private readonly harness: Harness,
    private readonly next: Random,
  ) {}

  async answerAll(isKind: boolean): Promise<void> {
    const { streams, changes } = this.harness.gateway;
    while (streams.pending.length > 0) {
      const stream = await streams.next();
      if (!isKind && this.next(3) === 0) {
        stream.refuse(503);
        continue;
      }
      const subscribed = (this.subscribed = new Set(stream.wanted));
      void stream.closed.then(() => subscribed.clear());
      stream.ready({ connection: `c${++this.connection}` });
      if (!isKind && this.next(4) === 0) setImmediate(() => stream.cut());
    }
    this.maxInFlight = Math.max(this.maxInFlight, changes.pending.length);
    while (changes.pending.length > 0) {
      const change = await changes.next();
      if (!change.request.path.includes(`/c${this.connection}/`)) {
        change.refuse(404);
        continue;
      }
      const fate = isKind ? 0 : this.next(4);
      // 1: not done, and reported. 2: done, but the answer is lost.
      if (fate !== 1) {
        for (const channel of change.request.body.unsubscribe ?? []) this.subscribed.delete(channel);
        for (const channel of change.wanted) this.subscribed.add(channel);
      }
      if (fate === 1) change.refuse(503);
      else if (fate === 2) change.cut();
      else change.answer();
    }
  }
}

test.each(Array.from({ length: 12 }, (_, seed) => [seed]))(
  'in any order of subscribing and leaving, the server ends with the wanted channels (seed %i)',
  async (seed) => {
    await using harness = await Harness.start();
    const next = randomFrom(seed);
    const server = new Server(harness, next);
    const kept: { channel: string; subscription: Promise<ClientSubscription> }[] = [];
    for (let step = 0; step < 60; step++) {
      const channel = `channel ${next(4)}`;
      if (kept.length > 0 && next(2) === 0) {
        const [{ channel: left }] = kept.splice(next(kept.length), 1) as [(typeof kept)[number]];
        await harness.client.unsubscribe(left);
        for (const other of kept.splice(0)) if (other.channel !== left) kept.push(other);
      } else {
        kept.push({ channel, subscription: harness.client.subscribe(channel, () => {}) });
      }
      if (next(2) === 0) await soon();
      if (next(2) === 0) await server.answerAll(false);
      if (next(3) === 0) harness.clock.advance(500);
    }
    const subscriptions = Promise.all(kept.map(({ subscription }) => subscription));
    let isDone = false;
    void subscriptions.then(() => (isDone = true));
    const wanted = new Set(kept.map(({ channel }) => channel));
    const isSettled = () => isDone && [...server.subscribed].toSorted().join() === [...wanted].toSorted().join();
    while (!isSettled()) {
      await soon();
      await server.answerAll(true);
      harness.clock.advance(500);
    }
    expect((await subscriptions).every(({ closed }) => !closed)).toBe(true);
    expect(server.maxInFlight).toBeLessThanOrEqual(1);
    expect(harness.errors.pending).toEqual([]);
  },
);
