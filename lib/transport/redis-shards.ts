import { setTimeout as delay } from 'node:timers/promises';
import type { SubscribeOptions } from '../core/transport.js';
import { TransportUnavailableError, type MessagingError } from '../protocol/errors.js';
import type { PayloadReader } from './payload-reader.js';
import type { PublisherListener } from './post-problem.js';
import { CLASSIC, RedisAgreement } from './redis-agreement.js';
import { addressOf, membersOf, type RedisClient } from './redis-client.js';
import { GROUPS, groupOf, slotOfGroup } from './redis-groups.js';
import { NOTICED_MS, RedisInterests, isWanted, whenHeard, type Topic } from './redis-interests.js';
import type { RedisNames } from './redis-names.js';
import type { OutboundGate } from './outbound-gate.js';
import { PendingBytes } from './redis-publisher.js';
import { RedisShard, type ShardListener, type ShardSettings } from './redis-shard.js';
import { ShardedGroup } from './sharded-group.js';

/** The minimum time between two requests for the table of slots, in milliseconds. */
const REFRESH_PAUSE_MS = 50;

/** How many ticks pass between two checks that all servers have the same setting. */
const AGREEMENT_TICKS = 10;

/** How long a master that has lost all its groups may still answer earlier commands, in milliseconds. */
const RETIRE_MS = 1_000;

/** Learns of changes of the shards, and of problems with posts. */
export interface ShardsListener extends PublisherListener {
  /** One of `isRestored`, `isRegistered`, `error` and `notice` may have changed. */
  changed(): void;
}

/**
 * Publishes and subscribes in a Cluster in which each master carries its own channels. Channels are in groups, and each group is in a slot.
 * A group that moves to another master is registered there, and possible losses are reported.
 */
export class RedisShards {
  private readonly interests: RedisInterests;
  private readonly groups: readonly ShardedGroup[];
  private readonly shards = new Map<string, RedisShard>();
  private readonly problems = new Set<ShardedGroup>();
  private readonly settings: ShardSettings;
  private readonly listening: ShardListener;
  private cluster: RedisClient | undefined = undefined;
  private refreshing: Promise<void> | undefined = undefined;
  private refreshedAt = -Infinity;
  // The version of the slot table.
  private tables = 0;
  private ownerless = GROUPS;
  private ticks = 0;
  private isClosed = false;
  private readonly agreement: RedisAgreement;

  /**
   * @param reader - receives the messages
   * @param tickMs - how often {@link tick} is called
   */
  constructor(
    private readonly names: RedisNames,
    private readonly reader: PayloadReader,
    tickMs: number,
    publishTimeoutMs: number,
    gate: OutboundGate,
    private readonly listener: ShardsListener,
  ) {
    this.agreement = new RedisAgreement(true, () => listener.changed());
    this.interests = new RedisInterests(names, (topics) => this.forget(topics));
    this.settings = { names, interests: this.interests, reader, gate, tickMs, publishTimeoutMs };
    const pending = new PendingBytes();
    this.groups = Array.from({ length: GROUPS }, () => {
      const group: ShardedGroup = new ShardedGroup(publishTimeoutMs, pending, {
        refused: (error) => {
          this.problems.add(group);
          listener.refused(error);
        },
        unanswered: () => {
          this.problems.add(group);
          listener.unanswered();
        },
        answered: () => {
          this.problems.delete(group);
          if (this.problems.size === 0) listener.answered();
        },
        refresh: () => this.refresh(),
      });
      return group;
    });
    this.listening = {
      changed: () => listener.changed(),
      open: (shard) => {
        for (const group of this.groups) if (group.shard === shard) group.open();
        void this.compare();
      },
      down: (shard) => this.groups.forEach((group) => group.lost(shard)),
      moved: (shard) => void this.refresh().then(() => shard.restore()),
      topics: (shard) => this.topicsOf(shard),
      receive: (shard, key, payload) => this.receive(shard, key, payload),
    };
  }

  /** Whether all topics that were wanted when the links came up are registered or refused. */
  get isRestored(): boolean {
    return this.ownerless === 0 && this.all.every(({ registrar }) => registrar.isRestored);
  }

