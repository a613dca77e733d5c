import { describe } from '../protocol/channel-name.js';
import { MAX_TIMER_MS } from '../protocol/check-options.js';
import { ConfigurationError } from '../protocol/errors.js';
import { isRecord } from '../protocol/is-record.js';
import { isRedisClient } from './redis-client.js';

/**
 * ioredis options that must have certain values here, with the reason. The promises of the transport about order and duplicates depend on
 * them, so it sets them itself.
 */
const FIXED: Readonly<Record<string, readonly [allowed: readonly unknown[], why: string]>> = {
  role: [['master'], 'a replica accepts posts and passes them on to nobody at the master'],
  readOnly: [[false], 'a replica accepts posts and passes them on to nobody at the master'],
  preferredSlaves: [[], 'connections go to the master'],
  scaleReads: [['master'], 'nothing is read; for a Cluster give an instance of ioredis’ Cluster'],
  keyPrefix: [[''], 'the option "prefix" of the module stands before keys and channels'],
  monitor: [[false], 'a connection that monitors Redis can do nothing else'],
  autoResubscribe: [[true, false], 'subscriptions are restored by this library'],
  lazyConnect: [[true, false], 'this library connects when it starts'],
  autoResendUnfulfilledCommands: [[false], 'a post that is sent again arrives twice'],
  enableOfflineQueue: [[false], 'posts wait for at most publishTimeoutMs, in order, in a queue of this library'],
  maxRetriesPerRequest: [[null], 'posts wait for at most publishTimeoutMs'],
  disconnectTimeout: [[], 'this library closes connections within 100 ms'],
};

// prettier-ignore
/** ioredis options that are passed on unchanged, listed by name for the compiler, and for {@link similarOption}. */
const PASSED_ON = [
  'autoPipeliningIgnoredCommands', 'autoResubscribe', 'blockingTimeout', 'blockingTimeoutGrace', 'clientInfoTag',
  'commandTimeout', 'Connector', 'disableClientInfo', 'enableAutoPipelining', 'enableReadyCheck',
  'enableTLSForSentinelMode', 'himportFieldsets', 'lazyConnect', 'maxLoadingRetryTime', 'natMap', 'protocol',
  'reconnectOnError', 'replyMapping', 'role', 'scripts', 'sentinelMaxConnections', 'sentinelReconnectStrategy',
  'sentinelRetryStrategy', 'sentinelTLS', 'showFriendlyErrorStack', 'socketTimeout', 'stringNumbers',
  'updateSentinels',
] as const;

/** See {@link PASSED_ON}. */
type PassedOn = (typeof PASSED_ON)[number];

// prettier-ignore
/** ioredis options that are refused with most values, see {@link RedisConnectionOptions}. */
type Refused =
  | 'autoResendUnfulfilledCommands' | 'disconnectTimeout' | 'enableOfflineQueue' | 'maxRetriesPerRequest' | 'monitor'
  | 'preferredSlaves' | 'readOnly';

/**
 * Options of ioredis as the transport takes them, without needing its types. Any others are passed on to ioredis, unless
 * their name looks like a misspelt one of these. Refused, with the reason, are values that cannot work here: `role: 'slave'`,
 * `readOnly`, `preferredSlaves`, `scaleReads`, `keyPrefix`, `monitor`, `autoResendUnfulfilledCommands`,
 * `enableOfflineQueue`, `maxRetriesPerRequest` and `disconnectTimeout`. `commandTimeout` has no effect: posts have `publishTimeoutMs`, and
 * the library's own commands have times of their own.
 */
