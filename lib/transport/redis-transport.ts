import { ReplaySubject, type Observable } from 'rxjs';
import type { PublishOptions, Transport, TransportReceiver, TransportStatus } from '../core/transport.js';
import { describe } from '../protocol/channel-name.js';
import { ConfigurationError, TransportUnavailableError } from '../protocol/errors.js';
import { Deferred } from './deferred.js';
import { isReply } from './redis-client.js';
import { createConnections, type RedisConstructor } from './redis-connections.js';
import { RedisLink, type RedisLinkListener } from './redis-link.js';
import { RedisNames } from './redis-names.js';
import { normalizeRedisOption, type RedisOption, type RedisSettings } from './redis-options.js';
import { RedisPublisher } from './redis-publisher.js';
import { RedisSubscriber } from './redis-subscriber.js';

/** How long `start` waits for a Redis that does not answer; it is tried further afterwards. */
const START_TIMEOUT_MS = 2_000;

/** How often a link without traffic is checked. */
const HEARTBEAT_MS = 10_000;

/** What does not say where Redis is. */
export interface RedisTransportSettings {
  /**
   * Before every Redis channel.
   * @defaultValue 'messaging:'
   */
  readonly prefix?: string | undefined;
  /** Instead of importing ioredis. @internal */
  readonly load?: (() => Promise<RedisConstructor>) | undefined;
  /** @defaultValue 10_000 @internal */
  readonly heartbeatMs?: number | undefined;
}

/**
 * Carries payloads over Redis' publish/subscribe, by two connections whatever the load. At most once; in order
 * for each channel and publisher. Stays with Redis through outages: interests are registered again before the
 * status is `ready`, and what is published meanwhile waits for at most `publishTimeoutMs` and 16 MiB.
 *
 * Over a `Cluster` subscriptions are restored by ioredis, which does not tell when; use `Redis` where
 * `ready` has to mean that nothing is missed from then on.
 */
export class RedisTransport implements Transport {
  readonly status: Observable<TransportStatus>;
  private readonly changes = new ReplaySubject<TransportStatus>(1);
  private readonly settings: RedisSettings;
  private readonly names: RedisNames;
  private readonly publisher: RedisPublisher;
  private readonly subscriber: RedisSubscriber;
  private readonly load: RedisTransportSettings['load'];
  private readonly heartbeatMs: number;
  private current: TransportStatus = { state: 'connecting' };
  private links: { commands: RedisLink; subscriber: RedisLink } | undefined = undefined;
  private refusal: Error | undefined = undefined;
  private heartbeat: NodeJS.Timeout | undefined = undefined;
  private starting: Promise<void> | undefined = undefined;
  private closing: Promise<void> | undefined = undefined;
  // Resolved once there is something to say about the first attempt.
  private readonly outcome = new Deferred();

  /**
   * @param redis - where Redis is
   * @throws ConfigurationError that names the option at fault
   */
  constructor(
    redis: RedisOption,
    { prefix = 'messaging:', load, heartbeatMs = HEARTBEAT_MS }: RedisTransportSettings = {},
  ) {
    if (typeof prefix !== 'string')
      throw new ConfigurationError(`Option "prefix" must be a string, not ${describe(prefix)}`);
    this.settings = normalizeRedisOption(redis);
    this.load = load;
    this.heartbeatMs = heartbeatMs;
    this.names = new RedisNames(prefix, this.settings.interop);
    this.publisher = new RedisPublisher(this.settings.publishTimeoutMs, (error) => this.refused(error));
    this.subscriber = new RedisSubscriber(this.names, () => this.update());
    this.status = this.changes.asObservable();
    this.changes.next(this.current);
  }

  start(receiver: TransportReceiver): Promise<void> {
    return (this.starting ??= this.connect(receiver));
  }

  publish(channel: string, payload: string, options?: PublishOptions): Promise<boolean> {
    const name = this.names.toPublish(channel, options?.interop);
    // Stock parts, which know a channel by its own name, know no batches.
    return this.publisher.publish(name, payload, name === channel);
  }

  subscribe(name: string): Promise<void> {
    return this.subscriber.subscribe(name);
  }

  unsubscribe(name: string): void {
    this.subscriber.unsubscribe(name);
  }

  close(): Promise<void> {
    return (this.closing ??= this.end());
  }

  private async connect(receiver: TransportReceiver): Promise<void> {
    if (this.closing) return;
    const { commands, subscriber } = await createConnections(this.settings, this.load);
    this.links = {
      commands: new RedisLink(commands, this.listenTo(this.publisher)),
      subscriber: new RedisLink(subscriber, this.listenTo(this.subscriber)),
    };
    this.publisher.attach(this.links.commands);
    this.subscriber.attach(this.links.subscriber, receiver);
    this.links.commands.open();
    this.links.subscriber.open();
    // Closed while ioredis was being loaded: a factory may have connected already.
    if (this.closing) return this.closeLinks();
    this.heartbeat = setInterval(() => this.beat(), this.heartbeatMs).unref();
    const timer = setTimeout(this.outcome.resolve, START_TIMEOUT_MS);
    await this.outcome.promise;
    clearTimeout(timer);
    const refused = this.failure();
    if (!(refused instanceof ConfigurationError)) return;
    await this.close();
    throw refused;
  }

  private listenTo(part: { up(): void; down(): void }): RedisLinkListener {
    return {
      up: () => {
        part.up();
        this.update();
      },
      down: () => part.down(),
      failed: () => this.update(),
    };
  }

  private failure(): Error | undefined {
    const errors = [this.links?.commands.error, this.links?.subscriber.error];
    // That a connection was closed says less than why it does not come back, which the other may know already.
    return errors.find((error) => error?.cause !== undefined) ?? errors[0] ?? errors[1] ?? this.subscriber.error;
  }

  /** Derives the status from the state of the parts. */
  private update(): void {
    if (this.closing || !this.links) return;
    const { commands, subscriber } = this.links;
    const error = this.failure();
    if (commands.isUp && subscriber.isUp && this.subscriber.isRegistered) {
      this.emit({ state: 'ready', error: this.refusal });
    } else if (error !== undefined) {
      this.refusal = undefined;
      this.emit({ state: 'waiting', error });
    }
    // Otherwise it is on its way, and what was said last still holds.
    else return;
    this.outcome.resolve();
  }

  private emit(status: TransportStatus): void {
    const { state, error } = this.current;
    if (state === status.state && error?.message === status.error?.message) return;
    this.current = status;
    this.changes.next(status);
  }

  /** Posts that Redis does not accept are the poster's `false`; why is told once for each answer that it gives. */
  private refused(cause: Error): void {
    if (!isReply(cause) || this.current.state !== 'ready') return;
    this.refusal = new TransportUnavailableError(`${this.links!.commands.address} refuses PUBLISH: ${cause.message}`, {
      cause,
    });
    this.update();
  }

  private beat(): void {
    this.links?.commands.beat();
    this.links?.subscriber.beat();
  }

  private async end(): Promise<void> {
    clearInterval(this.heartbeat);
    this.publisher.close();
    this.subscriber.close();
    this.outcome.resolve();
    await this.closeLinks();
    this.emit({ state: 'closed' });
    this.changes.complete();
  }

  private async closeLinks(): Promise<void> {
    await Promise.all([this.links?.commands.close(), this.links?.subscriber.close()]);
  }
}
