import { isDenial, isRefusal, isReply, socketOf, takeFurtherErrors, type RedisClient } from './redis-client.js';
import { RedisRole } from './redis-role.js';

/** A connection that has left a question unanswered for this long is suspected. In milliseconds. */
const SUSPECT_MS = 400;

/** How long a new connection may take to be answered before another one is tried. */
const PROBE_MS = 1_000;

/** A connection is given up after this time at the latest, if new ones are answered. */
const FOUND_MS = 4_500;

/** More bytes than this between two looks are messages: an answer may wait behind them. */
const BUSY_BYTES = 4_096;

/** The slowest network that is reckoned with, in bytes a millisecond: 1 Mbit/s. What was sent before a question takes its time. */
const SLOWEST = 125;

/** No repetitions of its own: it is used once. */
const ONCE = {
  lazyConnect: true,
  enableOfflineQueue: false,
  enableReadyCheck: false,
  autoResubscribe: false,
  failoverDetector: false,
  connectionName: 'nestjs-messaging:probe',
  retryStrategy: null,
  sentinelRetryStrategy: null,
};

/** What a {@link RedisSilence} needs to know of a connection. */
export interface ObservedConnection {
  readonly client: RedisClient;
  readonly address: string;
  /** Whether it is connected to a member of a Cluster. */
  readonly isMember: boolean;
  /** A post that reaches nobody, for connections that posts are sent through: a Redis that holds posts back answers other questions. */
  readonly post?: ((client: RedisClient) => Promise<unknown>) | undefined;
  /** New connections are answered, but this one is not. */
  dead(): void;
}

/**
 * Tells a dead connection from a Redis that does not answer: while questions remain unanswered, it asks over a new connection. If that one is
 * answered, the silent one gets as long again, because a connection that has lost packets repeats them at growing intervals. Then it is dead.
 */
export class RedisSilence {
  /** Since when a question has been unanswered; later, if it had to wait behind what was sent before. */
  private sinceMs: number | undefined = undefined;
  private probe: Probe | undefined = undefined;
  /** Until the connection is suspected. */
  private soon: NodeJS.Timeout | undefined = undefined;
  private patience: NodeJS.Timeout | undefined = undefined;
  private bytesRead: number | undefined = 0;
  /** How much had been sent when a question was asked: before the one that was answered last, and before the current one. */
  private sent = { answered: 0, asked: 0 };

  constructor(private readonly connection: ObservedConnection) {}

  /** Whether a question is unanswered. */
  get isOn(): boolean {
    return this.sinceMs !== undefined;
  }

  /** A question has been sent. */
  asked(): void {
    if (this.isOn) return;
    const { sent } = this;
    const asked = socketOf(this.connection.client)?.bytesWritten ?? 0;
    // A new connection counts from the beginning.
    const answered = asked < sent.answered ? 0 : sent.answered;
    this.sent = { answered, asked };
    this.sinceMs = performance.now() + (asked - answered) / SLOWEST;
    this.bytesRead = this.bytesNow;
  }

  /** A question has been answered, or no answer can come any more. */
  end(): void {
    if (this.isOn) this.sent.answered = this.sent.asked;
    this.stop();
  }

  /** Call it at intervals. */
  look(): void {
    // If this process was busy, the answer may have arrived unread.
    if (this.isOn) setImmediate(() => this.suspect());
  }

  private stop(): void {
    this.sinceMs = undefined;
    this.probe?.close();
    clearTimeout(this.soon);
    clearTimeout(this.patience);
    this.probe = this.soon = this.patience = undefined;
  }

  private get bytesNow(): number | undefined {
    return socketOf(this.connection.client)?.bytesRead;
  }

  private suspect(): void {
    const { sinceMs } = this;
    if (sinceMs === undefined || this.isReceiving()) return;
    const now = performance.now();
    if (this.patience !== undefined) return;
    if (now - sinceMs < SUSPECT_MS) {
      // The next look may be much later.
      this.soon ??= setTimeout(() => this.look(), Math.ceil(sinceMs + SUSPECT_MS - now)).unref();
      return;
    }
    if (this.probe !== undefined && now - this.probe.startMs < PROBE_MS) return;
    this.probe?.close();
    this.probe = new Probe(this.connection, () => this.otherAnswered());
  }

  /**
   * Whether something arrives, so that the answer may follow: then the time starts anew. Messages may also arrive if questions do not reach
   * Redis.
   */
  private isReceiving(): boolean {
    const { bytesNow } = this;
    const added = bytesNow! - this.bytesRead!;
    this.bytesRead = bytesNow;
    const { condition } = this.connection.client as { condition?: { subscriber?: unknown } | null };
    if (!(added >= (condition?.subscriber ? BUSY_BYTES : 1))) return false;
    this.stop();
    this.asked();
    return true;
  }

  private otherAnswered(): void {
    if (this.sinceMs === undefined || this.patience !== undefined) return;
    const silentMs = performance.now() - this.sinceMs;
    const patienceMs = Math.max(SUSPECT_MS, Math.min(silentMs, FOUND_MS - silentMs));
    const over = (): void => {
      if (this.isOn && !this.isReceiving()) this.connection.dead();
    };
    this.patience = setTimeout(() => setImmediate(over), patienceMs).unref();
  }
}

/** A new connection to the same Redis, for one question, and for a post if the silent one has posts. */
class Probe {
  readonly startMs = performance.now();
  private client: RedisClient | undefined = undefined;

  constructor({ client, address, isMember, post }: ObservedConnection, answered: () => void) {
    const ask = async (): Promise<void> => {
      const probe = (this.client = client.duplicate(ONCE));
      probe.on('error', () => takeFurtherErrors(probe));
      await probe.connect();
      await new RedisRole(probe, address, isMember).check();
      await post?.(probe);
    };
    void ask()
      .then(() => true, isOfLiveRedis)
      .then((isAnswered) => {
        if (isAnswered && this.client !== undefined) answered();
        this.close();
      });
  }

  close(): void {
    const { client } = this;
    this.client = undefined;
    if (client === undefined) return;
    takeFurtherErrors(client);
    client.disconnect();
    socketOf(client)?.destroy?.();
  }
}

/** Whether a Redis that admits clients has answered with this error. */
function isOfLiveRedis(error: Error): boolean {
  return isReply(error) && (!isRefusal(error) || isDenial(error));
}
