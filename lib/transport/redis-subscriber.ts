import { Deferred } from '../core/deferred.js';
import type { SubscribeOptions } from '../core/transport.js';
import { randomUUID } from 'node:crypto';
import { RESERVED_PREFIX, quote } from '../protocol/channel-name.js';
import { TransportUnavailableError } from '../protocol/errors.js';
import { Backoff } from './backoff.js';
import { ClusterBarrier } from './cluster-barrier.js';
import type { PayloadReader } from './payload-reader.js';
import { REDIS_BACKOFF, isDenial, isReply, type RedisClient } from './redis-client.js';
import { RedisBeat } from './redis-beat.js';
import { RedisInterests, confirm, isHeard, isWanted, type Topic } from './redis-interests.js';
import type { RedisLink } from './redis-link.js';
import type { RedisNames } from './redis-names.js';

/** How many channels one SUBSCRIBE names at most, so that Redis is not held up by one command. */
const MAX_BATCH = 512;

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
 * Keeps Redis subscribed to what is listened to, whatever becomes of the link, and hands over what comes, and what has been
 * lost. Requests are sent in batches, once a turn of the event loop.
 */
export class RedisSubscriber {
  private readonly interests: RedisInterests;
  private requested = new Set<Topic>();
  // What had to be registered when the link came up and is not yet.
  private readonly restoring = new Set<Topic>();
  private readonly refusals = new Map<Topic, TransportUnavailableError>();
  private readonly backoff = new Backoff(REDIS_BACKOFF);
  private link: RedisLink | undefined = undefined;
  // Answers to what an earlier connection was asked mean nothing for this one.
  private session = 0;
  private flushing: NodeJS.Immediate | undefined = undefined;
  private retrying: NodeJS.Timeout | undefined = undefined;
  private isClosed = false;
  // Whether anything has come by this link, or nothing can be expected to.
  private isProven = false;
  private readonly beat: RedisBeat;
  private readonly beatKey: string;
  private readonly barrier: ClusterBarrier;
  // What is heard in another way than was asked for.
  private widened: TransportUnavailableError | undefined = undefined;
  // Why it is not known whether anything is heard.
  private blindness: TransportUnavailableError | undefined = undefined;

  /**
   * @param reader - takes what comes
   * @param tickMs - how often {@link tick} is called
   */
  constructor(
    private readonly names: RedisNames,
    private readonly reader: PayloadReader,
    tickMs: number,
    private readonly listener: SubscriberListener,
  ) {
    this.interests = new RedisInterests(names, (topics) => this.unregister(topics));
    this.beatKey = names.toPublish(`${RESERVED_PREFIX}beat/${randomUUID()}`);
    this.barrier = new ClusterBarrier(this.beatKey);
    this.beat = new RedisBeat(
      {
        bytesRead: () => this.link?.bytesRead,
        publish: () => listener.publish(this.beatKey, ''),
        failed: (error) => {
          if (error && isReply(error)) this.cannotBeat('PUBLISH', error);
          else if (!this.isProven) this.prove();
        },
        deaf: () => listener.deaf(),
      },
      tickMs,
    );
  }

  /** Whether all that was wanted when the link came up is registered, or refused. */
  get isRestored(): boolean {
    return this.link?.isUp === true && this.restoring.size === 0;
  }

  /** Whether all that was wanted when the link came up is registered and heard, and nothing has been refused since. */
  get isRegistered(): boolean {
    return this.isRestored && this.refusals.size === 0 && this.isProven;
  }

  /** What Redis does not let us hear, if anything. */
  get error(): TransportUnavailableError | undefined {
    return this.refusals.values().next().value;
  }

  /** What is not as it should be although all is registered, if anything. */
  get notice(): TransportUnavailableError | undefined {
    return this.widened ?? this.blindness;
  }

  /** Gives it the link to subscribe over; once. */
  attach(link: RedisLink): void {
    this.link = link;
    link.client.on('message', this.onMessage);
    link.client.on('pmessage', this.onPatternMessage);
  }

  /** See {@link Transport.subscribe}. */
  subscribe(name: string, options?: SubscribeOptions): Promise<void> {
    if (this.isClosed) return Promise.resolve();
    const interest = this.interests.take(name, options?.interop);
    if (isHeard(interest)) {
      confirm(interest);
      return Promise.resolve();
    }
    for (const topic of interest.topics) this.request(topic);
    interest.ready ??= new Deferred();
    return interest.ready.promise;
  }

  /** See {@link Transport.unsubscribe}. */
  unsubscribe(name: string): void {
    const interest = this.interests.drop(name);
    if (interest === undefined) return;
    // What nobody wants does not keep the transport from being ready.
    let isChange = false;
    for (const topic of interest.topics) {
      if (isWanted(topic)) continue;
      isChange = this.restoring.delete(topic) || isChange;
      isChange = this.refusals.delete(topic) || isChange;
    }
    if (isChange) this.listener.changed();
  }

