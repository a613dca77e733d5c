import { quote } from '../protocol/channel-name.js';
import { TransportUnavailableError } from '../protocol/errors.js';
import { Backoff } from './backoff.js';
import { ClusterBarrier, type MarkRoute } from './cluster-barrier.js';
import type { PayloadReader } from './payload-reader.js';
import { RedisBeat } from './redis-beat.js';
import { REDIS_BACKOFF, isElsewhere, isReply } from './redis-client.js';
import { CALM_TICKS, isWanted, type RedisInterests, type Topic } from './redis-interests.js';
import type { RedisLink } from './redis-link.js';

/** How many channels one SUBSCRIBE may name, so that a single command does not block Redis. */
const MAX_BATCH = 512;

/** The environment of a {@link RedisRegistrar}. */
export interface RegistrarListener {
  /** One of `isRestored`, `isRegistered`, `error` and `notice` may have changed. */
  changed(): void;
  /** The topics to register over this link. */
  topics(): Iterable<Topic>;
  /** Whether a topic belongs to this link; absent: all do. */
  owns?(topic: Topic): boolean;
  /** The Redis channel of the beat, with no other subscribers. */
  beatKey(): string;
  /**
   * Publishes a payload that must come back through the subscription.
   *
   * @returns how many connections received it, if that is known; `undefined` if it cannot be sent now
   */
  publish(key: string, payload: string): Promise<number | undefined> | undefined;
  /** Published messages do not come back. */
  deaf(): void;
  /** Redis refuses one topic. @returns whether it is heard in another way instead */
  refused(topic: Topic, error: Error): boolean;
  /** Time to ask again for topics that are heard in another way. */
  retry?(): void;
  /** The Cluster member at the other end no longer has a required slot. */
  moved(): void;
}

/**
 * Keeps topics registered over one link across reconnections, checks that messages arrive through it, and reports losses. Requests are sent
 * in batches, once per turn of the event loop.
 */
export class RedisRegistrar {
  private requested = new Set<Topic>();
  // Topics that had to be registered when the link came up and are not yet.
  private readonly restoring = new Set<Topic>();
  private readonly refusals = new Map<Topic, TransportUnavailableError>();
  private readonly backoff = new Backoff(REDIS_BACKOFF);
  // Answers for an earlier connection are ignored.
  private session = 0;
  private flushing: NodeJS.Immediate | undefined = undefined;
  private retrying: NodeJS.Timeout | undefined = undefined;
  // Whether something has arrived over this link, or nothing can be expected to.
  private isProven = false;
  private isClosed = false;
  private ticks = 0;
  private readonly beat: RedisBeat;
  private readonly barrier: ClusterBarrier;
  // Why it is unknown whether messages arrive.
  private blindness: TransportUnavailableError | undefined = undefined;

  /**
   * @param isSharded - whether topics are registered with SSUBSCRIBE
   * @param tickMs - how often {@link tick} is called
   */
  constructor(
    private readonly interests: RedisInterests,
    private readonly reader: PayloadReader,
    private readonly link: RedisLink,
    private readonly isSharded: boolean,
    tickMs: number,
    private readonly listener: RegistrarListener,
  ) {
    this.barrier = new ClusterBarrier(() => listener.beatKey());
    this.beat = new RedisBeat(
      {
        bytesRead: () => link.bytesRead,
        publish: () => listener.publish(listener.beatKey(), ''),
        failed: (error) => this.beatFailed(error),
        deaf: () => listener.deaf(),
      },
      tickMs,
    );
  }

  /** Whether all topics that were wanted when the link came up are registered or refused. */
  get isRestored(): boolean {
    return this.link.isUp && this.restoring.size === 0;
  }

  /** Whether all topics that were wanted when the link came up are registered and heard, and none has been refused since. */
  get isRegistered(): boolean {
    return this.isRestored && this.refusals.size === 0 && this.isProven;
  }

  /** The subscription that Redis refuses, if any. */
  get error(): TransportUnavailableError | undefined {
    return this.refusals.values().next().value;
  }

  /** Why it is unknown whether messages arrive, if it is. */
  get notice(): TransportUnavailableError | undefined {
    return this.blindness;
  }

  /** Registers a topic, unless it is registered or about to be. */
  request(topic: Topic): void {
    if (!this.link.isUp || topic.state !== 'unregistered' || this.refusals.has(topic)) return;
    this.requested.add(topic);
    this.flushing ??= setImmediate(() => this.flush());
  }

  /** Registers a topic that was heard in another way until now. The link counts as restored only afterwards. */
  take(topic: Topic): void {
    this.restoring.add(topic);
    if (topic.state === 'registered') this.registered([topic]);
    else this.request(topic);
  }

