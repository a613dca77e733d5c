import type { BackoffOptions } from './backoff.js';

/**
 * The parts of an ioredis `Redis` or `Cluster` that this library uses, of ioredis 5 and later. A structural type, so that applications
 * without ioredis do not need its types.
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
  // Commands of Redis 7; early versions of ioredis 5 do not have them.
  spublish?(channel: string, payload: string): Promise<unknown>;
  ssubscribe?(...channels: string[]): Promise<unknown>;
  sunsubscribe?(...channels: string[]): Promise<unknown>;
  // oxlint-disable-next-line typescript/no-explicit-any -- so do ioredis' own types, which are to fit
  on(event: string, listener: (...args: any[]) => void): unknown;
  // oxlint-disable-next-line typescript/no-explicit-any -- as above
  off(event: string, listener: (...args: any[]) => void): unknown;
}

/** Whether a value is an ioredis client; clients of other libraries have no `status`. */
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

/** The address of a client for error texts, never with its credentials. */
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

/** The known members of a Cluster. A client of a single Redis is its own only member. */
export function membersOf(client: RedisClient, role: 'master' | 'all'): RedisClient[] {
  if (!client.isCluster) return [client];
  return (client as unknown as { nodes(role: string): RedisClient[] }).nodes(role);
}

interface Socket {
  readonly bytesRead?: number;
  readonly bytesWritten?: number;
  destroy?(): void;
  cork?(): void;
  uncork?(): void;
  on?(event: 'error', listener: () => void): unknown;
  off?(event: 'error', listener: () => void): unknown;
}

/** The socket of a client, an undocumented property of ioredis. */
export function socketOf(client: RedisClient): Socket | undefined {
  return (client as { stream?: Socket | null }).stream ?? undefined;
}

/**
 * Takes all further errors of a connection that has failed or is about to end. ioredis takes the first one only, but a TLS handshake may
 * report two, and an error that nobody takes ends the process.
 */
export function takeFurtherErrors(client: RedisClient): void {
  const socket = socketOf(client);
  // Once for each socket.
  socket?.off?.('error', ignore);
  socket?.on?.('error', ignore);
}

function ignore(): void {}

/** Whether the error is an answer of Redis, not a failed link. */
export function isReply(error: Error): boolean {
  return error.name === 'ReplyError';
}

/** Whether a command was not sent: the link has ended, and its listener is about to be called. */
export function isUnsent(error: Error): boolean {
  return error.message.startsWith("Stream isn't writeable");
}

/**
 * Whether ioredis received an answer without a command. From then on, answers may belong to other commands. ioredis 5 mistakes it for an
 * answer if Redis ends a subscription on its own, as a Cluster does when a slot moves.
 */
export function isOutOfStep(error: Error): boolean {
  return error.message.startsWith('Command queue state error');
}

// WRONGPASS and NOAUTH are from Redis 6 and later; the ERR forms are older.
const REFUSALS = /^(WRONGPASS|NOAUTH|NOPERM|DENIED|ERR AUTH|ERR invalid password|ERR Client sent AUTH|ERR DB index)/;

/** Whether Redis refuses a connection for a reason that a retry with the same options cannot change. */
export function isRefusal(error: Error): boolean {
  return REFUSALS.test(error.message);
}

/** Whether Redis does not permit this user to run a command. */
export function isDenial(error: Error): boolean {
  return error.message.startsWith('NOPERM');
}

const ELSEWHERE =
  /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b|Script attempted to access a non local key|while the cluster is down/;

/** Whether a Cluster member answered that another member is responsible, or that none is at the moment. */
export function isElsewhere(error: Error): boolean {
  return ELSEWHERE.test(error.message);
}

/** The answer of Redis without the command's arguments, which contain messages. */
export function replyText({ message }: Error): string {
  return message.replace(/,? with args beginning with:.*$/s, '');
}

/** The cause in words, even if an error has no message, such as ECONNREFUSED for several addresses. */
export function causeOf(error: Error): string {
  // A Cluster reports only that all nodes failed, and keeps the cause separately.
  const { lastNodeError, errors, code } = error as Error & { lastNodeError?: Error; errors?: Error[]; code?: string };
  if (lastNodeError) return causeOf(lastNodeError);
  // The texts of ioredis about Sentinels contain delays, which would make each text a new one.
  if (error.message !== '')
    return error.message.replace(/( and retry is disabled|\. Retrying from scratch after \d+ms)(?=\.)/, '');
  return errors?.map((each) => each.message).join('; ') || code || error.name;
}

/** The back-off for attempts at a Redis that is away, or refuses something. */
export const REDIS_BACKOFF: BackoffOptions = {
  firstMs: 100,
  longestMs: 10_000,
  spread: 0.5,
  // About the first 5 s.
  early: { attempts: 12, longestMs: 500 },
};
