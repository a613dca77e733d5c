import { once } from 'node:events';
import http2 from 'node:http2';
import { Controller, Param } from '@nestjs/common';
import { describe, expect, test } from '@jest/globals';
import { filter, from, map, merge, mergeMap, repeat, take } from 'rxjs';
import {
  defineChannel,
  Messages,
  MessagingModule,
  MessagingService,
  SessionMessages,
  Sse,
  SseEvent,
  type MessagingModuleOptions,
  type Position,
} from 'nestjs-messaging';
import { Hub } from '../../lib/core/hub.js';
import { readPlaceId } from '../../lib/protocol/place-id.js';
import { EventStreams } from '../../lib/sse/event-streams.js';
import { MemoryBroker } from '../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../lib/transport/memory-transport.js';
import { ADAPTER_NAMES, startApp, type AdapterName, type TestAppOptions } from '../support/apps.js';
import { randomFrom, type Random } from '../support/random.js';
import { converse, statusesOf } from '../support/raw-http.js';
import { turns } from '../support/turns.js';
import { SseClient, type ReceivedEvent } from '../support/sse-client.js';

const history = { maxMessages: 100, ttlMs: 60_000 };
const Orders = defineChannel<number>('sse-history/orders', undefined, { history });
const Returns = defineChannel<number>('sse-history/returns', undefined, { history });
const News = defineChannel<number>('sse-history/news');
const Rooms = defineChannel<number | string, 'sse-history/rooms/:room'>('sse-history/rooms/:room', undefined, {
  history,
});

interface Tick {
  readonly number: number;
  readonly key: string;
  readonly text: string;
}
const Ticks = defineChannel<Tick>('sse-history/ticks', undefined, {
  history: { maxMessages: 5_000, ttlMs: 60_000 },
  slowConsumer: 'dropOldest',
});
const Prices = defineChannel<Tick>('sse-history/prices', undefined, {
  history: { maxMessages: 5_000, ttlMs: 60_000 },
  slowConsumer: 'conflate',
  conflateBy: ({ key }: Tick) => key,
});

@Controller()
class Streams {
  @Sse('ticks')
  ticks(@Messages() messages: SessionMessages) {
    return messages.createStream(Ticks);
  }

  @Sse('prices')
  prices(@Messages() messages: SessionMessages) {
    return messages.createStream(Prices);
  }

  @Sse('orders')
  orders(@Messages() messages: SessionMessages) {
    return messages.createStream(Orders);
  }

  @Sse('rooms/:room')
  room(@Messages() messages: SessionMessages, @Param('room') room: string) {
    return messages.createStream(Rooms.for({ room }));
  }

  @Sse('rooms-twice/:room')
  roomTwice(@Messages() messages: SessionMessages, @Param('room') room: string) {
    const stream = messages.createStream(Rooms.for({ room }));
    return merge(
      stream.pipe(filter((text) => /[02468]$/.test(String(text)))),
      stream.pipe(filter((text) => /[13579]$/.test(String(text)))),
    );
  }

  @Sse('rooms')
  rooms(@Messages() messages: SessionMessages) {
    return messages.createStream(Rooms);
  }

  @Sse('odd')
  odd(@Messages() messages: SessionMessages) {
    return messages.createStream(Orders).pipe(filter((number) => number % 2 === 1));
  }

  @Sse('doubled')
  doubled(@Messages() messages: SessionMessages) {
    return messages.createStream(Orders).pipe(mergeMap((number) => from([{ number }, -number])));
  }

  @Sse('own')
  own(@Messages() messages: SessionMessages) {
    return messages
      .createStream(Orders)
      .pipe(map((number) => new SseEvent(number, number % 2 ? { id: `order:${number}` } : { event: 'even' })));
  }

  @Sse('orders-and-news')
  ordersAndNews(@Messages() messages: SessionMessages) {
    return merge(messages.createStream(News), messages.createStream(Orders));
  }

  @Sse('several')
  several(@Messages() messages: SessionMessages) {
    return merge(messages.createStream(Orders), messages.createStream(Returns));
  }

  @Sse('latest')
  latest(@Messages() messages: SessionMessages) {
    return messages.createStream(Orders, { replay: 2 });
  }

  @Sse('latest-odd')
  latestOdd(@Messages() messages: SessionMessages) {
    return messages.createStream(Orders, { replay: 2 }).pipe(filter((number) => number % 2 === 1));
  }

