import { randomUUID } from 'node:crypto';
import type { SubscribeOptions } from '../core/transport.js';
import { RESERVED_PREFIX, quote } from '../protocol/channel-name.js';
import { TransportUnavailableError } from '../protocol/errors.js';
import type { PayloadReader } from './payload-reader.js';
import { CLASSIC, RedisAgreement } from './redis-agreement.js';
import { isDenial, membersOf, type RedisClient } from './redis-client.js';
import { RedisInterests, whenHeard, type Topic } from './redis-interests.js';
import type { RedisLink } from './redis-link.js';
import type { RedisNames } from './redis-names.js';
import { RedisRegistrar } from './redis-registrar.js';

/** What a {@link RedisSubscriber} needs of others, and tells them. */
export interface SubscriberListener {
  /** One of `isRestored`, `isRegistered`, `error` and `notice` may have changed. */
  changed(): void;
  /**
   * Publishes what must come back through the subscription.
   *
   * @returns how many connections got it, if that is known; `undefined` if it cannot be sent now
   */
  publish(key: string, payload: string): Promise<number | undefined> | undefined;
  /** Nothing that is published comes back. */
  deaf(): void;
}

/**
 * Keeps Redis subscribed to what is listened to, by one connection, and hands over what comes, and what has been lost.
 */
export class RedisSubscriber {
  private readonly interests: RedisInterests;
  private registrar: RedisRegistrar | undefined = undefined;
  private link: RedisLink | undefined = undefined;
  private isClosed = false;
  private readonly agreement: RedisAgreement;
  // By which servers that shard channels tell that they do; of a Cluster.
  private readonly classicKey: string;
  private isOfCluster = false;
  private readonly beatKey: string;
  // What is heard in another way than was asked for.
  private widened: TransportUnavailableError | undefined = undefined;

  /**
   * @param reader - takes what comes
   * @param tickMs - how often {@link tick} is called
   */
  constructor(
    private readonly names: RedisNames,
    private readonly reader: PayloadReader,
    private readonly tickMs: number,
    private readonly listener: SubscriberListener,
  ) {
    this.interests = new RedisInterests(names, (topics) => this.unregister(topics));
    this.agreement = new RedisAgreement(false, () => listener.changed());
    this.classicKey = names.classic(CLASSIC);
    this.beatKey = names.toPublish(`${RESERVED_PREFIX}beat/${randomUUID()}`);
  }

  /** See {@link RedisRegistrar.isRestored}. */
  get isRestored(): boolean {
    return this.registrar?.isRestored === true;
  }

  /** See {@link RedisRegistrar.isRegistered}. */
  get isRegistered(): boolean {
    return this.registrar?.isRegistered === true;
  }

  /** What Redis does not let us hear, if anything. */
  get error(): TransportUnavailableError | undefined {
    return this.registrar?.error;
  }

  /** What is not as it should be although all is registered, if anything. */
  get notice(): TransportUnavailableError | undefined {
    return this.agreement.problem ?? this.widened ?? this.registrar?.notice;
  }

  /**
   * Gives it the link to subscribe over; once.
   *
   * @param isOfCluster - whether it goes to a member of a Cluster
   */
  attach(link: RedisLink, isOfCluster: boolean): void {
    this.link = link;
    this.isOfCluster = isOfCluster;
    this.registrar = new RedisRegistrar(this.interests, this.reader, link, false, this.tickMs, {
      changed: () => this.listener.changed(),
      topics: () => this.interests.topics(),
      beatKey: () => this.beatKey,
      publish: (key, payload) => this.listener.publish(key, payload),
      deaf: () => this.listener.deaf(),
      refused: (topic, error) => topic.isPattern && isDenial(error) && this.widen(topic, error),
      // Classic channels have no slots.
      moved: () => undefined,
    });
    link.client.on('message', this.onMessage);
    link.client.on('pmessage', this.onPatternMessage);
  }

