import { describe } from '../protocol/channel-name.js';
import { ConfigurationError } from '../protocol/errors.js';
import { isRedisClient, type RedisClient } from './redis-client.js';

/** Options of ioredis that are handed on as they are. */
const PASSED_ON = [
  'Connector', 'autoPipeliningIgnoredCommands', 'blockingTimeout', 'blockingTimeoutGrace', 'clientInfoTag',
  'commandQueue', 'commandTimeout', 'disableClientInfo', 'enableAutoPipelining', 'enableReadyCheck',
  'enableTLSForSentinelMode', 'failoverDetector', 'himportFieldsets', 'maxLoadingRetryTime', 'natMap',
  'offlineQueue', 'preferredSlaves', 'protocol', 'readOnly', 'reconnectOnError', 'replyMapping', 'scripts',
  'sentinelCommandTimeout', 'sentinelMaxConnections', 'sentinelReconnectStrategy', 'sentinelRetryStrategy',
  'sentinelTLS', 'showFriendlyErrorStack', 'socketTimeout', 'stringNumbers', 'updateSentinels',
] as const; // prettier-ignore

/** Options of ioredis that the transport sets itself: what is said of order and copies rests on them. */
const FIXED = [
  'autoResendUnfulfilledCommands', 'autoResubscribe', 'disconnectTimeout', 'enableOfflineQueue', 'lazyConnect',
  'maxRetriesPerRequest', 'monitor',
] as const; // prettier-ignore

/** Options of ioredis as the transport takes them, without needing its types. */
export interface RedisConnectionOptions
  extends Partial<Record<(typeof PASSED_ON)[number] | (typeof FIXED)[number], unknown>> {
  /** @defaultValue 'localhost' */
  readonly host?: string | undefined;
  /** @defaultValue 6379 */
  readonly port?: number | string | undefined;
  /** A Unix socket, instead of host and port. */
  readonly path?: string | undefined;
  /** 4 or 6: only addresses of that kind; 0: any. */
  readonly family?: number | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Which database; channels are common to all of them. */
  readonly db?: number | undefined;
  /** TLS, with these options of `tls.connect()`, or `true` for their defaults. */
  readonly tls?: object | boolean | undefined;
  /** The Sentinels to ask for the master called `name`. */
  readonly sentinels?: readonly object[] | undefined;
  readonly name?: string | undefined;
  readonly role?: 'master' | 'slave' | undefined;
  readonly sentinelUsername?: string | undefined;
  readonly sentinelPassword?: string | undefined;
  /** How long to wait for a connection, in milliseconds. @defaultValue 10_000 */
  readonly connectTimeout?: number | undefined;
  /** When TCP begins to probe a silent peer, in milliseconds. @defaultValue 30_000 */
  readonly keepAlive?: number | undefined;
  /** @defaultValue true */
  readonly noDelay?: boolean | undefined;
  /** The name of both connections in `CLIENT LIST`. */
  readonly connectionName?: string | undefined;
  /**
   * How long to wait before an attempt, in milliseconds, by how many there were.
   * @defaultValue exponential with jitter, 50 ms to 10 s
   */
  readonly retryStrategy?: ((times: number) => number | void | null) | null | undefined;
}

/** How a {@link RedisTransport} reaches Redis: options of ioredis, and its own. */
export interface RedisTransportOptions extends RedisConnectionOptions {
  /** `redis://user:password@host:port/db`, `rediss://…` for TLS, or the path of a Unix socket; goes before host and port. */
  readonly url?: string | undefined;
  /** Instead of where to connect to: a connection to duplicate, or what makes one; see {@link RedisOption}. */
  readonly client?: RedisClient | (() => RedisClient) | undefined;
  /**
   * Whether stock parts of Nest take part, which know no prefix. `true`: posts are published for them too.
   * `false`: nothing that they send is heard either, and no unprefixed name is ever used, whatever a
   * channel says. Left out: they are heard, and get the posts of channels with `interop`.
   */
  readonly interop?: boolean | undefined;
  /**
   * How long a post may wait for Redis to accept it, in milliseconds, before it counts as not accepted.
   * @defaultValue 2_000
   */
  readonly publishTimeoutMs?: number | undefined;
}

/**
 * Where Redis is: a URL; options; an ioredis `Redis` or `Cluster` of the application, which is duplicated
 * twice and otherwise left alone; or a function, called twice, whose connections the transport then owns.
 */
export type RedisOption = string | RedisTransportOptions | RedisClient | (() => RedisClient);

/** The one form that all forms of {@link RedisOption} are brought into. */
export interface RedisSettings {
  /** Options of ioredis, an instance to duplicate, or a factory. */
  readonly source: RedisConnectionOptions | RedisClient | (() => RedisClient);
  readonly url: string | undefined;
  readonly interop: boolean | undefined;
  readonly publishTimeoutMs: number;
}

type Check = readonly [expected: string, holds: (value: unknown) => boolean];

