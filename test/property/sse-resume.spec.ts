import { Controller } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { filter, from, map, mergeMap } from 'rxjs';
import { defineChannel, Messages, MessagingModule, MessagingService, SessionMessages, Sse } from 'nestjs-messaging';
import { MemoryBroker } from '../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../lib/transport/memory-transport.js';
import { startApp, type TestApp } from '../support/apps.js';
import { readUntilCut } from '../support/cut-reader.js';
import type { ReceivedEvent } from '../support/sse-client.js';

interface Order {
  readonly number: number;
  readonly text: string;
}

const Orders = defineChannel<Order>('sse-resume/orders', undefined, {
  history: { maxMessages: 10_000, ttlMs: 60_000 },
});

@Controller()
class Streams {
  @Sse('whole')
  whole(@Messages() messages: SessionMessages) {
    return messages.createStream(Orders);
  }

  @Sse('odd')
  odd(@Messages() messages: SessionMessages) {
    return messages.createStream(Orders).pipe(filter(({ number }) => number % 2 === 1));
  }

  @Sse('mapped')
  mapped(@Messages() messages: SessionMessages) {
    return messages.createStream(Orders).pipe(map(({ number }) => ({ number })));
  }

  @Sse('thrice')
  thrice(@Messages() messages: SessionMessages) {
    return messages
      .createStream(Orders)
      .pipe(mergeMap(({ number, text }) => from([0, 1, 2].map((part) => ({ number: number * 3 + part, text })))));
  }
}

/** The events of a message, by the path of the stream. */
const OUTCOMES: Record<string, (number: number) => number[]> = {
  whole: (number) => [number],
  odd: (number) => (number % 2 === 1 ? [number] : []),
  mapped: (number) => [number],
  thrice: (number) => [0, 1, 2].map((part) => number * 3 + part),
};

let servers: TestApp[];
beforeAll(async () => {
  const broker = new MemoryBroker();
  const start = () =>
    startApp({
      imports: [MessagingModule.forRoot({ transport: new MemoryTransport(broker) })],
      controllers: [Streams],
    });
  servers = [await start(), await start()];
});
afterAll(async () => {
  for (const { app } of servers) await app.close();
});

let posted = 0;
async function post(count: number, server: number, text: string): Promise<void> {
  const messaging = servers[server % 2]!.app.get(MessagingService);
  for (let index = 0; index < count; index++) await messaging.postMessage(Orders, { number: ++posted, text });
}

const numberOf = ({ data }: ReceivedEvent) => (JSON.parse(data) as Order).number;

const connection = fc.record({
  server: fc.nat(1),
  cutAt: fc.integer({ min: 1, max: 3_000 }),
  before: fc.nat(12),
  during: fc.nat(12),
});

describe('A reader that is cut off at any byte, and comes back with the last id it has read', () => {
  test.each(Object.keys(OUTCOMES))('of the stream /%s gets every message once and in order', async (path) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(connection, { minLength: 2, maxLength: 12 }),
        fc.constantFrom('', 'plain', 'żółć 🦊\r\n\nid: x\n'),
        async (connections, text) => {
          const url = (server: number) => `${servers[server]!.url}/${path}`;
          const first = await readUntilCut(url(0), undefined, Infinity, ({ event }) => event === 'messaging:position');
          const begun = posted;
          let { lastEventId } = first;
          const received: number[] = [];
          const read = async (server: number, cutAt: number, until: number | undefined) => {
            const isLast = (event: ReceivedEvent) => event.event === 'message' && numberOf(event) === until;
            const cut = await readUntilCut(url(server), lastEventId, cutAt, isLast);
            ({ lastEventId } = cut);
            const messages = cut.events.filter(({ event }) => event !== 'messaging:position');
            expect(new Set(messages.map(({ event }) => event))).not.toContain('messaging:gap');
            received.push(...messages.map(numberOf));
          };
          for (const { server, cutAt, before, during } of connections) {
            await post(before, server, text);
            // So that each of them comes to an end.
            const last = lastOutcome(path, begun, posted + during);
            const reading = last !== received.at(-1) && last !== undefined && read(server, cutAt, last);
            await post(during, server + 1, text);
            await reading;
          }
          await post(2, 0, text);
          await read(0, Infinity, lastOutcome(path, begun, posted));
          // A message with several events has its id on the last of them.
          const expected = range(begun + 1, posted).flatMap(OUTCOMES[path]!);
          expect(path === 'thrice' ? withoutRepeats(received) : received).toEqual(expected);
        },
      ),
      { numRuns: 40 },
    );
  });
});

function lastOutcome(path: string, begun: number, end: number): number | undefined {
  return range(begun + 1, end)
    .flatMap(OUTCOMES[path]!)
    .at(-1);
}

/** The events of one message are sent again as a whole, unless the client has read all of them. */
function withoutRepeats(received: readonly number[]): number[] {
  const kept: number[] = [];
  for (const number of received) {
    if (number % 3 === 0 && kept.at(-1) !== number - 1) {
      while (kept.length > 0 && kept.at(-1)! >= number) kept.pop();
    }
    kept.push(number);
  }
  return kept;
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
