import type { SubscribeOptions, TransportEvents, TransportReceiver } from '../core/transport.js';
import { Backoff } from '../protocol/backoff.js';
import { quote } from '../protocol/channel-name.js';
import { InvalidMessageError, TransportUnavailableError } from '../protocol/errors.js';
import { Deferred } from './deferred.js';
import { LINE_BREAK, MAX_BATCH_PAYLOADS, maxBatchLength, splitPayloads } from './payload-batch.js';
import { REDIS_BACKOFF, isDenial, isReply } from './redis-client.js';
import { RedisInterests, isHeard, isWanted, type Topic } from './redis-interests.js';
import type { RedisLink } from './redis-link.js';
import type { RedisNames } from './redis-names.js';

/** How many channels one SUBSCRIBE names at most, so that Redis is not held up by one command. */
const MAX_BATCH = 512;

/**
 * Keeps Redis subscribed to what is listened to, whatever becomes of the link, and hands over what comes.
 * Requests are sent in batches, once a turn of the event loop.
 */
export class RedisSubscriber {
  private readonly interests: RedisInterests;
  private requested = new Set<Topic>();
  // What the link had to register again when it came up and has not yet.
  private readonly restoring = new Set<Topic>();
  private readonly refusals = new Map<Topic, TransportUnavailableError>();
  private readonly backoff = new Backoff(REDIS_BACKOFF);
  private link: RedisLink | undefined = undefined;
  private receiver: TransportReceiver | undefined = undefined;
  private events: TransportEvents = {};
  private readonly maxBatchLength: number;
  // Answers to what an earlier connection was asked mean nothing for this one.
  private session = 0;
  private flushing: NodeJS.Immediate | undefined = undefined;
  private retrying: NodeJS.Timeout | undefined = undefined;
  private isClosed = false;
  /** What is heard in another way than was asked for, if anything. */
  notice: TransportUnavailableError | undefined = undefined;

  /**
   * @param mark - begins the packets for stock parts that this application itself publishes
   * @param maxMessageBytes - the longest payload; bounds what a batch of them may be
   * @param changed - told when {@link isRegistered}, {@link error} or {@link notice} may have changed
   */
  constructor(
    private readonly names: RedisNames,
    private readonly mark: string,
    maxMessageBytes: number,
    private readonly changed: () => void,
  ) {
    this.maxBatchLength = maxBatchLength(maxMessageBytes);
    this.interests = new RedisInterests(names, (topics) => this.unregister(topics));
  }

  /** Whether all that was wanted when the link came up is registered, and nothing has been refused since. */
  get isRegistered(): boolean {
    return this.restoring.size === 0 && this.refusals.size === 0;
  }

  /** What Redis does not let us hear, where there is such. */
  get error(): TransportUnavailableError | undefined {
    return this.refusals.values().next().value;
  }

  /** Gives it the link to subscribe over, who gets what comes, and who is told of the rest; once. */
  attach(link: RedisLink, receiver: TransportReceiver, events: TransportEvents): void {
    this.link = link;
    this.receiver = receiver;
    this.events = events;
    link.client.on('message', this.onMessage);
    link.client.on('pmessage', this.onPatternMessage);
  }

  /** See {@link Transport.subscribe}. */
  subscribe(name: string, options?: SubscribeOptions): Promise<void> {
    if (this.isClosed) return Promise.resolve();
    const interest = this.interests.take(name, options?.interop);
    if (isHeard(interest)) return Promise.resolve();
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
    if (isChange) this.changed();
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
    this.changed();
  }

  /** The link is down. */
  down(): void {
    this.session++;
    clearTimeout(this.retrying);
    this.retrying = undefined;
    this.requested.clear();
    this.restoring.clear();
    this.refusals.clear();
    for (const topic of this.interests.topics()) topic.state = 'unregistered';
  }

  close(): void {
    this.down();
    this.isClosed = true;
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
      topic.state = 'registered';
      isChange = this.restoring.delete(topic) || isChange;
      isChange = this.refusals.delete(topic) || isChange;
      for (const interest of topic.interests) {
        if (interest.ready === undefined || !isHeard(interest)) continue;
        interest.ready.resolve();
        interest.ready = undefined;
      }
    }
    if (this.refusals.size === 0) this.backoff.reset();
    if (isChange) this.changed();
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
      this.changed();
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
    this.notice ??= new TransportUnavailableError(
      `${this.link!.address} refuses PSUBSCRIBE ${quote(topic.key)}: ${cause.message}; ` +
        `this server hears all of ${quote(everything.key)} instead, which costs more: ${hint}`,
      { cause },
    );
    this.changed();
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
    if (topic === undefined) return;
    for (const { name } of topic.interests) this.deliver(payload, name, name, topic.isPlain);
  }

  private receiveByPattern(pattern: string, key: string, payload: string): void {
    const topic = this.interests.topicOf(pattern, true);
    if (topic === undefined) return;
    for (const { name, segments } of topic.interests) {
      const channel = this.names.match(key, segments, topic.isPlain);
      if (channel !== undefined) this.deliver(payload, name, channel, topic.isPlain);
    }
  }

  private deliver(payload: string, name: string, channel: string, isPlain: boolean): void {
    // Most come alone, and a split would be dearer than the look.
    if (!isPlain && payload.startsWith(LINE_BREAK)) this.deliverBatch(payload, name, channel);
    // What this application publishes for stock parts has come by its own name already.
    else if (!isPlain || !payload.startsWith(this.mark)) this.receiver!(payload, name, channel);
  }

  private deliverBatch(text: string, name: string, channel: string): void {
    const { payloads, isCut } = splitPayloads(text, this.maxBatchLength);
    for (const payload of payloads) this.receiver!(payload, name, channel);
    if (!isCut) return;
    const bound = `${MAX_BATCH_PAYLOADS} messages and ${this.maxBatchLength} characters`;
    const problem = `a batch of ${text.length} characters is longer than this server takes, which is ${bound}`;
    this.events.rejected?.(channel, new InvalidMessageError(`${problem}; the rest is dropped`));
  }
}

function keyOf(topic: Topic): string {
  return topic.key;
}
