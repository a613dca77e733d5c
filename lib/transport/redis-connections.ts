import { describe } from '../protocol/channel-name.js';
import { givenOptions } from '../protocol/check-options.js';
import { ConfigurationError } from '../protocol/errors.js';
import { thrownText } from '../protocol/thrown.js';
import { Backoff } from './backoff.js';
import { REDIS_BACKOFF, isRedisClient, membersOf, type RedisClient } from './redis-client.js';
import { checkUsable, type RedisConnectionOptions } from './redis-connection-options.js';
import { RedisFunctions, type WarnOfFunction } from './redis-functions.js';
import type { RedisSettings } from './redis-options.js';

/** A connection that the transport owns, with the back-off of its attempts. */
export interface OwnedConnection {
  readonly client: RedisClient;
  readonly backoff: Backoff;
  /** The Cluster whose member the client is connected to. */
  readonly cluster?: RedisClient | undefined;
  /** Whether the client is connected to one fixed member of a Cluster. */
  readonly isMember?: boolean | undefined;
}

/** The connections of a transport. */
export interface OwnedConnections {
  readonly commands: OwnedConnection;
  /** Absent for a Cluster, whose members are unknown before it is connected; see {@link connectMember}. */
  readonly subscriber: OwnedConnection | undefined;
}

/** Makes an ioredis client. The class is loaded only if the application has not passed a client. */
export type RedisConstructor = new (...args: unknown[]) => RedisClient;

interface Address {
  readonly host?: unknown;
  readonly port?: unknown;
}

// How long Redis may take to finish before its socket is destroyed.
const DISCONNECT_TIMEOUT_MS = 100;

// How long a Sentinel may take to answer before the next one is asked.
const SENTINEL_TIMEOUT_MS = 3_000;

/** The transport's promises depend on these: it resends, resubscribes and queues by its own rules. */
const BEHAVIOUR = {
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  enableOfflineQueue: false,
  maxRetriesPerRequest: null,
  disconnectTimeout: DISCONNECT_TIMEOUT_MS,
  // A question that is given up is taken neither for answered nor for unanswered, so a dead connection would never be found.
  commandTimeout: undefined,
  keyPrefix: '',
};

/** The same for each member of a Cluster. */
const MEMBER_BEHAVIOUR = {
  disconnectTimeout: DISCONNECT_TIMEOUT_MS,
  autoResendUnfulfilledCommands: false,
  commandTimeout: undefined,
  keyPrefix: '',
};

/**
 * Makes the connection for commands and the one for subscriptions. They are not connected yet, unless a factory has connected them.
 *
 * @param warn - told once of each function among the options of ioredis that fails
 * @throws ConfigurationError if ioredis is missing or a factory returns another value
 */
export async function createConnections(
  { source, url, sharded }: RedisSettings,
  load: () => Promise<RedisConstructor> = loadIoredis,
  warn: WarnOfFunction = () => undefined,
): Promise<OwnedConnections> {
  const functions = new RedisFunctions(warn);
  if (typeof source === 'function') return adoptTwo(source, sharded, functions);
  if (sharded) checkSharded(source);
  if (isRedisClient(source)) {
    checkClient(source);
    const commands = duplicate(source, functions);
    return { commands, subscriber: source.isCluster ? undefined : duplicate(source, functions) };
  }
  const Redis = await load();
  const connect = (role: string): OwnedConnection => {
    const backoff = new Backoff(REDIS_BACKOFF);
    const options = {
      connectionName: `nestjs-messaging:${role}`,
      ...givenOptions(source),
      ...owned(source, functions, backoff, source.enableReadyCheck === true),
    };
    const client = url === undefined ? new Redis(options) : new Redis(url, options);
    return { client, backoff };
  };
  return { commands: connect('commands'), subscriber: connect('subscriber') };
}