  /** The link is up, with nothing registered: registers everything. */
  up(): void {
    this.session++;
    for (const topic of this.interests.topics()) {
      if (!isWanted(topic)) continue;
      this.restoring.add(topic);
      this.request(topic);
    }
    this.flush();
    this.registerBeat();
    this.listener.changed();
  }

  /** Posts can be sent again: whether they come back is to be seen. */
  recheck(): void {
    if (!this.beat.isOn) return;
    this.isProven = !this.beat.start();
    this.listener.changed();
  }

  /**
   * Waits until all has come that the members of a Cluster had taken before. Never rejects.
   *
   * @returns `false` if that is not known in time
   */
  async catchUp(cluster: RedisClient): Promise<boolean> {
    return this.isRegistered && this.barrier.pass(cluster);
  }

  /** To be called at intervals: looks whether anything is heard. */
  tick(): void {
    this.beat.tick();
  }

  /** The link is down. */
  down(): void {
    this.session++;
    clearTimeout(this.retrying);
    this.retrying = undefined;
    this.requested.clear();
    this.restoring.clear();
    this.refusals.clear();
    this.beat.stop();
    this.barrier.abandon();
    this.isProven = false;
    this.interests.unregister();
    if (!this.isClosed) this.reader.interrupted();
  }

  close(): void {
    this.isClosed = true;
    this.down();
    clearImmediate(this.flushing);
    this.interests.close();
    this.link?.client.off('message', this.onMessage);
    this.link?.client.off('pmessage', this.onPatternMessage);
  }

  private request(topic: Topic): void {
    if (!this.link?.isUp || topic.state !== 'unregistered' || this.refusals.has(topic)) return;
    this.requested.add(topic);
    this.flushing ??= setImmediate(() => this.flush());
  }

  private flush(): void {
    clearImmediate(this.flushing);
    this.flushing = undefined;
    const topics = [...this.requested].filter(isWanted);
    this.requested = new Set();
    for (const isPattern of [false, true]) {
      const alike = topics.filter((topic) => topic.isPattern === isPattern);
      for (let index = 0; index < alike.length; index += MAX_BATCH) {
        this.register(alike.slice(index, index + MAX_BATCH), isPattern);
      }
    }
  }

  private register(topics: readonly Topic[], isPattern: boolean): void {
    const { session } = this;
    const { client } = this.link!;
    for (const topic of topics) topic.state = 'requested';
    const keys = topics.map(keyOf);
    (isPattern ? client.psubscribe(...keys) : client.subscribe(...keys)).then(
      () => {
        if (session === this.session) this.registered(topics);
      },
      (error: Error) => {
        if (session === this.session) this.refused(topics, isPattern, error);
      },
    );
  }

  private registered(topics: readonly Topic[]): void {
    let isChange = false;
    for (const topic of topics) {
      isChange = this.restoring.delete(topic) || isChange;
      isChange = this.refusals.delete(topic) || isChange;
      this.interests.register(topic);
    }
    if (this.isProven) this.tellLosses(topics);
    if (this.refusals.size === 0) this.backoff.reset();
    if (isChange) this.listener.changed();
  }

  /** Last, so that a beat comes back only where all else is registered. */
  private registerBeat(): void {
    const { session } = this;
    this.link!.client.subscribe(this.beatKey).then(
      () => {
        if (session === this.session && !this.beat.start()) this.prove();
      },
      (error: Error) => {
        if (session === this.session && isReply(error)) this.cannotBeat('SUBSCRIBE', error);
      },
    );
  }

  private cannotBeat(command: string, cause: Error): void {
    if (this.blindness !== undefined && this.isProven) return;
    this.blindness = new TransportUnavailableError(
      `${this.link!.address} refuses ${command} ${quote(this.beatKey)}: ${cause.message}; ` +
        'this server cannot tell whether it hears anything',
      { cause },
    );
    this.prove();
  }

  /** Something has come by the link, or nothing can be expected to: what is registered is heard. */
  private prove(): void {
    this.isProven = true;
    this.tellLosses(this.interests.topics());
    this.listener.changed();
  }

  private tellLosses(topics: Iterable<Topic>): void {
    for (const topic of topics) {
      for (const interest of topic.interests) {
        if (!interest.hasLoss) continue;
        interest.hasLoss = false;
        this.reader.lost(interest.name, performance.now() - interest.missingSince);
      }
    }
  }

