import { describe, expect, test } from '@jest/globals';
import { of } from 'rxjs';
import type { Delivery } from '../../../lib/core/delivery.js';
import type { Gap } from '../../../lib/core/gap.js';
import { Hub } from '../../../lib/core/hub.js';
import type { Transport, TransportEvents, TransportReceiver } from '../../../lib/core/transport.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

/** A transport that does what a test says, at once. */
class Link implements Transport {
  readonly status = of({ state: 'ready' } as const);
  receive!: TransportReceiver;
  lost!: NonNullable<TransportEvents['lost']>;

  async start(receiver: TransportReceiver, { lost }: TransportEvents): Promise<void> {
    this.receive = receiver;
    this.lost = lost!;
  }

  async publish(): Promise<boolean> {
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
  /** Listens as the library does, and notes what it hears. */
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

describe('A loss that the transport tells of', () => {
  test('is told to each listener of that name once, and to no other', async () => {
    const { transport, hub, seen, listen } = await setup();
    listen('a', 'one');
    listen('a', 'two');
    listen('b', 'other');
    hub.listen('a', () => {}, hub.root);
    transport.lost('a', 'broker');
    expect(seen).toEqual(['one gap of a: broker', 'two gap of a: broker']);
  });

  test('of a template is told to its listeners, not to those of its channels', async () => {
    const { transport, seen, listen } = await setup();
    listen('rooms/1', 'room');
    listen('rooms/:room', 'all rooms');
    transport.lost('rooms/:room', 'broker');
    expect(seen).toEqual(['all rooms gap of rooms/:room: broker']);
  });

  test('of a name that nobody listens to any more is told to nobody', async () => {
    const { transport, seen, listen } = await setup();
    listen('a', 'one').unsubscribe();
    transport.lost('a', 'broker');
    transport.lost('unknown', 'broker');
    expect(seen).toEqual([]);
  });

  test('comes between the messages before it and those after it', async () => {
    const { transport, seen, listen, receive } = await setup();
    listen('a', 'one');
    receive('a', '1');
    transport.lost('a', 'broker');
    receive('a', '2');
    expect(seen).toEqual(['one 1', 'one gap of a: broker', 'one 2']);
  });

  test('waits until the message being delivered, and those that wait for it, have reached all listeners', async () => {
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

  test('deep inside of deliveries is told when they have ended', async () => {
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

  test('is not told to a listener that ends while others are told', async () => {
    const { transport, hub, seen, listen } = await setup();
    const events = { onGap: () => late.unsubscribe() };
    hub.tap(hub.heard('a'), () => {}, hub.root, 'first', events);
    const late = listen('a', 'late');
    transport.lost('a', 'broker');
    expect(seen).toEqual([]);
  });

  test('is told to the others if one of them fails, which is reported', async () => {
    const { reporter, transport, hub, seen, listen } = await setup();
    const broken = new Error('broken');
    const onGap = () => {
      throw broken;
    };
    hub.tap(hub.heard('a'), () => {}, hub.root, 'throws', { onGap });
    hub.tap(hub.heard('a'), () => {}, hub.root, 'rejects', { onGap: async () => onGap() });
    listen('a', 'one');
    transport.lost('a', 'broker');
    await Promise.resolve();
    expect(seen).toEqual(['one gap of a: broker']);
    expect(reporter.callbackFailures).toEqual([
      { callback: 'onGap of throws', error: broken },
      { callback: 'onGap of rejects', error: broken },
    ]);
  });

  test('lets posts that are made because of it go out after all have been told', async () => {
    const { transport, hub, seen, listen } = await setup();
    hub.tap(hub.heard('a'), () => {}, hub.root, 'posts', { onGap: () => void hub.post('a', 'after') });
    listen('a', 'one');
    transport.lost('a', 'broker');
    expect(seen).toEqual(['one gap of a: broker', 'one after']);
  });

  test('leaves nothing behind of a template that has lost its last listener meanwhile', async () => {
    const { transport, hub } = await setup();
    const events = { onGap: () => listener.unsubscribe() };
    const listener = hub.tap(hub.heard('rooms/:room'), () => {}, hub.root, 'leaves', events);
    transport.lost('rooms/:room', 'broker');
    expect(hub['audience'].ofTemplate('rooms/:room')).toBeUndefined();
  });
});
