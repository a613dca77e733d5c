import { isRedisClient } from './redis-client.js';

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
export interface RedisConnectionOptions extends Partial<
  Record<(typeof PASSED_ON)[number] | (typeof FIXED)[number], unknown>
> {
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
  readonly db?: number | string | undefined;
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

/** What an option must be, in words, and whether a value is that. */
export type OptionCheck = readonly [expected: string, holds: (value: unknown) => boolean];

const isString = (value: unknown): boolean => typeof value === 'string';
const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value);
const isWhole = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;
const isNumber = (value: unknown, most: number): boolean =>
  /^\d+$/.test(typeof value === 'number' ? String(value) : isString(value) ? (value as string) : '') &&
  Number(value) <= most;

const TEXT: OptionCheck = ['a string', isString];
const FLAG: OptionCheck = ['true or false', (value) => typeof value === 'boolean'];
const DURATION: OptionCheck = ['a whole number of milliseconds', isWhole];
const ANYTHING: OptionCheck = ['', () => true];

/** Of all options of `redis`: those handed on to ioredis, and the transport's own. */
export const REDIS_OPTION_CHECKS: Readonly<Record<string, OptionCheck>> = {
  ...Object.fromEntries([...PASSED_ON, ...FIXED].map((name) => [name, ANYTHING])),
  url: ['a URL as redis://host:port, rediss://host:port, or the path of a socket', isUrl],
  client: [
    'an ioredis Redis or Cluster, or a function that makes one',
    (value) => isRedisClient(value) || typeof value === 'function',
  ],
  interop: FLAG,
  // Timers of Node hold no more than 31 bits.
  publishTimeoutMs: [
    'a whole number of milliseconds from 1',
    (value) => isWhole(value) && value !== 0 && (value as number) < 2 ** 31,
  ],
  host: ['a host name or an address', (value) => isString(value) && value !== ''],
  port: ['a port number from 0 to 65535', (value) => isNumber(value, 65_535)],
  path: TEXT,
  family: ['0, 4 or 6', (value) => value === 0 || value === 4 || value === 6],
  username: TEXT,
  password: TEXT,
  db: ['a whole number', (value) => isNumber(value, 2 ** 31)],
  tls: [
    'options of tls.connect(), or true',
    (value) => isObject(value) || isString(value) || typeof value === 'boolean',
  ],
  sentinels: [
    'an array of at least one { host, port }',
    (value) => Array.isArray(value) && value.length > 0 && value.every(isObject),
  ],
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

function isUrl(value: unknown): boolean {
  if (typeof value !== 'string') return false;
  return value.startsWith('/') ? !value.startsWith('//') : /^rediss?:\/\//.test(value) && URL.canParse(value);
}
