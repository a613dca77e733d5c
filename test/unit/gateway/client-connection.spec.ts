import { afterEach, describe, expect, test } from '@jest/globals';
import { Hub } from '../../../lib/core/hub.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { Deferred } from '../../../lib/core/deferred.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { GatewayNode } from '../../support/gateway-node.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

/** A transport whose broker confirms a subscription once the test allows it. */
class SlowTransport extends MemoryTransport {
  isSlow = false;
  readonly confirmed = new Deferred();

  override async subscribe(name: string): Promise<void> {
    await super.subscribe(name);
    if (this.isSlow) await this.confirmed.promise;
  }
}

/** Enough turns for a broker that is not slow. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

afterEach(() => GatewayNode.closeAll());

describe('A client connection', () => {
  test('answers a subscription only after the broker has confirmed it', async () => {
    const transport = new SlowTransport(new MemoryBroker());
    const node = await GatewayNode.start(transport);
    const { connection } = await node.open();
    transport.isSlow = true;
    let isAnswered = false;
    const answer = connection.subscribe([{ channel: 'news' }]).then((answers) => {
      isAnswered = true;
      return answers;
    });
    await turns();
    expect(isAnswered).toBe(false);

    transport.confirmed.resolve();
    expect(await answer).toEqual([{ channel: 'news' }]);
  });

  test('listens to nothing that was not granted', async () => {
    const node = await GatewayNode.start();
    const reader = await node.open();
    const granted = [{ channel: 'secret', error: 'CHANNEL_DENIED' }, { channel: 'news' }] as const;
    expect(await reader.connection.subscribe(granted)).toEqual(granted);
    expect(await reader.position()).toEqual({
      channels: [{ channel: 'news', position: { epoch: expect.any(String), offset: 0 } }],
    });
    void node.post('secret', 'not for clients');
    void node.post('news', 'for clients');
    await reader.next(1);
    expect(reader.raw.at(-1)).toMatch(/^id: 1\ndata: \{"channel":"news","at":\d+,"data":"for clients"\}\n\n$/);
  });

  test('gets the position where a channel continues in the order of its messages, even of a channel that it already has', async () => {
    const node = await GatewayNode.start();
    const reader = await node.open('news');
    void node.post('news', 'still waits to be sent');
    await reader.connection.subscribe([{ channel: 'news' }, { channel: 'other' }]);
    expect(await reader.next(1)).toEqual(['still waits to be sent']);
    const { channels } = await reader.position();
    const { epoch } = reader.positions.get('news')!;
    expect(channels).toContainEqual({ channel: 'news', position: { epoch, offset: 1 } });
    expect(channels).toContainEqual({ channel: 'other', position: { epoch: expect.any(String), offset: 0 } });
  });

  test('writes to its stream for each change, even an empty one, so that clients can check that it is alive', async () => {
    const node = await GatewayNode.start();
    const reader = await node.open('news');
    await reader.connection.subscribe([]);
    expect(await reader.position()).toEqual({ channels: [] });
  });

  test('makes a change wait until the stream has begun', async () => {
    const transport = new SlowTransport(new MemoryBroker());
    const node = await GatewayNode.start(transport);
    transport.isSlow = true;
    const reader = node.connect(['news']);
    const change = reader.connection.subscribe([{ channel: 'other' }]);
    await turns();
    expect(reader.pending).toEqual([]);
    transport.confirmed.resolve();
    await change;
    expect(await reader.next(2)).toEqual(['messaging:ready', 'messaging:position']);
  });

  test('gets messages of another server, even if only the channel names the class on this one', async () => {
    class Price {
      readonly value = 7;
    }
    const channel = defineChannel('client-connection/prices', Price);
    const broker = new MemoryBroker();
    const node = await GatewayNode.start(broker);
    const elsewhere = new Hub({ reporter: new RecordingReporter(), transport: new MemoryTransport(broker) });
    await elsewhere.start();
    const reader = await node.open(channel.name);
    await elsewhere.post(channel, new Price(), { scope: 'global' });
    await reader.next(1);
    expect(reader.raw.at(-1)).toContain('"type":"Price","data":{"value":7}}');
    await elsewhere.close();
  });

  test('is denied a channel whose class has the name of another class of the application, which is reported', async () => {
    const node = await GatewayNode.start();
    const [mine, other] = [class Update {}, class Update {}];
    node.hub.types.register(other);
    const channel = defineChannel('client-connection/clash', mine);
    const { connection } = await node.open();
    expect(await connection.subscribe([{ channel: channel.name }, { channel: 'news' }])).toEqual([
      { channel: channel.name, error: 'CHANNEL_DENIED' },
      { channel: 'news' },
    ]);
    expect(node.reporter.rejections).toMatchObject([{ channel: channel.name, error: { code: 'CONFIGURATION' } }]);
  });

  test('gets the same frame object as the others, even for messages that both have missed', async () => {
    const node = await GatewayNode.start();
    const readers = [await node.open('news'), await node.open('news')];
    void node.post('news', 'for all');
    for (const reader of readers) await reader.next(1);
    expect(readers[0]!.frames.at(-1)).toBe(readers[1]!.frames.at(-1));
    for (const reader of readers) reader.close();
    void node.post('news', 'missed');
    void node.post('news', 'missed too');
    const back = readers.map((reader) => node.connect(reader.wanted('news')));
    for (const reader of back) await reader.ready();
    expect(back[0]!.frames[0]).toBe(back[1]!.frames[0]);
  });

  test('whose session ended before it was read registers nothing', async () => {
    const { hub, gateway } = await GatewayNode.start();
    const session = hub.sessions.open();
    const connection = gateway.open(gateway.reserve(session));
    session.close();
    let isComplete = false;
    connection
      .stream([{ channel: 'news' }], new Map(), { form: 'client' })
      .subscribe({ complete: () => (isComplete = true) });
    expect(isComplete).toBe(true);
    expect(hub['audience']['channels'].get('news')).toBeUndefined();
  });
});
