// A server with a gateway, in a process of its own: forked with the URL of a Redis. Posts, and measures the turns of its event
// loop.
import 'reflect-metadata';
import { defineChannel, MessagingModule, MessagingService } from 'nestjs-messaging';
import { startServer } from './application.js';
import { answerCalls } from './pinned-process.js';
import { longestTurnMs, watch } from './turns.js';

const Channels = defineChannel('bench/:number', undefined, { clients: true });

const { app, port } = await startServer({
  imports: [
    MessagingModule.forRoot({
      redis: process.argv[2],
      gateway: true,
      limits: { maxConnectionsPerUser: 100_000 },
    }),
  ],
});
const messaging = app.get(MessagingService);

const calls = {
  port: () => port,
  post,
  watch,
  longestTurnMs,
};

/** The functions that such a server offers. */
export type RecoveryCalls = typeof calls;

answerCalls(calls);

async function post({ channels, each }: { channels: number; each: number }): Promise<void> {
  for (let n = 0; n < each; n++) {
    const posts = Array.from({ length: channels }, (_, number) =>
      messaging.postMessage(Channels.for({ number }), { n }, { global: true }),
    );
    await Promise.all(posts);
  }
}