  /** Whether all topics that were wanted when the links came up are registered and heard, and none has been refused since. */
  get isRegistered(): boolean {
    return this.ownerless === 0 && this.all.every(({ isReady }) => isReady);
  }

  get error(): MessagingError | undefined {
    const { error } = this.all.find((shard) => shard.error !== undefined) ?? {};
    if (error !== undefined || this.ownerless === 0 || this.tables === 0) return error;
    const text = `${addressOf(this.cluster!)} has no master for ${this.ownerless} of ${GROUPS} groups of channels`;
    return new TransportUnavailableError(text);
  }

  get notice(): TransportUnavailableError | undefined {
    const { problem } = this.agreement;
    return problem ?? this.all.find(({ registrar }) => registrar.notice !== undefined)?.registrar.notice;
  }

  /** Sets the Cluster, which knows at least one member. Called again whenever it was lost and found. */
  attach(cluster: RedisClient): void {
    if (this.cluster === undefined) cluster.on('refresh', this.onTable);
    this.cluster = cluster;
    void this.refresh();
  }

  /** See `RedisPublisher.publish`. */
  publish(channel: string, payload: string, isAlone: boolean): Promise<boolean> {
    return this.groups[groupOf(channel)]!.publisher.publish(channel, payload, isAlone);
  }

  /** See {@link Transport.subscribe}. */
  subscribe(name: string, _options?: SubscribeOptions): Promise<void> {
    if (this.isClosed) return Promise.resolve();
    const interest = this.interests.take(name, false);
    for (const topic of interest.topics) this.ownerOf(topic)?.registrar.request(topic);
    return whenHeard(interest);
  }

  /** See {@link Transport.unsubscribe}. */
  unsubscribe(name: string): void {
    const topics = this.interests.drop(name);
    let isChange = false;
    for (const topic of topics) isChange = this.ownerOf(topic)?.registrar.drop([topic]) || isChange;
    if (isChange) this.listener.changed();
  }

  /** Posts can be sent again. Each shard handles that itself. */
  recheck(): void {}

  /** See {@link Transport.catchUp}. */
  async catchUp(): Promise<boolean> {
    if (!this.isRegistered) return false;
    const { tables } = this;
    const caughtUp = await Promise.all(this.all.map((shard) => shard.catchUp()));
    return caughtUp.every(Boolean) && this.isRegistered && tables === this.tables;
  }

  /** See {@link Transport.settled}. */
  async settled(): Promise<void> {
    await Promise.all(this.groups.flatMap(({ publisher }) => publisher.outcomes));
  }

  /** Call it at intervals. */
  tick(): void {
    for (const shard of this.shards.values()) shard.tick();
    // A master that is replaced while its connections live does not report it.
    if (this.cluster !== undefined && ++this.ticks % 2 === 0) void this.refresh();
    if (this.ticks % AGREEMENT_TICKS === 0) void this.compare();
  }

  /** See {@link RedisLink.watch}. */
  watch(): void {
    for (const shard of this.shards.values()) shard.watch();
  }

  /** Some masters should have answered by now and have not. */
  late(waitedMs: number): void {
    for (const shard of this.shards.values()) shard.late(waitedMs);
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.agreement.close();
    this.cluster?.off('refresh', this.onTable);
    for (const { publisher } of this.groups) publisher.close();
    await Promise.all([...this.shards.values()].map((shard) => shard.close()));
    this.interests.close();
  }

  /** Checks for servers without sharded channels, and informs them. */
  private async compare(): Promise<void> {
    const key = this.names.classic(CLASSIC);
    const found = await Promise.all(this.all.map((shard) => shard.isHeard(key)));
    if (!found.includes(true) || this.isClosed) return;
    this.agreement.broken();
    this.all[0]?.client.publish(key, 'sharded').catch(() => undefined);
  }

  /** The shards with groups. */
  private get all(): RedisShard[] {
    return [...this.shards.values()].filter(({ groups }) => groups.size > 0);
  }

  private ownerOf({ group }: Topic): RedisShard | undefined {
    return this.groups[group!]!.shard;
  }

  private *topicsOf(shard: RedisShard): Iterable<Topic> {
    for (const topic of this.interests.topics()) if (this.ownerOf(topic) === shard) yield topic;
  }

  /** Requests the table of slots again and applies it. Never rejects. */
  private refresh(): Promise<void> {
    return (this.refreshing ??= this.askTable());
  }

