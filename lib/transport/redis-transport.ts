import { ReplaySubject, type Observable } from 'rxjs';
import { Deferred } from '../core/deferred.js';
import type {
  PublishOptions,
  SubscribeOptions,
  Transport,
  TransportEvents,
  TransportReceiver,
  TransportStatus,
} from '../core/transport.js';
import { isTemplate } from '../protocol/channel-name.js';
import { ConfigurationError } from '../protocol/errors.js';
import { DEFAULT_LIMITS } from '../protocol/limits.js';
import { OutboundGate } from './outbound-gate.js';
import { plainMark, toPlainPacket } from './plain-packet.js';
import { LINE_BREAK } from './payload-batch.js';
import { PostRefusals } from './post-refusals.js';
import { PayloadReader } from './payload-reader.js';
import { connectMember, createConnections, type OwnedConnection, type RedisConstructor } from './redis-connections.js';
import { subscribersOf } from './redis-hearers.js';
import { RedisHistory } from './redis-history.js';
import { RedisHistoryCheck } from './redis-history-check.js';
import { RedisLink, type RedisLinkListener } from './redis-link.js';
import { RedisNames } from './redis-names.js';
import { normalizeRedisOption, type RedisOption, type RedisSettings } from './redis-options.js';
import { RedisPublisher } from './redis-publisher.js';
import { RedisShards } from './redis-shards.js';
import { watchMembers } from './returned-members.js';
import { RedisSubscriber } from './redis-subscriber.js';

/** How long `start` waits for a Redis that does not answer. Attempts continue afterwards. */
const START_TIMEOUT_MS = 2_000;

/** How often the transport checks that the other ends answer and are masters, and that published messages come back. */
const HEARTBEAT_MS = 2_000;

/** How many reasons one outage may have before the status stops repeating them. */
const MAX_REASONS = 5;

/** Settings other than the connection. */
export interface RedisTransportSettings {
  /**
   * Before every Redis channel, and ended there by `|`: the channel `news` is `messaging:|news` in Redis. Applications with
   * different prefixes never hear each other, also if one prefix begins with the other.
   * @defaultValue 'messaging:'
   */
  readonly prefix?: string | undefined;
  /**
   * The longest message, in bytes; bounds what is read of a batch.
   * @defaultValue 1_048_576
   */
  readonly maxMessageBytes?: number | undefined;
  /** Replaces the import of ioredis. @internal */
  readonly load?: (() => Promise<RedisConstructor>) | undefined;
  /** @defaultValue 2_000 @internal */
  readonly heartbeatMs?: number | undefined;
}

/**
 * Carries payloads over Redis' publish/subscribe, with two connections whatever the load. At most once; in order for each channel and
 * publisher. It reconnects after outages: interests are registered again before the status is `ready` and before waiting posts are sent.
 * Meanwhile, posts wait for at most `publishTimeoutMs` and 16 MiB. Each interest that was not heard for a while is reported as lost. A
 * connection that is silent while Redis answers over another one is replaced within 5 s, mostly 1.5 s. A subscription that hears nothing
 * although its connection is alive is found within 5 s, or within 30 s under heavy traffic, and replaced.
 *
 * With a `Cluster`, one connection to a member carries the subscriptions, and posts go through one member.
 */
export class RedisTransport implements Transport {
  readonly status: Observable<TransportStatus>;
  readonly history: RedisHistory;
  readonly noInterop: string | undefined;
  private readonly changes = new ReplaySubject<TransportStatus>(1);
  private readonly settings: RedisSettings;
  private readonly names: RedisNames;
  private readonly publisher: RedisPublisher;
  private readonly gate = new OutboundGate(() => this.opened());
  private readonly subscriber: RedisSubscriber;
  // Replaces both if each master of a Cluster carries its own channels.
  private readonly shards: RedisShards | undefined;
  private readonly reader: PayloadReader;
  private readonly mark: string;
  private readonly load: RedisTransportSettings['load'];
  private readonly heartbeatMs: number;
  private current: TransportStatus = { state: 'connecting' };
  private links: { commands: RedisLink; subscriber: RedisLink | undefined } | undefined = undefined;
  private readonly refusals: PostRefusals;
  private readonly historyCheck: RedisHistoryCheck;
  // Why posts are not accepted although the link is up, or why there is no link. Each reason is reported once.
  private readonly reasons = new Set<string>();
  private heartbeat: NodeJS.Timeout | undefined = undefined;
  private ticks = 0;
  // How many times in a row the subscription was found to be deaf.
  private deafCount = 0;
  private unwatch: (() => void) | undefined = undefined;
  private starting: Promise<void> | undefined = undefined;
  private closing: Promise<void> | undefined = undefined;
  // Resolved once the outcome of the first attempt is known.
  private readonly outcome = new Deferred();

