// A server in a process of its own, over the built library: `node server-process.mjs express|fastify [redis URL]`.
// Prints its URL when it is ready. `stall`, from its parent process: posts a message here that takes long to read.
import 'reflect-metadata';
import cluster from 'node:cluster';
import { Controller, Get, Module, Param } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { MessagingModule, MessagingService, Sse } from 'nestjs-messaging';
import { of } from 'rxjs';

const [adapter, redis] = process.argv.slice(2);

class Numbers {
  constructor(messaging) {
    this.messaging = messaging;
  }

  stream() {
    return this.messaging.createStream('numbers');
  }

  finite() {
    return of(1, 2);
  }

  post(n) {
    return this.messaging.postMessage('numbers', Number(n), { scope: 'auto' });
  }
}

// The decorators as TypeScript compiles them.
function decorate(decorator, method) {
  const descriptor = Object.getOwnPropertyDescriptor(Numbers.prototype, method);
  Object.defineProperty(Numbers.prototype, method, decorator(Numbers.prototype, method, descriptor) ?? descriptor);
}
Reflect.defineMetadata('design:paramtypes', [MessagingService], Numbers);
Param('n')(Numbers.prototype, 'post', 0);
decorate(Sse('numbers'), 'stream');
decorate(Sse('finite'), 'finite');
decorate(Get('post/:n'), 'post');
Controller()(Numbers);

class AppModule {}
Module({ imports: [MessagingModule.forRoot(redis ? { redis } : {})], controllers: [Numbers] })(AppModule);

const http = adapter === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
const app = await NestFactory.create(AppModule, http, { logger: ['error', 'warn'] });
app.enableShutdownHooks();
process.on('message', () => {
  void app.get(MessagingService).postMessage('numbers', 'x'.repeat(16_000_000), { scope: 'local' });
});
await app.listen(0, '127.0.0.1');
// In a cluster, the primary process does this for its workers.
if (!cluster.isWorker) console.log(await app.getUrl());
