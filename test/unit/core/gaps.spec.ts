import { describe, expect, test } from '@jest/globals';
import { of } from 'rxjs';
import type { Delivery } from '../../../lib/core/delivery.js';
import type { Gap } from '../../../lib/core/gap.js';
import { Hub } from '../../../lib/core/hub.js';
import { iterate } from '../../../lib/core/iteration.js';
import { createStream } from '../../../lib/core/stream.js';
import type { Transport, TransportEvents, TransportReceiver } from '../../../lib/core/transport.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

/** Losses are reported after the reporting call has returned. */
const told = (): Promise<void> => Promise.resolve();

/** A transport that acts at once, as a test directs. */
class Link implements Transport {
  readonly status = of({ state: 'ready' } as const);
  receive!: TransportReceiver;
  lost!: NonNullable<TransportEvents['lost']>;
  onPublish: (() => void) | undefined = undefined;

  async start(receiver: TransportReceiver, { lost }: TransportEvents): Promise<void> {
    this.receive = receiver;
    this.lost = lost!;
  }

  async publish(): Promise<boolean> {
    this.onPublish?.();
    return true;
  }

  async subscribe(): Promise<void> {}
  unsubscribe(): void {}
  async close(): Promise<void> {}
}

async function setup() {
  const reporter = new RecordingReporter();
  const transport = new Link();
  const hub = new Hub({ reporter, transport });
  await hub.start();
  const seen: string[] = [];
  /** Listens as the library does, and records its messages. */
  const listen = (name: string, label: string, onMessage?: (message: unknown) => void) => {
    const take = ({ message }: Delivery) => {
      seen.push(`${label} ${message as string}`);
      onMessage?.(message);
    };
    const onGap = ({ channel, reason }: Gap) => seen.push(`${label} gap of ${channel}: ${reason}`);
    return hub.tap(hub.heard(name), take, hub.root, label, { onGap });
  };
  const receive = (channel: string, message: string, subscription = channel) =>
    transport.receive(JSON.stringify({ pattern: channel, data: message }), subscription, channel);
  return { reporter, transport, hub, seen, listen, receive };
}

