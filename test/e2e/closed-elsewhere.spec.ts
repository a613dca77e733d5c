import type { Server } from 'node:http';
import { Controller, Get, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { describe, expect, test } from '@jest/globals';
import { defineChannel, Messages, MessagingModule, SessionMessages, Sse } from 'nestjs-messaging';
import request from 'supertest';
import { ADAPTER_NAMES, startApp } from '../support/apps.js';
import { SseClient } from '../support/sse-client.js';

const News = defineChannel<string>('closed-elsewhere-news', undefined, { clients: true });

/** Closes the server as Apollo's does in GraphQLModule: Nest calls this hook before those of global modules. */
@Injectable()
class ClosesServer implements OnModuleDestroy {
  /** What the server gave to the callback. Nest only logs what a hook fails with. */
  error: Error | undefined = new Error('The server has not closed');

  constructor(private readonly http: HttpAdapterHost) {}

  async onModuleDestroy() {
    const server = this.http.httpAdapter.getHttpServer() as Server;
    this.error = await new Promise((resolve) => server.close(resolve));
  }
}

@Controller()
class NewsController {
  @Sse('news')
  news(@Messages() messages: SessionMessages) {
    return messages.createStream(News);
  }

  @Get('plain')
  plain() {
    return 'plain';
  }
}

const imports = [MessagingModule.forRoot({ gateway: true })];

describe.each(ADAPTER_NAMES)('A server on %s that something else closes', (adapter) => {
  test('sends its streams away, so that it can close, and closes without an error', async () => {
    await using running = await startApp(
      { imports, controllers: [NewsController], providers: [ClosesServer] },
      { adapter },
    );
    const clients = [
      await SseClient.connect(`${running.url}/news`),
      await SseClient.connect(`${running.url}/messages?channel=${News.name}`),
    ];
    await running.app.close();
    for (const client of clients) {
      await client.events.until(({ event }) => event === 'messaging:drain');
      expect(client.retryMs).toBeGreaterThan(0);
      await client.ended;
    }
    expect(running.app.get(ClosesServer).error).toBeUndefined();
  });
});

test('A server that supertest opens and closes for each request serves streams later', async () => {
  const testing = await Test.createTestingModule({ imports, controllers: [NewsController] }).compile();
  const app = await testing.createNestApplication().init();
  await request(app.getHttpServer() as Server)
    .get('/plain')
    .expect(200, 'plain');
  await app.listen(0, '127.0.0.1');
  const client = await SseClient.connect(`${await app.getUrl()}/news`);
  expect(client.status).toBe(200);
  client.abort();
  await app.close();
});