  private refused(topics: readonly Topic[], isPattern: boolean, error: Error): void {
    for (const topic of topics) topic.state = 'unregistered';
    const wanted = topics.filter(isWanted);
    if (!isReply(error)) {
      // The link is about to be down, or a Cluster has no node for it yet.
      for (const topic of wanted) this.requested.add(topic);
    } else if (topics.length > 1) {
      // Redis takes a batch whole or not at all: it is halved until what Redis does not take stands alone.
      const half = wanted.length >> 1;
      for (const part of [wanted.slice(0, half), wanted.slice(half)]) {
        if (part.length > 0) this.register(part, isPattern);
      }
      return;
    } else if (isPattern && isDenial(error) && wanted.length > 0 && this.widen(topics[0]!, error)) {
      return;
    } else {
      for (const topic of topics) this.restoring.delete(topic);
      for (const topic of wanted) this.refusals.set(topic, this.describe(topic, error));
      this.listener.changed();
    }
    this.retrying ??= setTimeout(this.retry, this.backoff.next());
  }

  /**
   * An ACL allows a pattern only if a rule is the same text: `&messaging:*` allows all channels of the prefix and no
   * pattern but this one. So that is what is subscribed to instead, and what no template matches is dropped here.
   */
  private widen(topic: Topic, cause: Error): boolean {
    const { everything } = this.names;
    if (topic.isPlain || topic.key === everything.key) return false;
    this.restoring.delete(topic);
    const widened = this.interests.widen(topic, everything);
    this.restoring.add(widened);
    if (widened.state === 'registered') this.registered([widened]);
    else if (widened.state === 'unregistered') this.register([widened], true);
    const hint = `allow "&${topic.key}" to the user of Redis`;
    this.widened ??= new TransportUnavailableError(
      `${this.link!.address} refuses PSUBSCRIBE ${quote(topic.key)}: ${cause.message}; ` +
        `this server hears all of ${quote(everything.key)} instead, which costs more: ${hint}`,
      { cause },
    );
    this.listener.changed();
    return true;
  }

  private readonly retry = (): void => {
    this.retrying = undefined;
    // They stay among the refusals until Redis takes them.
    for (const topic of this.refusals.keys()) this.requested.add(topic);
    this.flush();
  };

  private describe({ key, isPattern, isPlain }: Topic, cause: Error): TransportUnavailableError {
    const hint = isPlain ? '; it is subscribed to for stock parts of Nest, because of "interop: true"' : '';
    return new TransportUnavailableError(
      `${this.link!.address} refuses ${isPattern ? 'PSUBSCRIBE' : 'SUBSCRIBE'} ${quote(key)}: ${cause.message}${hint}`,
      { cause },
    );
  }

  private unregister(topics: readonly Topic[]): void {
    if (!this.link?.isUp) return;
    const { client } = this.link;
    for (let index = 0; index < topics.length; index += MAX_BATCH) {
      const batch = topics.slice(index, index + MAX_BATCH).filter(({ state }) => state !== 'unregistered');
      const channels = batch.filter((topic) => !topic.isPattern).map(keyOf);
      const patterns = batch.filter((topic) => topic.isPattern).map(keyOf);
      // Where it fails the link is broken, and with it the subscription.
      if (channels.length > 0) client.unsubscribe(...channels).catch(() => undefined);
      if (patterns.length > 0) client.punsubscribe(...patterns).catch(() => undefined);
    }
  }

  private readonly onMessage = (key: string, payload: string): void => this.receive(key, payload);

  private readonly onPatternMessage = (pattern: string, key: string, payload: string): void =>
    this.receiveByPattern(pattern, key, payload);

  private receive(key: string, payload: string): void {
    const topic = this.interests.topicOf(key, false);
    if (topic === undefined) {
      if (key !== this.beatKey) return;
      if (payload === '') this.heardBeat();
      else this.barrier.heard(payload);
      return;
    }
    if (!this.isRegistered) this.heardFirst(topic);
    for (const { name } of topic.interests) this.reader.read(payload, name, name, topic.isPlain);
  }

  private receiveByPattern(pattern: string, key: string, payload: string): void {
    const topic = this.interests.topicOf(pattern, true);
    if (topic === undefined) return;
    if (!this.isRegistered) this.heardFirst(topic);
    for (const { name, segments } of topic.interests) {
      const channel = this.names.match(key, segments, topic.isPlain);
      if (channel !== undefined) this.reader.read(payload, name, channel, topic.isPlain);
    }
  }

  private heardBeat(): void {
    this.beat.heard();
    if (this.isProven && this.blindness === undefined) return;
    this.blindness = undefined;
    this.prove();
  }

  /** A message may come before the promise of its SUBSCRIBE has told that it is registered. */
  private heardFirst(topic: Topic): void {
    if (topic.state !== 'registered') this.registered([topic]);
    if (!this.isProven) this.prove();
  }
}

function keyOf(topic: Topic): string {
  return topic.key;
}