  /** Topics are no longer needed here and no longer keep the link from being restored. @returns whether they did */
  drop(topics: Iterable<Topic>): boolean {
    let isChange = false;
    for (const topic of topics) {
      this.requested.delete(topic);
      isChange = this.restoring.delete(topic) || isChange;
      isChange = this.refusals.delete(topic) || isChange;
    }
    return isChange;
  }

  /** The link is up, without registrations: registers everything. */
  up(): void {
    this.session++;
    for (const topic of this.listener.topics()) {
      if (!isWanted(topic)) continue;
      this.restoring.add(topic);
      this.request(topic);
    }
    this.flush();
    this.registerBeat();
    this.listener.retry?.();
    this.listener.changed();
  }

  /** Posts can be sent again: checks whether they come back. */
  recheck(): void {
    if (!this.beat.isOn) return;
    this.isProven = !this.beat.start();
    this.listener.changed();
  }

  /** The beat uses another channel from now on. */
  renameBeat(): void {
    this.beat.stop();
    if (this.link.isUp) this.registerBeat();
  }

  /**
   * Waits until everything has arrived that the members of a Cluster accepted before. Never rejects.
   *
   * @returns `false` if that cannot be known in time
   */
  async catchUp(routes: () => readonly MarkRoute[]): Promise<boolean> {
    return this.isRegistered && this.barrier.pass(routes);
  }

  /** Call it at intervals: checks whether messages arrive. */
  tick(): void {
    this.beat.tick();
    if (++this.ticks % CALM_TICKS === 0 && this.link.isUp) this.askAgain();
  }

  /** The link is down. */
  down(): void {
    this.session++;
    clearImmediate(this.flushing);
    clearTimeout(this.retrying);
    this.flushing = this.retrying = undefined;
    this.requested.clear();
    this.restoring.clear();
    this.refusals.clear();
    this.beat.stop();
    this.barrier.abandon();
    this.isProven = false;
    this.interests.unregister(this.listener.topics(), this.beat.provenMs);
    if (!this.isClosed) this.reader.interrupted();
  }

  /** The link ends for good. */
  close(): void {
    this.isClosed = true;
    this.down();
  }

  /** A message has arrived on the channel of the beat. */
  heardBeat(payload: string): void {
    if (payload !== '') return this.barrier.heard(payload);
    this.beat.heard();
    if (this.isProven && this.blindness === undefined) return;
    this.blindness = undefined;
    this.prove();
  }

  /** A message may arrive before the promise of its SUBSCRIBE resolves. */
  heardFirst(topic: Topic): void {
    if (topic.state !== 'registered') this.registered([topic]);
    if (!this.isProven) this.prove();
  }

  /** Ends subscriptions that nobody needs over this link. */
  unsubscribe(topics: readonly Topic[]): void {
    if (!this.link.isUp) return;
    const { client } = this.link;
    for (const batch of batchesOf(topics)) {
      const keys = batch.map(keyOf);
      // On failure the link is broken, or the slot has moved and taken the subscription with it.
      const asked = this.isSharded
        ? client.sunsubscribe!(...keys)
        : batch[0]!.isPattern
          ? client.punsubscribe(...keys)
          : client.unsubscribe(...keys);
      asked.catch(() => undefined);
    }
  }

  private flush(): void {
    clearImmediate(this.flushing);
    this.flushing = undefined;
    const topics = [...this.requested].filter(isWanted);
    this.requested = new Set();
    for (const batch of batchesOf(topics)) this.register(batch);
  }

  /** @param topics - as many as one command may name */
  private register(topics: readonly Topic[]): void {
    const { session } = this;
    for (const topic of topics) topic.state = 'requested';
    // A topic that moves to another link meanwhile is no longer registered here.
    const still = (): Topic[] => topics.filter((topic) => topic.state !== 'unregistered' && this.has(topic));
    this.send(topics).then(
      () => {
        if (session === this.session) this.registered(still());
      },
      (error: Error) => {
        if (session === this.session) this.refused(still(), error);
      },
    );
  }

  private send(topics: readonly Topic[]): Promise<unknown> {
    const { client } = this.link;
    const keys = topics.map(keyOf);
    if (this.isSharded) return client.ssubscribe!(...keys);
    return topics[0]!.isPattern ? client.psubscribe(...keys) : client.subscribe(...keys);
  }