  @Sse('twice')
  twice(@Messages() messages: SessionMessages) {
    const orders = messages.createStream(Orders);
    return merge(orders.pipe(filter((number) => number % 2 === 1)), orders.pipe(filter((number) => number % 2 === 0)));
  }

  @Sse('again')
  again(@Messages() messages: SessionMessages) {
    return messages.createStream(Orders).pipe(take(1), repeat());
  }

  @Sse('first')
  first(@Messages() messages: SessionMessages) {
    return messages.createStream(Orders).pipe(
      mergeMap((number) => from([number, -number])),
      take(1),
    );
  }

  @Sse('own-and-more')
  ownAndMore(@Messages() messages: SessionMessages) {
    return messages
      .createStream(Orders)
      .pipe(mergeMap((number) => from([number, new SseEvent(-number, { id: `order:${number}` })])));
  }

  @Sse('news')
  news(@Messages() messages: SessionMessages) {
    return messages.createStream(News);
  }
}

async function start(broker?: MemoryBroker, options: TestAppOptions = {}, sse?: MessagingModuleOptions['sse']) {
  const transport = broker && new MemoryTransport(broker);
  const running = await startApp(
    { imports: [MessagingModule.forRoot({ ...(transport && { transport }), sse })], controllers: [Streams] },
    options,
  );
  const messaging = running.app.get(MessagingService);
  const post = async (...numbers: number[]) => {
    for (const number of numbers) await messaging.postMessage(Orders, number);
  };
  return { ...running, messaging, post, hub: running.app.get(Hub), transport };
}

/** Opens a stream as a browser that returns with an id. */
function open({ url }: { readonly url: string }, path: string, lastEventId?: string): Promise<SseClient> {
  const headers = lastEventId === undefined ? undefined : { 'last-event-id': lastEventId };
  return SseClient.connect(`${url}/${path}`, headers && { headers });
}

/** The next events, up to the one that marks the end of the earlier messages. */
function past({ events }: SseClient): Promise<ReceivedEvent[]> {
  return events.takeUntil(({ event }) => event === 'messaging:position');
}

const numbers = (events: readonly ReceivedEvent[]) => events.map(({ event, data }) => told(event, data));
const told = (event: string, data: string) => (event === 'message' ? Number(data) : `${event} ${data}`);
const GAP = (reason: string) => `messaging:gap {"channel":"sse-history/orders","reason":"${reason}"}`;

describe.each(ADAPTER_NAMES)('An event stream of a channel with history on %s', (adapter: AdapterName) => {
  test('sends its start position, and the position of each message', async () => {
    await using server = await start(undefined, { adapter });
    await server.post(1, 2);
    await using client = await open(server, 'orders');
    const { epoch } = await server.hub.positionOf(Orders.name);
    expect(await client.events.next()).toEqual({
      event: 'messaging:position',
      id: `messaging:${epoch}:2`,
      data: JSON.stringify({ channels: [{ channel: Orders.name, position: { epoch, offset: 2 } }] }),
    });
    await server.post(3);
    expect(await client.events.next()).toEqual({ event: 'message', id: `messaging:${epoch}:3`, data: '3' });
    // A newcomer, beside a stream that is already open.
    await using second = await open(server, 'orders');
    expect((await second.events.next()).id).toBe(`messaging:${epoch}:3`);
  });

  test('continues right after the last message read, on any server', async () => {
    const broker = new MemoryBroker();
    await using a = await start(broker, { adapter });
    await using b = await start(broker, { adapter });
    await using first = await open(a, 'orders');
    await past(first);
    await a.post(1, 2);
    const [, { id }] = (await first.events.take(2)) as [ReceivedEvent, ReceivedEvent];
    first.abort();
    await a.post(3, 4);
    await using second = await open(b, 'orders', id);
    expect(numbers(await past(second))).toEqual([3, 4]);
    await a.post(5);
    await b.post(6);
    expect(numbers(await second.events.take(2))).toEqual([5, 6]);
    expect(second.events.pending).toEqual([]);
  });

  test('loses nothing for a client that left before the first message', async () => {
    const broker = new MemoryBroker();
    await using server = await start(broker, { adapter });
    await using first = await open(server, 'orders');
    const { id } = await first.events.next();
    expect(id).toBe('messaging::0');
    first.abort();
    await server.post(1);
    await using second = await open(server, 'orders', id);
    expect(numbers(await past(second))).toEqual([1]);
  });
});

