import { Controller, Get, Header } from '@nestjs/common';
import { defineChannel, Messages, MessagingModule, SessionMessages, Sse } from 'nestjs-messaging';
import { startApp, type AdapterName, type TestApp } from './apps.js';

export const StreamedOrders = defineChannel<number>('stream-server/orders', undefined, {
  history: { maxMessages: 1_000, ttlMs: 60_000 },
});

@Controller()
class Streams {
  @Get('page')
  @Header('content-type', 'text/html')
  page() {
    return '<!doctype html><title>page</title>';
  }

  @Sse('orders')
  orders(@Messages() messages: SessionMessages) {
    return messages.createStream(StreamedOrders);
  }
}

export interface StreamServerOptions {
  readonly redis: string;
  readonly adapter?: AdapterName;
  readonly port?: number;
}

/**
 * A server with a page, and a stream of a channel with history. The program of a process calls it.
 *
 * @public
 */
export function startStreamServer({ redis, ...options }: StreamServerOptions): Promise<TestApp> {
  const messaging = MessagingModule.forRoot({ redis, sse: { retryMs: 50 } });
  return startApp({ imports: [messaging], controllers: [Streams] }, options);
}