/**
 * Makes the connection for subscriptions to a member of a Cluster, not connected yet. Each attempt uses another member. The subscriber of
 * ioredis itself cannot be used, since it does not report when its connection was lost and replaced.
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

/** Makes a connection to one fixed member of a Cluster, not connected yet. */
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
 * Loads ioredis. Applications that pass a client, or use no Redis, do not need it.
 *
 * @throws ConfigurationError that says to install it, or a later one
 */
export async function loadIoredis(load: () => Promise<object> = () => import('ioredis')): Promise<RedisConstructor> {
  const { Redis } = (await load().catch((cause: unknown) => {
    const message = 'Option "redis" needs the package ioredis, which cannot be loaded; npm install ioredis';
    throw new ConfigurationError(message, { cause });
  })) as { Redis?: RedisConstructor };
  if (Redis !== undefined) return Redis;
  throw new ConfigurationError('Option "redis" needs ioredis 5.3.0 or later; npm install ioredis@latest');
}

function duplicate(client: RedisClient, functions: RedisFunctions): OwnedConnection {
  const backoff = new Backoff(REDIS_BACKOFF);
  if (!client.isCluster) {
    const options = owned(client.options, functions, backoff, false, usualStrategies(client));
    return { client: client.duplicate(options), backoff };
  }
  // A Cluster takes the nodes first, then options. It must queue commands until it has found its nodes.
  const redisOptions = (client.options as { redisOptions?: object | null }).redisOptions ?? {};
  const options = {
    ...clusterBehaviour(client, functions, backoff),
    lazyConnect: true,
    redisOptions: { ...redisOptions, ...functions.isolated(redisOptions, () => backoff.next()), ...MEMBER_BEHAVIOUR },
  };
  const cluster = client as unknown as { duplicate(nodes: readonly unknown[], options: object): RedisClient };
  return { client: cluster.duplicate([], options), backoff };
}