describe('An event stream of a channel with history', () => {
  test('works over HTTP/2 as well', async () => {
    await using server = await start(undefined, { http2: {} });
    await server.post(1, 2, 3);
    const { epoch } = await server.hub.positionOf(Orders.name);
    const session = http2.connect(server.url);
    const stream = session.request({ ':path': '/orders', 'last-event-id': `messaging:${epoch}:1` });
    let text = '';
    stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    while (!text.includes('messaging:position')) await once(stream, 'data');
    expect(text).toContain(`id: messaging:${epoch}:2\ndata: 2\n\nid: messaging:${epoch}:3\ndata: 3\n\n`);
    stream.close();
    session.close();
  });

  test('misses and doubles nothing while messages are being posted', async () => {
    const broker = new MemoryBroker();
    await using server = await start(broker);
    await server.post(...range(1, 50));
    const { epoch } = await server.hub.positionOf(Orders.name);
    const posting = server.post(...range(51, 400));
    const clients: SseClient[] = [];
    for (let index = 0; index < 20; index++) clients.push(await open(server, 'orders', `messaging:${epoch}:${index}`));
    await posting;
    for (const [index, client] of clients.entries()) {
      const events = await client.events.takeUntil(({ data }) => data === '400');
      expect(numbers(events.filter(({ event }) => event === 'message'))).toEqual(range(index + 1, 399));
      client.abort();
    }
  });

  test.each([
    ['foreign', 'messaging:another.1:7', 'epoch'],
    ['forged', 'messaging:EPOCH:9000', 'epoch'],
  ])('has one gap for a %s position, and then all available messages', async (_title, id, reason) => {
    await using server = await start(new MemoryBroker());
    await server.post(1, 2);
    const { epoch } = await server.hub.positionOf(Orders.name);
    await using client = await open(server, 'orders', id.replace('EPOCH', epoch));
    const events = await past(client);
    expect(numbers(events)).toEqual([GAP(reason), 1, 2]);
    expect(events.map((event) => event.id)).toEqual([0, 1, 2].map((offset) => `messaging:${epoch}:${offset}`));
    await server.post(3);
    expect(numbers(await client.events.take(1))).toEqual([3]);
  });

  test('has one gap if missed messages were trimmed or wiped', async () => {
    const broker = new MemoryBroker();
    await using server = await start(broker);
    await server.post(...range(1, 200));
    const { epoch } = await server.hub.positionOf(Orders.name);
    await using trimmed = await open(server, 'orders', `messaging:${epoch}:3`);
    const [gap, ...kept] = numbers(await past(trimmed));
    expect(gap).toBe(GAP('trimmed'));
    expect(kept).toEqual(range(kept[0] as number, 200));
    broker.wipe();
    await using wiped = await open(server, 'orders', `messaging:${epoch}:200`);
    expect(numbers(await past(wiped))).toEqual([GAP('epoch')]);
    await server.post(7);
    expect(numbers(await wiped.events.take(1))).toEqual([7]);
  });

  test('waits while the broker is away, and then gets missed messages', async () => {
    const broker = new MemoryBroker();
    await using server = await start(broker);
    await server.post(1, 2);
    const { epoch } = await server.hub.positionOf(Orders.name);
    broker.cut();
    await using client = await open(server, 'orders', `messaging:${epoch}:1`);
    await client.comments.next();
    broker.heal();
    expect(numbers(await past(client))).toEqual([2]);
  });

  test('leaves ids of the application unchanged', async () => {
    await using server = await start();
    await server.post(1, 2);
    await using client = await open(server, 'own', 'order:1');
    await past(client);
    await server.post(3, 4);
    const { epoch } = await server.hub.positionOf(Orders.name);
    expect(await client.events.take(2)).toEqual([
      { event: 'message', id: 'order:3', data: '3' },
      { event: 'even', id: `messaging:${epoch}:4`, data: '4' },
    ]);
  });

  test('has ids behind operators: one for each message that comes through, on the last of its events', async () => {
    await using server = await start();
    const clients = [await open(server, 'odd'), await open(server, 'doubled'), await open(server, 'orders-and-news')];
    for (const client of clients) await past(client);
    await server.post(1, 2);
    await server.messaging.postMessage(News, 7);
    await server.post(3);
    const { epoch } = await server.hub.positionOf(Orders.name);
    const [odd, doubled, both] = await Promise.all(
      [2, 6, 4].map(async (count, index) => {
        const events = await clients[index]!.events.take(count);
        return events.map(({ data, id }) => `${data} ${id?.replace(`messaging:${epoch}:`, '@')}`);
      }),
    );
    expect(odd).toEqual(['1 @1', '3 @3']);
    const pairs = [1, 2, 3].flatMap((number) => [`{"number":${number}} undefined`, `-${number} @${number}`]);
    expect(doubled).toEqual(pairs);
    expect(both).toEqual(['1 @1', '2 @2', '7 undefined', '3 @3']);
    for (const client of clients) client.abort();
  });

  test('begins with the earlier messages that its handler requests, even behind operators; the position of the client comes first', async () => {
    await using server = await start(new MemoryBroker());
    await server.post(...range(1, 7));
    const { epoch } = await server.hub.positionOf(Orders.name);
    const read = async (path: string, id?: string) => {
      await using client = await open(server, path, id);
      return numbers(await past(client));
    };
    expect(await read('latest')).toEqual([6, 7]);
    expect(await read('latest-odd')).toEqual([7]);
    expect(await read('latest', `messaging:${epoch}:3`)).toEqual([4, 5, 6, 7]);
    expect(await read('latest-odd', `messaging:${epoch}:3`)).toEqual([5, 7]);
    expect(await read('latest-odd', 'messaging:another:3')).toEqual([GAP('epoch'), 1, 3, 5, 7]);
    expect(await read('latest-odd', 'order:3')).toEqual([7]);
    expect(await read('latest-odd', `messaging:${epoch}:7`)).toEqual([]);
  });

  test('begins each subscription to its channel at the position of the client, and no other channel', async () => {
    await using server = await start(new MemoryBroker());
    await server.post(1, 2, 3);
    await server.messaging.postMessage(Returns, 10);
    const { epoch } = await server.hub.positionOf(Orders.name);
    await using twice = await open(server, 'twice', `messaging:${epoch}:1`);
    const events = await twice.events.take(2);
    expect(new Set(numbers(events))).toEqual(new Set([2, 3]));
    expect(events.map(({ id }) => id)).toEqual([undefined, undefined]);
    await using several = await open(server, 'several', `messaging:${epoch}:2`);
    expect(numbers(await several.events.take(1))).toEqual([3]);
    await server.messaging.postMessage(Returns, 11);
    expect(numbers(await several.events.take(1))).toEqual([11]);
  });

  test('begins there once: a later subscription gets only new messages', async () => {
    await using server = await start(new MemoryBroker());
    await server.post(1, 2);
    const { epoch } = await server.hub.positionOf(Orders.name);
    await using client = await open(server, 'again', `messaging:${epoch}:1`);
    expect(numbers(await client.events.take(1))).toEqual([2]);
    const { id } = await client.events.next();
    expect(id).toBe(`messaging:${epoch}:2`);
    await server.post(3);
    expect(numbers(await client.events.take(1))).toEqual([3]);
  });

  test('sends all events of a message before anything else, even when the stream ends', async () => {
    await using server = await start();
    const clients = [await open(server, 'first'), await open(server, 'own-and-more')];
    for (const client of clients) await past(client);
    await server.post(1);
    const [first, own] = await Promise.all(clients.map(({ events }) => events.take(2)));
    expect(first).toEqual([
      { event: 'message', id: undefined, data: '1' },
      { event: 'messaging:end', id: 'messaging:end', data: '{}' },
    ]);
    expect(own).toEqual([
      { event: 'message', id: undefined, data: '1' },
      { event: 'message', id: 'order:1', data: '-1' },
    ]);
    for (const client of clients) client.abort();
  });

  test('reports gaps behind operators with the position from which it continues', async () => {
    const broker = new MemoryBroker();
    await using server = await start(broker);
    await using other = await start(broker);
    await server.post(1);
    await using client = await open(server, 'odd');
    await past(client);
    broker.cut(server.transport);
    broker.wipe();
    await other.post(7);
    broker.heal();
    const events = await client.events.take(2);
    const { epoch } = await server.hub.positionOf(Orders.name);
    expect(events).toEqual([
      { event: 'messaging:gap', id: `messaging:${epoch}:0`, data: GAP('epoch').slice('messaging:gap '.length) },
      { event: 'message', id: `messaging:${epoch}:1`, data: '7' },
    ]);
  });

  test('has no id for several channels with history, for a template, or for a channel without history', async () => {
    await using server = await start();
    const clients = [await open(server, 'several'), await open(server, 'rooms'), await open(server, 'news')];
    for (const client of clients) await client.comments.next();
    await server.post(1);
    await server.messaging.postMessage(Rooms.for({ room: '1' }), 2);
    await server.messaging.postMessage(News, 3);
    const ids = await Promise.all(clients.map(async ({ events }) => (await events.next()).id));
    expect(ids).toEqual([undefined, undefined, undefined]);
    for (const client of clients) client.abort();
  });

  test('may be of one channel of a template', async () => {
    await using server = await start();
    const room = Rooms.for({ room: '7' });
    for (const number of [1, 2]) await server.messaging.postMessage(room, number);
    const { epoch } = await server.hub.positionOf(room.name);
    await using client = await open(server, 'rooms/7', `messaging:${epoch}:1`);
    expect(numbers(await past(client))).toEqual([2]);
  });

  test('is read a page at a time by a slow reader, and never cut off for earlier messages', async () => {
    const broker = new MemoryBroker();
    await using server = await start(broker, {}, { maxBufferedBytes: 100_000 });
    const room = Rooms.for({ room: 'long' });
    // Much more than the network buffers.
    const text = 'x'.repeat(300_000);
    for (let number = 0; number < 90; number++) await server.messaging.postMessage(room.name, text + number);
    const { epoch } = await server.hub.positionOf(room.name);
    const read = broker['histories'];
    const reads: number[] = [];
    const original = read.read.bind(read);
    read.read = (...args) => {
      const page = original(...args);
      reads.push(page.entries.length);
      return page;
    };
    await using client = await open(server, 'rooms/long', `messaging:${epoch}:0`);
    await client.comments.next();
    client.stall();
    const [stream] = server.app.get(EventStreams)['streams'];
    // Enough turns to read everything, if nothing waited for the reader.
    await turns(500);
    expect(reads.length).toBeLessThan(90);
    expect(stream!['connection'].bufferedBytes).toBeLessThan(1_000_000);
    expect(reads.every((count) => count === 1)).toBe(true);
    for (let number = 90; number < 95; number++) await server.messaging.postMessage(room.name, text + number);
    expect(reads.length).toBeLessThan(90);
    client.resume();
    const events = await past(client);
    expect(events.map(({ data }) => Number((JSON.parse(data) as string).slice(text.length)))).toEqual(range(0, 94));
    expect(server.logger.problems).toEqual([]);
  });
});

