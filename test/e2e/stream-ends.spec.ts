import http2 from 'node:http2';
import { Controller } from '@nestjs/common';
import { describe, expect, test } from '@jest/globals';
import { defineChannel, Messages, MessagingModule, MessagingService, SessionMessages, Sse } from 'nestjs-messaging';
import { concat, from, NEVER, of, type Observable } from 'rxjs';
import { EventStreams } from '../../lib/sse/event-streams.js';
import { ADAPTER_NAMES, startApp, type TestApp } from '../support/apps.js';
import { RawClient } from '../support/raw-client.js';

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));
const LONG = 'x'.repeat(8_000_000);

@Controller()
class EndController {
  /** Much more than the network takes at once; the stream then ends. */
  @Sse('long')
  long(): Observable<string> {
    return of(LONG);
  }

  /** Fills the network, and ends only with its session. */
  @Sse('full')
  full(): Observable<string> {
    return concat(from(Array.from({ length: 8 }, () => LONG.slice(7_000_000))), NEVER);
  }
}

const News = defineChannel<string>('ends/news');

@Controller()
class NewsController {
  @Sse('news')
  news(@Messages() messages: SessionMessages): Observable<string> {
    return messages.createStream(News);
  }
}

const streamsOf = ({ app }: TestApp) => [...app.get(EventStreams)['streams']];

/** Simulates a minute. */
function passMinute(running: TestApp): void {
  for (let count = 0; count < 6; count++) for (const stream of streamsOf(running)) stream.beat();
}

const modules = {
  imports: [MessagingModule.forRoot({ sse: { maxBufferedBytes: 100_000_000 } })],
  controllers: [EndController],
};

describe.each(ADAPTER_NAMES)('The end of a stream on %s', (adapter) => {
  test.each([
    ['/long', 'is complete', () => {}],
    ['/full', 'has reached its age', (running: TestApp) => streamsOf(running)[0]!.rotate()],
  ])('is not kept for a reader that takes nothing: %s, which %s', async (path, _, end) => {
    await using running = await startApp(modules, { adapter });
    await using client = await RawClient.connect(running.url);
    client.get(path);
    await client.until('data: "x');
    client.stall();
    const connection = streamsOf(running)[0]!['connection'];
    while (connection.bufferedBytes === 0) await nextTurn();
    end(running);
    expect(connection.isClosed).toBe(true);
    passMinute(running);
    while (streamsOf(running).length > 0) await nextTurn();
    client.resume();
    await client.closed;
    expect(client.received).not.toContain('messaging:');
  });

  test('comes after all messages for a reader that makes progress, however slow it is', async () => {
    await using running = await startApp(modules, { adapter });
    await using client = await RawClient.connect(running.url);
    client.get('/long');
    await client.until('data: "x');
    const connection = streamsOf(running)[0]!['connection'];
    while (streamsOf(running).length > 0) {
      const { bufferedBytes } = connection;
      client.stall();
      // Almost a minute without progress.
      for (let count = 0; count < 3; count++) for (const stream of streamsOf(running)) stream.beat();
      client.resume();
      while (streamsOf(running).length > 0 && connection.bufferedBytes >= bufferedBytes) await nextTurn();
    }
    await client.until('event: messaging:end');
    expect(client.received.match(/x/g)!.length).toBeGreaterThanOrEqual(LONG.length);
  });
});

test('The end of a stream over HTTP/2 is not kept for a reader that takes nothing', async () => {
  await using running = await startApp(modules, { adapter: 'Fastify', http2: {} });
  const session = http2.connect(running.url);
  session.on('error', () => {});
  const stream = session.request({ ':path': '/long', accept: 'text/event-stream' });
  stream.on('error', () => {});
  await new Promise((resolve) => stream.once('response', resolve));
  while (streamsOf(running)[0]?.['connection'].isClosed !== true) await nextTurn();
  passMinute(running);
  while (streamsOf(running).length > 0) await nextTurn();
  expect(stream.readableEnded).toBe(false);
  session.destroy();
});

test('A reader that is cut off is logged with all the bytes that waited for it', async () => {
  const imports = [MessagingModule.forRoot({ sse: { maxBufferedBytes: 3_000_000 } })];
  await using running = await startApp({ imports, controllers: [NewsController] }, { adapter: 'Express' });
  await using client = await RawClient.connect(running.url);
  client.get('/news');
  await client.until(':\n');
  client.stall();
  while (running.logger.problems.length === 0) {
    void running.app.get(MessagingService).postMessage(News, LONG.slice(7_000_000));
    await nextTurn();
  }
  const [, bytes] = /cut off: (\d+) bytes/.exec(running.logger.problems[0]!)!;
  expect(Number(bytes)).toBeGreaterThan(3_000_000);
});
