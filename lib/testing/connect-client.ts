import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { INestApplication, InjectionToken } from '@nestjs/common';
import { ApplicationConfig } from '@nestjs/core';
import { MessagingClient } from '../client/messaging-client.js';
import type { MessagingClientOptions } from '../client/client-options.js';
import { Hub } from '../core/hub.js';
import { GATEWAY_OPTIONS, GATEWAY_PATH, type GatewayOptions } from '../nest/gateway/gateway-options.js';
import { describe } from '../protocol/channel-name.js';
import { checkOptions, readOptions, text } from '../protocol/check-options.js';
import { ConfigurationError } from '../protocol/errors.js';
import { TcpProxy } from './tcp-proxy.js';

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
 * 127.0.0.1. The client closes with the application, unless the test closes it before.
 *
 * @param app - or several servers, as behind a load balancer: the client's connections go to the first of them that takes any, so it moves
 *   to the next one when that closes
 * @param options - `headers` sign it in, as those of any request
 * @throws (rejects) ConfigurationError for an application without a gateway, and for one that is closed
 * @example
 * ```ts
 * const client = await connectClient(app, { headers: { authorization: 'Bearer a-token' } });
 * const inbox = new ClientInbox(client, UserUpdates);
 * ```
 */
export async function connectClient(
  app: INestApplication | readonly INestApplication[],
  options: ConnectClientOptions = {},
): Promise<MessagingClient> {
  const { path, ...rest } = readOptions(options, 'connectClient()') as ConnectClientOptions;
  checkOptions({ path }, 'connectClient()', { path: text });
  const apps = Array.isArray(app) ? (app as readonly INestApplication[]) : [app as INestApplication];
  const [first] = apps;
  if (first === undefined) throw new ConfigurationError('connectClient(): give at least one application');
  for (const each of apps) checkApp(each);
  const mounted = path ?? mountedPath(first);
  const servers = apps.map((each) => each.getHttpServer() as Server);
  for (const [index, server] of servers.entries()) if (!server.listening) await apps[index]!.listen(0, '127.0.0.1');
  const balancer = apps.length > 1 ? await TcpProxy.start(() => portOf(servers)) : undefined;
  const origin = balancer === undefined ? await first.getUrl() : `http://127.0.0.1:${balancer.port}`;
  const client = new MessagingClient({ ...rest, url: new URL(mounted, `${origin}/`) });
  void Promise.all(servers.map((server) => new Promise((closed) => server.once('close', closed)))).then(() => {
    client.close();
    return balancer?.[Symbol.asyncDispose]();
  });
  return client;
}

/** @throws ConfigurationError for anything but an application with a server that is not closed */
function checkApp(app: Partial<INestApplication> | null | undefined): void {
  if (typeof app?.getHttpServer !== 'function') {
    throw new ConfigurationError(
      `connectClient(): give it an application, as createNestApplication() makes it, not ${describe(app)}`,
    );
  }
  if (found(app as INestApplication, Hub)?.root.closed) {
    throw new ConfigurationError(
      'connectClient(): the application is closed; connect before app.close(), or make another application for this test',
    );
  }
}

/** Of the first that takes connections. */
function portOf(servers: readonly Server[]): number | undefined {
  return (servers.find(({ listening }) => listening)?.address() as AddressInfo | undefined)?.port;
}

function mountedPath(app: INestApplication): string {
  const gateway = found<GatewayOptions>(app, GATEWAY_OPTIONS);
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

function found<T>(app: INestApplication, token: InjectionToken<T>): T | undefined {
  try {
    return app.get<T>(token, { strict: false });
  } catch {
    // Nest throws for what it does not have.
    return undefined;
  }
}