  private async askTable(): Promise<void> {
    const wait = this.refreshedAt + REFRESH_PAUSE_MS - performance.now();
    if (wait > 0) await delay(wait, undefined, { ref: false });
    if (!this.isClosed) {
      const cluster = this.cluster as unknown as { refreshSlotsCache(done: () => void): void };
      await new Promise<void>((resolve) => cluster.refreshSlotsCache(resolve));
    }
    this.refreshedAt = performance.now();
    this.refreshing = undefined;
  }

  private readonly onTable = (): void => {
    if (this.isClosed) return;
    const { slots } = this.cluster as unknown as { slots: readonly (readonly string[] | undefined)[] };
    const members = new Map(membersOf(this.cluster!, 'all').map((member) => [keyOf(member), member]));
    const left = new Map<number, RedisShard | undefined>();
    this.groups.forEach((group, index) => {
      const key = slots[slotOfGroup(index)]?.[0];
      const shard = key === undefined ? undefined : this.shardAt(key, members.get(key), index);
      if (shard === group.shard) return;
      left.set(index, group.shard);
      group.shard?.groups.delete(index);
      shard?.groups.add(index);
      group.moveTo(shard);
    });
    this.tables++;
    if (left.size > 0) this.move(left);
    else if (this.tables === 1) this.listener.changed();
  };

  private shardAt(key: string, member: RedisClient | undefined, group: number): RedisShard | undefined {
    let shard = this.shards.get(key);
    if (shard !== undefined || member === undefined) return shard;
    shard = new RedisShard(member, group, this.settings, this.listening);
    this.shards.set(key, shard);
    shard.connect();
    return shard;
  }

  /** @param left - the groups that have another master, with their former one */
  private move(left: ReadonlyMap<number, RedisShard | undefined>): void {
    this.ownerless = this.groups.filter(({ shard }) => shard === undefined).length;
    for (const topic of this.interests.topics()) {
      if (!left.has(topic.group!)) continue;
      left.get(topic.group!)?.registrar.drop([topic]);
      this.interests.unregister([topic], performance.now() - NOTICED_MS);
      if (isWanted(topic)) this.ownerOf(topic)?.registrar.take(topic);
    }
    // The first table moves nothing that was heard before.
    if (this.tables > 1) this.reader.interrupted();
    for (const [key, shard] of this.shards) {
      shard.regroup();
      if (shard.groups.size === 0) setTimeout(() => this.retire(key, shard), RETIRE_MS).unref();
    }
    this.listener.changed();
  }

  private retire(key: string, shard: RedisShard): void {
    if (shard.groups.size > 0 || this.shards.get(key) !== shard || this.isClosed) return;
    this.shards.delete(key);
    for (const group of this.groups) group.lost(shard);
    void shard.close();
  }

  private forget(topics: readonly Topic[]): void {
    for (const shard of this.all) {
      const isIts = (topic: Topic): boolean => topic.state !== 'unregistered' && this.ownerOf(topic) === shard;
      shard.registrar.unsubscribe(topics.filter(isIts));
    }
  }

  private receive(shard: RedisShard, key: string, payload: string): void {
    const topic = this.interests.topicOf(key, false);
    if (topic === undefined) {
      if (key === shard.beatKey) shard.registrar.heardBeat(payload);
      return;
    }
    // Messages that a former master still sends belong to the reported loss.
    if (this.ownerOf(topic) !== shard) return;
    if (!shard.registrar.isRegistered) shard.registrar.heardFirst(topic);
    if (topic.isAfterLoss === true) shard.registrar.tellLoss(topic);
    if (topic.isShared === true) return this.receiveShared(topic, payload);
    for (const { name } of topic.interests) this.reader.read(payload, name, name, false);
  }

  private receiveShared({ interests }: Topic, text: string): void {
    const [channel, payload] = this.names.splitShared(text) ?? [];
    if (channel === undefined) return;
    for (const { name, segments } of interests) {
      if (this.names.isOf(channel, segments)) this.reader.read(payload!, name, channel, false);
    }
  }
}

function keyOf(member: RedisClient): string {
  const { host, port } = member.options as { host?: string; port?: number };
  return `${host}:${port}`;
}
