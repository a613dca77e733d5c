import { describe, expect, test } from '@jest/globals';
import { Hub } from '../../../lib/core/hub.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { ConfigurationError, RedisNotEnabledError } from '../../../lib/protocol/errors.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { Queue } from '../../support/queue.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

const Orders = defineChannel<number>('histories/orders', undefined, { history: { maxMessages: 100, ttlMs: 60_000 } });
const Plain = defineChannel<number>('histories/plain');

/** A node of a broker, or the only one there is, with what it hears. */
async function node(broker?: MemoryBroker) {
  const transport = broker && new MemoryTransport(broker);
  const reporter = new RecordingReporter();
  const hub = new Hub({ reporter, transport });
  await hub.start();
  const heard = new Queue<string>();
  const listen = async () => {
    const listener = hub.listen(
      Orders,
      (message, { position }) => heard.push(`${position!.offset}: ${String(message)}`),
      hub.root,
      undefined,
      ({ reason, position }) => heard.push(`gap ${reason} ${position?.offset}`),
    );
    await listener.ready;
    // Until it is known from where on nothing may be missing.
    for (let turn = 0; turn < 2; turn++) await hub.positionOf(Orders.name);
  };
  return { hub, heard, listen, transport, reporter };
}

describe('A channel with history in one process', () => {
  test('delivers at once, and tells the position', async () => {
    const { hub, heard, listen } = await node();
    await listen();
    expect(hub.post(Orders, 7)).toBeInstanceOf(Promise);
    expect(heard.pending).toEqual(['1: 7']);
  });

  test('keeps what was posted before anybody listened', async () => {
    const { hub } = await node();
    for (const number of [1, 2, 3]) expect(await hub.post(Orders, number)).toBe(true);
    const { deliveries, gap, end } = await hub.readHistory(Orders.name, 2);
    expect(deliveries.map(({ message }) => message)).toEqual([2, 3]);
    expect(gap).toBeUndefined();
    expect(end).toEqual(await hub.positionOf(Orders.name));
  });

  test('takes a post with an id once', async () => {
    const { hub, heard, listen } = await node();
    await listen();
    expect(await hub.post(Orders, 1, { id: 'a' })).toBe(true);
    expect(await hub.post(Orders, 1, { id: 'a' })).toBe(true);
    expect(() => hub.post(Orders, 2, { id: 'a' })).toThrow(ConfigurationError);
    expect(heard.pending).toEqual(['1: 1']);
  });

  test('refuses posts that could not be the same everywhere, and ids where nothing is kept', async () => {
    const { hub } = await node();
    expect(() => hub.post(Orders, 1, { scope: 'local' })).toThrow('keeps a history');
    expect(() => hub.post(Orders, 1, { global: true })).toThrow(RedisNotEnabledError);
    expect(() => hub.post(Plain, 1, { id: 'a' })).toThrow('needs a channel with history');
  });
});

describe('A channel with history on several nodes', () => {
  test('delivers in the order of offsets on each, that of the poster too', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await node(broker), await node(broker)];
    await Promise.all([a.listen(), b.listen()]);
    void a.hub.post(Orders, 1);
    void b.hub.post('histories/orders', 2);
    void a.hub.post(Orders, 3);
    for (const { heard } of [a, b]) expect(await heard.take(3)).toEqual(['1: 1', '2: 2', '3: 3']);
  });

  test('reads what a node has not heard while the broker was away, and tells of no gap', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await node(broker), await node(broker)];
    await b.listen();
    expect(await a.hub.post(Orders, 1)).toBe(true);
    expect(await b.heard.take(1)).toEqual(['1: 1']);
    broker.cut(b.transport);
    for (const number of [2, 3]) expect(await a.hub.post(Orders, number)).toBe(true);
    broker.heal();
    expect(await a.hub.post(Orders, 4)).toBe(true);
    expect(await b.heard.take(3)).toEqual(['2: 2', '3: 3', '4: 4']);
  });

  test('reads what was missed before the first message was heard', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await node(broker), await node(broker)];
    await b.listen();
    broker.cut(b.transport);
    expect(await a.hub.post(Orders, 1)).toBe(true);
    broker.heal();
    expect(await b.heard.take(1)).toEqual(['1: 1']);
  });

  test('tells of one gap if what was missed is not there any more', async () => {
    const broker = new MemoryBroker();
    const [a, b] = [await node(broker), await node(broker)];
    await b.listen();
    expect(await a.hub.post(Orders, 1)).toBe(true);
    expect(await b.heard.take(1)).toEqual(['1: 1']);
    broker.cut(b.transport);
    expect(await a.hub.post(Orders, 2)).toBe(true);
    broker.wipe();
    expect(await a.hub.post(Orders, 3)).toBe(true);
    broker.heal();
    expect(await b.heard.take(2)).toEqual(['gap epoch 0', '1: 3']);
    expect(await a.hub.post(Orders, 4)).toBe(true);
    expect(await b.heard.take(1)).toEqual(['2: 4']);
  });

  test('is not accepted while the broker is away, and delivered nowhere', async () => {
    const broker = new MemoryBroker();
    const a = await node(broker);
    await a.listen();
    broker.cut();
    expect(await a.hub.post(Orders, 1)).toBe(false);
    broker.heal();
    expect(await a.hub.post(Orders, 2)).toBe(true);
    expect(await a.heard.take(1)).toEqual(['1: 2']);
  });
});
