// A server of event streams that says when it revoked a user's sign-ins, and how long the call took: forked with the URL of a Redis.
import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Messages, MessagingModule, MessagingService, Sse, type SessionMessages } from 'nestjs-messaging';
import { startServer } from './application.js';
import { answerCalls } from './pinned-process.js';

@Controller()
class Streams {
  @Sse('stream')
  stream(@Messages() messages: SessionMessages) {
    return messages.createStream('bench/revocation');
  }
}

const { app, port } = await startServer({
  imports: [
    MessagingModule.forRoot({
      redis: process.argv[2],
      authenticate: ({ headers }) => ({ userId: headers['x-user'] as string, issuedAt: 1 }),
      limits: { maxConnectionsPerUser: 100_000 },
    }),
  ],
  controllers: [Streams],
});
const messaging = app.get(MessagingService);

const calls = {
  port: () => port,
  /** @returns when it was called, by the clock of the machine, and how long the call took. In milliseconds */
  revoke: async (userId: string) => {
    const calledAt = performance.timeOrigin + performance.now();
    if (!(await messaging.revokeAuthentication(userId))) throw new Error('The other server did not confirm it');
    return { calledAt, tookMs: performance.timeOrigin + performance.now() - calledAt };
  },
};

/** The functions that such a server offers. */
export type RevocationCalls = typeof calls;

answerCalls(calls);