  private has(topic: Topic): boolean {
    return this.listener.owns?.(topic) ?? true;
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

  /** Comes last, so that a beat comes back only after everything else is registered. */
  private registerBeat(): void {
    const { session } = this;
    const key = this.listener.beatKey();
    const { client } = this.link;
    const isCurrent = (): boolean => session === this.session && key === this.listener.beatKey();
    (this.isSharded ? client.ssubscribe!(key) : client.subscribe(key)).then(
      () => {
        if (isCurrent() && !this.beat.start()) this.prove();
      },
      (error: Error) => {
        if (!isCurrent() || !isReply(error)) return;
        if (isElsewhere(error)) this.listener.moved();
        else this.cannotBeat(this.isSharded ? 'SSUBSCRIBE' : 'SUBSCRIBE', error);
      },
    );
  }

  private beatFailed(error: Error | undefined): void {
    if (error && isElsewhere(error)) this.listener.moved();
    else if (error && isReply(error)) this.cannotBeat(this.isSharded ? 'SPUBLISH' : 'PUBLISH', error);
    else if (!this.isProven) this.prove();
  }

  private cannotBeat(command: string, cause: Error): void {
    if (this.blindness !== undefined && this.isProven) return;
    this.blindness = new TransportUnavailableError(
      `${this.link.address} refuses ${command} ${quote(this.listener.beatKey())}: ${cause.message}; ` +
        'this server cannot tell whether it hears anything',
      { cause },
    );
    this.prove();
  }

  /** Something has arrived over the link, or nothing can be expected to: registered topics count as heard. */
  private prove(): void {
    this.isProven = true;
    this.tellLosses(this.listener.topics());
    this.listener.changed();
  }

  /** A message has arrived through a topic that is heard again after a loss. */
  tellLoss(topic: Topic): void {
    topic.isAfterLoss = false;
    for (const interest of topic.interests) {
      if (!interest.hasLoss) continue;
      interest.hasLoss = false;
      this.reader.lost(interest.name, performance.now() - interest.missingSince);
    }
  }

  private tellLosses(topics: Iterable<Topic>): void {
    for (const topic of topics) {
      // A template has topics at each master, which come back one after the other. Its loss is reported once, if possible.
      topic.isAfterLoss = topic.isShared === true && [...topic.interests].some(({ missing }) => missing.size > 0);
      if (!topic.isAfterLoss) this.tellLoss(topic);
    }
  }

  private refused(topics: readonly Topic[], error: Error): void {
    for (const topic of topics) topic.state = 'unregistered';
    const wanted = topics.filter(isWanted);
    if (!isReply(error) || isElsewhere(error)) {
      // The link is about to go down, or the Cluster is changing.
      for (const topic of wanted) this.requested.add(topic);
      if (isReply(error)) this.listener.moved();
    } else if (topics.length > 1) {
      // Redis accepts or refuses a batch as a whole, so the batch is halved until a refused topic is alone.
      const half = wanted.length >> 1;
      for (const part of [wanted.slice(0, half), wanted.slice(half)]) {
        if (part.length > 0) this.register(part);
      }
      return;
    } else if (wanted.length > 0 && this.listener.refused(topics[0]!, error)) {
      return;
    } else {
      for (const topic of topics) this.restoring.delete(topic);
      for (const topic of wanted) this.refusals.set(topic, this.describe(topic, error));
      this.listener.changed();
    }
    this.retrying ??= setTimeout(this.retry, this.backoff.next());
  }

  private readonly retry = (): void => {
    this.retrying = undefined;
    for (const topic of this.refusals.keys()) this.requested.add(topic);
    // Before the refused ones, which some of these may make needless. Those stay refused until Redis accepts them.
    this.askAgain();
    this.flush();
  };

  private askAgain(): void {
    this.listener.retry?.();
    if (this.blindness !== undefined && !this.beat.isOn) this.registerBeat();
  }

  private describe({ key, isPattern, isPlain }: Topic, cause: Error): TransportUnavailableError {
    const hint = isPlain ? '; it is subscribed to for stock parts of Nest, because of "interop: true"' : '';
    const command = this.isSharded ? 'SSUBSCRIBE' : isPattern ? 'PSUBSCRIBE' : 'SUBSCRIBE';
    return new TransportUnavailableError(
      `${this.link.address} refuses ${command} ${quote(key)}: ${cause.message}${hint}`,
      { cause },
    );
  }
}

function keyOf(topic: Topic): string {
  return topic.key;
}

/** Splits topics into groups that one command may name: channels or patterns, and with sharded channels those of one slot. */
function batchesOf(topics: readonly Topic[]): Topic[][] {
  const open = new Map<number, Topic[]>();
  const batches: Topic[][] = [];
  for (const topic of topics) {
    const kind = topic.group ?? (topic.isPattern ? -1 : -2);
    let batch = open.get(kind);
    if (batch === undefined || batch.length === MAX_BATCH) {
      batch = [];
      open.set(kind, batch);
      batches.push(batch);
    }
    batch.push(topic);
  }
  return batches;
}
