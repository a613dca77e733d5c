import { Injectable, Optional } from '@nestjs/common';
import type {
  ClientConnectionInfo,
  ConnectionOrder,
  ConnectionQuery,
  ConnectionTarget,
} from '../../gateway/connection-order.js';
import { MAX_LISTED } from '../../gateway/connection-order.js';
import type { ConnectionDirectory } from '../../gateway/connection-directory.js';
import { Gateway } from '../../gateway/gateway.js';
import type { AnyListenableChannel } from '../../protocol/channel.js';
import { checkSyntax, describe } from '../../protocol/channel-name.js';
import { checkOptions, flag, wholeNumber } from '../../protocol/check-options.js';
import { ConfigurationError } from '../../protocol/errors.js';
import { identity } from '../../protocol/identity.js';

const LISTED = 100;

/** A user; stands for all of the user's connections. */
export interface ClientUser {
  /** Numbers and their decimal strings are the same user. */
  readonly userId: string | number;
}

/** Options of {@link ClientConnections.disconnect}. */
export interface DisconnectOptions {
  /**
   * Whether the client comes back by itself, at once and with fresh `headers`. Guards and authorizers then decide again.
   * @defaultValue false: the client stays away until the page asks again, as after a revocation
   */
  reconnect?: boolean | undefined;
}

/** Options of {@link ClientConnections.list}. */
export interface ListConnectionsOptions {
  /**
   * How many connections to list at most, up to 1,000.
   * @defaultValue 100
   */
  limit?: number | undefined;
}

/** The number of a user's connections that were changed. */
export interface ClientConnectionCount {
  /** How many connections were changed. */
  readonly count: number;
  /** Whether all servers that Redis knows of have answered. If not, connections on others may be left. */
  readonly complete: boolean;
}

/** Connections of clients, as listed by {@link ClientConnections.list}. */
export interface ClientConnectionList {
  /** The connections, on all servers that have answered. */
  readonly connections: readonly ClientConnectionInfo[];
  /** Whether there are more than these: `limit` was reached, or some had no room in the 256 KiB of a server's answer. */
  readonly more: boolean;
  /** Whether all servers that Redis knows of have answered. If not, connections on others may be missing. */
  readonly complete: boolean;
}

/**
 * The connections of clients on all servers: lists them and their channels, and ends them. Inject it anywhere in an
 * application that has the gateway.
 *
 * A client may ask again for a subscription that you end. So first change the data that your guards and authorizers check, then
 * end the subscription.
 *
 * @example
 * ```ts
 * @Injectable()
 * class Members {
 *   private readonly all = new Set<string>();
 *
 *   constructor(private readonly connections: ClientConnections) {}
 *
 *   async remove(userId: string, roomId: string) {
 *     this.all.delete(`${userId} ${roomId}`);
 *     await this.connections.unsubscribe({ userId }, RoomMessages.for({ roomId }));
 *   }
 * }
 * ```
 */
@Injectable()
export class ClientConnections {
  /** @internal */
  constructor(@Optional() private readonly gateway?: Gateway) {}

  /**
   * Ends one subscription of a client. The client gets `messaging:withdrawn`, and our client ends the subscriptions of the page with
   * a `ChannelDeniedError`. Later posts on this server do not reach the client.
   *
   * @param connection - its id, or a user for all of that user's connections
   * @param channel - the name of the subscription: a channel of a template does not end a subscription to the whole template
   * @returns `true`: the server that holds the connection has ended it. `false`: there is no such connection, or it does not
   *   have the channel. For a user: the number of connections that had it
   * @throws ConfigurationError for arguments of the wrong form, and without the gateway
   * @throws TransportUnavailableError (rejects) if the server that holds the one connection does not answer: the result is unknown
   */
  unsubscribe(connection: string, channel: AnyListenableChannel | string): Promise<boolean>;
  unsubscribe(user: ClientUser, channel: AnyListenableChannel | string): Promise<ClientConnectionCount>;
  async unsubscribe(
    of: string | ClientUser,
    channel: AnyListenableChannel | string,
  ): Promise<boolean | ClientConnectionCount> {
    const target = targetOf(of, 'unsubscribe');
    return this.order({ kind: 'unsubscribe', target, channel: nameOf(channel, 'unsubscribe') });
  }

  /**
   * Ends connections of clients.
   *
   * @param connection - its id, or a user for all of that user's connections, including those that are being opened
   * @returns as {@link unsubscribe}
   * @throws as {@link unsubscribe}
   */
  disconnect(connection: string, options?: DisconnectOptions): Promise<boolean>;
  disconnect(user: ClientUser, options?: DisconnectOptions): Promise<ClientConnectionCount>;
  async disconnect(of: string | ClientUser, options: DisconnectOptions = {}): Promise<boolean | ClientConnectionCount> {
    const target = targetOf(of, 'disconnect');
    checkOptions(options, 'ClientConnections.disconnect', { reconnect: flag });
    return this.order({ kind: 'disconnect', target, reconnect: options.reconnect ?? false });
  }

  /**
   * Lists the connections of a user, or those that have a channel or template, at the moment when each server answers. It also
   * lists the grant of each subscription: the sign-in, the scopes and the authorizers.
   *
   * @throws ConfigurationError for arguments of the wrong form, and without the gateway
   */
  async list(
    of: ClientUser | { readonly channel: AnyListenableChannel | string },
    options: ListConnectionsOptions = {},
  ): Promise<ClientConnectionList> {
    const query = queryOf(of);
    checkOptions(options, 'ClientConnections.list', { limit: wholeNumber(1, MAX_LISTED) });
    const { result, isComplete } = await this.directory.list({ of: query, limit: options.limit ?? LISTED });
    return { ...result, complete: isComplete };
  }

  private async order(order: ConnectionOrder): Promise<boolean | ClientConnectionCount> {
    const { result: count, isComplete: complete } = await this.directory.order(order);
    return 'connection' in order.target ? count > 0 : { count, complete };
  }

  private get directory(): ConnectionDirectory {
    if (this.gateway !== undefined) return this.gateway.directory;
    throw new ConfigurationError('ClientConnections needs the gateway: MessagingModule.forRoot({ gateway: true })');
  }
}

function targetOf(of: unknown, method: string): ConnectionTarget {
  if (typeof of === 'string') return { connection: of };
  return {
    userId: userIdOf(of, `ClientConnections.${method}: the first argument`, 'the id of a connection or { userId }'),
  };
}

function queryOf(of: unknown): ConnectionQuery['of'] {
  const { channel } = (of ?? {}) as { readonly channel?: unknown };
  if (channel !== undefined) return { channel: nameOf(channel, 'list') };
  return { userId: userIdOf(of, 'ClientConnections.list: the first argument', '{ channel } or { userId }') };
}

function userIdOf(of: unknown, what: string, expected: string): string {
  const { userId } = (of ?? {}) as Partial<ClientUser>;
  if (typeof of !== 'object' || userId === undefined) {
    throw new ConfigurationError(`${what} must be ${expected}, not ${describe(of)}`);
  }
  const user = identity(userId);
  if (user === undefined)
    throw new ConfigurationError(`${what}: userId must be ${identity.expected}, not ${describe(userId)}`);
  return String(user);
}

function nameOf(channel: unknown, method: string): string {
  const name =
    typeof channel === 'string' ? channel : (channel as { readonly name?: unknown } | null | undefined)?.name;
  if (typeof name !== 'string') {
    throw new ConfigurationError(
      `ClientConnections.${method}: channel must be a channel, a template or a name, not ${describe(channel)}`,
    );
  }
  checkSyntax(name);
  return name;
}