  /**
   * @param redis - the address of Redis
   * @throws ConfigurationError that names the option at fault
   */
  constructor(
    redis: RedisOption,
    {
      prefix = 'messaging:',
      maxMessageBytes = DEFAULT_LIMITS.maxMessageBytes,
      load,
      heartbeatMs = HEARTBEAT_MS,
    }: RedisTransportSettings = {},
  ) {
    this.settings = normalizeRedisOption(redis);
    this.load = load;
    this.heartbeatMs = heartbeatMs;
    const { publishTimeoutMs, sharded, interop, noInterop } = this.settings;
    this.names = new RedisNames(prefix, interop, sharded);
    this.noInterop = noInterop;
    this.mark = plainMark(prefix);
    const changed = (): void => this.update();
    this.refusals = new PostRefusals(
      publishTimeoutMs,
      () => this.links!.commands.address,
      changed,
      () => this.accepted(),
    );
    const { ofPosts, ofAppends } = this.refusals;
    this.publisher = new RedisPublisher(publishTimeoutMs, ofPosts, undefined, this.names.nameStart);
    this.reader = new PayloadReader(this.mark, maxMessageBytes);
    this.history = new RedisHistory(
      this.names,
      publishTimeoutMs,
      { ...ofAppends, malformed: (channel, error) => this.reader.reject(channel, error) },
      this.gate,
    );
    this.subscriber = new RedisSubscriber(this.names, this.reader, heartbeatMs / 2, {
      changed,
      publish: (key, payload) => this.publishBeat(key, payload),
      deaf: () => this.deaf(),
    });
    this.historyCheck = new RedisHistoryCheck(this.history, changed);
    if (sharded) {
      const listener = { ...ofPosts, changed };
      this.shards = new RedisShards(this.names, this.reader, heartbeatMs / 2, publishTimeoutMs, this.gate, listener);
    }
    this.status = this.changes.asObservable();
    this.changes.next(this.current);
  }

  start(receiver: TransportReceiver, events: TransportEvents = {}): Promise<void> {
    return (this.starting ??= this.connect(receiver, events));
  }

  publish(channel: string, payload: string, options?: PublishOptions): Promise<boolean> {
    const isAlone = options?.isLine !== true && payload.includes(LINE_BREAK);
    if (this.shards !== undefined) return this.shards.publish(channel, payload, isAlone);
    const accepted = this.publisher.publish(this.names.toPublish(channel), payload, isAlone);
    if (!this.names.isPlain(channel, options?.interop)) return accepted;
    const packet = toPlainPacket(payload, this.mark);
    // Stock parts do not know batches.
    return packet === undefined
      ? accepted
      : Promise.all([accepted, this.publisher.publish(channel, packet, true)]).then((all) => all.every(Boolean));
  }

  subscribe(name: string, options?: SubscribeOptions): Promise<void> {
    return this.subscriptions.subscribe(name, options);
  }

  unsubscribe(name: string): void {
    this.subscriptions.unsubscribe(name);
  }

  hearers(name: string): Promise<number | undefined> {
    // Redis does not report subscribers of individual patterns.
    if (isTemplate(name) || this.closing || !this.links?.commands.isUp) return Promise.resolve(undefined);
    return subscribersOf(this.links.commands, this.names.toPublish(name), this.settings);
  }

  async catchUp(): Promise<boolean> {
    const { commands } = this.links ?? {};
    // On a single Redis, all messages come in one order.
    if (commands?.client.isCluster !== true) return true;
    return !this.closing && this.subscriptions.catchUp(commands.client);
  }

  async settled(): Promise<void> {
    // Over one connection, posts to all channels go in one order.
    await this.shards?.settled();
  }

  close(): Promise<void> {
    return (this.closing ??= this.end());
  }

  private async connect(receiver: TransportReceiver, events: TransportEvents): Promise<void> {
    if (this.closing) return;
    const warn = (text: string): void => this.reader.warn(text);
    const { commands, subscriber } = await createConnections(this.settings, this.load, warn);
    this.reader.attach(receiver, events);
    this.gate.attach(events.beforePosts);
    const link = new RedisLink(
      commands,
      {
        up: () => this.commandsUp(),
        down: () => {
          this.publisher.down();
          this.history.down();
        },
        changed: () => this.update(),
        demoted: () => this.links?.subscriber?.checkRole(),
      },
      (client) => client.publish(this.names.probe, ''),
    );
    this.links = { commands: link, subscriber: undefined };
    this.publisher.attach(link, this.gate);
    this.history.attach(link);
    // The masters of a Cluster answer independently of each other.
    if (!commands.client.isCluster) this.publisher.problem.join(this.history.problem);
    // Of a Cluster that shards channels, each master has a link of its own.
    if (commands.client.isCluster && this.shards === undefined)
      this.unwatch = watchMembers(commands.client, this.returned);
    link.open();
    if (subscriber) this.openSubscriber(subscriber);
    // Closed while ioredis was loading: a factory may have connected already.
    if (this.closing) return this.closeLinks();
    this.heartbeat = setInterval(() => this.tick(), this.heartbeatMs / 4).unref();
    const timer = setTimeout(() => this.late(), START_TIMEOUT_MS);
    await this.outcome.promise;
    clearTimeout(timer);
    const refused = this.failure();
    if (!(refused instanceof ConfigurationError)) return;
    await this.close();
    throw refused;
  }

