import { Server, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { HttpAdapterHost } from '@nestjs/core';
import { destroyResponse, type RawResponse } from '../sse/response.js';
import { asksForStream } from './http-exchange.js';

/** How long a connection without a request may live when the server closes, in milliseconds: its request may be on its way. */
const SILENT_MS = 1_000;

/** So many connections without a request may be gone before they are looked for. */
const FEW = 64;

/** What the HTTP server of an application does when the application begins to shut down. */
export class HttpShutdown {
  /** Connections without a request so far. Browsers and proxies open some in advance. */
  private readonly fresh = new Set<Socket>();
  private sweepAt = FEW;

  constructor(private readonly http: HttpAdapterHost) {}

  /** Call it before the server listens. */
  watch(): void {
    const { fresh, server } = this;
    if (!isHttp1(server)) return;
    server.on('connection', (socket) => {
      if (fresh.size >= this.sweepAt) this.sweep();
      fresh.add(socket);
    });
    server.on('request', ({ socket }) => fresh.delete(socket));
  }

  /**
   * Has the server accept no more connections, as Nest does a little later. Clients that are sent away, and new ones, then reach other
   * servers: a proxy goes to the next one, and in node:cluster (PM2) the primary process does. Requests on connections that are open are
   * served still, except for event streams; connections without one are closed.
   */
  begin(): void {
    const { server } = this;
    server?.prependListener?.('request', cutStreamOff);
    // Nest closes it again, which waits for the last connection all the same.
    if (server?.listening) server.close?.();
    // Node closes those between two requests, and would wait for those before their first one, however long they are silent.
    setTimeout(() => this.cutSilent(), SILENT_MS).unref();
  }

  private get server(): Partial<Server> | undefined {
    return this.http.httpAdapter?.getHttpServer() as Partial<Server> | undefined;
  }

  /** Forgets those that are gone. A listener on each connection would cost all of them memory for as long as they live. */
  private sweep(): void {
    const { fresh } = this;
    for (const socket of fresh) if (socket.destroyed) fresh.delete(socket);
    this.sweepAt = Math.max(FEW, fresh.size * 2);
  }

  private cutSilent(): void {
    for (const socket of this.fresh) if (socket.bytesRead === 0) socket.destroy();
  }
}

/** Only there a request names the socket of its connection, without TLS between them. */
function isHttp1(server: Partial<Server> | undefined): server is Server {
  return server instanceof Server;
}

/** Adapters answer 503 while they close, which a browser treats as final. After a lost connection it tries again elsewhere. */
function cutStreamOff(request: IncomingMessage, response: RawResponse): void {
  if (asksForStream(request)) destroyResponse(response);
}