export interface RedisConnectionOptions extends Partial<Record<PassedOn | Refused, unknown>> {
  /**
   * The host name or address of Redis.
   * @defaultValue 'localhost'
   */
  readonly host?: string | undefined;
  /**
   * The port of Redis.
   * @defaultValue 6379
   */
  readonly port?: number | string | undefined;
  /**
   * The path of a Unix socket, instead of `host` and `port`.
   * @defaultValue none
   */
  readonly path?: string | undefined;
  /**
   * 4 or 6: only addresses of that kind; 0: any.
   * @defaultValue 0
   */
  readonly family?: number | undefined;
  /**
   * The user of Redis' access control lists.
   * @defaultValue none: Redis' own `default`
   */
  readonly username?: string | undefined;
  /**
   * The password for Redis.
   * @defaultValue none
   */
  readonly password?: string | undefined;
  /**
   * The number of the database, for histories. Channels are common to all databases.
   * @defaultValue 0
   */
  readonly db?: number | string | undefined;
  /**
   * Connects by TLS, with these options of `tls.connect()`, or `true` for their defaults.
   * @defaultValue none, unless `url` begins with `rediss://`
   */
  readonly tls?: object | boolean | undefined;
  /**
   * The Sentinels to ask for the master called `name`, each with `host` and `port`.
   * @defaultValue none
   */
  readonly sentinels?: readonly object[] | undefined;
  /**
   * With Sentinels: the name of the master that they watch.
   * @defaultValue none: required with `sentinels`
   */
  readonly name?: string | undefined;
  /**
   * With Sentinels: whether their announcement of a failover makes connections move.
   * @defaultValue true
   */
  readonly failoverDetector?: boolean | undefined;
  /**
   * How long to wait for the answer of a Sentinel, in milliseconds.
   * @defaultValue 3_000
   */
  readonly sentinelCommandTimeout?: number | undefined;
  /**
   * The user for the Sentinels.
   * @defaultValue none
   */
  readonly sentinelUsername?: string | undefined;
  /**
   * The password for the Sentinels.
   * @defaultValue none
   */
  readonly sentinelPassword?: string | undefined;
  /**
   * How long to wait for a connection, in milliseconds.
   * @defaultValue 10_000
   */
  readonly connectTimeout?: number | undefined;
  /**
   * How long a peer may be silent before TCP probes it, in milliseconds.
   * @defaultValue 30_000
   */
  readonly keepAlive?: number | undefined;
  /**
   * Whether TCP sends at once, without waiting for more (Nagle's algorithm is off).
   * @defaultValue true
   */
  readonly noDelay?: boolean | undefined;
  /**
   * The name of both connections in `CLIENT LIST`.
   * @defaultValue `nestjs-messaging:commands` for one, and `nestjs-messaging:subscriber` for the other
   */
  readonly connectionName?: string | undefined;
  /**
   * Returns how long to wait before an attempt, in milliseconds, by the number of attempts.
   * @defaultValue exponential with jitter, 50 ms to 10 s, with Sentinels and Clusters too
   */
  readonly retryStrategy?: ((times: number) => number | void | null) | null | undefined;
}

/** A name of so many letters is not another one by chance. */
const MIN_LONG = 8;

/** The expected value of an option in words, and a function that checks a value. */
export type OptionCheck = readonly [expected: string, holds: (value: unknown) => boolean];

const isString = (value: unknown): boolean => typeof value === 'string';
const isWhole = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;
const isNumber = (value: unknown, most: number): boolean =>
  /^\d+$/.test(typeof value === 'number' ? String(value) : isString(value) ? (value as string) : '') &&
  Number(value) <= most;

const TEXT: OptionCheck = ['a string', isString];
const FLAG: OptionCheck = ['true or false', (value) => typeof value === 'boolean'];
const durationOf = (least: number, most: number, why = ''): OptionCheck => [
  `a whole number of milliseconds from ${least} to ${most}${why}`,
  (value) => isWhole(value) && (value as number) >= least && (value as number) <= most,
];
// Node's timers hold at most 31 bits.
const DURATION = durationOf(0, MAX_TIMER_MS);

/**
 * The longest time that a post may wait for Redis, in milliseconds. A post whose answer was lost is tried again for so long, and Redis must
 * still remember it then.
 */
export const MAX_PUBLISH_TIMEOUT_MS = 100_000;

