import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { Deferred } from '../../../lib/core/deferred.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import type { PositionEvent } from '../../../lib/protocol/gateway.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { GatewayNode, type StreamReader } from '../../support/gateway-node.js';

afterEach(() => GatewayNode.closeAll());

const history = { maxMessages: 100, ttlMs: 60_000 };
const Orders = defineChannel<number>('history-joins/orders', undefined, { history });
const { name } = Orders;

/** Reads a stream up to an event or a message. @returns the offsets of messages, and in brackets those of positions */
async function readUntil(reader: StreamReader, last: string): Promise<string[]> {
  const offsets: string[] = [];
  for (;;) {
    const { event, id, data } = await reader.events.next();
    if (event === undefined) offsets.push(id!);
    else for (const { position } of (JSON.parse(data) as PositionEvent).channels) offsets.push(`(${position.offset})`);
    if ((event ?? id) === last) return offsets;
  }
}

describe('A client that joins a channel with history', () => {
  // The place among the promises decides what runs between "the position is known" and "it is used".
  test.each(Array.from({ length: 8 }, (_, ticks) => ticks))(
    'misses no message that comes when the position of the channel becomes known (%i promises later)',
    async (ticks) => {
      const broker = new MemoryBroker();
      const [a, b] = [await GatewayNode.start(broker), await GatewayNode.start(broker)];
      await b.hub.post(Orders, 1);
      const position = await b.hub.positionOf(name);
      const [asked, known] = [new Deferred(), new Deferred()];
      jest.spyOn(a.hub, 'follow').mockImplementationOnce(async () => {
        asked.resolve();
        await known.promise;
        return position;
      });
      const reader = a.connect([name]);
      await asked.promise;
      const transport = a.transport!;
      const held: Parameters<typeof transport.deliver>[] = [];
      const deliver = jest.spyOn(transport, 'deliver').mockImplementation((...message) => void held.push(message));
      await b.hub.post(Orders, 2);
      deliver.mockRestore();
      known.resolve();
      for (let tick = 0; tick < ticks; tick++) await null;
      for (const message of held) transport.deliver(...message);
      const before = await readUntil(reader, 'messaging:ready');
      await b.hub.post(Orders, 3);
      const all = [...before, ...(await readUntil(reader, '3'))].join(' ');
      expect(all).toMatch(/^(\(1\) 2 \(2\)|\(1\) 2|\(2\)) 3$/);
    },
  );
});
