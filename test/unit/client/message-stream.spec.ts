import { describe, expect, test } from '@jest/globals';
import {
  ConfigurationError,
  ConnectionClosedError,
  defineChannel,
  InvalidChannelError,
  LimitExceededError,
  MessagingClient,
  sourceRef,
} from 'nestjs-messaging/client';
import { from, take, toArray, lastValueFrom } from 'rxjs';
import { Queue } from '../../support/queue.js';
import { Harness } from './harness.js';

class Tick {
  constructor(readonly n: number) {}
}
const Ticks = defineChannel('ticks', Tick);

/** A harness with a ready stream, and a function that posts numbers and waits until they have arrived. */
async function posting() {
  const harness = await Harness.start();
  const { stream } = await harness.subscribed('marker');
  const post = async (...numbers: number[]) => {
    for (const n of numbers) stream.message({ channel: 'ticks', type: 'Tick', data: { n } });
    await harness.settled(stream);
  };
  return Object.assign(harness, { stream, post });
}

describe('A loop', () => {
  test('gets the messages from its start to its end, and then unsubscribes', async () => {
    await using harness = await posting();
    const stream = harness.client.createStream(Ticks);
    const heard: Tick[] = [];
    const looped = (async () => {
      for await (const tick of stream) {
        heard.push(tick);
        if (tick.n === 3) break;
      }
    })();
    await harness.gateway.answered();
    await harness.post(1, 2, 3, 4);
    await looped;
    expect(heard).toEqual([new Tick(1), new Tick(2), new Tick(3)]);
    expect(heard[0]).toBeInstanceOf(Tick);
    expect((await harness.gateway.answered()).request.body.unsubscribe).toEqual(['ticks']);
  });

  test('may ask for several messages at once, and ends with the client', async () => {
    await using harness = await posting();
    const loop = harness.client.createStream(Ticks)[Symbol.asyncIterator]();
    await harness.gateway.answered();
    const asked = [loop.next(), loop.next(), loop.next(), loop.next()];
    await harness.post(1, 2);
    harness.client.close();
    expect((await Promise.all(asked)).map(({ value, done }) => [value?.n, done])).toEqual([
      [1, false],
      [2, false],
      [undefined, true],
      [undefined, true],
    ]);
    expect(await loop.next()).toEqual({ value: undefined, done: true });
    expect(await harness.client.createStream(Ticks)[Symbol.asyncIterator]().next()).toEqual({
      value: undefined,
      done: true,
    });
  });

  test('that is too slow gets the waiting messages, then an error', async () => {
    await using harness = await posting();
    const loop = harness.client.createStream(Ticks, { maxBuffered: 2 })[Symbol.asyncIterator]();
    await harness.gateway.answered();
    await harness.post(1, 2, 3);
    expect((await harness.gateway.answered()).request.body.unsubscribe).toEqual(['ticks']);
    expect([(await loop.next()).value, (await loop.next()).value]).toEqual([new Tick(1), new Tick(2)]);
    await expect(loop.next()).rejects.toThrow(LimitExceededError);
    expect(await loop.next()).toEqual({ value: undefined, done: true });
  });

  test('keeps a thousand messages by default', async () => {
    await using harness = await posting();
    const loop = harness.client.createStream(Ticks)[Symbol.asyncIterator]();
    await harness.gateway.answered();
    await harness.post(...Array.from({ length: 1_001 }, (_, n) => n));
    for (let n = 0; n < 1_000; n++) expect((await loop.next()).value).toEqual(new Tick(n));
    await expect(loop.next()).rejects.toThrow('1000');
  });

  test('that is too slow may lose the oldest messages instead', async () => {
    await using harness = await posting();
    const loop = harness.client.createStream(Ticks, { maxBuffered: 2, overflow: 'dropOldest' })[Symbol.asyncIterator]();
    await harness.gateway.answered();
    await harness.post(1, 2, 3, 4);
    expect([(await loop.next()).value, (await loop.next()).value]).toEqual([new Tick(3), new Tick(4)]);
    await harness.post(5);
    expect(await loop.return!()).toEqual({ value: undefined, done: true });
    expect(await loop.next()).toEqual({ value: undefined, done: true });
  });

  test('throws the error that ends it from outside once, to a waiting caller', async () => {
    await using harness = await posting();
    const loop = harness.client.createStream(Ticks)[Symbol.asyncIterator]();
    const asked = [loop.next(), loop.next()];
    await harness.gateway.answered();
    harness.stream.event('messaging:revoked', {});
    await expect(asked[0]).rejects.toThrow(ConnectionClosedError);
    expect(await asked[1]).toEqual({ value: undefined, done: true });
  });
});

