import { describe } from '../protocol/channel-name.js';
import { ConfigurationError } from '../protocol/errors.js';
import { isRedisClient, type RedisClient } from './redis-client.js';
import {
  REDIS_OPTION_CHECKS,
  checkUsable,
  similarOption,
  type RedisConnectionOptions,
} from './redis-connection-options.js';

/** How servers reach Redis: options of ioredis, and of this library. */
export interface RedisTransportOptions extends RedisConnectionOptions {
  /**
   * `redis://user:password@host:port/db`, `rediss://…` for TLS, or the path of a Unix socket; overrides `host` and `port`.
   * @defaultValue none: `host` and `port` count
   */
  readonly url?: string | undefined;
  /**
   * Instead of an address: an ioredis `Redis` or `Cluster` to duplicate, or a function that makes one; see {@link RedisOption}.
   * @defaultValue none
   */
  readonly client?: RedisClient | (() => RedisClient) | undefined;
  /**
   * Whether Nest's stock parts take part, which use no prefix: the server hears their emits, and also publishes posts for them,
   * on names without a prefix. `true`: in all channels. `false`: in none, even if a channel has `interop: true`.
   * @defaultValue only in channels with `interop: true`
   */
  readonly interop?: boolean | undefined;
  /**
   * Whether each master of a Cluster carries its own channels, by sharded publish/subscribe (Redis 7). All servers of an
   * application need the same setting: servers with different settings do not hear each other. Refuses channels with `interop: true`,
   * unless the option `interop` is `false`.
   * @defaultValue false: each master passes all posts on to all others
   */
  readonly sharded?: boolean | undefined;
  /**
   * How long a post may wait for Redis to accept it, in milliseconds, before it counts as not accepted. A post to a history may wait for
   * so long until it is sent, and for as long again for the answer. At most 100,000: it is tried again for so long, and Redis recognises
   * it for 2 minutes.
   * @defaultValue 2_000
   */
  readonly publishTimeoutMs?: number | undefined;
}

/**
 * The address of Redis: a URL; options; an ioredis `Redis` or `Cluster` of the application, which the library duplicates
 * and otherwise leaves alone; or a function, which it calls twice (once for a `Cluster`). The transport owns the connections that
 * the function returns.
 */
export type RedisOption = string | RedisTransportOptions | RedisClient | (() => RedisClient);

/** The normalised form of {@link RedisOption}. */
export interface RedisSettings {
  /** ioredis options, an instance to duplicate, or a factory. */
  readonly source: RedisConnectionOptions | RedisClient | (() => RedisClient);
  readonly url: string | undefined;
  readonly interop: boolean | undefined;
  /** See `Transport.noInterop`. */
  readonly noInterop: string | undefined;
  readonly sharded: boolean;
  readonly publishTimeoutMs: number;
}

/**
 * Checks the option `redis`.
 *
 * @throws ConfigurationError that describes what is wrong
 */
export function validateRedisOption(value: unknown): asserts value is RedisOption {
  normalizeRedisOption(value);
}

const NO_INTEROP =
  '"redis.sharded" is on, and stock parts of Nest know no sharded channels; leave out one of the two options, or set "redis.interop" to false';

/**
 * Normalises the option `redis`.
 *
 * @throws ConfigurationError that describes what is wrong
 */
export function normalizeRedisOption(value: unknown): RedisSettings {
  if (value === '') {
    const fix = 'leave it out (`undefined`) for one process, or give a URL as redis://host:port';
    throw new ConfigurationError(`Option "redis" is an empty string: ${fix}`);
  }
  if (typeof value === 'string') return normalizeRedisOption({ url: value });
  if (typeof value === 'function' || isRedisClient(value)) return normalizeRedisOption({ client: value });
  checkOptions(value);
  const { url, client, interop, sharded = false, publishTimeoutMs = 2_000, ...connection } = value;
  const [other] = Object.keys(url === undefined ? connection : { url, ...connection });
  if (client !== undefined && other !== undefined) {
    throw new ConfigurationError(
      `Option "redis.${other}" has no meaning beside "redis.client", which says where Redis is`,
    );
  }
  if (connection.sentinels !== undefined && connection.name === undefined) {
    throw new ConfigurationError('Option "redis.name" is missing: it names the master that the Sentinels watch');
  }
  if (sharded && interop === true) {
    throw new ConfigurationError(
      'Option "redis.interop" cannot be true beside "redis.sharded": stock parts of Nest know no sharded channels',
    );
  }
  const noInterop = sharded && interop !== false ? NO_INTEROP : undefined;
  return {
    source: client ?? connection,
    url,
    interop: sharded ? false : interop,
    noInterop,
    sharded,
    publishTimeoutMs,
  };
}

function checkOptions(value: unknown): asserts value is RedisTransportOptions {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const forms = 'a URL, options of ioredis, an ioredis Redis or Cluster, or a function that makes one';
    throw new ConfigurationError(`Option "redis" must be ${forms}, not ${describe(value)}`);
  }
  if (typeof (value as { publish?: unknown }).publish === 'function') {
    throw new ConfigurationError(
      `Option "redis" is ${describe(value)}, a client of another library; give one of ioredis`,
    );
  }
  for (const [name, option] of Object.entries(value)) {
    if (option === undefined || option === null) continue;
    const check = Object.hasOwn(REDIS_OPTION_CHECKS, name) ? REDIS_OPTION_CHECKS[name] : undefined;
    if (check === undefined) {
      const similar = similarOption(name);
      if (similar === undefined) continue;
      throw new ConfigurationError(`Unknown option "redis.${name}"; is "redis.${similar}" meant?`);
    }
    const [expected, holds] = check;
    // URLs may contain passwords.
    const shown = name === 'url' || /password/i.test(name) ? `the ${typeof option} given` : describe(option);
    if (!holds(option)) throw new ConfigurationError(`Option "redis.${name}" must be ${expected}, not ${shown}`);
  }
  checkUsable(value as Record<string, unknown>, 'Option', 'redis.');
}