describe('A loss that the transport reports', () => {
  test('is reported to each listener of that name once, and to no other', async () => {
    const { transport, hub, seen, listen } = await setup();
    listen('a', 'one');
    listen('a', 'two');
    listen('b', 'other');
    hub.listen('a', () => {}, hub.root);
    transport.lost('a', 'broker');
    await told();
    expect(seen).toEqual(['one gap of a: broker', 'two gap of a: broker']);
  });

  test('of a template is reported to its own listeners, not to listeners of its channels', async () => {
    const { transport, seen, listen } = await setup();
    listen('rooms/1', 'room');
    listen('rooms/:room', 'all rooms');
    transport.lost('rooms/:room', 'broker');
    await told();
    expect(seen).toEqual(['all rooms gap of rooms/:room: broker']);
  });

  test('of a name without listeners is reported to nobody', async () => {
    const { transport, seen, listen } = await setup();
    listen('a', 'one').unsubscribe();
    transport.lost('a', 'broker');
    transport.lost('unknown', 'broker');
    await told();
    expect(seen).toEqual([]);
  });

  test('comes between the messages before and after it', async () => {
    const { transport, seen, listen, receive } = await setup();
    listen('a', 'one');
    receive('a', '1');
    transport.lost('a', 'broker');
    receive('a', '2');
    expect(seen).toEqual(['one 1', 'one gap of a: broker', 'one 2']);
  });

  test('of a template comes between the messages before and after it', async () => {
    const { transport, seen, listen, receive } = await setup();
    listen('rooms/:room', 'all');
    receive('rooms/1', '1', 'rooms/:room');
    transport.lost('rooms/:room', 'broker');
    receive('rooms/2', '2', 'rooms/:room');
    expect(seen).toEqual(['all 1', 'all gap of rooms/:room: broker', 'all 2']);
  });

  test('is reported once for each reason, together with losses that follow before the next message', async () => {
    const { transport, seen, listen, receive } = await setup();
    listen('a', 'one');
    for (let each = 0; each < 1_000; each++) transport.lost('a', each % 2 === 0 ? 'broker' : 'node');
    await told();
    expect(seen.splice(0)).toEqual(['one gap of a: broker', 'one gap of a: node']);
    transport.lost('a', 'broker');
    receive('a', '1');
    transport.lost('a', 'broker');
    await told();
    expect(seen).toEqual(['one gap of a: broker', 'one 1', 'one gap of a: broker']);
  });

  test('inside a post is reported once, before its message', async () => {
    const { transport, hub, seen, listen } = await setup();
    listen('a', 'one');
    transport.onPublish = () => {
      for (let each = 0; each < 50_000; each++) transport.lost('a', 'broker');
    };
    await hub.post('a', '1', { scope: 'auto' });
    expect(seen).toEqual(['one gap of a: broker', 'one 1']);
  });

  test('may add listeners, which get the message after it', async () => {
    const { transport, hub, seen, listen, receive } = await setup();
    const onGap = () => {
      first.unsubscribe();
      listen('a', 'second');
    };
    const first = hub.tap(hub.heard('a'), () => {}, hub.root, 'first', { onGap });
    transport.lost('a', 'broker');
    receive('a', '1');
    expect(seen).toEqual(['second 1']);
  });

  test('waits until the current message, and messages that wait for it, have reached all listeners', async () => {
    const { transport, seen, listen, receive } = await setup();
    listen('a', 'one', (message) => {
      if (message !== '1') return;
      receive('a', '2');
      transport.lost('a', 'broker');
      receive('a', '3');
    });
    listen('a', 'two');
    receive('a', '1');
    expect(seen).toEqual([
      ...['one 1', 'two 1', 'one 2', 'two 2'],
      ...['one gap of a: broker', 'two gap of a: broker', 'one 3', 'two 3'],
    ]);
  });

  test('does not belong to the delivery before it', async () => {
    const { transport, hub, receive } = await setup();
    const deliveries: unknown[] = [];
    const note = () => void deliveries.push(hub.deliveryOf('1')?.channel);
    const take = () => {
      note();
      transport.lost('a', 'broker');
    };
    hub.tap(hub.heard('a'), take, hub.root, 'one', { onGap: note });
    receive('a', '1');
    expect(deliveries).toEqual(['a', undefined]);
  });

  test('of a template waits for the messages of all of its channels', async () => {
    const { transport, seen, listen, receive } = await setup();
    listen('rooms/:room', 'all', (message) => {
      if (message !== '1') return;
      receive('rooms/1', '2', 'rooms/:room');
      transport.lost('rooms/:room', 'broker');
    });
    receive('rooms/1', '1', 'rooms/:room');
    expect(seen).toEqual(['all 1', 'all 2', 'all gap of rooms/:room: broker']);
  });

  test('deep inside deliveries is reported when they have ended', async () => {
    const { transport, seen, listen, hub } = await setup();
    for (let depth = 0; depth < 40; depth++) {
      hub.listen(`deep/${depth}`, () => void hub.post(`deep/${depth + 1}`, 'x'), hub.root);
    }
    hub.listen('deep/31', () => transport.lost('a', 'broker'), hub.root);
    listen('a', 'one');
    hub.listen('deep/0', () => seen.push('outermost'), hub.root);
    void hub.post('deep/0', 'x');
    expect(seen).toEqual(['outermost', 'one gap of a: broker']);
  });

  test('is not reported to a listener that ends while others get it', async () => {
    const { transport, hub, seen, listen } = await setup();
    const events = { onGap: () => late.unsubscribe() };
    hub.tap(hub.heard('a'), () => {}, hub.root, 'first', events);
    const late = listen('a', 'late');
    transport.lost('a', 'broker');
    await told();
    expect(seen).toEqual([]);
  });

  test('is reported to the others if one of them fails, and the failure is reported', async () => {
    const { reporter, transport, hub, seen, listen } = await setup();
    const broken = new Error('broken');
    const onGap = () => {
      throw broken;
    };
    hub.tap(hub.heard('a'), () => {}, hub.root, 'throws', { onGap });
    hub.tap(hub.heard('a'), () => {}, hub.root, 'rejects', { onGap: async () => onGap() });
    listen('a', 'one');
    transport.lost('a', 'broker');
    await told();
    await Promise.resolve();
    expect(seen).toEqual(['one gap of a: broker']);
    const gap = { channel: 'a', reason: 'broker' };
    expect(reporter.listenerFailures).toEqual([
      { channel: 'a', listener: 'throws', gap, error: broken },
      { channel: 'a', listener: 'rejects', gap, error: broken },
    ]);
    expect(reporter.callbackFailures).toEqual([]);
  });

  test('lets posts made because of it go out after all listeners have been told', async () => {
    const { transport, hub, seen, listen } = await setup();
    hub.tap(hub.heard('a'), () => {}, hub.root, 'posts', { onGap: () => void hub.post('a', 'after') });
    listen('a', 'one');
    transport.lost('a', 'broker');
    await told();
    expect(seen).toEqual(['one gap of a: broker', 'one after']);
  });

  test('leaves nothing behind if a template loses its last listener meanwhile', async () => {
    const { transport, hub } = await setup();
    const events = { onGap: () => listener.unsubscribe() };
    const listener = hub.tap(hub.heard('rooms/:room'), () => {}, hub.root, 'leaves', events);
    transport.lost('rooms/:room', 'broker');
    await told();
    expect(hub['audience'].ofTemplate('rooms/:room')).toBeUndefined();
  });
});

