import { Deferred } from '../core/deferred.js';
import { ConfigurationError, TransportUnavailableError, type MessagingError } from '../protocol/errors.js';
import { ClusterMember } from './cluster-member.js';
import {
  addressOf,
  causeOf,
  isDenial,
  isOutOfStep,
  isRefusal,
  isReply,
  isUnsent,
  type RedisClient,
} from './redis-client.js';
import type { OwnedConnection } from './redis-connections.js';
import { RedisRole, ReplicaError } from './redis-role.js';

/** Told of what becomes of a link. */
export interface RedisLinkListener {
  /** Commands can be sent. Comes again after every reconnection. */
  up(): void;
  /** Commands cannot be sent any more; what was unanswered will not be. */
  down(): void;
  /** `link.error` may have changed: an attempt or an established link failed, or it answers again. */
  changed(): void;
  /** The Redis at the other end has become a replica; the link is cut and made anew. */
  demoted?(): void;
}

// How long a hanging Redis may hold up close().
const CLOSE_TIMEOUT_MS = 200;

/** After so many beats without an answer the link counts as failed until it answers. */
const SILENT_BEATS = 2;

/** After so many beats without an answer the other end is taken for gone. */
const DEAD_BEATS = 3;

const UNANSWERED = 'it does not answer';

// A link that is lost again sooner does not begin anew with short waits, or it would flap as fast as it can.
const STABLE_MS = 2_000;

/**
 * One connection to Redis through all its attempts: knows whether it can be used, and why not. Tries
 * again until it is closed, also where ioredis has given up.
 */
export class RedisLink {
  /** Whether Redis has answered since the connection was made. */
  isUp = false;
  /** The last failure; none while the link is up and answers. */
  error: MessagingError | undefined = undefined;
  readonly client: RedisClient;
  readonly address: string;
  private readonly backoff: OwnedConnection['backoff'];
  // Whether the next attempt goes to another Redis, which gets the same posts.
  private readonly hasOthers: boolean;
  private readonly role: RedisRole;
  private member: ClusterMember | undefined = undefined;
  private attemptError: Error | undefined = undefined;
  private isClosed = false;
  private isGathering = false;
  private unansweredBeats = 0;
  private retry: NodeJS.Timeout | undefined = undefined;
  private stable: NodeJS.Timeout | undefined = undefined;

  constructor(
    { client, backoff, cluster, isMember = cluster !== undefined }: OwnedConnection,
    private readonly listener: RedisLinkListener,
  ) {
    this.hasOthers = cluster !== undefined;
    this.client = client;
    this.backoff = backoff;
    this.address = addressOf(cluster ?? client);
    this.role = new RedisRole(client, this.address, isMember);
  }

  /** How many bytes the connection has received; `undefined` if it does not tell. */
  get bytesRead(): number | undefined {
    return socketOf(this.client)?.bytesRead;
  }