  /** See {@link Transport.subscribe}. */
  subscribe(name: string, options?: SubscribeOptions): Promise<void> {
    if (this.isClosed) return Promise.resolve();
    const interest = this.interests.take(name, options?.interop);
    for (const topic of interest.topics) this.registrar?.request(topic);
    return whenHeard(interest);
  }

  /** See {@link Transport.unsubscribe}. */
  unsubscribe(name: string): void {
    const topics = this.interests.drop(name);
    // What nobody wants does not keep the transport from being ready.
    if (this.registrar?.drop(topics) === true) this.listener.changed();
  }

  /** The link is up. */
  up(): void {
    this.registrar!.up();
    // Without the permission nobody is told; the other server finds out all the same if it has it.
    if (this.isOfCluster) this.link!.client.subscribe(this.classicKey).catch(() => undefined);
  }

  /** See {@link RedisRegistrar.recheck}. */
  recheck(): void {
    this.registrar?.recheck();
  }

  /** See {@link RedisRegistrar.catchUp}. */
  async catchUp(cluster: RedisClient): Promise<boolean> {
    // Through replicas too, since one may have been a master a moment ago.
    const routes = () =>
      membersOf(cluster, 'all').map((member) => (key: string, mark: string) => member.publish(key, mark));
    return this.registrar !== undefined && this.registrar.catchUp(routes);
  }

  /** To be called at intervals: looks whether anything is heard. */
  tick(): void {
    this.registrar?.tick();
  }

  /** The link is down. */
  down(): void {
    this.registrar?.down();
  }

  close(): void {
    this.isClosed = true;
    this.agreement.close();
    this.registrar?.close();
    this.interests.close();
    this.link?.client.off('message', this.onMessage);
    this.link?.client.off('pmessage', this.onPatternMessage);
  }

  /**
   * An ACL allows a pattern only if a rule is the same text: `&messaging:*` allows all channels of the prefix and no
   * pattern but this one. So that is what is subscribed to instead, and what no template matches is dropped here.
   */
  private widen(topic: Topic, cause: Error): boolean {
    const { everything } = this.names;
    if (topic.isPlain || topic.key === everything.key) return false;
    this.registrar!.drop([topic]);
    this.registrar!.take(this.interests.widen(topic, everything));
    const hint = `allow "&${topic.key}" to the user of Redis`;
    this.widened ??= new TransportUnavailableError(
      `${this.link!.address} refuses PSUBSCRIBE ${quote(topic.key)}: ${cause.message}; ` +
        `this server hears all of ${quote(everything.key)} instead, which costs more: ${hint}`,
      { cause },
    );
    this.listener.changed();
    return true;
  }

  private unregister(topics: readonly Topic[]): void {
    this.registrar?.unsubscribe(topics.filter(({ state }) => state !== 'unregistered'));
  }

  private readonly onMessage = (key: string, payload: string): void => this.receive(key, payload);

  private readonly onPatternMessage = (pattern: string, key: string, payload: string): void =>
    this.receiveByPattern(pattern, key, payload);

  private receive(key: string, payload: string): void {
    const topic = this.interests.topicOf(key, false);
    if (topic === undefined) {
      if (key === this.beatKey) this.registrar!.heardBeat(payload);
      else if (key === this.classicKey) this.agreement.broken();
      return;
    }
    if (!this.registrar!.isRegistered) this.registrar!.heardFirst(topic);
    for (const { name } of topic.interests) this.reader.read(payload, name, name, topic.isPlain);
  }

  private receiveByPattern(pattern: string, key: string, payload: string): void {
    const topic = this.interests.topicOf(pattern, true);
    if (topic === undefined) return;
    if (!this.registrar!.isRegistered) this.registrar!.heardFirst(topic);
    for (const { name, segments } of topic.interests) {
      const channel = this.names.match(key, segments, topic.isPlain);
      if (channel !== undefined) this.reader.read(payload, name, channel, topic.isPlain);
    }
  }
}