describe('An observer', () => {
  test('of RxJS gets the messages as they come, without an iterator in between', async () => {
    await using harness = await posting();
    const stream = harness.client.createStream(sourceRef('Clock', 1), Tick);
    Object.defineProperty(stream, Symbol.asyncIterator, { value: undefined });
    const two = lastValueFrom(from(stream).pipe(take(2), toArray()));
    const [name] = (await harness.gateway.answered()).wanted as [string];
    for (const n of [1, 2, 3]) harness.stream.message({ channel: name, type: 'Tick', data: { n } });
    expect(await two).toEqual([new Tick(1), new Tick(2)]);
    expect((await harness.gateway.answered()).request.body.unsubscribe).toEqual([name]);
  });

  test('learns of the end, with or without an error', async () => {
    await using harness = await posting();
    const heard = new Queue<unknown>();
    from(harness.client.createStream('denied')).subscribe({ error: heard.push });
    from(harness.client.createStream('ticks')).subscribe({ complete: () => heard.push('complete') });
    await harness.gateway.answered({ denied: 'CHANNEL_DENIED' });
    expect(await heard.next()).toHaveProperty('code', 'CHANNEL_DENIED');
    harness.client.close();
    expect(await heard.next()).toBe('complete');
    expect(harness.errors.pending).toEqual([]);
  });

  test('without an error function leaves errors to onError, and is reported if it fails itself', async () => {
    await using harness = await posting();
    harness.client.createStream('denied').subscribe({});
    const failure = new Error('complete');
    const subscription = harness.client.createStream('ticks').subscribe({
      complete: () => {
        throw failure;
      },
    });
    await harness.gateway.answered({ denied: 'CHANNEL_DENIED' });
    expect((await harness.errors.next()).error).toHaveProperty('code', 'CHANNEL_DENIED');
    subscription.unsubscribe();
    expect(await harness.errors.next()).toEqual({ error: failure, context: { channel: 'ticks' } });
  });

  test('is reported if its promise for the end, or for an error, rejects', async () => {
    await using harness = await posting();
    const failure = new Error('late');
    const fail: () => unknown = async () => Promise.reject(failure);
    const stream = harness.client.createStream('ticks');
    harness.client.createStream('denied').subscribe({ error: fail });
    const subscription = stream.subscribe({ complete: fail });
    await harness.gateway.answered({ denied: 'CHANNEL_DENIED' });
    expect(await harness.errors.next()).toEqual({ error: failure, context: { channel: 'denied' } });
    subscription.unsubscribe();
    expect(await harness.errors.next()).toEqual({ error: failure, context: { channel: 'ticks' } });
  });

  test.each([1, 2])(
    'that makes a closed client usable again and subscribes anew is not ended with the old subscriptions (%i of them)',
    async (count) => {
      await using harness = await posting();
      const { client } = harness;
      const errors: unknown[] = [];
      const heard = new Queue<unknown>();
      const observe = (next: (message: unknown) => void): void => {
        client.createStream('ticks').subscribe({
          next,
          error: (error) => {
            if (errors.push(error) > 10) return;
            client.retryNow();
            observe(heard.push);
          },
        });
      };
      for (let made = 0; made < count; made++) observe(() => {});
      await harness.gateway.answered();
      harness.stream.event('messaging:revoked', {});
      await harness.reaches('closed');
      expect(errors).toHaveLength(count);
      harness.clock.advance(250);
      const stream = await harness.gateway.ready();
      stream.message({ channel: 'ticks', data: 'on' });
      for (let made = 0; made < count; made++) expect(await heard.next()).toBe('on');
    },
  );

  test('finds the stream by Symbol.observable if that is defined', () => {
    const symbol = Symbol('observable');
    Object.defineProperty(Symbol, 'observable', { value: symbol, configurable: true });
    try {
      using client = new MessagingClient({ url: 'http://127.0.0.1:9/' });
      const stream = client.createStream('ticks') as unknown as Record<symbol, () => unknown>;
      expect(stream[symbol]!()).toBe(stream);
    } finally {
      Reflect.deleteProperty(Symbol, 'observable');
    }
  });
});

test('Wrong arguments throw at the call', () => {
  using client = new MessagingClient({ url: 'http://127.0.0.1:9/' });
  expect(() => client.createStream('')).toThrow(InvalidChannelError);
  expect(() => client.createStream({}, Tick)).toThrow(ConfigurationError);
  for (const maxBuffered of [0, 1.5, NaN]) {
    expect(() => client.createStream('ticks', { maxBuffered })).toThrow(ConfigurationError);
  }
  expect(() => client.createStream(Ticks, { overflow: 'drop' as 'error' })).toThrow(ConfigurationError);
});
