import { Deferred } from '../core/deferred.js';
import { isTemplate } from '../protocol/channel-name.js';
import type { RedisNames, RedisTopic } from './redis-names.js';

/** How long it may take to notice that a Cluster ended subscriptions, in milliseconds. */
export const NOTICED_MS = 60_000;

/** After so many ticks, a refused topic that is heard in another way is requested again: seldom, because Redis logs each refusal. */
export const CALM_TICKS = 30;

/** How long a dropped interest is kept, so that taking it again costs nothing. */
const LINGER_MS = 1_000;

/** A Redis subscription, present or planned. */
export interface Topic extends RedisTopic {
  /** Several templates may share a pattern. */
  readonly interests: ReadonlySet<Interest>;
  state: 'unregistered' | 'requested' | 'registered';
  /** Whether it is heard again after a loss that is reported before its next message, or when all missing topics are heard. */
  isAfterLoss?: boolean;
}

/** A name or template with listeners. */
export interface Interest {
  readonly name: string;
  /** The segments of a template. */
  readonly segments: readonly string[];
  readonly topics: readonly Topic[];
  /** Its own pattern, while Redis refuses it and a wider one is used instead. */
  readonly refused: RedisTopic | undefined;
  /** When it may be forgotten; `undefined` while it is in use. */
  readonly expiresAt: number | undefined;
  /** Resolves when all topics are registered or the interest is dropped; `undefined` after that. */
  ready: Deferred | undefined;
  /** Whether it has been ready, so that payloads it does not hear are a loss. */
  isPromised: boolean;
  /** Since when it may be deaf, or was deaf the last time. */
  missingSince: number;
  /** The topics through which it was heard until the link went down. */
  missing: Set<Topic>;
  /** Whether it is heard again through one of them and the loss has not been reported. */
  hasLoss: boolean;
}

const NONE: Set<Topic> = new Set();

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

/** The names and templates that have listeners, or had them a moment ago, with their Redis topics. */
export class RedisInterests {
  private readonly interests = new Map<string, Interest>();
  private readonly channels = new Map<string, Topic>();
  private readonly patterns = new Map<string, Topic>();
  private readonly dropped = new Set<Interest>();
  private timer: NodeJS.Timeout | undefined = undefined;

  /**
   * @param forgotten - called with topics that were unused for a while and are forgotten
   */
  constructor(
    private readonly names: RedisNames,
    private readonly forgotten: (topics: readonly Topic[]) => void,
  ) {}

  /** The topic through which a message arrived. */
  topicOf(key: string, isPattern: boolean): Topic | undefined {
    return (isPattern ? this.patterns : this.channels).get(key);
  }

  *topics(): Iterable<Topic> {
    yield* this.channels.values();
    yield* this.patterns.values();
  }

  /** @param interop - see `SubscribeOptions.interop` */
  take(name: string, interop: boolean | undefined): Interest {
    let interest: Writable<Interest> | undefined = this.interests.get(name);
    if (interest === undefined) {
      const segments = isTemplate(name) ? name.split('/') : [];
      const loss = { isPromised: false, missingSince: 0, missing: NONE, hasLoss: false };
      interest = { name, segments, topics: [], refused: undefined, expiresAt: undefined, ready: undefined, ...loss };
      this.interests.set(name, interest);
    } else {
      interest.expiresAt = undefined;
      this.dropped.delete(interest);
    }
    if (interest.topics.length === 0 || interop === true) {
      const topics = this.names.toSubscribe(name, interop);
      const { refused } = interest;
      // Beside the wider pattern, its own one would bring each message twice.
      this.addTopics(
        interest,
        topics.filter(({ key }) => key !== refused?.key),
      );
    }
    return interest;
  }

  /** Replaces the pattern of some interests by a wider one. */
  widen(topic: Topic, wider: RedisTopic): Topic {
    this.patterns.delete(topic.key);
    let widened: Topic | undefined = undefined;
    const { key, isPattern, isPlain } = topic;
    for (const interest of topic.interests) {
      widened = this.replace(interest, topic, wider);
      (interest as Writable<Interest>).refused = { key, isPattern, isPlain };
    }
    return widened!;
  }

  /**
   * Redis has accepted the own pattern of some interests, which a wider one stood for.
   *
   * @returns the own pattern; `undefined` if no interest needs it
   */
  narrow(wider: Topic, key: string): Topic | undefined {
    let narrowed: Topic | undefined = undefined;
    for (const interest of [...wider.interests]) {
      if (interest.refused?.key !== key) continue;
      narrowed = this.replace(interest, wider, interest.refused);
      (wider.interests as Set<Interest>).delete(interest);
      (interest as Writable<Interest>).refused = undefined;
    }
    if (wider.interests.size === 0) this.patterns.delete(wider.key);
    return narrowed;
  }