function adoptTwo(factory: () => RedisClient, sharded: boolean, functions: RedisFunctions): OwnedConnections {
  const made: unknown[] = [];
  const make = (): OwnedConnection => {
    const client = ask(factory);
    made.push(client);
    return adopt(client, functions);
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
    // The transport must close them; an open connection keeps the process alive.
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

/** Ends the result of a factory, if it is a connection or a promise of one. */
function discard(made: unknown): void {
  if (isRedisClient(made)) {
    made.on('error', () => undefined);
    made.disconnect();
  } else if (made instanceof Promise) {
    made.then(discard, () => undefined);
  }
}

function adopt(client: unknown, functions: RedisFunctions): OwnedConnection {
  if (!isRedisClient(client)) {
    throw new ConfigurationError(
      `Option "redis": the function must give an ioredis Redis or Cluster, not ${describe(client)}`,
    );
  }
  checkClient(client);
  const backoff = new Backoff(REDIS_BACKOFF);
  // ioredis reads these options when it needs them, not in its constructor. The factory still decides how to connect.
  const { options } = client;
  if (client.isCluster) {
    Object.assign(options, clusterBehaviour(client, functions, backoff));
    adoptMembers(client, functions, backoff);
  } else {
    const strategies = spacing(options, functions, backoff, usualStrategies(client));
    Object.assign(options, BEHAVIOUR, strategies, sentinelDefaults(options, true));
  }
  return { client, backoff };
}

function owned(
  options: RedisConnectionOptions,
  functions: RedisFunctions,
  backoff: Backoff,
  enableReadyCheck: boolean,
  usual?: Strategies,
): object {
  return {
    ...BEHAVIOUR,
    ...spacing(options, functions, backoff, usual),
    ...sentinelDefaults(options, usual !== undefined),
    lazyConnect: true,
    monitor: false,
    // Redis answers PUBLISH and SUBSCRIBE even while it loads its data, and INFO, which ioredis uses for this check, may be forbidden. But
    // with Sentinels, the check also finds out whether this is the master.
    enableReadyCheck: enableReadyCheck || options.sentinels != null,
  };
}

/** The functions that ioredis calls for the wait before an attempt. */
interface Strategies {
  readonly retryStrategy?: unknown;
  readonly sentinelRetryStrategy?: unknown;
}

/**
 * The functions of a connection, isolated. The wait before attempts is the application's own function if there is one, otherwise the common
 * back-off.
 */
function spacing(own: Strategies, functions: RedisFunctions, backoff: Backoff, usual: Strategies = {}): object {
  const isOwn = (name: keyof Strategies): boolean => typeof own[name] === 'function' && own[name] !== usual[name];
  const waitMs = (): number => backoff.next();
  return {
    ...functions.isolated(own, waitMs),
    ...(isOwn('retryStrategy') ? {} : { retryStrategy: waitMs }),
    // A round through all Sentinels is one attempt, without rounds of its own.
    ...(isOwn('sentinelRetryStrategy') ? {} : { sentinelRetryStrategy: () => null }),
  };
}

/** The default strategies of ioredis. Its classes do not expose them, nor does their `constructor`. */
function usualStrategies(client: RedisClient): Strategies {
  const none = { lazyConnect: true, retryStrategy: undefined, sentinelRetryStrategy: undefined };
  return client.duplicate(none).options;
}

/** With Sentinels: failovers are noticed by their announcements, and a hanging Sentinel is not waited for forever. */
function sentinelDefaults(options: RedisConnectionOptions, isClient: boolean): object {
  if (options.sentinels == null) return {};
  return {
    // For a client it is unknown whether the application set `false`, since ioredis sets it by default.
    failoverDetector: isClient || (options.failoverDetector ?? true),
    sentinelCommandTimeout: options.sentinelCommandTimeout ?? SENTINEL_TIMEOUT_MS,
  };
}

function clusterBehaviour(client: RedisClient, functions: RedisFunctions, backoff: Backoff): object {
  const { clusterRetryStrategy } = client.options as { clusterRetryStrategy?: unknown };
  const none = { lazyConnect: true, clusterRetryStrategy: undefined };
  const cluster = client as unknown as { duplicate(nodes: readonly unknown[], options: object): RedisClient };
  const usual = (cluster.duplicate([], none).options as { clusterRetryStrategy?: unknown }).clusterRetryStrategy;
  const isOwn = typeof clusterRetryStrategy === 'function' && clusterRetryStrategy !== usual;
  const waitMs = (): number => backoff.next();
  const isolated = functions.isolated(client.options, waitMs);
  return { keyPrefix: '', ...isolated, ...(isOwn ? {} : { clusterRetryStrategy: waitMs }) };
}

/**
 * Isolates the functions that the members of a Cluster call, and gives their commands no time-out. A Cluster makes members with the options
 * that it was made with, whatever its options are later. They may be an object of the application, which other clients use too, so they are
 * replaced and not changed.
 */
function adoptMembers(client: RedisClient, functions: RedisFunctions, backoff: Backoff): void {
  interface Pool {
    redisOptions?: object | null;
  }
  // The pool is an undocumented property of ioredis.
  const { options, connectionPool = {} } = client as RedisClient & { options: Pool; connectionPool?: Pool };
  const isolated = (given: object): object => functions.isolated(given, () => backoff.next());
  const { commandTimeout } = MEMBER_BEHAVIOUR;
  for (const holder of [options, connectionPool]) {
    const redisOptions = holder.redisOptions ?? {};
    holder.redisOptions = { ...redisOptions, ...isolated(redisOptions), commandTimeout };
  }
  Object.assign(connectionPool, isolated(connectionPool));
  for (const member of membersOf(client, 'all')) {
    Object.assign(member.options, isolated(member.options), { commandTimeout });
  }
}

/** @throws ConfigurationError for a client with settings that cannot work */
function checkClient({ options, isCluster }: RedisClient): void {
  // Other unsuitable settings are replaced.
  const { role, readOnly, monitor } = options as Record<string, unknown>;
  if (!isCluster) checkUsable({ role, readOnly, monitor }, 'Option "redis": the client’s option');
}

/** @throws ConfigurationError if it is not a Cluster, or its ioredis version has no sharded channels */
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
