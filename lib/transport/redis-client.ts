/**
 * What this library uses of an ioredis `Redis` or `Cluster`, of ioredis 5 and later. Structural, so that
 * applications without ioredis need no types of it.
 */
export interface RedisClient {
  /** Which of ioredis' states it is in: `wait`, `connecting`, `connect`, `ready`, `reconnecting`, `end` and others. */
  readonly status: string;
  readonly options: object;
  /** Whether it is a `Cluster`. */
  readonly isCluster: boolean;
  connect(): Promise<unknown>;
  disconnect(reconnect?: boolean): void;
  duplicate(override?: object): RedisClient;
  ping(): Promise<unknown>;
  call(command: string, ...args: string[]): Promise<unknown>;
  publish(channel: string, payload: string): Promise<unknown>;
  subscribe(...channels: string[]): Promise<unknown>;
  psubscribe(...patterns: string[]): Promise<unknown>;
  unsubscribe(...channels: string[]): Promise<unknown>;
  punsubscribe(...patterns: string[]): Promise<unknown>;
  // Of Redis 7; the first versions of ioredis 5 do not know them.
  spublish?(channel: string, payload: string): Promise<unknown>;
  ssubscribe?(...channels: string[]): Promise<unknown>;
  sunsubscribe?(...channels: string[]): Promise<unknown>;
  // oxlint-disable-next-line typescript/no-explicit-any -- so do ioredis' own types, which are to fit
  on(event: string, listener: (...args: any[]) => void): unknown;
  // oxlint-disable-next-line typescript/no-explicit-any -- as above
  off(event: string, listener: (...args: any[]) => void): unknown;
}

/** Whether a value is a client of ioredis; those of other libraries lack its `status`. */
export function isRedisClient(value: unknown): value is RedisClient {
  if (typeof value !== 'object' || value === null) return false;
  const client = value as Partial<RedisClient>;
  return (
    typeof client.status === 'string' &&
    typeof client.options === 'object' &&
    typeof client.duplicate === 'function' &&
    typeof client.psubscribe === 'function'
  );
}

/** Where a client connects to, for error texts: never with its credentials. */
export function addressOf(client: RedisClient): string {
  if (client.isCluster) {
    const [first] = (client as { startupNodes?: unknown[] }).startupNodes ?? [];
    if (typeof first !== 'object' || first === null) return 'the Redis Cluster';
    const { host = 'localhost', port = 6379 } = first as { host?: string; port?: number };
    return `the Redis Cluster at ${host}:${port}`;
  }
  const { path, host = 'localhost', port = 6379, sentinels, name } = client.options as Record<string, unknown>;
  if (Array.isArray(sentinels) && sentinels.length > 0) return `Redis, the master "${String(name)}" of the Sentinels,`;
  return typeof path === 'string' && path !== '' ? `Redis at ${path}` : `Redis at ${String(host)}:${String(port)}`;
}

/** The members of a Cluster that it knows of. */
export function membersOf(cluster: RedisClient, role: 'master' | 'all'): RedisClient[] {
  return (cluster as unknown as { nodes(role: string): RedisClient[] }).nodes(role);
}

/** Whether Redis itself answered so, as against a link that failed. */
export function isReply(error: Error): boolean {
  return error.name === 'ReplyError';
}

/** Whether a command was not sent: the link has ended, of which its listener is about to be told. */
export function isUnsent(error: Error): boolean {
  return error.message.startsWith("Stream isn't writeable");
}

/**
 * Whether ioredis got an answer to no command: from then on, answers may be those to other commands. ioredis 5 takes it for an answer if
 * Redis ends a subscription of its own accord, as a Cluster does when a slot moves.
 */
export function isOutOfStep(error: Error): boolean {
  return error.message.startsWith('Command queue state error');
}

// WRONGPASS and NOAUTH are of Redis 6 and later; the ERR forms are older.
const REFUSALS = /^(WRONGPASS|NOAUTH|NOPERM|DENIED|ERR AUTH|ERR invalid password|ERR Client sent AUTH|ERR DB index)/;

/** Whether Redis refuses a connection such that trying again with the same options is no use. */
export function isRefusal(error: Error): boolean {
  return REFUSALS.test(error.message);
}

/** Whether Redis does not let this user do what was asked. */
export function isDenial(error: Error): boolean {
  return error.message.startsWith('NOPERM');
}

const ELSEWHERE =
  /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b|Script attempted to access a non local key|while the cluster is down/;

/** Whether a member of a Cluster answered that it is not the one to be asked, or that none is just now. */
export function isElsewhere(error: Error): boolean {
  return ELSEWHERE.test(error.message);
}

/** What Redis answered, without the arguments of the command, which hold messages. */
export function replyText({ message }: Error): string {
  return message.replace(/,? with args beginning with:.*$/s, '');
}

/** What went wrong, in words; also where an error has none, as ECONNREFUSED of several addresses. */
export function causeOf(error: Error): string {
  // A Cluster reports that all nodes failed and keeps why.
  const { lastNodeError, errors, code } = error as Error & { lastNodeError?: Error; errors?: Error[]; code?: string };
  if (lastNodeError) return causeOf(lastNodeError);
  // ioredis tells of its own attempts at Sentinels, whose delays would make each text a new one.
  if (error.message !== '')
    return error.message.replace(/( and retry is disabled|\. Retrying from scratch after \d+ms)(?=\.)/, '');
  return errors?.map((each) => each.message).join('; ') || code || error.name;
}

/** How attempts at a Redis that is away, or refuses something, are spaced. */
export const REDIS_BACKOFF = { firstMs: 100, longestMs: 10_000, spread: 0.5 } as const;
