import { afterEach, describe, expect, test } from '@jest/globals';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { GatewayNode, type StreamReader } from '../../support/gateway-node.js';

afterEach(() => GatewayNode.closeAll());

const history = { maxMessages: 10, ttlMs: 60_000 };
const Orders = defineChannel<number>('gateway-history/orders', undefined, { history });
const { name } = Orders;

async function twoNodes(broker = new MemoryBroker()) {
  return { broker, a: await GatewayNode.start(broker), b: await GatewayNode.start(broker) };
}

async function post(node: GatewayNode, ...messages: readonly number[]): Promise<void> {
  for (const message of messages) expect(await node.hub.post(Orders, message)).toBe(true);
}

/** The next so many messages, `ready` and gaps; past positions that tell of no loss. */
async function next(reader: StreamReader, count: number): Promise<unknown[]> {
  const found: unknown[] = [];
  while (found.length < count) {
    const { event, data } = (await reader.events.take(1))[0]!;
    const told = JSON.parse(data) as {
      channels?: { reason?: string; position?: { offset: number } }[];
      data?: unknown;
    };
    if (event === 'messaging:position') {
      for (const { reason, position } of told.channels!) if (reason) found.push(`gap ${reason} ${position!.offset}`);
    } else found.push(event === 'messaging:ready' ? 'ready' : told.data);
  }
  return found;
}

/** Where a client is that has read everything so far. */
const reached = (reader: StreamReader) => reader.wanted(name);

describe('A client of a channel with history', () => {
  test('gets messages with their offsets, and a position that every node knows', async () => {
    const { a, b } = await twoNodes();
    await post(a, 1, 2);
    const [one, other] = [await a.open(name), await b.open(name)];
    expect(one.positions.get(name)).toEqual(other.positions.get(name));
    expect(one.positions.get(name)).toEqual({ epoch: expect.stringMatching(/^h\../), offset: 2 });
    await post(b, 3);
    for (const reader of [one, other]) {
      expect(await next(reader, 1)).toEqual([3]);
      expect(reader.positions.get(name)!.offset).toBe(3);
    }
  });

  test.each(['the same node', 'another node'])(
    'that comes back to %s gets what it has missed, once and in order',
    async (where) => {
      const { a, b } = await twoNodes();
      const before = await a.open(name);
      await post(a, 1);
      expect(await next(before, 1)).toEqual([1]);
      before.close();
      await post(b, 2, 3);
      const node = where === 'the same node' ? a : b;
      const after = node.connect(reached(before));
      expect(await next(after, 3)).toEqual([2, 3, 'ready']);
      await post(a, 4);
      expect(await next(after, 1)).toEqual([4]);
    },
  );

  test('is told that everything has come', async () => {
    const { a, b } = await twoNodes();
    const before = await a.open(name);
    await post(a, 1);
    before.close();
    const { channels } = await b.connect(reached(before)).ready();
    expect(channels).toEqual([{ channel: name, position: { epoch: expect.any(String), offset: 1 }, recovered: true }]);
  });

  test('comes back to a node that has just begun, when the one that it has left is gone', async () => {
    const broker = new MemoryBroker();
    const a = await GatewayNode.start(broker);
    const before = await a.open(name);
    await post(a, 1);
    expect(await next(before, 1)).toEqual([1]);
    await a.hub.close();
    const b = await GatewayNode.start(broker);
    await post(b, 2);
    expect(await next(b.connect(reached(before)), 2)).toEqual([2, 'ready']);
  });

  test('that has missed what was trimmed has one gap, then everything that there is', async () => {
    const { a } = await twoNodes();
    const before = await a.open(name);
    before.close();
    const numbers = Array.from({ length: 40 }, (_, index) => index + 1);
    await post(a, ...numbers);
    const { deliveries } = await a.hub.readHistory(name, 100);
    const b = await GatewayNode.start(a.transport!['broker']);
    const after = b.connect(reached(before));
    const [told] = await after.events.take(1);
    expect(JSON.parse(told!.data)).toEqual({
      channels: [
        {
          channel: name,
          position: { epoch: expect.stringMatching(/^h\../), offset: 40 - deliveries.length },
          recovered: false,
          reason: 'trimmed',
        },
      ],
    });
    expect(await next(after, deliveries.length + 1)).toEqual([...deliveries.map(({ message }) => message), 'ready']);
  });

  test('whose history was wiped has one gap, then everything that there is', async () => {
    const { broker, a, b } = await twoNodes();
    const before = await a.open(name);
    await post(a, 1, 2);
    await next(before, 2);
    before.close();
    await a.hub.close();
    broker.wipe();
    await post(b, 3);
    const after = b.connect(reached(before));
    expect(await after.position()).toMatchObject({
      channels: [{ recovered: false, reason: 'epoch', position: { offset: 0 } }],
    });
    expect(await next(after, 2)).toEqual([3, 'ready']);
  });
});