  /** Redis has acknowledged a topic, or a message has arrived through it. */
  register(topic: Topic): void {
    topic.state = 'registered';
    for (const interest of topic.interests) {
      if (interest.missing.has(topic)) {
        interest.missing = without(interest.missing, topic);
        interest.hasLoss = true;
      }
      if (interest.ready !== undefined && isHeard(interest)) confirm(interest);
    }
  }

  /**
   * Redis has forgotten these topics: from now on, their interests lose payloads.
   *
   * @param heardMs - payloads until this time have been heard
   */
  unregister(topics: Iterable<Topic>, heardMs: number): void {
    for (const topic of topics) {
      if (topic.state === 'registered') {
        for (const interest of topic.interests) if (interest.isPromised) miss(interest, topic, heardMs);
      }
      topic.state = 'unregistered';
    }
  }

  /** @returns the topics that are no longer used; none if the interest was already dropped or never taken */
  drop(name: string): Topic[] {
    const interest: Writable<Interest> | undefined = this.interests.get(name);
    if (interest === undefined || interest.expiresAt !== undefined) return [];
    confirm(interest);
    // If it is taken again, nothing counts as lost.
    interest.isPromised = interest.hasLoss = false;
    interest.missing = NONE;
    interest.expiresAt = performance.now() + LINGER_MS;
    this.dropped.add(interest);
    this.timer ??= setTimeout(this.forget, LINGER_MS).unref();
    return interest.topics.filter((topic) => !isWanted(topic));
  }

  close(): void {
    clearTimeout(this.timer);
    for (const { ready } of this.interests.values()) ready?.resolve();
    for (const known of [this.interests, this.channels, this.patterns, this.dropped]) known.clear();
  }

  private replace(interest: Interest, topic: Topic, by: RedisTopic): Topic {
    (interest.topics as Topic[]).splice(interest.topics.indexOf(topic), 1);
    const added = this.addTopics(interest, [by])!;
    if (interest.missing.has(topic)) interest.missing = plus(without(interest.missing, topic), added);
    return added;
  }

  /** @returns the last topic */
  private addTopics(interest: Interest, wanted: readonly RedisTopic[]): Topic | undefined {
    let topic: Topic | undefined = undefined;
    for (const each of wanted) {
      const known = each.isPattern ? this.patterns : this.channels;
      topic = known.get(each.key);
      if (topic === undefined) known.set(each.key, (topic = { ...each, interests: new Set(), state: 'unregistered' }));
      if (topic.interests.has(interest)) continue;
      (topic.interests as Set<Interest>).add(interest);
      (interest.topics as Topic[]).push(topic);
    }
    return topic;
  }

  private readonly forget = (): void => {
    const now = performance.now();
    const unused: Topic[] = [];
    this.timer = undefined;
    for (const interest of this.dropped) {
      // They are in the order in which they were dropped.
      if (interest.expiresAt! > now) {
        this.timer = setTimeout(this.forget, interest.expiresAt! - now).unref();
        break;
      }
      this.dropped.delete(interest);
      this.interests.delete(interest.name);
      for (const topic of interest.topics) {
        (topic.interests as Set<Interest>).delete(interest);
        if (topic.interests.size > 0) continue;
        (topic.isPattern ? this.patterns : this.channels).delete(topic.key);
        unused.push(topic);
      }
    }
    this.forgotten(unused);
  };
}

/** Resolves when all topics of an interest are registered, or it is dropped. */
export function whenHeard(interest: Interest): Promise<void> {
  if (isHeard(interest)) confirm(interest);
  else interest.ready ??= new Deferred();
  return interest.ready?.promise ?? Promise.resolve();
}

/** All topics of an interest are registered. */
function confirm(interest: Interest): void {
  interest.isPromised = true;
  interest.ready?.resolve();
  interest.ready = undefined;
}

function miss(interest: Interest, topic: Topic, heardMs: number): void {
  // An unreported loss continues.
  if (interest.missing.size === 0 && !interest.hasLoss) interest.missingSince = heardMs;
  interest.missing = plus(interest.missing, topic);
}

function plus(topics: Set<Topic>, topic: Topic): Set<Topic> {
  return topics === NONE ? new Set([topic]) : topics.add(topic);
}

function without(topics: Set<Topic>, topic: Topic): Set<Topic> {
  topics.delete(topic);
  return topics.size === 0 ? NONE : topics;
}

/** Whether it has listeners now, not only a moment ago. */
export function isWanted(topic: Topic): boolean {
  for (const { expiresAt } of topic.interests) {
    if (expiresAt === undefined) return true;
  }
  return false;
}

/** Whether Redis has acknowledged all topics of an interest. */
function isHeard({ topics }: Interest): boolean {
  return topics.every(({ state }) => state === 'registered');
}
