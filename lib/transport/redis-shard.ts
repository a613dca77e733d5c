import { randomUUID } from 'node:crypto';
import { ConfigurationError, type MessagingError } from '../protocol/errors.js';
import { Backoff } from './backoff.js';
import type { PayloadReader } from './payload-reader.js';
import { askHearers } from './redis-hearers.js';
import { REDIS_BACKOFF, isElsewhere, isReply, type RedisClient } from './redis-client.js';
import { connectTo } from './redis-connections.js';
import { NOTICED_MS, type RedisInterests, type Topic } from './redis-interests.js';
import type { OutboundGate } from './outbound-gate.js';
import { RedisLink } from './redis-link.js';
import type { RedisNames } from './redis-names.js';
import { POST_SCRIPT } from './redis-post-script.js';
import { RedisRegistrar } from './redis-registrar.js';

/** What the shards of a Cluster have in common. */
export interface ShardSettings {
  readonly names: RedisNames;
  readonly interests: RedisInterests;
  readonly reader: PayloadReader;
  readonly gate: OutboundGate;
  readonly tickMs: number;
  /** How long posts are held at most until all is registered again. */
  readonly publishTimeoutMs: number;
}

/** Told of what becomes of a shard. */
export interface ShardListener {
  /** What it says of itself may have changed. */
  changed(): void;
  /** Posts can be sent. */
  open(shard: RedisShard): void;
  /** What was sent and not answered never will be. */
  down(shard: RedisShard): void;
  /** It may have got or lost slots. */
  moved(shard: RedisShard): void;
  /** What is wanted of its groups. */
  topics(shard: RedisShard): Iterable<Topic>;
  /** A message has come by it. */
  receive(shard: RedisShard, key: string, payload: string): void;
}

/**
 * One master of a Cluster that shards channels: a connection for the posts to the groups of channels that it has, and one for
 * subscriptions to them.
 */
export class RedisShard {
  /** The groups that it has. */
  readonly groups = new Set<number>();
  readonly registrar: RedisRegistrar;
  private readonly commands: RedisLink;
  private readonly subscriber: RedisLink;
  private readonly id = randomUUID();
  private readonly backoff = new Backoff(REDIS_BACKOFF);
  // One of the groups, in whose slot the beat is.
  private beatGroup: number;
  private isTaught = false;
  private session = 0;
  private refusal: MessagingError | undefined = undefined;
  private teaching: NodeJS.Timeout | undefined = undefined;
  // Whether that is done which goes before posts.
  private hasPassed = false;
  // Runs while posts are held although they could be sent.
  private holding: NodeJS.Timeout | undefined = undefined;
  private ticks = 0;
  private deafCount = 0;

  /**
   * @param member - the client of the Cluster for this master
   * @param group - one that it has
   */
  constructor(
    member: RedisClient,
    group: number,
    private readonly settings: ShardSettings,
    private readonly listener: ShardListener,
  ) {
    this.beatGroup = group;
    const { interests, reader, tickMs } = settings;
    const changed = (): void => this.changed();
    this.commands = new RedisLink(connectTo(member, 'commands'), {
      up: () => void this.teach(),
      down: () => this.commandsDown(),
      changed,
    });
    this.subscriber = new RedisLink(connectTo(member, 'subscriber'), {
      up: () => this.registrar.up(),
      down: () => {
        this.registrar.down();
        listener.moved(this);
      },
      changed,
    });
    this.registrar = new RedisRegistrar(interests, reader, this.subscriber, true, tickMs, {
      changed,
      topics: () => listener.topics(this),
      owns: ({ group: its }) => this.groups.has(its!),
      beatKey: () => this.beatKey,
      publish: (key, payload) => this.publishBeat(key, payload),
      deaf: () => this.deaf(),
      refused: () => false,
      moved: () => listener.moved(this),
    });
  }

  get beatKey(): string {
    return this.settings.names.ofGroup(this.beatGroup, this.id);
  }

  /** Whether posts can be sent. */
  get isOpen(): boolean {
    return this.commands.isUp && this.isTaught && this.hasPassed && this.holding === undefined;
  }

  /** Whether posts can be sent, and all that is wanted is registered and heard. */
  get isReady(): boolean {
    return this.commands.isUp && this.isTaught && this.registrar.isRegistered;
  }

  /** Where posts go. */
  get client(): RedisClient {
    return this.commands.client;
  }

  /** Publishes payloads of one channel. */
  publish(channel: string, text: string): Promise<unknown> {
    const { own, head, any } = this.settings.names.routes(channel);
    this.commands.gather();
    return POST_SCRIPT.runTaught(this.client, own, head, any, channel, text);
  }

  get error(): MessagingError | undefined {
    return this.refusal ?? this.commands.error ?? this.subscriber.error ?? this.registrar.error;
  }

  /** Connects. */
  connect(): void {
    const { client } = this.subscriber;
    client.on('smessage', this.onMessage);
    // Of ioredis 6: Redis has ended subscriptions, since a slot has moved.
    client.on('moved', this.onMoved);
    this.commands.open();
    this.subscriber.open();
  }

