import type { IncomingMessage } from 'node:http';
import type { Server } from 'node:net';
import type { HttpAdapterHost } from '@nestjs/core';
import { destroyResponse, type RawResponse } from '../sse/response.js';
import { asksForStream } from './http-exchange.js';

/**
 * Has the HTTP server of an application accept no more connections, as Nest does a little later. Clients that are sent away, and
 * new ones, then reach other servers: a proxy goes to the next one, and in node:cluster (PM2) the primary process does. Requests
 * on connections that are open are served still, except for event streams; connections without one are closed.
 */
export function stopListening({ httpAdapter }: HttpAdapterHost): void {
  const server = httpAdapter?.getHttpServer() as Partial<Server> | undefined;
  server?.prependListener?.('request', cutStreamOff);
  // Nest closes it again, which waits for the last connection all the same.
  if (server?.listening) server.close?.();
}

/** Adapters answer 503 while they close, which a browser treats as final. After a lost connection it tries again elsewhere. */
function cutStreamOff(request: IncomingMessage, response: RawResponse): void {
  if (asksForStream(request)) destroyResponse(response);
}
