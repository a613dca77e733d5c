import { ConfigurationError, TransportUnavailableError, type MessagingError } from '../protocol/errors.js';
import { Deferred } from './deferred.js';
import { addressOf, causeOf, isRefusal, isReply, type RedisClient } from './redis-client.js';
import type { OwnedConnection } from './redis-connections.js';

/** Told of what becomes of a link. */
export interface RedisLinkListener {
  /** Commands can be sent. Comes again after every reconnection. */
  up(): void;
  /** Commands cannot be sent any more; what was unanswered will not be. */
  down(): void;
  /** An attempt or an established link failed; `link.error` says why. */
  failed(): void;
}

// How long a hanging Redis may hold up close().
const CLOSE_TIMEOUT_MS = 200;

/**
 * One connection to Redis through all its attempts: knows whether it can be used, and why not. Tries
 * again until it is closed, also where ioredis has given up.
 */
export class RedisLink {
  /** Whether Redis has answered since the connection was made. */
  isUp = false;
  /** The last failure; none while the link is up. */
  error: MessagingError | undefined = undefined;
  readonly client: RedisClient;
  readonly address: string;
  private readonly backoff: OwnedConnection['backoff'];
  private attemptError: Error | undefined = undefined;
  private isClosed = false;
  private isSilent = false;
  private retry: NodeJS.Timeout | undefined = undefined;

  constructor(
    { client, backoff }: OwnedConnection,
    private readonly listener: RedisLinkListener,
  ) {
    this.client = client;
    this.backoff = backoff;
    this.address = addressOf(client);
  }

  /** Connects; failures are told to the listener. */
  open(): void {
    const { client } = this;
    client.on('ready', this.verify);
    client.on('error', this.onError);
    client.on('close', this.onClose);
    client.on('end', this.onEnd);
    if (client.status === 'ready') this.verify();
    else if (client.status === 'wait' || client.status === 'end') this.connect();
  }

  /**
   * Cuts a link that has not answered since the last call, so that one whose other end is gone without a
   * word is noticed. To be called at intervals.
   */
  beat(): void {
    const { client } = this;
    if (client.status !== 'ready' && client.status !== 'connect') {
      this.isSilent = false;
    } else if (this.isSilent) {
      this.isSilent = false;
      this.attemptError = new Error('it does not answer');
      client.disconnect(true);
    } else {
      this.isSilent = true;
      const answered = (): void => void (this.isSilent = false);
      if (this.isUp) client.ping().then(answered, answered);
    }
  }

  /** Ends the connection for good, whether Redis answers or not. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    clearTimeout(this.retry);
    const { client } = this;
    // The listener of errors stays: ioredis writes those to the console that nobody listens to.
    client.off('ready', this.verify);
    client.off('close', this.onClose);
    client.off('end', this.onEnd);
    this.isUp = false;
    // Between two attempts ioredis has no socket, and tells no end.
    const hasSocket = !['wait', 'reconnecting', 'close', 'end'].includes(client.status);
    const ended = hasSocket ? this.ended() : undefined;
    if (client.status !== 'end') client.disconnect();
    await ended;
  }

  private connect(): void {
    // What makes it reject is told by the events, too.
    this.client.connect().catch(() => undefined);
  }

  /** `ready` of ioredis 5 comes before the answer to AUTH: it is ready once Redis has answered. */
  private readonly verify = (): void => {
    this.client.ping().then(this.onAnswer, (error: Error) => {
      if (!isReply(error)) return;
      // Whoever may not PING has been let in; so has whoever is told that data is being loaded.
      if (!isRefusal(error) || error.message.startsWith('NOPERM')) return this.onAnswer();
      this.onError(error);
      this.client.disconnect(true);
    });
  };

  private readonly onAnswer = (): void => {
    if (this.isClosed || this.isUp || this.client.status !== 'ready') return;
    this.backoff.reset();
    this.isUp = true;
    this.isSilent = false;
    this.attemptError = undefined;
    this.error = undefined;
    this.listener.up();
  };

  private readonly onError = (error: Error): void => {
    if (this.isClosed) return;
    this.attemptError = error;
    if (!this.isUp) this.fail();
  };

  private readonly onClose = (): void => {
    const wasUp = this.isUp;
    this.isUp = false;
    if (wasUp) this.listener.down();
    this.fail();
    this.attemptError = undefined;
  };

  private readonly onEnd = (): void => {
    // The retryStrategy of the application has given up, or ioredis has where it finds no way to connect.
    this.retry = setTimeout(() => this.connect(), this.backoff.next());
  };

  private fail(): void {
    const cause = this.attemptError;
    if (cause !== undefined && isRefusal(cause)) {
      this.error = new ConfigurationError(`Option "redis": ${this.address} refuses the connection: ${cause.message}`, {
        cause,
      });
    } else if (cause !== undefined) {
      this.error = new TransportUnavailableError(`${this.address} cannot be reached: ${causeOf(cause)}`, { cause });
    } else {
      this.error = new TransportUnavailableError(`${this.address} closed the connection`);
    }
    this.listener.failed();
  }

  private async ended(): Promise<void> {
    const { client } = this;
    const { promise, resolve } = new Deferred();
    client.on('end', resolve);
    const timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
    await promise;
    clearTimeout(timer);
    (client as { stream?: { destroy?(): void } }).stream?.destroy?.();
  }
}