/** Posts much more than may wait for a stalled reader; returns all that it receives once it continues, with offsets. */
async function overrun(path: string, channel: typeof Ticks) {
  const count = 1_500;
  await using server = await start(new MemoryBroker(), {}, { maxBufferedBytes: 200_000 });
  await using client = await open(server, path);
  await past(client);
  client.stall();
  const text = 'x'.repeat(10_000);
  for (let number = 1; number <= count; number++) {
    await server.messaging.postMessage(channel, { number, key: 'ABC'[number % 3]!, text });
  }
  client.resume();
  const events: ReceivedEvent[] = [];
  do events.push(await client.events.next());
  while (!events.at(-1)!.data.startsWith(`{"number":${count},`));
  const { epoch } = await server.hub.positionOf(channel.name);
  return events.map(({ event, id, data }) => {
    const offset = Number(id!.slice(`messaging:${epoch}:`.length));
    return event === 'messaging:gap' ? { offset, gap: data } : { offset, number: (JSON.parse(data) as Tick).number };
  });
}

describe('A slow reader of a channel with history', () => {
  test('gets earlier messages behind operators at its own pace, through each of its subscriptions', async () => {
    await using server = await start(new MemoryBroker(), {}, { maxBufferedBytes: 100_000 });
    const room = Rooms.for({ room: 'twice' });
    // Much more than the network buffers.
    const text = 'x'.repeat(300_000);
    for (let number = 1; number <= 90; number++) await server.messaging.postMessage(room, text + number);
    const { epoch } = await server.hub.positionOf(room.name);
    await using client = await open(server, 'rooms-twice/twice', `messaging:${epoch}:0`);
    client.stall();
    const [stream] = server.app.get(EventStreams)['streams'];
    // Enough turns to read everything, if nothing waited for the reader.
    await turns(500);
    expect(stream!['connection']['behind']).toBeDefined();
    expect(stream!['connection'].bufferedBytes).toBeLessThan(3_000_000);
    client.resume();
    const events = await client.events.take(90);
    const received = events.map(({ data }) => Number((JSON.parse(data) as string).slice(text.length)));
    expect(received.filter((number) => number % 2 === 0)).toEqual(range(1, 45).map((number) => number * 2));
    expect(received.filter((number) => number % 2 === 1)).toEqual(range(1, 45).map((number) => number * 2 - 1));
    expect(server.logger.problems).toEqual([]);
  });

  test('learns of dropped messages, and of the position where it continues', async () => {
    const events = await overrun('ticks', Ticks);
    const gaps = events.filter(({ gap }) => gap !== undefined);
    expect(gaps.length).toBeGreaterThan(0);
    expect(gaps[0]!.gap).toBe('{"channel":"sse-history/ticks","reason":"slow-consumer"}');
    // Each continues where the one before ended; a gap ends with the last dropped message.
    const ends = [0, ...events.map(({ offset }) => offset)];
    expect(ends).toEqual(ends.toSorted((a, b) => a - b));
    const followed = events.map(({ offset, number }, index) => number === undefined || offset === ends[index]! + 1);
    expect(followed).not.toContain(false);
    const messages = events.filter(({ gap }) => gap === undefined);
    expect(messages.map(({ number }) => number)).toEqual(messages.map(({ offset }) => offset));
  });

  test('has the position of each message that it gets, even if only the latest of each key is kept', async () => {
    const events = await overrun('prices', Prices);
    expect(events.length).toBeLessThan(1_500);
    let last = 0;
    for (const { offset, number } of events) {
      expect(offset).toBe(number);
      expect(offset).toBeGreaterThan(last);
      last = offset;
    }
    expect(events.slice(-3).map(({ offset }) => offset)).toEqual([1_498, 1_499, 1_500]);
  });
});