  /** Posts fail since the script is not known any more, or were sent to the wrong member: nothing is sent before that is clear. */
  async teach(): Promise<void> {
    const session = ++this.session;
    clearTimeout(this.teaching);
    this.isTaught = false;
    const key = this.settings.names.ofGroup(this.beatGroup, 'check');
    try {
      await POST_SCRIPT.teach(this.client, [key, key, key, '', '']);
    } catch (error) {
      if (session !== this.session || !isReply(error as Error)) return;
      if (isElsewhere(error as Error)) this.listener.moved(this);
      else this.refusal = this.lacks(error as Error);
      this.teaching = setTimeout(() => void this.teach(), this.backoff.next()).unref();
      return this.changed();
    }
    if (session !== this.session) return;
    this.backoff.reset();
    this.refusal = undefined;
    this.isTaught = true;
    // Others, who lost this master when we did, are likely to hear again when we do.
    if (!this.registrar.isRestored) this.holding ??= setTimeout(this.release, this.settings.publishTimeoutMs).unref();
    this.registrar.recheck();
    if (!this.hasPassed) void this.passGate(session);
    this.changed();
    if (this.isOpen) this.listener.open(this);
  }

  private async passGate(session: number): Promise<void> {
    await this.settings.gate.shut();
    if (session !== this.session) return;
    this.hasPassed = true;
    if (this.isOpen) this.listener.open(this);
  }

  /** Its groups have changed: the beat is in one of them. */
  regroup(): void {
    const [group] = this.groups;
    if (group === undefined || this.groups.has(this.beatGroup)) return;
    this.beatGroup = group;
    this.registrar.renameBeat();
  }

  /** Redis may have ended subscriptions: those that it has no longer are registered again. */
  restore(): void {
    if (!this.subscriber.isUp || this.groups.size === 0) return;
    const { condition } = this.subscriber.client as unknown as {
      condition?: { subscriber?: { channels(set: string): string[] } | false } | null;
    };
    const subscribed = condition?.subscriber;
    const known = new Set(subscribed ? subscribed.channels('ssubscribe') : []);
    const ended = [...this.listener.topics(this)].filter(({ state, key }) => state === 'registered' && !known.has(key));
    this.settings.interests.unregister(ended, performance.now() - NOTICED_MS);
    if (ended.length > 0) this.settings.reader.interrupted();
    for (const topic of ended) this.registrar.take(topic);
    if (!known.has(this.beatKey)) this.registrar.renameBeat();
  }

  /** Whether anybody is subscribed to a classic channel there. Never rejects. */
  async isHeard(key: string): Promise<boolean> {
    return ((await askHearers(this.client, 'NUMSUB', key)) ?? 0) > 0;
  }

  /** See `Transport.catchUp`. */
  catchUp(): Promise<boolean> {
    return this.registrar.catchUp(() => [(key, mark) => this.client.spublish!(key, mark)]);
  }

  /** To be called at intervals, of which every second one has a beat. */
  tick(): void {
    const isBeat = ++this.ticks % 2 === 0;
    for (const link of [this.commands, this.subscriber]) {
      if (isBeat) link.beat();
      else link.lookBetweenBeats();
    }
    this.registrar.tick();
  }

  /** See {@link RedisLink.late}. */
  late(waitedMs: number): void {
    this.commands.late(waitedMs);
    this.subscriber.late(waitedMs);
  }

  async close(): Promise<void> {
    this.session++;
    clearTimeout(this.teaching);
    clearTimeout(this.holding);
    this.registrar.close();
    const { client } = this.subscriber;
    client.off('smessage', this.onMessage);
    client.off('moved', this.onMoved);
    await Promise.all([this.commands.close(), this.subscriber.close()]);
  }

  private changed(): void {
    if (this.registrar.isRestored) this.release();
    if (this.registrar.isRegistered) this.deafCount = 0;
    this.listener.changed();
  }

  private readonly release = (): void => {
    if (this.holding === undefined) return;
    clearTimeout(this.holding);
    this.holding = undefined;
    if (this.isOpen) this.listener.open(this);
  };

  private commandsDown(): void {
    this.session++;
    clearTimeout(this.teaching);
    clearTimeout(this.holding);
    this.holding = undefined;
    this.isTaught = this.hasPassed = false;
    this.listener.down(this);
    this.listener.moved(this);
  }

  private publishBeat(key: string, payload: string): Promise<number> | undefined {
    return this.isTaught ? this.client.spublish!(key, payload).then(Number) : undefined;
  }

  private deaf(): void {
    const error = this.subscriber.cutDeaf();
    // Which of the two is connected to the wrong Redis is not known.
    if (++this.deafCount === 2) this.commands.cut(error);
  }

  private lacks(cause: Error): ConfigurationError {
    const { message } = cause;
    const command = /\b(eval)\b/i.test(message) ? 'EVAL' : 'SPUBLISH';
    const hint = /unknown/i.test(message) ? ', which Redis has from version 7' : '';
    return new ConfigurationError(
      `Option "redis.sharded" needs the command ${command}${hint}; ${this.commands.address} refuses it: ${message}`,
      { cause },
    );
  }

  private readonly onMessage = (key: string, payload: string): void => this.listener.receive(this, key, payload);

  private readonly onMoved = (): void => this.listener.moved(this);
}