describe('A loss is reported to', () => {
  const gap = { channel: 'a', reason: 'broker' };

  test('a listener of the application that asks for it, in its place among the messages', async () => {
    const { transport, hub, receive } = await setup();
    const seen: unknown[] = [];
    hub.listen(
      'a',
      (message) => seen.push(message),
      hub.root,
      undefined,
      (each) => seen.push(each),
    );
    receive('a', '1');
    transport.lost('a', 'broker');
    receive('a', '2');
    expect(seen).toEqual(['1', gap, '2']);
  });

  test('each subscriber of a stream, until it unsubscribes', async () => {
    const { transport, hub, receive } = await setup();
    const seen: unknown[] = [];
    const stream = createStream(hub, 'a', hub.root, { onGap: (each) => seen.push(each) });
    const subscriptions = [stream.subscribe((message) => seen.push(message)), stream.subscribe()];
    receive('a', '1');
    transport.lost('a', 'broker');
    receive('a', '2');
    expect(seen).toEqual(['1', gap, gap, '2']);
    for (const subscription of subscriptions) subscription.unsubscribe();
    transport.lost('a', 'broker');
    await told();
    expect(seen.length).toBe(4);
  });

  test('a loop when it has taken the messages before it', async () => {
    const { transport, hub, receive } = await setup();
    const seen: unknown[] = [];
    const loop = iterate(hub, 'a', hub.root, { onGap: (each) => seen.push(each) })[Symbol.asyncIterator]();
    receive('a', '1');
    transport.lost('a', 'broker');
    receive('a', '2');
    expect(seen).toEqual([]);
    expect(await loop.next()).toEqual({ value: '1', done: false });
    expect(seen).toEqual([]);
    expect(await loop.next()).toEqual({ value: '2', done: false });
    expect(seen).toEqual([gap]);
  });

  test('a loop at once if it waits for a message', async () => {
    const { transport, hub, receive } = await setup();
    const seen: unknown[] = [];
    const loop = iterate(hub, 'a', hub.root, { onGap: (each) => seen.push(each) });
    const next = loop.next();
    await Promise.resolve();
    transport.lost('a', 'broker');
    await told();
    expect(seen).toEqual([gap]);
    receive('a', '1');
    expect(await next).toEqual({ value: '1', done: false });
  });

  test('a loop before it ends, and not once it has been left', async () => {
    const { transport, hub } = await setup();
    const seen: unknown[] = [];
    const onGap = (each: unknown) => seen.push(each);
    const session = hub.sessions.open();
    const ending = iterate(hub, 'a', session, { onGap })[Symbol.asyncIterator]();
    transport.lost('a', 'broker');
    await told();
    session.close();
    expect(await ending.next()).toEqual({ value: undefined, done: true });
    expect(seen).toEqual([gap]);

    const left = iterate(hub, 'a', hub.root, { onGap })[Symbol.asyncIterator]();
    transport.lost('a', 'broker');
    await told();
    await left.return!();
    await left.next();
    expect(seen).toEqual([gap]);
  });

  test('a loop that drops messages because it is too slow, once in their place', async () => {
    const { transport, hub, receive } = await setup();
    const seen: unknown[] = [];
    const options = { maxBuffered: 2, overflow: 'dropOldest', onGap: (each: unknown) => seen.push(each) } as const;
    const loop = iterate(hub, 'a', hub.root, options)[Symbol.asyncIterator]();
    for (const message of ['1', '2', '3', '4']) receive('a', message);
    transport.lost('a', 'broker');
    for (let taken = 0; taken < 2; taken++) seen.push((await loop.next()).value);
    receive('a', '5');
    seen.push((await loop.next()).value);
    for (const message of ['6', '7', '8']) receive('a', message);
    seen.push((await loop.next()).value);
    const slow = { channel: 'a', reason: 'slow-consumer' };
    expect(seen).toEqual([slow, '3', '4', gap, '5', slow, '7']);
  });

  test('a loop whose function fails: the failure is reported, and the loop continues', async () => {
    const { reporter, transport, hub, receive } = await setup();
    const error = new Error('broken');
    const onGap = () => {
      throw error;
    };
    const loop = iterate(hub, 'a', hub.root, { onGap })[Symbol.asyncIterator]();
    transport.lost('a', 'broker');
    receive('a', '1');
    expect(await loop.next()).toEqual({ value: '1', done: false });
    expect(reporter.listenerFailures).toEqual([{ channel: 'a', listener: 'iterate()', gap, error }]);
  });

  test.each([
    ['createStream: option "onGap" must be a function, not "log"', { onGap: 'log' }],
    ['createStream: unknown option "ongap"', { ongap: () => {} }],
  ])('nobody with wrong options: %s', async (message, options) => {
    const { hub } = await setup();
    expect(() => createStream(hub, 'a', hub.root, options as never)).toThrow(message);
    expect(() => iterate(hub, 'a', hub.root, options as never)).toThrow(message.replace('createStream', 'iterate'));
  });
});
