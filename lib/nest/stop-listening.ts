import type { Server } from 'node:net';
import type { HttpAdapterHost } from '@nestjs/core';

/**
 * Has the HTTP server of an application accept no more connections, as Nest does a little later. Clients that are sent away, and
 * new ones, then reach other servers: a proxy goes to the next one, and in node:cluster (PM2) the primary process does. Requests
 * on connections that are open are served still; connections without one are closed.
 */
export function stopListening({ httpAdapter }: HttpAdapterHost): void {
  const server = httpAdapter?.getHttpServer() as Partial<Server> | undefined;
  // Nest closes it again, which waits for the last connection all the same.
  if (server?.listening) server.close?.();
}