  /** A Redis that should have answered by now has not. */
  private late(): void {
    this.links?.commands.late(START_TIMEOUT_MS);
    this.links?.subscriber?.late(START_TIMEOUT_MS);
    this.shards?.late(START_TIMEOUT_MS);
    this.outcome.resolve();
  }

  private openSubscriber(connection: OwnedConnection): void {
    const link = new RedisLink(connection, this.listenTo(this.subscriber));
    this.links!.subscriber = link;
    this.subscriber.attach(link, connection.cluster !== undefined);
    link.open();
  }

  private commandsUp(): void {
    const { commands, subscriber } = this.links!;
    if (this.shards !== undefined) this.shards.attach(commands.client);
    else if (!subscriber && commands.client.isCluster) this.openSubscriber(connectMember(commands.client));
    // Other servers, which lost Redis at the same time, are likely to hear again when this one does.
    if (!this.subscriptions.isRestored) this.publisher.hold();
    void this.gate.shut();
    this.publisher.up();
    this.history.up();
    this.subscriptions.recheck();
    void this.historyCheck.look();
    this.update();
  }

  /** A member of a Cluster is back. It may have lost data that other nodes must know. */
  private readonly returned = (): void => {
    if (this.links?.commands.isUp !== true || this.closing) return;
    this.reader.interrupted();
    void this.gate.shut();
  };

  private opened(): void {
    this.publisher.up();
    this.history.opened();
  }

  private listenTo(part: { up(): void; down(): void }): RedisLinkListener {
    return {
      up: () => {
        part.up();
        this.update();
      },
      down: () => part.down(),
      changed: () => this.update(),
    };
  }

  private get subscriptions(): RedisSubscriber | RedisShards {
    return this.shards ?? this.subscriber;
  }

  private failure(): Error | undefined {
    const errors = [this.links?.commands.error, this.links?.subscriber?.error];
    // A closed connection is less informative than the reason why it does not come back, which the other connection may know.
    return (
      errors.find((error) => error?.cause !== undefined) ??
      errors[0] ??
      errors[1] ??
      this.subscriptions.error ??
      this.historyCheck.error
    );
  }

  /** Derives the status from the state of the parts. */
  private update(): void {
    if (this.closing || !this.links) return;
    if (this.subscriptions.isRestored) this.publisher.release();
    const error = this.failure();
    if (this.links.commands.isUp && this.subscriptions.isRegistered && error === undefined) {
      if (this.historyCheck.isAsking) return;
      this.deafCount = 0;
      this.emit({ state: 'ready', error: this.refusals.error ?? this.subscriptions.notice });
    } else if (error !== undefined) {
      this.emit({ state: 'waiting', error });
    }
    // Otherwise a connection attempt is under way, and the last status still holds.
    else return;
    this.outcome.resolve();
  }

  /** Reports changes of the state, and within one state each reason once. */
  private emit(status: TransportStatus): void {
    const { state, error } = this.current;
    const reason = status.error?.message;
    if (state !== status.state) {
      this.reasons.clear();
    } else if (reason === undefined) {
      if (error === undefined) return;
    } else if (reason === error?.message || this.reasons.has(reason) || this.reasons.size >= MAX_REASONS) {
      return;
    }
    if (reason !== undefined) this.reasons.add(reason);
    this.current = status;
    this.changes.next(status);
  }

  private accepted(): void {
    // If the refusal occurs again, it is reported again; and the status returns to the earlier one.
    if (this.current.state === 'ready') this.reasons.clear();
    this.update();
  }

  private tick(): void {
    const { commands, subscriber } = this.links!;
    const part = ++this.ticks % 4;
    for (const link of [commands, subscriber]) {
      if (part === 0) link?.beat();
      else if (part === 2) link?.lookBetweenBeats();
      link?.watch();
    }
    this.shards?.watch();
    if (part % 2 === 0) this.subscriptions.tick();
  }

  private publishBeat(key: string, payload: string): Promise<number | undefined> | undefined {
    const { commands } = this.links!;
    if (!commands.isUp) return undefined;
    const published = commands.publishing.publish(key, payload);
    // A member of a Cluster counts only its own connections.
    return published.then((count) => (commands.client.isCluster ? undefined : Number(count)));
  }

  private deaf(): void {
    const { commands, subscriber } = this.links!;
    const error = subscriber!.cutDeaf();
    // It is unknown which of the two is connected to the wrong Redis.
    if (++this.deafCount === 2) commands.cut(error);
  }

  private async end(): Promise<void> {
    clearInterval(this.heartbeat);
    this.unwatch?.();
    this.publisher.close();
    this.history.close();
    this.subscriber.close();
    await this.shards?.close();
    this.outcome.resolve();
    await this.closeLinks();
    this.emit({ state: 'closed' });
    this.changes.complete();
  }

  private async closeLinks(): Promise<void> {
    await Promise.all([this.links?.commands.close(), this.links?.subscriber?.close()]);
  }
}
