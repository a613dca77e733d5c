import { describe } from '../protocol/channel-name.js';
import { ConfigurationError } from '../protocol/errors.js';
import { thrownText } from '../protocol/thrown.js';
import { Backoff } from './backoff.js';
import { REDIS_BACKOFF, isRedisClient, membersOf, type RedisClient } from './redis-client.js';
import { checkUsable, type RedisConnectionOptions } from './redis-connection-options.js';
import type { RedisSettings } from './redis-options.js';

/** A connection that the transport owns, with what spaces its attempts. */
export interface OwnedConnection {
  readonly client: RedisClient;
  readonly backoff: Backoff;
  /** The Cluster that the client is connected to a member of. */
  readonly cluster?: RedisClient | undefined;
  /** Whether the client is connected to one member of a Cluster, whatever becomes of that. */
  readonly isMember?: boolean | undefined;
}

/** What a transport works over. */
export interface OwnedConnections {
  readonly commands: OwnedConnection;
  /** Absent of a Cluster, whose members are not known before it is connected; see {@link connectMember}. */
  readonly subscriber: OwnedConnection | undefined;
}

/** Makes a client of ioredis; what is loaded only where the application has not brought its own. */
export type RedisConstructor = new (...args: unknown[]) => RedisClient;

interface Address {
  readonly host?: unknown;
  readonly port?: unknown;
}

// Redis is told at most this long to finish before its socket is destroyed.
const DISCONNECT_TIMEOUT_MS = 100;

// A Sentinel that has not answered by then is passed over.
const SENTINEL_TIMEOUT_MS = 3_000;

/** What the transport's promises rest on: it resends, resubscribes and queues itself, or does not. */
const BEHAVIOUR = {
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  enableOfflineQueue: false,
  maxRetriesPerRequest: null,
  disconnectTimeout: DISCONNECT_TIMEOUT_MS,
  keyPrefix: '',
};

/** The same of each member of a Cluster. */
const MEMBER_BEHAVIOUR = {
  disconnectTimeout: DISCONNECT_TIMEOUT_MS,
  autoResendUnfulfilledCommands: false,
  keyPrefix: '',
};

/**
 * Makes the connection for commands and the one for subscriptions, not connected yet unless a factory
 * has done so.
 *
 * @throws ConfigurationError where ioredis is missing or a factory gives something else
 */