  /** Where to publish: of a Cluster one member at a time. */
  get publishing(): RedisClient {
    const { client } = this;
    if (!client.isCluster) return client;
    this.member ??= new ClusterMember(client, () => this.memberLost());
    return this.member.current ?? client;
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
   * Looks whether the other end still answers and still is a master, and cuts the link if not. To be called at
   * intervals.
   */
  beat(): void {
    const { client } = this;
    if (client.status !== 'ready' && client.status !== 'connect') {
      this.unansweredBeats = 0;
      return;
    }
    if (this.unansweredBeats >= DEAD_BEATS) return this.cut(new Error(UNANSWERED));
    this.unansweredBeats++;
    if (this.isUp) this.check();
    // A Cluster asks any member for a sign of life; this is the connection that matters.
    this.member?.beat();
  }

  /** Looks, between two beats, whether the earlier ones have been answered. */
  lookBetweenBeats(): void {
    if (this.unansweredBeats < SILENT_BEATS) return;
    if (this.hasOthers) return this.cut(new Error(UNANSWERED));
    // Another member of a Cluster may answer.
    if (!this.isUp || this.error !== undefined || this.client.isCluster) return;
    this.error = this.unreachable(new Error(UNANSWERED));
    this.listener.changed();
  }

  /** Ends the connection as it is, without waiting for the other end; the next attempt comes at once. */
  cut(error: Error): void {
    this.unansweredBeats = 0;
    this.attemptError = error;
    this.client.disconnect(true);
    // The other end of a dead connection acknowledges no end, which ioredis would wait for.
    this.destroySocket();
  }

  /** Ends a connection for subscriptions that hears nothing of what is published. @returns why */
  cutDeaf(): Error {
    const cause = new Error('beats do not come back');
    const text = `the subscription to ${this.address} hears nothing of what is published, though its connection lives`;
    const error = new TransportUnavailableError(`${text}; it is made anew`, { cause });
    this.cut(error);
    return error;
  }

  /** Looks at the role again; a link that cannot ask for it is made anew, which asks first. */
  checkRole(): void {
    if (!this.isUp) return;
    if (this.role.canAsk) this.check();
    else this.cut(new Error('its role has to be looked at again'));
  }

  /** Posts have not been answered in time: of a Cluster another member is tried. */
  overdue(): void {
    this.member?.leave();
  }

  /**
   * Sends the commands of this turn together, at its end: ioredis writes each by itself, and a Redis that is woken for
   * each of them takes three times as much for a post.
   */
  gather(): void {
    if (this.isGathering) return;
    const socket = socketOf(this.client);
    if (socket?.cork === undefined) return;
    this.isGathering = true;
    socket.cork();
    process.nextTick(() => {
      this.isGathering = false;
      socket.uncork?.();
    });
  }

  /** See {@link isUnsent}. */
  isUnsent(error: Error): boolean {
    return isUnsent(error);
  }

  /** Nothing has been heard since the start: from now on that counts as a failure. */
  late(waitedMs: number): void {
    if (this.isUp || this.isClosed || this.error !== undefined) return;
    this.error = new TransportUnavailableError(`${this.address} has not answered for ${waitedMs / 1_000} s`);
    this.listener.changed();
  }

  /** Ends the connection for good, whether Redis answers or not. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    clearTimeout(this.retry);
    clearTimeout(this.stable);
    const { client } = this;
    // The listener of errors stays: ioredis writes those to the console that nobody listens to.
    this.member?.close();
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
    this.role.check().then(this.onAnswer, (error: Error) => {
      if (!(error instanceof ReplicaError)) {
        if (!isReply(error)) return;
        // Whoever may not PING has been let in; so has whoever is told that data is being loaded.
        if (!isRefusal(error) || isDenial(error)) return this.onAnswer();
      }
      this.onError(error);
      this.client.disconnect(true);
    });
  };

  private readonly onAnswer = (): void => {
    if (this.isClosed || this.isUp || this.client.status !== 'ready') return;
    this.stable = setTimeout(() => this.backoff.reset(), STABLE_MS).unref();
    this.isUp = true;
    this.unansweredBeats = 0;
    this.attemptError = undefined;
    this.error = undefined;
    this.listener.up();
  };

  private check(): void {
    const answered = (): void => {
      this.unansweredBeats = 0;
      if (!this.isUp || this.error === undefined) return;
      this.error = undefined;
      this.listener.changed();
    };
    this.role.check().then(answered, (error: Error) => {
      answered();
      if (!(error instanceof ReplicaError) || !this.isUp) return;
      this.cut(error);
      this.listener.demoted?.();
    });
  }

  private memberLost(): void {
    if (!this.isUp || this.isClosed) return;
    this.listener.down();
    this.listener.up();
  }

  private readonly onError = (error: Error): void => {
    if (this.isClosed) return;
    if (isOutOfStep(error)) return this.cut(this.outOfStep());
    this.attemptError = error;
    if (!this.isUp) this.fail();
  };

  private readonly onClose = (): void => {
    const wasUp = this.isUp;
    this.isUp = false;
    clearTimeout(this.stable);
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
    } else if (cause instanceof TransportUnavailableError) {
      this.error = cause;
    } else if (cause !== undefined) {
      this.error = this.unreachable(cause);
    } else {
      this.error = new TransportUnavailableError(`${this.address} closed the connection`);
    }
    this.listener.changed();
  }

  /** Without what ioredis says, which quotes the answer: that may be a message. */
  private outOfStep(): MessagingError {
    const text = `${this.address} sent an answer that belongs to no command`;
    return new TransportUnavailableError(`${text}; it is connected to anew`);
  }

  private unreachable(cause: Error): MessagingError {
    return new TransportUnavailableError(`${this.address} cannot be reached: ${causeOf(cause)}`, { cause });
  }

  private async ended(): Promise<void> {
    const { client } = this;
    const { promise, resolve } = new Deferred();
    client.on('end', resolve);
    const timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
    await promise;
    clearTimeout(timer);
    this.destroySocket();
  }

  private destroySocket(): void {
    socketOf(this.client)?.destroy?.();
  }
}

interface Socket {
  readonly bytesRead?: number;
  destroy?(): void;
  cork?(): void;
  uncork?(): void;
}

/** The socket of a client, which ioredis does not document. */
function socketOf(client: RedisClient): Socket | undefined {
  return (client as { stream?: Socket }).stream;
}