const isString = (value: unknown): boolean => typeof value === 'string';
const isObject = (value: unknown): boolean => typeof value === 'object' && !Array.isArray(value);
const isWhole = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;
const isNumber = (value: unknown, most: number): boolean =>
  /^\d+$/.test(typeof value === 'number' ? String(value) : isString(value) ? (value as string) : '') && Number(value) <= most;

const TEXT: Check = ['a string', isString];
const FLAG: Check = ['true or false', (value) => typeof value === 'boolean'];
const DURATION: Check = ['a whole number of milliseconds', isWhole];
const ANYTHING: Check = ['', () => true];

const CHECKS: Readonly<Record<string, Check>> = {
  ...Object.fromEntries([...PASSED_ON, ...FIXED].map((name) => [name, ANYTHING])),
  url: ['a URL as redis://host:port, rediss://host:port, or the path of a socket', isUrl],
  client: ['an ioredis Redis or Cluster, or a function that makes one', (value) => isRedisClient(value) || typeof value === 'function'],
  interop: FLAG,
  // Timers of Node hold no more than 31 bits.
  publishTimeoutMs: ['a whole number of milliseconds from 1', (value) => isWhole(value) && value !== 0 && (value as number) < 2 ** 31],
  host: ['a host name or an address', (value) => isString(value) && value !== ''],
  port: ['a port number from 0 to 65535', (value) => isNumber(value, 65_535)],
  path: TEXT,
  family: ['0, 4 or 6', (value) => value === 0 || value === 4 || value === 6],
  username: TEXT,
  password: TEXT,
  db: ['a whole number', (value) => isNumber(value, 2 ** 31)],
  tls: ['options of tls.connect(), or true', (value) => isObject(value) || isString(value) || typeof value === 'boolean'],
  sentinels: ['an array of at least one { host, port }', (value) => Array.isArray(value) && value.length > 0 && value.every(isObject)],
  name: TEXT,
  role: ["'master' or 'slave'", (value) => value === 'master' || value === 'slave'],
  sentinelUsername: TEXT,
  sentinelPassword: TEXT,
  connectTimeout: DURATION,
  keepAlive: DURATION,
  noDelay: FLAG,
  connectionName: ['a string without spaces', (value) => isString(value) && !/\s/.test(value as string)],
  retryStrategy: ['a function', (value) => typeof value === 'function'],
};

/**
 * Checks the option `redis`.
 *
 * @throws ConfigurationError that names what is wrong in it
 */
export function validateRedisOption(value: unknown): asserts value is RedisOption {
  normalizeRedisOption(value);
}

/**
 * Brings the option `redis` into its one form.
 *
 * @throws ConfigurationError that names what is wrong in it
 */
export function normalizeRedisOption(value: unknown): RedisSettings {
  if (typeof value === 'string') return normalizeRedisOption({ url: value });
  if (typeof value === 'function' || isRedisClient(value)) return normalizeRedisOption({ client: value });
  checkOptions(value);
  const { url, client, interop, publishTimeoutMs = 2_000, ...connection } = value;
  const [other] = Object.keys(url === undefined ? connection : { url, ...connection });
  if (client !== undefined && other !== undefined) {
    throw new ConfigurationError(`Option "redis.${other}" has no meaning beside "redis.client", which says where Redis is`);
  }
  if (connection.sentinels !== undefined && connection.name === undefined) {
    throw new ConfigurationError('Option "redis.name" is missing: it names the master that the Sentinels watch');
  }
  return { source: client ?? connection, url, interop, publishTimeoutMs };
}

function checkOptions(value: unknown): asserts value is RedisTransportOptions {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const forms = 'a URL, options of ioredis, an ioredis Redis or Cluster, or a function that makes one';
    throw new ConfigurationError(`Option "redis" must be ${forms}, not ${describe(value)}`);
  }
  if (typeof (value as { publish?: unknown }).publish === 'function') {
    throw new ConfigurationError(`Option "redis" is ${describe(value)}, a client of another library; give one of ioredis`);
  }
  for (const [name, option] of Object.entries(value)) {
    if (option === undefined || option === null) continue;
    if (name === 'keyPrefix') {
      throw new ConfigurationError('Option "redis.keyPrefix" is not used; what stands before keys and channels is the option "prefix"');
    }
    const check = Object.hasOwn(CHECKS, name) ? CHECKS[name] : undefined;
    if (check === undefined) {
      throw new ConfigurationError(
        `Unknown option "redis.${name}"; the usual ones are url, host, port, username, password, db, tls, sentinels and name. ` +
          'For one that only a later ioredis knows, pass an instance of ioredis',
      );
    }
    const [expected, holds] = check;
    // Passwords stand in URLs.
    const shown = name === 'url' || /password/i.test(name) ? `the ${typeof option} given` : describe(option);
    if (!holds(option)) throw new ConfigurationError(`Option "redis.${name}" must be ${expected}, not ${shown}`);
  }
}

function isUrl(value: unknown): boolean {
  if (typeof value !== 'string') return false;
  return value.startsWith('/') ? !value.startsWith('//') : /^rediss?:\/\//.test(value) && URL.canParse(value);
}