/** The checks for the options of `redis`, except those that only ioredis knows. */
export const REDIS_OPTION_CHECKS: Readonly<Record<string, OptionCheck>> = {
  url: ['a URL as redis://host:port, rediss://host:port, or the path of a socket', isUrl],
  client: [
    'an ioredis Redis or Cluster, or a function that makes one',
    (value) => isRedisClient(value) || typeof value === 'function',
  ],
  interop: FLAG,
  sharded: FLAG,
  publishTimeoutMs: durationOf(
    1,
    MAX_PUBLISH_TIMEOUT_MS,
    ' (after 2 minutes Redis may have forgotten an append, so another try could append the post twice)',
  ),
  host: ['a host name or an address', (value) => isString(value) && value !== ''],
  port: ['a port number from 0 to 65535', (value) => isNumber(value, 65_535)],
  path: TEXT,
  family: ['0, 4 or 6', (value) => value === 0 || value === 4 || value === 6],
  username: TEXT,
  password: TEXT,
  db: ['a whole number', (value) => isNumber(value, 2 ** 31)],
  tls: [
    'options of tls.connect(), or true',
    (value) => isRecord(value) || isString(value) || typeof value === 'boolean',
  ],
  sentinels: [
    'an array of at least one { host, port }',
    (value) => Array.isArray(value) && value.length > 0 && value.every(isRecord),
  ],
  name: TEXT,
  failoverDetector: FLAG,
  sentinelCommandTimeout: DURATION,
  sentinelUsername: TEXT,
  sentinelPassword: TEXT,
  connectTimeout: DURATION,
  commandTimeout: DURATION,
  socketTimeout: DURATION,
  blockingTimeout: DURATION,
  blockingTimeoutGrace: DURATION,
  maxLoadingRetryTime: DURATION,
  keepAlive: DURATION,
  noDelay: FLAG,
  connectionName: ['a string without spaces', (value) => isString(value) && !/\s/.test(value as string)],
  retryStrategy: ['a function', (value) => typeof value === 'function'],
};

function isUrl(value: unknown): boolean {
  if (typeof value !== 'string') return false;
  return value.startsWith('/') ? !value.startsWith('//') : /^rediss?:\/\//.test(value) && URL.canParse(value);
}

/**
 * @param what - the kind of option in the error, before its name
 * @throws ConfigurationError for options of ioredis that cannot work here
 */
export function checkUsable(options: Readonly<Record<string, unknown>>, what: string, path = ''): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === null || !Object.hasOwn(FIXED, name)) continue;
    const [allowed, why] = FIXED[name]!;
    if (allowed.includes(value)) continue;
    throw new ConfigurationError(`${what} "${path}${name}" cannot be ${describe(value)}: ${why}; leave it out`);
  }
}

/**
 * Passes on a name that ioredis may know and this library does not, unless it looks like a typing error: another case; one letter added,
 * missing or replaced, or two swapped; in a long name also up to three letters added or missing in a row, such as its unit.
 *
 * @returns the option that was probably intended
 */
export function similarOption(name: string): string | undefined {
  const known = [...Object.keys(REDIS_OPTION_CHECKS), ...Object.keys(FIXED), ...PASSED_ON];
  if (known.includes(name)) return undefined;
  return known.find((option) => isSlip(name.toLowerCase(), option.toLowerCase()));
}

function isSlip(a: string, b: string): boolean {
  const [short, long] = a.length < b.length ? [a, b] : [b, a];
  let start = 0;
  while (start < short.length && short[start] === long[start]) start++;
  const [restA, restB] = [short.slice(start), long.slice(start)];
  const added = long.length - short.length;
  if (added > 0) return added <= (short.length < MIN_LONG ? 1 : 3) && restB.slice(added) === restA;
  if (restA.slice(1) === restB.slice(1)) return true;
  return restA[0] === restB[1] && restA[1] === restB[0] && restA.slice(2) === restB.slice(2);
}
