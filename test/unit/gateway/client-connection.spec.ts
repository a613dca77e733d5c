import { describe, expect, test } from '@jest/globals';
import { Hub } from '../../../lib/core/hub.js';
import { defineChannel } from '../../../lib/protocol/channel.js';
import { ClientConnection } from '../../../lib/gateway/client-connection.js';
import { ClientFeeds } from '../../../lib/gateway/client-feeds.js';
import { Flusher } from '../../../lib/sse/flusher.js';
import type { Frame } from '../../../lib/sse/frame.js';
import { Deferred } from '../../../lib/transport/deferred.js';
import { MemoryBroker } from '../../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../../lib/transport/memory-transport.js';
import { Queue } from '../../support/queue.js';
import { RecordingReporter } from '../../support/recording-reporter.js';

/** A transport whose broker confirms a subscription when the test says so. */
class SlowTransport extends MemoryTransport {
  readonly confirmed = new Deferred();

  override async subscribe(name: string): Promise<void> {
    await super.subscribe(name);
    await this.confirmed.promise;
  }
}

function setup(transport?: MemoryTransport) {
  const reporter = new RecordingReporter();
  const hub = new Hub({ reporter, transport });
  const session = hub.sessions.open();
  const options = { form: 'client', heartbeatMs: 0, maxSubscriptions: 10 } as const;
  const feeds = new ClientFeeds(hub, reporter, new Flusher(), 10_000, 100_000);
  const connection = new ClientConnection(hub, feeds, reporter, session, options);
  const frames = new Queue<string>();
  const read = () => connection.stream([]).subscribe((frame) => frames.push((frame as Frame).bytes.toString()));
  return { reporter, hub, feeds, session, connection, frames, read };
}

describe('A client connection', () => {
  test('answers a subscription once the broker has confirmed it, and not before', async () => {
    const transport = new SlowTransport(new MemoryBroker());
    const { hub, connection, read, frames } = setup(transport);
    await hub.start();
    read();
    await frames.next();
    let isAnswered = false;
    const answer = connection.subscribe([{ channel: 'news' }]).then((answers) => {
      isAnswered = true;
      return answers;
    });
    // Enough turns for a broker that is not slow.
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(isAnswered).toBe(false);

    transport.confirmed.resolve();
    expect(await answer).toEqual([{ channel: 'news' }]);
    await hub.close();
  });

  test('listens to nothing that it was not granted', async () => {
    const { hub, connection, read, frames } = setup();
    read();
    await frames.next();
    const answers = await connection.subscribe([{ channel: 'secret', error: 'CHANNEL_DENIED' }, { channel: 'news' }]);
    expect(answers).toEqual([{ channel: 'secret', error: 'CHANNEL_DENIED' }, { channel: 'news' }]);
    expect(await frames.next()).toBe('event: messaging:position\nid: 1\ndata: {}\n\n');
    void hub.post('secret', 'not for clients');
    void hub.post('news', 'for clients');
    expect(await frames.next()).toMatch(/^id: 2\ndata: \{"channel":"news","at":\d+,"data":"for clients"\}\n\n$/);
  });

  test('is sent what comes from another server, though nobody here but its channel has named the class', async () => {
    class Price {
      readonly value = 7;
    }
    const channel = defineChannel('client-connection/prices', Price);
    const broker = new MemoryBroker();
    const { hub, reporter, connection, read, frames } = setup(new MemoryTransport(broker));
    const elsewhere = new Hub({ reporter, transport: new MemoryTransport(broker) });
    await Promise.all([hub.start(), elsewhere.start()]);
    read();
    await frames.next();
    await connection.subscribe([{ channel: channel.name }]);
    await frames.next();
    await elsewhere.post(channel, new Price(), { scope: 'global' });
    expect(await frames.next()).toContain('"type":"Price","data":{"value":7}}');
    await Promise.all([hub.close(), elsewhere.close()]);
  });

  test('is denied, with a report, a channel whose class has the name of another one that the application uses', async () => {
    const { hub, connection, read, frames, reporter } = setup();
    const [mine, other] = [class Update {}, class Update {}];
    hub.types.register(other);
    const channel = defineChannel('client-connection/clash', mine);
    read();
    await frames.next();
    expect(await connection.subscribe([{ channel: channel.name }, { channel: 'news' }])).toEqual([
      { channel: channel.name, error: 'CHANNEL_DENIED' },
      { channel: 'news' },
    ]);
    expect(reporter.rejections).toMatchObject([{ channel: channel.name, error: { code: 'CONFIGURATION' } }]);
  });

  test('is sent the very frame that others are sent', async () => {
    const { hub, feeds, connection } = setup();
    const options = { form: 'client', heartbeatMs: 0, maxSubscriptions: 10 } as const;
    const other = new ClientConnection(hub, feeds, new RecordingReporter(), hub.sessions.open(), options);
    const frames = new Queue<unknown>();
    for (const reader of [connection, other]) {
      reader.stream([{ channel: 'news' }]).subscribe(frames.push);
      await frames.next();
    }
    void hub.post('news', 'for all');
    const [one, another] = await frames.take(2);
    expect(one).toBe(another);
  });

  test('whose session has ended before it was read registers nothing', async () => {
    const { hub, session, connection } = setup();
    session.close();
    let isComplete = false;
    connection.stream([{ channel: 'news' }]).subscribe({ complete: () => (isComplete = true) });
    expect(isComplete).toBe(true);
    expect(hub['audience']['channels'].get('news')).toBeUndefined();
  });
});