export async function createConnections(
  { source, url, sharded }: RedisSettings,
  load: () => Promise<RedisConstructor> = loadIoredis,
): Promise<OwnedConnections> {
  if (typeof source === 'function') return adoptTwo(source, sharded);
  if (sharded) checkSharded(source);
  if (isRedisClient(source)) {
    checkClient(source);
    return { commands: duplicate(source), subscriber: source.isCluster ? undefined : duplicate(source) };
  }
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
 * Makes the connection for subscriptions to a member of a Cluster, not connected yet: to another member at each attempt.
 * ioredis has one of its own, and does not tell when that has been lost and found.
 *
 * @param cluster - knows at least one member
 */
export function connectMember(cluster: RedisClient): OwnedConnection {
  const backoff = new Backoff(REDIS_BACKOFF);
  const members = membersOf(cluster, 'master');
  const first = members[Math.floor(Math.random() * members.length)]!;
  const client = duplicateMember(first, 'subscriber', () => {
    // ioredis reads the address when it connects.
    Object.assign(client.options, nextAddress(cluster, client));
    return backoff.next();
  });
  return { client, backoff, cluster };
}

/** Makes a connection to one member of a Cluster, and no other, not connected yet. */
export function connectTo(member: RedisClient, role: 'commands' | 'subscriber'): OwnedConnection {
  const backoff = new Backoff(REDIS_BACKOFF);
  return { client: duplicateMember(member, role, () => backoff.next()), backoff, isMember: true };
}

function duplicateMember(member: RedisClient, role: string, retryStrategy: () => number): RedisClient {
  return member.duplicate({
    ...BEHAVIOUR,
    connectionName: `nestjs-messaging:${role}`,
    lazyConnect: true,
    readOnly: false,
    enableReadyCheck: false,
    retryStrategy,
  });
}

function nextAddress(cluster: RedisClient, { options }: RedisClient): Address {
  const isCurrent = ({ host, port }: Address): boolean =>
    host === (options as Address).host && port === (options as Address).port;
  const addresses = membersOf(cluster, 'master').map((member) => member.options as Address);
  const index = addresses.findIndex(isCurrent);
  const next = addresses[(index + 1) % addresses.length];
  return next === undefined ? {} : { host: next.host, port: next.port };
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
  if (!client.isCluster) {
    return { client: client.duplicate(owned(client.options, backoff, false, usualStrategies(client))), backoff };
  }
  // A Cluster takes other nodes first, then options. It has to queue until it has found its nodes.
  const { redisOptions } = client.options as { redisOptions?: object };
  const options = {
    ...clusterBehaviour(client, backoff),
    lazyConnect: true,
    redisOptions: { ...redisOptions, ...MEMBER_BEHAVIOUR },
  };
  const cluster = client as unknown as { duplicate(nodes: readonly unknown[], options: object): RedisClient };
  return { client: cluster.duplicate([], options), backoff };
}

function adoptTwo(factory: () => RedisClient, sharded: boolean): OwnedConnections {
  const made: unknown[] = [];
  const make = (): OwnedConnection => {
    const client = ask(factory);
    made.push(client);
    return adopt(client);
  };
  try {
    const commands = make();
    if (sharded) checkSharded(commands.client);
    if (commands.client.isCluster) return { commands, subscriber: undefined };
    const subscriber = make();
    if (commands.client === subscriber.client) {
      throw new ConfigurationError(
        'Option "redis": the function must make a new connection each time it is called; it gave the same one twice',
      );
    }
    return { commands, subscriber };
  } catch (error) {
    // They are the transport's to close, and one that is left open keeps the process alive.
    made.forEach(discard);
    throw error;
  }
}

function ask(factory: () => unknown): unknown {
  try {
    return factory();
  } catch (cause) {
    throw new ConfigurationError(`Option "redis": the function failed: ${thrownText(cause)}`, { cause });
  }
}

/** Ends what a factory gave, if it is a connection or becomes one. */
function discard(made: unknown): void {
  if (isRedisClient(made)) {
    made.on('error', () => undefined);
    made.disconnect();
  } else if (made instanceof Promise) {
    made.then(discard, () => undefined);
  }
}

function adopt(client: unknown): OwnedConnection {
  if (!isRedisClient(client)) {
    throw new ConfigurationError(
      `Option "redis": the function must give an ioredis Redis or Cluster, not ${describe(client)}`,
    );
  }
  checkClient(client);
  const backoff = new Backoff(REDIS_BACKOFF);
  // ioredis reads these when they matter, not when it is made; how it connects stays the factory's matter.
  const { options } = client;
  if (client.isCluster) Object.assign(options, clusterBehaviour(client, backoff));
  else
    Object.assign(
      options,
      BEHAVIOUR,
      spacing(options, backoff, usualStrategies(client)),
      sentinelDefaults(options, true),
    );
  return { client, backoff };
}

function owned(
  options: RedisConnectionOptions,
  backoff: Backoff,
  enableReadyCheck: boolean,
  usual?: Strategies,
): object {
  return {
    ...BEHAVIOUR,
    ...spacing(options, backoff, usual),
    ...sentinelDefaults(options, usual !== undefined),
    lazyConnect: true,
    monitor: false,
    // Redis answers PUBLISH and SUBSCRIBE while it loads its data; and INFO, by which ioredis checks for that, may
    // be forbidden to us. But with Sentinels it also tells whether this is the master.
    enableReadyCheck: enableReadyCheck || options.sentinels != null,
  };
}

/** What ioredis asks how long to wait before an attempt. */
interface Strategies {
  readonly retryStrategy?: unknown;
  readonly sentinelRetryStrategy?: unknown;
}

/** How attempts are spaced: as the application says if it says so, else by the one back-off. */
function spacing(own: Strategies, backoff: Backoff, usual: Strategies = {}): Strategies {
  const isOwn = (name: keyof Strategies): boolean => typeof own[name] === 'function' && own[name] !== usual[name];
  return {
    retryStrategy: isOwn('retryStrategy') ? own.retryStrategy : () => backoff.next(),
    // A round through all Sentinels is one attempt, not an attempt with rounds of its own.
    sentinelRetryStrategy: isOwn('sentinelRetryStrategy') ? own.sentinelRetryStrategy : () => null,
  };
}

/** What ioredis puts where no strategies are given; its classes do not tell, nor does their `constructor`. */
function usualStrategies(client: RedisClient): Strategies {
  const none = { lazyConnect: true, retryStrategy: undefined, sentinelRetryStrategy: undefined };
  return client.duplicate(none).options;
}

/** With Sentinels a failover is noticed by their word, and none that hangs is waited for without end. */
function sentinelDefaults(options: RedisConnectionOptions, isClient: boolean): object {
  if (options.sentinels == null) return {};
  return {
    // Of a client it cannot be told whether `false` was asked for, which ioredis puts there itself.
    failoverDetector: isClient || (options.failoverDetector ?? true),
    sentinelCommandTimeout: options.sentinelCommandTimeout ?? SENTINEL_TIMEOUT_MS,
  };
}

function clusterBehaviour(client: RedisClient, backoff: Backoff): object {
  const { clusterRetryStrategy } = client.options as { clusterRetryStrategy?: unknown };
  const none = { lazyConnect: true, clusterRetryStrategy: undefined };
  const cluster = client as unknown as { duplicate(nodes: readonly unknown[], options: object): RedisClient };
  const usual = (cluster.duplicate([], none).options as { clusterRetryStrategy?: unknown }).clusterRetryStrategy;
  const isOwn = typeof clusterRetryStrategy === 'function' && clusterRetryStrategy !== usual;
  return { keyPrefix: '', clusterRetryStrategy: isOwn ? clusterRetryStrategy : () => backoff.next() };
}

/** @throws ConfigurationError for a client that is set up for something that cannot work */
function checkClient({ options, isCluster }: RedisClient): void {
  // What of the others does not fit is replaced.
  const { role, readOnly, monitor } = options as Record<string, unknown>;
  if (!isCluster) checkUsable({ role, readOnly, monitor }, 'Option "redis": the client’s option');
}

/** @throws ConfigurationError for what is no Cluster, or a version of ioredis that knows no sharded channels */
function checkSharded(source: object): void {
  const { isCluster, ssubscribe } = source as Partial<RedisClient>;
  if (isCluster !== true) {
    throw new ConfigurationError(
      'Option "redis.sharded" needs an ioredis Cluster as "redis.client"; a single Redis shards nothing',
    );
  }
  if (typeof ssubscribe === 'function') return;
  throw new ConfigurationError('Option "redis.sharded" needs a version of ioredis that knows SSUBSCRIBE; update it');
}

/** Without what is `undefined`, which would hide the defaults of ioredis. */
function given(options: object): object {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
