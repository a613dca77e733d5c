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
const OtherChanges = defineChannel('other-prices', PriceChange);

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

/** The library, with streams by `@Sse()` and through the gateway; with the URL of a Redis every post is global. */
export async function messaging(
  adapter: Adapter,
  scope: 'request' | 'async-local',
  redis: string | undefined,
  heartbeatMs: number,
): Promise<FanoutServer> {
  const { app, http } = await listen(adapter, {
    imports: [MessagingModule.forRoot({ redis, scope, gateway: true, sse: { heartbeatMs } })],
    controllers: [MessagingController],
  });
  const service = app.get(MessagingService);
  const global = redis !== undefined;
  service.addListener(OtherChanges, () => {});
  return {
    http,
    post: (event) => void service.postMessage(PriceChanges, event, { global }),
    postElsewhere: (event) => void service.postMessage(OtherChanges, event),
  };
}

/** The code without the library: a Subject, returned to every client, and PUBLISH and SUBSCRIBE around it. */
export async function nestSse(adapter: Adapter, redis?: string): Promise<FanoutServer> {
  const { http } = await listen(adapter, { controllers: [NestController] });
  if (redis === undefined) return { http, post: (event) => changes.next(event) };
  const { byHand } = await import('./fanout-redis.js');
  return { http, post: await byHand(redis, changes) };
}

/** Responses that a handler keeps open, and sends nothing to. */
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
