// A server with a gateway, in a process of its own: forked with the URL of a Redis, it says on which port it listens. Told to
// post, it does; told to watch, it says afterwards how long the longest turn of its event loop was.
import 'reflect-metadata';
import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { defineChannel, MessagingModule, MessagingService } from 'nestjs-messaging';

/** What the bench says to a server. */
export type RecoveryCommand =
  | { readonly kind: 'post'; readonly channels: number; readonly each: number }
  | { readonly kind: 'watch' }
  | { readonly kind: 'report' };

/** What a server says. */
export interface RecoveryReport {
  readonly port?: number;
  readonly longestTurnMs?: number;
}

const Channels = defineChannel('bench/:number', undefined, { clients: true });

@Module({
  imports: [
    MessagingModule.forRoot({
      redis: process.argv[2],
      gateway: true,
      limits: { maxConnectionsPerUser: 100_000 },
    }),
  ],
})
class AppModule {}

const app = await NestFactory.create(AppModule, new ExpressAdapter(), { logger: ['error'] });
await app.init();
const server = app.getHttpServer() as Server;
// Room for all clients that connect at once.
server.listen({ port: 0, host: '127.0.0.1', backlog: 10_000 });
await once(server, 'listening');
const messaging = app.get(MessagingService);
let isWatching = false;
let longestTurnMs = 0;
let last = 0;

function watchTurn(): void {
  const now = performance.now();
  longestTurnMs = Math.max(longestTurnMs, now - last);
  last = now;
  if (isWatching) setImmediate(watchTurn);
}

process.on('message', (command: RecoveryCommand) => void run(command));
process.on('disconnect', () => process.exit());
tell({ port: (server.address() as AddressInfo).port });

async function run(command: RecoveryCommand): Promise<void> {
  switch (command.kind) {
    case 'post': {
      for (let n = 0; n < command.each; n++) {
        const posts = Array.from({ length: command.channels }, (_, number) =>
          messaging.postMessage(Channels.for({ number }), { n }, { global: true }),
        );
        await Promise.all(posts);
      }
      return tell({});
    }
    case 'watch':
      isWatching = true;
      longestTurnMs = 0;
      last = performance.now();
      setImmediate(watchTurn);
      return tell({});
    case 'report':
      isWatching = false;
      return tell({ longestTurnMs });
  }
}

function tell(report: RecoveryReport): void {
  process.send!(report);
}
