import { Controller } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { defineChannel, Messages, MessagingModule, MessagingService, SessionMessages, Sse } from 'nestjs-messaging';
import { Inbox } from 'nestjs-messaging/testing';
import { Hub } from '../../lib/core/hub.js';
import { decodeMessage } from '../../lib/protocol/codec/decode-message.js';
import { TypeRegistry } from '../../lib/protocol/type-registry.js';
import { startApp, type TestApp } from '../support/apps.js';
import { RedisServer } from '../support/redis-server.js';
import { isSameGraph } from '../support/same-graph.js';
import { SseClient } from '../support/sse-client.js';
import { Greeting, TRAVELLING_VALUES, type TravellingValue } from '../support/travelling-values.js';

// The guarantee of docs/codec.md, value by value, on each way of a message.

// One for each way: the sender's own event stream would also receive global posts.
const HOPS = 'hops';
const FRAMES = 'frames';
// Makes Greeting, which has no decorator, known to the listening server.
const Greetings = defineChannel('greetings', Greeting);

@Controller()
class Streams {
  @Sse('frames')
  frames(@Messages() messages: SessionMessages) {
    return messages.createStream(FRAMES);
  }
}

let redis: RedisServer;
let one: TestApp;
let two: TestApp;
let inbox: Inbox<unknown>;
let client: SseClient;
beforeAll(async () => {
  redis = await RedisServer.start();
  const imports = () => [MessagingModule.forRoot({ redis: redis.url })];
  [one, two] = await Promise.all([
    startApp({ imports: imports(), controllers: [Streams] }),
    startApp({ imports: imports() }),
  ]);
  const receiver = two.app.get(MessagingService);
  receiver.addListener(Greetings, () => {});
  inbox = new Inbox(receiver, HOPS);
  await inbox.ready;
  client = await SseClient.connect(`${one.url}/frames`);
  // The stream listens by the time of its first comment.
  await client.comments.next();
});
afterAll(async () => {
  client.abort();
  await one.app.close();
  await two.app.close();
  await redis.stop();
});

/**
 * Posts a value and, after it, a marker. Messages of one channel stay in order, so everything before the marker comes
 * from the value: a lost one fails its test at once.
 */
function postWithMarker(channel: string, value: unknown, marker: string): void {
  const options = { global: channel === HOPS };
  const sender = one.app.get(MessagingService);
  void sender.postMessage(channel, value, options);
  void sender.postMessage(channel, marker, options);
}

async function takeUntil<T>(next: () => Promise<T>, isMarker: (item: T) => boolean): Promise<T[]> {
  const taken: T[] = [];
  for (let item = await next(); !isMarker(item); item = await next()) taken.push(item);
  return taken;
}

/** A new copy of the expected value. */
function promised({ value, becomes }: TravellingValue): unknown {
  return (becomes?.value ?? value)();
}

/** Every object that both values contain. */
function commonObjects(a: unknown, b: unknown): object[] {
  const ofA = objectsOf(a);
  return [...objectsOf(b)].filter((object) => ofA.has(object));
}

/** Every object in a value, itself included. */
function objectsOf(value: unknown, found = new Set<object>()): Set<object> {
  if (typeof value !== 'object' || value === null || found.has(value)) return found;
  found.add(value);
  const contents: unknown[] = value instanceof Map || value instanceof Set ? [...value].flat() : [];
  // Properties of an error are not enumerable.
  const own = Object.values(Object.getOwnPropertyDescriptors(value)).map((property): unknown => property.value);
  for (const part of [...contents, ...own]) objectsOf(part, found);
  if (ArrayBuffer.isView(value)) found.add(value.buffer);
  return found;
}

describe.each(TRAVELLING_VALUES)('$name', (row) => {
  const asPromised = `arrives as ${row.becomes?.what ?? 'it was'}`;

  test(`${row.name} ${asPromised} over a Redis hop`, async () => {
    const posted = row.value();
    const marker = `behind ${row.name}`;
    postWithMarker(HOPS, posted, marker);

    const taken = await takeUntil(
      () => inbox.nextReceived(),
      ({ message }) => message === marker,
    );
    expect(taken).toHaveLength(1);
    const { message, context } = taken[0]!;

    expect(isSameGraph(message, promised(row))).toBe(true);
    row.also?.(message);
    expect(commonObjects(message, posted)).toEqual([]);
    expect([context.origin, context.type]).toEqual(['global', row.event]);
  });

  test(`${row.name} reads in an event stream as it does in plain JSON`, async () => {
    const marker = `behind ${row.name}`;
    postWithMarker(FRAMES, row.value(), marker);

    const taken = await takeUntil(
      () => client.events.next(),
      ({ data }) => data === JSON.stringify(marker),
    );

    expect(taken.map(({ event }) => event)).toEqual([row.event ?? 'message']);
    expect(JSON.parse(taken[0]!.data)).toStrictEqual(JSON.parse(row.json));
  });

  test(`${row.name} ${asPromised} in a client that decodes its texts`, () => {
    const sent = row.value();
    const { data, type, meta } = one.app.get(Hub).codec.encode(sent);
    const types = new TypeRegistry();
    types.register(Greeting);
    const note: unknown = meta === undefined ? undefined : JSON.parse(meta);

    const received = decodeMessage(types, JSON.parse(data), type, note);

    expect(isSameGraph(received, promised(row))).toBe(true);
    row.also?.(received);
    expect(commonObjects(received, sent)).toEqual([]);
    // Encoding does not change its input.
    expect(isSameGraph(sent, row.value())).toBe(true);
  });
});

test('a server accepts every value of the table and logs no problem', () => {
  expect(two.app.get(MessagingService).rejectedCount).toBe(0);
  expect([...one.logger.problems, ...two.logger.problems]).toEqual([]);
});
