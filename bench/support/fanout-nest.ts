// Event streams of Nest applications: Nest's own, and those of the library.
import 'reflect-metadata';
import type { Server, ServerResponse } from 'node:http';
import { Controller, Get, Module, Res, Sse as NestSse, type ModuleMetadata } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { MessagingModule, MessagingService, SessionMessages, Sse, defineChannel } from 'nestjs-messaging';
import { Subject, map, type Observable } from 'rxjs';
import { PriceChange } from './fanout-event.js';
import { keepOpen, type FanoutServer } from './fanout-node.js';
import type { Adapter } from './server-process.js';

const PriceChanges = defineChannel('prices', PriceChange, { clients: true });

@Controller('events')
class MessagingController {
  constructor(private readonly messages: SessionMessages) {}

  @Sse()
  events(): Observable<PriceChange> {
    return this.messages.createStream(PriceChanges);
  }
}

const changes = new Subject<PriceChange>();

@Controller('events')
class NestController {
  private readonly events$ = changes.pipe(map((data) => ({ data })));

  @NestSse()
  events(): Observable<{ data: PriceChange }> {
    return this.events$;
  }
}

const held = new Set<ServerResponse>();

@Controller('events')
class HoldingController {
  @Get()
  hold(@Res() response: ServerResponse | { raw: ServerResponse; hijack(): void }): void {
    if (!('hijack' in response)) return keepOpen(response, held);
    response.hijack();
    return keepOpen(response.raw, held);
  }
}

/** The library, with streams by `@Sse()` and through the gateway. */
export async function messaging(adapter: Adapter, scope: 'request' | 'async-local'): Promise<FanoutServer> {
  const { app, http } = await listen(adapter, {
    imports: [MessagingModule.forRoot({ scope, gateway: true, sse: { heartbeatMs: 0 } })],
    controllers: [MessagingController],
  });
  const service = app.get(MessagingService);
  return { http, post: (event) => void service.postMessage(PriceChanges, event) };
}

/** What is written without the library: a Subject, returned to every client. */
export async function nestSse(adapter: Adapter): Promise<FanoutServer> {
  const { http } = await listen(adapter, { controllers: [NestController] });
  return { http, post: (event) => changes.next(event) };
}

/** Responses that a handler keeps open itself, and sends nothing to. */
export async function heldResponses(adapter: Adapter): Promise<FanoutServer> {
  const { http } = await listen(adapter, { controllers: [HoldingController] });
  return { http, post: () => {} };
}

async function listen(adapter: Adapter, metadata: ModuleMetadata) {
  @Module(metadata)
  class AppModule {}
  const httpAdapter = adapter === 'Fastify' ? new FastifyAdapter() : new ExpressAdapter();
  const app = await NestFactory.create(AppModule, httpAdapter, { logger: ['error'] });
  await app.listen(0, '127.0.0.1');
  return { app, http: app.getHttpServer() as Server };
}
