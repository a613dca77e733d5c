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

/** The environment of a {@link RedisSubscriber}. */
export interface SubscriberListener {
  /** One of `isRestored`, `isRegistered`, `error` and `notice` may have changed. */
  changed(): void;
  /**
   * Publishes a payload that must come back through the subscription.
   *
   * @returns how many connections received it, if that is known; `undefined` if it cannot be sent now
   */
  publish(key: string, payload: string): Promise<number | undefined> | undefined;
  /** Published messages do not come back. */
  deaf(): void;
}

/**
 * Keeps Redis subscribed to the names with listeners, over one connection, and passes on messages and losses.
 */
export class RedisSubscriber {
  private readonly interests: RedisInterests;
  private registrar: RedisRegistrar | undefined = undefined;
  private link: RedisLink | undefined = undefined;
  private isClosed = false;
  private readonly agreement: RedisAgreement;
  // For a Cluster: the channel by which servers with sharded channels find this one.
  private readonly classicKey: string;
  private isOfCluster = false;
  private readonly beatKey: string;
  // Patterns that Redis refused before and that it is being asked for again.
  private tried = new Set<string>();
  // Of each refused pattern there is one warning; its text while it is not known whether the wider pattern is accepted.
  private readonly warnings = new Map<string, string | undefined>();

  /**
   * @param reader - receives the messages
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

  /** The subscription that Redis refuses, if any. */
  get error(): TransportUnavailableError | undefined {
    return this.registrar?.error;
  }

  /** A problem that remains although everything is registered, if any. */
  get notice(): TransportUnavailableError | undefined {
    return this.agreement.problem ?? this.registrar?.notice;
  }

  /**
   * Sets the link to subscribe over. Call it once.
   *
   * @param isOfCluster - whether it leads to a member of a Cluster
   */
  attach(link: RedisLink, isOfCluster: boolean): void {
    this.link = link;
    this.isOfCluster = isOfCluster;
    this.registrar = new RedisRegistrar(this.interests, this.reader, link, false, this.tickMs, {
      changed: () => {
        this.warn();
        this.listener.changed();
      },
      topics: () => this.interests.topics(),
      beatKey: () => this.beatKey,
      publish: (key, payload) => this.listener.publish(key, payload),
      deaf: () => this.listener.deaf(),
      refused: (topic, error) => topic.isPattern && isDenial(error) && this.widen(topic, error),
      retry: () => this.tryAgain(),
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
    // Unwanted topics do not keep the transport from being ready.
    if (this.registrar?.drop(topics) === true) this.listener.changed();
  }

  /** The link is up. */
  up(): void {
    this.registrar!.up();
    // Without this permission the other server is not found by this one, but finds it if it has the permission itself.
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

  /** Call it at intervals: checks whether messages arrive. */
  tick(): void {
    this.registrar?.tick();
  }

  /** The link is down. */
  down(): void {
    this.tried = new Set();
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
   * An ACL allows a pattern only if a rule has exactly the same text: `&messaging:*` allows all channels of the prefix but no pattern
   * except itself. So this pattern is used instead, and messages that no template matches are dropped here.
   */
  private widen(topic: Topic, cause: Error): boolean {
    const { everything } = this.names;
    if (topic.isPlain || topic.key === everything.key) return false;
    if (!this.warnings.has(topic.key)) {
      const text =
        `${this.link!.address} refuses PSUBSCRIBE ${quote(topic.key)}: ${cause.message}; ` +
        `this server hears all of ${quote(everything.key)} instead, which costs more, ` +
        `until you allow "&${topic.key}" to the user of Redis`;
      this.warnings.set(topic.key, text);
    }
    this.registrar!.drop([topic]);
    this.registrar!.take(this.interests.widen(topic, everything));
    return true;
  }

  private get wide(): Topic | undefined {
    return this.interests.topicOf(this.names.everything.key, true);
  }

  /** The wider pattern carries everything, so what is refused is no failure. If it is refused too, the status has an error. */
  private warn(): void {
    if (this.wide?.state !== 'registered') return;
    for (const [key, text] of this.warnings) {
      if (text === undefined) continue;
      this.warnings.set(key, undefined);
      this.reader.warn(text);
    }
  }

  /** Asks again for the patterns that Redis refused. The wider one stays meanwhile. */
  private tryAgain(): void {
    const { tried } = this;
    for (const { refused } of this.wide?.interests ?? []) {
      if (refused === undefined || tried.has(refused.key)) continue;
      tried.add(refused.key);
      this.link!.client.psubscribe(refused.key).then(
        () => this.narrow(),
        () => tried.delete(refused.key),
      );
    }
  }

  /**
   * From its acknowledgement on, a pattern brings each message, and so does the wider one. So this runs before each message: it takes from
   * the acknowledgement's place among the messages which of the two counts, and none is missing or doubled.
   */
  private narrow(): void {
    const accepted = subscribedPatterns(this.link!.client);
    for (const key of this.tried) {
      if (!accepted.has(key)) continue;
      this.tried.delete(key);
      this.warnings.delete(key);
      const { wide } = this;
      const topic = wide && this.interests.narrow(wide, key);
      if (topic !== undefined) {
        topic.state = 'registered';
        this.registrar!.take(topic);
      } else if (this.interests.topicOf(key, true) === undefined) {
        // Its listeners have left meanwhile.
        this.link!.client.punsubscribe(key).catch(() => undefined);
      }
      if (wide?.interests.size !== 0) continue;
      this.registrar!.drop([wide]);
      this.unregister([wide]);
      this.listener.changed();
    }
  }

  private unregister(topics: readonly Topic[]): void {
    for (const { key } of topics) this.tried.delete(key);
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
    if (this.tried.size > 0) this.narrow();
    const topic = this.interests.topicOf(pattern, true);
    if (topic === undefined) return;
    if (!this.registrar!.isRegistered) this.registrar!.heardFirst(topic);
    for (const { name, segments } of topic.interests) {
      const channel = this.names.match(key, segments, topic.isPlain);
      if (channel !== undefined) this.reader.read(payload, name, channel, topic.isPlain);
    }
  }
}

/** What the connection is subscribed to, as ioredis keeps it while it reads answers; their promises resolve later. */
function subscribedPatterns(client: RedisClient): ReadonlySet<string> {
  const { condition } = client as unknown as {
    condition?: { subscriber?: { channels(set: string): string[] } | false } | null;
  };
  const { subscriber } = condition ?? {};
  return new Set(subscriber ? subscriber.channels('psubscribe') : []);
}