describe('Requests with any Last-Event-ID', () => {
  test('cost a bounded read each, or none at all', async () => {
    const broker = new MemoryBroker();
    await using server = await start(broker);
    await server.post(1, 2, 3);
    const { epoch } = await server.hub.positionOf(Orders.name);
    let reads = 0;
    const histories = broker['histories'];
    const read = histories.read.bind(histories);
    histories.read = (channel, after, page) => {
      reads++;
      expect(page).toEqual({ maxEntries: 256, maxBytes: 65_536 });
      return read(channel, after, page);
    };
    const random = randomFrom(12);
    const ids = Array.from({ length: 300 }, () => randomId(random, epoch));
    const expected = (place: Position | undefined) => {
      if (place === undefined) return [];
      const isKnown = place.epoch === '' || (place.epoch === epoch && place.offset <= 3);
      return isKnown ? [1, 2, 3].slice(place.offset) : [GAP('epoch'), 1, 2, 3];
    };
    const before = process.memoryUsage().heapUsed;
    for (const id of ids) {
      await using client = await open(server, 'orders', id);
      expect(numbers(await past(client))).toEqual(expected(readPlaceId(id)));
    }
    expect(reads).toBeLessThanOrEqual(ids.length);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(100_000_000);
    expect(server.logger.problems).toEqual([]);
  });

  test('that no HTTP client could send, or that are too long, are refused as usual', async () => {
    await using server = await start();
    const send = (id: string) =>
      converse(server.url, {
        pieces: [Buffer.from(`GET /orders HTTP/1.1\r\nHost: x\r\nLast-Event-ID: ${id}\r\n\r\n`, 'latin1')],
        answers: 1,
        patienceMs: 5_000,
        reset: false,
      });
    expect(statusesOf(await send('messaging:a\x00:1'))).toEqual([400]);
    expect(statusesOf(await send('x'.repeat(20_000)))).toEqual([431]);
    expect(statusesOf(await send('x'.repeat(10_000)))).toEqual([200]);
    expect(statusesOf(await send('messaging:\xff:1'))).toEqual([200]);
  });
});

/** Ids that a client could make up. */
function randomId(random: Random, epoch: string): string {
  const offset = [0, 1, 2, 3, 4, 2 ** 52, random(100)][random(7)]!;
  const digits = Array.from({ length: random(60) }, () => String.fromCharCode(33 + random(94))).join('');
  const forms = [
    `messaging:${epoch}:${offset}`,
    `messaging:${digits}:${offset}`,
    `messaging:${epoch}x:${offset}`,
    `messaging:${epoch}:${offset},messaging:${epoch}:${offset}`,
    `messaging:${epoch}:-${offset}`,
    `messaging::${offset}`,
    `${digits}:${offset}`,
    digits || '0',
  ];
  return forms[random(forms.length)]!;
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
