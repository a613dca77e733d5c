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
  membersOf,
  socketOf,
  takeFurtherErrors,
  type RedisClient,
} from './redis-client.js';
import type { OwnedConnection } from './redis-connections.js';
import { RedisRole, ReplicaError } from './redis-role.js';
import { RedisSilence } from './redis-silence.js';

/** Learns of changes of a link. */
export interface RedisLinkListener {
  /** Commands can be sent. Called again after every reconnection. */
  up(): void;
  /** Commands cannot be sent any more. Unanswered ones will not be answered. */
  down(): void;
  /** `link.error` may have changed: an attempt or an established link has failed, or Redis answers again. */
  changed(): void;
  /** The Redis at the other end has become a replica; the link is cut and replaced. */
  demoted?(): void;
}

// How long a hanging Redis may delay close().
const CLOSE_TIMEOUT_MS = 200;

/** After this many beats without an answer, the link counts as failed until Redis answers. */
const SILENT_BEATS = 2;

/** After this many beats without an answer, the other end counts as gone. */
const DEAD_BEATS = 3;

const UNANSWERED = 'it does not answer';

// If a link is lost again sooner than this, the waits are not reset; otherwise it would flap rapidly.
const STABLE_MS = 2_000;

/**
 * One connection to Redis across all its attempts. It knows whether the connection is usable, and if not, why. It tries again until it is
 * closed, even if ioredis has given up.
 */
export class RedisLink {
  /** Whether Redis has answered since the connection was made. */
  isUp = false;
  /** The last failure; `undefined` while the link is up and answers. */
  error: MessagingError | undefined = undefined;
  readonly client: RedisClient;
  readonly address: string;
  private readonly backoff: OwnedConnection['backoff'];
  // Whether the next attempt may reach another Redis with the same posts.
  private readonly hasOthers: boolean;
  private readonly role: RedisRole;
  private readonly silence: RedisSilence;
  private member: ClusterMember | undefined = undefined;
  private attemptError: Error | undefined = undefined;
  private isClosed = false;
  private isGathering = false;
  private unansweredBeats = 0;
  /** Functions that end the unanswered questions. */
  private readonly questions = new Set<(error: Error) => void>();
  private retry: NodeJS.Timeout | undefined = undefined;
  private stable: NodeJS.Timeout | undefined = undefined;

  /** @param post - a post that reaches nobody, if posts are sent through this connection */
  constructor(
    { client, backoff, cluster, isMember = cluster !== undefined }: OwnedConnection,
    private readonly listener: RedisLinkListener,
    post?: (client: RedisClient) => Promise<unknown>,
  ) {
    this.hasOthers = cluster !== undefined;
    this.client = client;
    this.backoff = backoff;
    this.address = addressOf(cluster ?? client);
    this.role = new RedisRole(client, this.address, isMember);
    const dead = (): void => this.cut(new Error(UNANSWERED));
    this.silence = new RedisSilence({ client, address: this.address, isMember, post, dead });
  }

  /** How many bytes the connection has received; `undefined` if that is unknown. */
  get bytesRead(): number | undefined {
    return socketOf(this.client)?.bytesRead;
  }

  /** The client to publish with: for a Cluster, one member at a time. */
  get publishing(): RedisClient {
    const { client } = this;
    if (!client.isCluster) return client;
    this.member ??= new ClusterMember(client, () => this.memberLost());
    return this.member.current ?? client;
  }

  /** Connects. Failures go to the listener. */
  open(): void {
    const { client } = this;
    client.on('+node', (node: RedisClient) => node.on('error', () => takeFurtherErrors(node)));
    client.on('ready', this.verify);
    client.on('error', this.onError);
    client.on('close', this.onClose);
    client.on('end', this.onEnd);
    if (client.status === 'ready') this.verify();
    else if (client.status === 'wait' || client.status === 'end') this.connect();
  }

  /**
   * Checks whether the other end still answers and is a master, and cuts the link if not. Call it at intervals.
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
    // A Cluster asks any member whether it is alive; this is the connection that matters.
    this.member?.beat();
  }

  /** Checks, between two beats, whether the earlier ones have been answered. */
  lookBetweenBeats(): void {
    if (this.unansweredBeats < SILENT_BEATS) return;
    if (this.hasOthers) return this.cut(new Error(UNANSWERED));
    // Another member of a Cluster may answer.
    if (!this.isUp || this.error !== undefined || this.client.isCluster) return;
    this.error = this.unreachable(new Error(UNANSWERED));
    this.listener.changed();
  }

  /** Checks whether the connection is dead although Redis answers. Call it at shorter intervals. */
  watch(): void {
    // A Cluster asks any member.
    if (!this.isUp || this.client.isCluster) return;
    if (this.silence.isOn) return this.silence.look();
    this.silence.asked();
    this.client.ping().then(this.onAlive, this.onAlive);
  }

