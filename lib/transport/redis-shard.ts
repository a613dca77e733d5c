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

/** Shared by the shards of a Cluster. */
export interface ShardSettings {
  readonly names: RedisNames;
  readonly interests: RedisInterests;
  readonly reader: PayloadReader;
  readonly gate: OutboundGate;
  readonly tickMs: number;
  /** How long posts may be held until everything is registered again. */
  readonly publishTimeoutMs: number;
}

/** Learns of changes of a shard. */
export interface ShardListener {
  /** The status of the shard may have changed. */
  changed(): void;
  /** Posts can be sent. */
  open(shard: RedisShard): void;
  /** Unanswered posts will not be answered. */
  down(shard: RedisShard): void;
  /** It may have gained or lost slots. */
  moved(shard: RedisShard): void;
  /** The wanted topics of its groups. */
  topics(shard: RedisShard): Iterable<Topic>;
  /** A message has arrived through it. */
  receive(shard: RedisShard, key: string, payload: string): void;
}

/**
 * One master of a Cluster with sharded channels: a connection for posts to the groups of channels that it has, and one for subscriptions to
 * them.
 */
export class RedisShard {
  /** The groups that it has. */
  readonly groups = new Set<number>();
  readonly registrar: RedisRegistrar;
  private readonly commands: RedisLink;
  private readonly subscriber: RedisLink;
  private readonly id = randomUUID();
  private readonly backoff = new Backoff(REDIS_BACKOFF);
  // The group whose slot contains the beat.
  private beatGroup: number;
  private isTaught = false;
  private session = 0;
  private refusal: MessagingError | undefined = undefined;
  private teaching: NodeJS.Timeout | undefined = undefined;
  // Whether the work that comes before posts is done.
  private hasPassed = false;
  // Runs while posts are held although they could be sent.
  private holding: NodeJS.Timeout | undefined = undefined;
  private ticks = 0;
  private deafCount = 0;

  /**
   * @param member - the client of the Cluster for this master
   * @param group - one of its groups
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
    this.commands = new RedisLink(
      connectTo(member, 'commands'),
      { up: () => void this.teach(), down: () => this.commandsDown(), changed },
      async (client) => client.spublish?.(this.checkKey, ''),
    );
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

  /** Nothing is subscribed to it: a post there shows whether this master takes posts. */
  private get checkKey(): string {
    return this.settings.names.ofGroup(this.beatGroup, 'check');
  }

  /** Whether posts can be sent. */
  get isOpen(): boolean {
    return this.commands.isUp && this.isTaught && this.hasPassed && this.holding === undefined;
  }

  /** Whether posts can be sent, and all wanted topics are registered and heard. */
  get isReady(): boolean {
    return this.commands.isUp && this.isTaught && this.registrar.isRegistered;
  }

  /** The client to publish with. */
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
    // An event of ioredis 6: Redis has ended subscriptions because a slot has moved.
    client.on('moved', this.onMoved);
    this.commands.open();
    this.subscriber.open();
  }

  /** Posts fail because the script is no longer known, or because they reached the wrong member. Nothing is sent until that is clear. */
  async teach(): Promise<void> {
    const session = ++this.session;
    clearTimeout(this.teaching);
    this.isTaught = false;
    const key = this.checkKey;
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
    // Other servers, which lost this master at the same time, are likely to hear again when this one does.
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

  /** Its groups have changed, and the beat must be in one of them. */
  regroup(): void {
    const [group] = this.groups;
    if (group === undefined || this.groups.has(this.beatGroup)) return;
    this.beatGroup = group;
    this.registrar.renameBeat();
  }

  /** Redis may have ended subscriptions: registers the missing ones again. */
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

  /** Whether anybody there is subscribed to a classic channel. Never rejects. */
  async isHeard(key: string): Promise<boolean> {
    return ((await askHearers(this.commands, this.client, 'NUMSUB', key)) ?? 0) > 0;
  }

  /** See `Transport.catchUp`. */
  catchUp(): Promise<boolean> {
    return this.registrar.catchUp(() => [(key, mark) => this.client.spublish!(key, mark)]);
  }

  /** Call it at intervals. Every second call sends a beat. */
  tick(): void {
    const isBeat = ++this.ticks % 2 === 0;
    for (const link of [this.commands, this.subscriber]) {
      if (isBeat) link.beat();
      else link.lookBetweenBeats();
    }
    this.registrar.tick();
  }

  /** See {@link RedisLink.watch}. */
  watch(): void {
    this.commands.watch();
    this.subscriber.watch();
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
    // It is unknown which of the two is connected to the wrong Redis.
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
