import type { Server } from 'node:http';
import type { INestApplication } from '@nestjs/common';
import { ApplicationConfig } from '@nestjs/core';
import { MessagingClient } from '../client/messaging-client.js';
import type { MessagingClientOptions } from '../client/client-options.js';
import { GATEWAY_OPTIONS, GATEWAY_PATH, type GatewayOptions } from '../nest/gateway/gateway-options.js';
import { ConfigurationError } from '../protocol/errors.js';

/** Options of {@link connectClient}: those of a client, and where the gateway is. */
export interface ConnectClientOptions extends Omit<MessagingClientOptions, 'url'> {
  /**
   * Where the gateway is mounted, if routes have versions.
   * @defaultValue the application's global prefix and the gateway's path
   */
  path?: string | undefined;
}

/**
 * Makes a client of an application, in the same process. An application that does not listen yet does so then, on a free port of
 * 127.0.0.1. Close the client before the application.
 *
 * @param options - `headers` sign it in, as those of any request
 * @throws (rejects) ConfigurationError for an application without a gateway
 * @example
 * ```ts
 * using client = await connectClient(app, { headers: { authorization: 'Bearer a-token' } });
 * const inbox = new ClientInbox(client, UserUpdates);
 * ```
 */
export async function connectClient(
  app: INestApplication,
  { path, ...options }: ConnectClientOptions = {},
): Promise<MessagingClient> {
  const mounted = path ?? mountedPath(app);
  if (!(app.getHttpServer() as Server).listening) await app.listen(0, '127.0.0.1');
  return new MessagingClient({ ...options, url: new URL(mounted, `${await app.getUrl()}/`) });
}

function mountedPath(app: INestApplication): string {
  const gateway = gatewayOf(app);
  if (gateway === undefined) {
    throw new ConfigurationError(
      'connectClient(): the application has no gateway; give MessagingModule.forRoot() the option "gateway"',
    );
  }
  const prefix = app.get(ApplicationConfig).getGlobalPrefix();
  return [prefix, gateway.path ?? GATEWAY_PATH]
    .map((part) => part.replace(/^\/+|\/+$/g, ''))
    .filter((part) => part !== '')
    .join('/');
}

function gatewayOf(app: INestApplication): GatewayOptions | undefined {
  try {
    return app.get<GatewayOptions>(GATEWAY_OPTIONS, { strict: false });
  } catch {
    // Nest throws for what it does not have.
    return undefined;
  }
}
