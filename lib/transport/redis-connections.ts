import { Backoff } from '../protocol/backoff.js';
import { describe } from '../protocol/channel-name.js';
import { ConfigurationError } from '../protocol/errors.js';
import { REDIS_BACKOFF, isRedisClient, type RedisClient } from './redis-client.js';
import type { RedisConnectionOptions } from './redis-connection-options.js';
import type { RedisSettings } from './redis-options.js';

/** A connection that the transport owns, with what spaces its attempts. */
export interface OwnedConnection {
  readonly client: RedisClient;
  readonly backoff: Backoff;
}

/** Makes a client of ioredis; what is loaded only where the application has not brought its own. */
export type RedisConstructor = new (...args: unknown[]) => RedisClient;

// Redis is told at most this long to finish before its socket is destroyed.
const DISCONNECT_TIMEOUT_MS = 100;

/** What the transport's promises rest on: it resends, resubscribes and queues itself, or does not. */
const BEHAVIOUR = {
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  enableOfflineQueue: false,
  maxRetriesPerRequest: null,
  disconnectTimeout: DISCONNECT_TIMEOUT_MS,
  keyPrefix: '',
};

/**
 * Makes the connection for commands and the one for subscriptions, not connected yet unless a factory
 * has done so.
 *
 * @throws ConfigurationError where ioredis is missing or a factory gives something else
 */
export async function createConnections(
  { source, url }: RedisSettings,
  load: () => Promise<RedisConstructor> = loadIoredis,
): Promise<{ commands: OwnedConnection; subscriber: OwnedConnection }> {
  if (typeof source === 'function') {
    const commands = adopt(source);
    const subscriber = adopt(source);
    if (commands.client === subscriber.client) {
      throw new ConfigurationError(
        'Option "redis": the function must make a new connection each time it is called; it gave the same one twice',
      );
    }
    return { commands, subscriber };
  }
  if (isRedisClient(source)) return { commands: duplicate(source), subscriber: duplicate(source) };
  const Redis = await load();
  const connect = (role: string): OwnedConnection => {
    const backoff = new Backoff(REDIS_BACKOFF);
    const options = {
      connectionName: `nestjs-messaging:${role}`,
      ...given(source),
      ...owned(source, backoff, source.enableReadyCheck === true),
    };
    const client = url === undefined ? new Redis(options) : new Redis(url, options);
    return { client, backoff };
  };
  return { commands: connect('commands'), subscriber: connect('subscriber') };
}

/**
 * Loads ioredis, which is not needed by whoever brings a client or uses no Redis.
 *
 * @throws ConfigurationError that says to install it
 */
export async function loadIoredis(load: () => Promise<object> = () => import('ioredis')): Promise<RedisConstructor> {
  try {
    const { Redis } = (await load()) as { Redis: RedisConstructor };
    return Redis;
  } catch (cause) {
    const message = 'Option "redis" needs the package ioredis, which cannot be loaded; npm install ioredis';
    throw new ConfigurationError(message, { cause });
  }
}

function duplicate(client: RedisClient): OwnedConnection {
  const backoff = new Backoff(REDIS_BACKOFF);
  if (!client.isCluster)
    return { client: client.duplicate(owned(client.options, backoff, false, usualRetry(client))), backoff };
  // A Cluster takes other nodes first, then options. It has to queue until it has found its nodes.
  const { clusterRetryStrategy, redisOptions } = client.options as {
    clusterRetryStrategy?: unknown;
    redisOptions?: object;
  };
  const options = {
    lazyConnect: true,
    keyPrefix: '',
    clusterRetryStrategy: typeof clusterRetryStrategy === 'function' ? clusterRetryStrategy : () => backoff.next(),
    redisOptions: {
      ...redisOptions,
      disconnectTimeout: DISCONNECT_TIMEOUT_MS,
      autoResendUnfulfilledCommands: false,
      keyPrefix: '',
    },
  };
  const cluster = client as unknown as { duplicate(nodes: readonly unknown[], options: object): RedisClient };
  return { client: cluster.duplicate([], options), backoff };
}

function adopt(factory: () => RedisClient): OwnedConnection {
  const client = factory();
  if (!isRedisClient(client)) {
    throw new ConfigurationError(
      `Option "redis": the function must give an ioredis Redis or Cluster, not ${describe(client)}`,
    );
  }
  const backoff = new Backoff(REDIS_BACKOFF);
  if (!client.isCluster) {
    // ioredis reads these when they matter, not when it is made; how it connects stays the factory's matter.
    Object.assign(client.options, BEHAVIOUR, {
      retryStrategy: retryStrategy(client.options, backoff, usualRetry(client)),
    });
  }
  return { client, backoff };
}

function owned(options: RedisConnectionOptions, backoff: Backoff, enableReadyCheck: boolean, usual?: unknown): object {
  return {
    ...BEHAVIOUR,
    lazyConnect: true,
    monitor: false,
    // Redis answers PUBLISH and SUBSCRIBE while it loads its data; and INFO, by which ioredis checks for that, may
    // be forbidden to us. But with Sentinels it also tells whether this is the master.
    enableReadyCheck: enableReadyCheck || options.sentinels != null,
    retryStrategy: retryStrategy(options, backoff, usual),
  };
}

/** The application's own, if it is that; ioredis puts a usual one where none was given. */
function retryStrategy(
  { retryStrategy: own }: RedisConnectionOptions,
  backoff: Backoff,
  usual: unknown,
): () => unknown {
  return typeof own === 'function' && own !== usual ? (own as () => unknown) : () => backoff.next();
}

/** What ioredis puts where no retryStrategy is given; its classes do not tell, nor does their `constructor`. */
function usualRetry(client: RedisClient): unknown {
  return (client.duplicate({ lazyConnect: true, retryStrategy: undefined }).options as RedisConnectionOptions)
    .retryStrategy;
}

/** Without what is `undefined`, which would hide the defaults of ioredis. */
function given(options: object): object {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
