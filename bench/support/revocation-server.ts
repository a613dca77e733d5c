// A server of event streams that says when it revoked a user's sign-ins: forked with the URL of a Redis.
import 'reflect-metadata';
import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { Messages, MessagingModule, MessagingService, Sse, type SessionMessages } from 'nestjs-messaging';
import { answerCalls } from './pinned-process.js';

@Controller()
class Streams {
  @Sse('stream')
  stream(@Messages() messages: SessionMessages) {
    return messages.createStream('bench/revocation');
  }
}

@Module({
  imports: [
    MessagingModule.forRoot({
      redis: process.argv[2],
      authenticate: ({ headers }) => ({ userId: headers['x-user'] as string, issuedAt: 1 }),
      limits: { maxConnectionsPerUser: 100_000 },
    }),
  ],
  controllers: [Streams],
})
class AppModule {}

const app = await NestFactory.create(AppModule, new ExpressAdapter(), { logger: ['error'] });
await app.init();
const server = app.getHttpServer() as Server;
server.listen({ port: 0, host: '127.0.0.1', backlog: 10_000 });
await once(server, 'listening');
const messaging = app.get(MessagingService);

const calls = {
  port: () => (server.address() as AddressInfo).port,
  /** @returns when it was called, by the clock of the machine, in milliseconds */
  revoke: async (userId: string) => {
    const calledAt = performance.timeOrigin + performance.now();
    if (!(await messaging.revokeAuthentication(userId))) throw new Error('Redis did not take it');
    return calledAt;
  },
};

/** What such a server can be called for. */
export type RevocationCalls = typeof calls;

answerCalls(calls);