  /** Ends the connection at once, without waiting for the other end. The next attempt starts immediately. */
  cut(error: Error): void {
    this.unansweredBeats = 0;
    this.attemptError = error;
    this.disconnect(true);
    // The other end of a dead connection never acknowledges, and ioredis would wait for that.
    this.destroySocket();
  }

  /** Ends a connection for subscriptions that hears no published messages. @returns the error */
  cutDeaf(): Error {
    const cause = new Error('beats do not come back');
    const text = `the subscription to ${this.address} hears nothing of what is published, though its connection lives`;
    const error = new TransportUnavailableError(`${text}; it is made anew`, { cause });
    this.cut(error);
    return error;
  }

  /** Checks the role again. A link that cannot ask is replaced, and the new one asks first. */
  checkRole(): void {
    if (!this.isUp) return;
    if (this.role.canAsk) this.check();
    else this.cut(new Error('its role has to be looked at again'));
  }

  /** Posts have not been answered in time: for a Cluster, another member is tried. */
  overdue(): void {
    this.member?.leave();
  }

  /**
   * Sends the commands of this turn together, at its end: ioredis writes each one separately, and a Redis that wakes up for each of them
   * needs three times as long for a post.
   */
  gather(): void {
    if (this.isGathering) return;
    this.isGathering = true;
    // A command may go to any master of a Cluster.
    const sockets = membersOf(this.client, 'master').map(socketOf);
    for (const socket of sockets) socket?.cork?.();
    process.nextTick(() => {
      this.isGathering = false;
      for (const socket of sockets) socket?.uncork?.();
    });
  }

  /**
   * Waits for an answer of Redis as long as the link is up. ioredis does not settle commands that were under way when a connection ended.
   *
   * @throws (rejects) as the answer, and if the link fails first
   */
  whileUp<T>(answer: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.questions.add(reject);
      answer.then(resolve, reject).finally(() => this.questions.delete(reject));
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
    this.silence.end();
    this.endQuestions();
    clearTimeout(this.retry);
    clearTimeout(this.stable);
    const { client } = this;
    // The error listener stays: ioredis writes errors without a listener to the console.
    this.member?.close();
    client.off('ready', this.verify);
    client.off('close', this.onClose);
    client.off('end', this.onEnd);
    this.isUp = false;
    // Between two attempts ioredis has no socket, and reports no end.
    const hasSocket = !['wait', 'reconnecting', 'close', 'end'].includes(client.status);
    const ended = hasSocket ? this.ended() : undefined;
    if (client.status !== 'end') this.disconnect(false);
    await ended;
  }

  private disconnect(reconnect: boolean): void {
    for (const member of membersOf(this.client, 'all')) takeFurtherErrors(member);
    this.client.disconnect(reconnect);
  }

  private connect(): void {
    // Events report the same failures.
    this.client.connect().catch(() => undefined);
  }

  /** The `ready` event of ioredis 5 comes before the answer to AUTH, so the link is ready only after an answer of Redis. */
  private readonly verify = (): void => {
    this.role.check().then(this.onAnswer, (error: Error) => {
      if (!(error instanceof ReplicaError)) {
        if (!isReply(error)) return;
        // A user without permission for PING has been admitted, and so has one that gets a LOADING error.
        if (!isRefusal(error) || isDenial(error)) return this.onAnswer();
      }
      this.onError(error);
      this.disconnect(true);
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

  private readonly onAlive = (): void => {
    this.silence.end();
    this.unansweredBeats = 0;
    if (!this.isUp || this.error === undefined) return;
    this.error = undefined;
    this.listener.changed();
  };

  private check(): void {
    this.silence.asked();
    this.role.check().then(this.onAlive, (error: Error) => {
      this.onAlive();
      if (!(error instanceof ReplicaError) || !this.isUp) return;
      this.cut(error);
      this.listener.demoted?.();
    });
  }

  private memberLost(): void {
    if (!this.isUp || this.isClosed) return;
    this.down();
    this.listener.up();
  }

  private down(): void {
    this.endQuestions();
    this.listener.down();
  }

  private endQuestions(): void {
    for (const end of this.questions) end(new Error('the connection has ended'));
    this.questions.clear();
  }

  private readonly onError = (error: Error): void => {
    takeFurtherErrors(this.client);
    if (this.isClosed) return;
    if (isOutOfStep(error)) return this.cut(this.outOfStep());
    this.attemptError = error;
    if (!this.isUp) this.fail();
  };

  private readonly onClose = (): void => {
    const wasUp = this.isUp;
    this.isUp = false;
    this.silence.end();
    clearTimeout(this.stable);
    if (wasUp) this.down();
    this.fail();
    this.attemptError = undefined;
  };

  private readonly onEnd = (): void => {
    // The application's retryStrategy has given up, or ioredis has because it cannot connect.
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

  /** Leaves out the text of ioredis, which quotes the answer and so perhaps a message. */
  private outOfStep(): MessagingError {
    const text = `${this.address} sent an answer that belongs to no command`;
    return new TransportUnavailableError(`${text}; the library reconnects`);
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
