import { Injectable, UnauthorizedException, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import {
  AuthorizeChannel,
  ClientConnectionChanges,
  ClientConnections,
  MessagingModule,
  MessagingService,
  type ClientConnectionChange,
  type ClientContext,
} from 'nestjs-messaging';
import { Gateway } from '../../lib/gateway/gateway.js';
import { startApp, type AdapterName, type TestApp } from './apps.js';
import { Rooms } from './client-messages.js';
import { Queue } from './queue.js';
import { redisAt, type ClusterPlace } from './redis-cluster.js';

// Servers that clients subscribe at.

/** Tokens that no server accepts any more. */
export const expiredTokens = new Set<string>();

@Injectable()
class ReadsToken implements CanActivate {
  canActivate(context: ExecutionContext) {
    const request = context.switchToHttp().getRequest<{ headers: Record<string, string>; user?: unknown }>();
    const [, userId] = /^Bearer (.+)$/.exec(request.headers['authorization'] ?? '') ?? [];
    if (userId === undefined) return true;
    if (expiredTokens.has(userId)) throw new UnauthorizedException();
    request.user = { userId };
    return true;
  }
}

@Injectable()
class RoomAccess {
  @AuthorizeChannel(Rooms)
  mayRead({ auth }: ClientContext, { roomId }: { roomId: string }) {
    return auth !== null && roomId !== 'private';
  }

  @AuthorizeChannel(Rooms, { all: true })
  mayReadAll({ auth }: ClientContext) {
    return auth?.userId === 'admin';
  }
}

export interface ClientServerOptions {
  readonly redis?: string | ClusterPlace;
  readonly adapter?: AdapterName;
  readonly heartbeatMs?: number;
  readonly port?: number;
  /** How long it stays for its clients while it shuts down. */
  readonly leaveMs?: number;
  /** Whether it shuts down on SIGTERM: in a process of its own. */
  readonly shutdownHooks?: boolean;
}

/** A server with a gateway, and a view of its state per client. */
export class ClientServer implements AsyncDisposable {
  /** The clients that connect and leave. */
  readonly comings = new Queue<ClientConnectionChange>();
  readonly messaging: MessagingService;
  #isClosed = false;

  private constructor(private readonly running: TestApp) {
    this.messaging = running.app.get(MessagingService);
    this.messaging.addListener(ClientConnectionChanges, this.comings.push);
  }

  static async start(options: ClientServerOptions): Promise<ClientServer> {
    // Most tests end their servers before their clients.
    const { redis, adapter = 'Express', heartbeatMs = 15_000, leaveMs = 0, port, shutdownHooks = false } = options;
    const gateway = { timeoutMs: 1_000, leaveMs };
    const running = await startApp(
      {
        imports: [
          MessagingModule.forRoot({
            redis: typeof redis === 'object' ? redisAt(redis) : redis,
            gateway,
            sse: { heartbeatMs, retryMs: 50 },
          }),
        ],
        providers: [RoomAccess, { provide: APP_GUARD, useClass: ReadsToken }],
      },
      {
        adapter,
        port,
        configure: (app) => {
          app.enableCors({ origin: true, allowedHeaders: ['authorization', 'content-type'] });
          if (shutdownHooks) app.enableShutdownHooks();
        },
      },
    );
    return new ClientServer(running);
  }

  get url(): string {
    return this.running.url;
  }

  /** Acts of the application on clients, on any server. */
  get connections(): ClientConnections {
    return this.running.app.get(ClientConnections);
  }

  get problems(): readonly string[] {
    // Scenarios ask for channels that nobody may have; the log explains each.
    return this.running.logger.problems.filter((line) => !line.endsWith('(this is not logged in production)'));
  }

  /** The subscribed names of each connection. */
  get subscriptions(): string[][] {
    const connections = this.running.app.get(Gateway)['connections'].values();
    return Array.from(connections, (connection) => connection.names);
  }

  /** Whether any client is subscribed to this name here. */
  isHeard(channel: string): boolean {
    return this.running.app.get(Gateway)['feeds'].get(channel)?.['feed'].hasReaders === true;
  }

  /** Waits until the server holds nothing of any client. */
  async isEmpty(): Promise<void> {
    while (this.subscriptions.length > 0) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Shuts down in order. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.running[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
