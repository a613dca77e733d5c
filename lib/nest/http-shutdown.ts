import { Server, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { HttpAdapterHost } from '@nestjs/core';
import { destroyResponse, type RawResponse } from '../sse/response.js';
import { asksForStream } from './http-exchange.js';

/** How often a closing server looks for idle connections to close, in milliseconds. A first request may be on its way. */
const LOOK_MS = 1_000;

/** After this many looks, a connection that has sent a part of its first request is cut too. */
const MOST_LOOKS = 5;

/** Closed connections are looked for once this many connections have had no request. */
const FEW = 64;

/** What the HTTP server of an application does when the application begins to shut down. */
export class HttpShutdown {
  /** Connections without a request so far. Browsers and proxies open some in advance. */
  private readonly fresh = new Set<Socket>();
  private sweepAt = FEW;
  private looks = 0;
  private timer: NodeJS.Timeout | undefined = undefined;
  private hasBegun = false;
  private isClosing = false;

  constructor(private readonly http: HttpAdapterHost) {}

  /**
   * Call it before the server listens.
   *
   * @param closed - called if somebody else closes the server before {@link begin}
   */
  watch(closed: () => void): void {
    const { fresh, server } = this;
    this.watchClose(closed);
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
    this.hasBegun = true;
    server?.prependListener?.('request', cutStreamOff);
    // Nest closes it again, which waits for the last connection all the same.
    if (server?.listening && !this.isClosing) server.close?.();
    if (isHttp1(server)) this.timer = setInterval(() => this.look(server), LOOK_MS).unref();
  }

  /** The server is closed. */
  end(): void {
    clearInterval(this.timer);
  }

  private get server(): Partial<Server> | undefined {
    return this.http.httpAdapter?.getHttpServer() as Partial<Server> | undefined;
  }

  /**
   * Apollo's server, in GraphQLModule, closes the HTTP server in a hook that Nest calls before that of this library, and waits until the
   * last connection has ended. A worker of node:cluster that is disconnected does so too. The server of an application that has not
   * been told to listen is another matter: supertest opens and closes it for each request.
   */
  private watchClose(closed: () => void): void {
    const { http, server } = this;
    const close = server?.close;
    if (server === undefined || close === undefined) return;
    const aboutToClose = (): void => {
      if (!http.listening || this.hasBegun) return;
      // A server that is closed twice gives the second callback an error.
      this.isClosing = true;
      closed();
    };
    server.close = function (this: Server, ...given: Parameters<Server['close']>) {
      aboutToClose();
      return close.apply(this, given);
    };
  }

  /** Forgets closed connections. A listener on each one would cost memory for as long as it lives. */
  private sweep(): void {
    const { fresh } = this;
    for (const socket of fresh) if (socket.destroyed) fresh.delete(socket);
    this.sweepAt = Math.max(FEW, fresh.size * 2);
  }

  /**
   * When a server closes, Node closes the connections that are idle between two requests. Those that become idle later stay for as long as
   * they are kept alive: 72 s on Fastify. For a first request, Node waits for ever.
   */
  private look(server: Server): void {
    const { fresh } = this;
    server.closeIdleConnections();
    // A connection of another protocol has had no request either.
    const isOver =
      ++this.looks >= MOST_LOOKS && server.listenerCount('upgrade') + server.listenerCount('connect') === 0;
    for (const socket of fresh) if (socket.bytesRead === 0 || isOver) socket.destroy();
  }
}

/** Whether the requests of a server name the sockets of its `connection` events. With TLS, they name others. */
function isHttp1(server: Partial<Server> | undefined): server is Server {
  return server instanceof Server;
}

/** While adapters close, they answer 503, which a browser treats as final. After a lost connection it tries again elsewhere. */
function cutStreamOff(request: IncomingMessage, response: RawResponse): void {
  if (asksForStream(request)) destroyResponse(response);
}
