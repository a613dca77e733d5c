import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { Deferred } from '../../../lib/core/deferred.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import type { PositionEvent } from '../../../lib/protocol/gateway.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { GatewayNode, type StreamReader } from '../../support/gateway-node.js';
import { turns } from '../../support/turns.js';

afterEach(() => GatewayNode.closeAll());

const history = { maxMessages: 100, ttlMs: 60_000 };
const Orders = defineChannel<number | string>('history-joins/orders', undefined, { history });
const { name } = Orders;

/** Reads a stream up to an event or a message. @returns the offsets of messages, and in brackets those of positions */
async function readUntil(reader: StreamReader, last: string): Promise<string[]> {
  const offsets: string[] = [];
  for (;;) {
    const { event, id, data } = await reader.events.next();
    if (event === undefined) offsets.push(id!);
    else for (const { position } of (JSON.parse(data) as PositionEvent).channels) offsets.push(`(${position.offset})`);
    // It could go on for ever.
    if ((event ?? id) === last || offsets.length > 30) return offsets;
  }
}

/** A node with four messages, and the position of a client that claims to have read five. */
async function startAndClaim() {
  const node = await GatewayNode.start(new MemoryBroker(), { maxBufferedBytes: 2_000 });
  const post = async (count: number) => {
    for (; count > 0; count--) await node.hub.post(Orders, 'x'.repeat(900));
  };
  await post(4);
  const { epoch } = await node.hub.positionOf(name);
  const claimed = { channel: name, position: { epoch: `h.${epoch}`, offset: 5 } };
  // Its messages take more than the node keeps in memory.
  return { node, post, claimed };
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
      for (let tick = 0; tick < ticks; tick++) await Promise.resolve();
      for (const message of held) transport.deliver(...message);
      const before = await readUntil(reader, 'messaging:ready');
      await b.hub.post(Orders, 3);
      const all = [...before, ...(await readUntil(reader, '3'))].join(' ');
      expect(all).toMatch(/^(\(1\) 2 \(2\)|\(1\) 2|\(2\)) 3$/);
    },
  );

  describe('after another one that claimed the same position, before the history had come that far,', () => {
    test('gets what it has missed, without a gap', async () => {
      const { node, post, claimed } = await startAndClaim();
      const other = node.connect([claimed]);
      await readUntil(other, '4');
      await post(5);
      expect(await readUntil(node.connect([claimed]), '9')).toEqual(['6', '(6)', '7', '8', '9']);
    });

    test('shares no read with it', async () => {
      const { node, post, claimed } = await startAndClaim();
      await node.open(name);
      const readHistory = node.hub.readHistory.bind(node.hub);
      const [read, late] = [new Deferred(), new Deferred()];
      jest.spyOn(node.hub, 'readHistory').mockImplementationOnce(async (...asked) => {
        const found = await readHistory(...asked);
        read.resolve();
        await late.promise;
        return found;
      });
      node.connect([claimed]);
      await read.promise;
      await post(5);
      const reader = node.connect([claimed]);
      await turns(3);
      late.resolve();
      expect(await readUntil(reader, '9')).toEqual(['6', '(6)', '7', '8', '9']);
    });
  });
});
