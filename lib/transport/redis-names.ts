import { createHash } from 'node:crypto';
import {
  MAX_CHANNEL_NAME_LENGTH,
  RESERVED_PREFIX,
  describe,
  isChannelName,
  isTemplate,
  matchTemplate,
} from '../protocol/channel-name.js';
import { ConfigurationError } from '../protocol/errors.js';
import { GROUPS, groupOf, tagOf } from './redis-groups.js';

/**
 * Stands between prefix and name. No prefix contains it, so the first one in a Redis channel ends the prefix. Two
 * applications with different prefixes therefore never share a Redis channel, even if one prefix begins with the other.
 */
const PREFIX_END = '|';

/** One thing to subscribe to in Redis. */
export interface RedisTopic {
  /** A Redis channel or, for a template, a pattern. */
  readonly key: string;
  readonly isPattern: boolean;
  /** Whether it is without our prefix, as stock parts publish. */
  readonly isPlain: boolean;
  /** The group of channels that it belongs to, in a Cluster that shards them. */
  readonly group?: number | undefined;
  /** Whether it carries the messages of many channels, each behind the name of its channel and a line break. */
  readonly isShared?: boolean | undefined;
}

/** Where a post goes in a Cluster that shards channels: three Redis channels of one slot. */
export interface ShardedRoutes {
  /** For those that listen to this channel. */
  readonly own: string;
  /** For templates that begin with the same literal segment; empty: none can match. */
  readonly head: string;
  /** For templates that begin with a parameter. */
  readonly any: string;
}

/**
 * Histories are kept together in so many parts, each in one slot of a Cluster, so that each master carries its own: of 3, 6 or 16
 * masters none has more than 5 % beyond its share.
 */
export const HISTORY_PARTS = 1_024;

/** The keys of the history of one channel. A Cluster keeps all of them in one slot. */
export interface HistoryKeys {
  /** Which of the {@link HISTORY_PARTS} it is in. */
  readonly part: number;
  /** A sorted set of the whole part: its channels, by when they were posted to. See {@link RedisNames.changes}. */
  readonly changes: string;
  /** A hash: how far the history has come. */
  readonly state: string;
  /** A stream: the messages. */
  readonly stream: string;
  /** What is remembered of who appends to it. */
  appender(node: string): string;
  /** What is remembered of a post that its poster named. */
  post(id: string): string;
}

/** How names and templates of channels stand in Redis. */
export class RedisNames {
  /** The pattern of all channels of this prefix, exactly as an ACL rule `&prefix*` names it. */
  readonly everything: RedisTopic;
  private readonly before: string;
  private readonly beforeKeys: string;

  /**
   * @param prefix - before every name
   * @param interop - see `RedisTransportOptions.interop`
   * @param isSharded - see `RedisTransportOptions.sharded`
   * @throws ConfigurationError for a prefix that would not keep applications apart
   */
  constructor(
    prefix: string,
    private readonly interop: boolean | undefined,
    private readonly isSharded = false,
  ) {
    checkPrefix(prefix);
    this.before = prefix + PREFIX_END;
    // A Cluster would take braces in the prefix for those that say what belongs together.
    this.beforeKeys = prefix.replace(/[%{}]/g, encodeURIComponent) + PREFIX_END;
    this.everything = { key: `${escape(prefix)}*`, isPattern: true, isPlain: false };
  }

  /** The Redis channel that the servers of this application publish on and hear. */
  toPublish(channel: string): string {
    return this.isSharded ? this.inGroup(groupOf(channel), 'c', channel) : this.before + channel;
  }

  /** Where a post goes if channels are sharded. */
  routes(channel: string): ShardedRoutes {
    const group = groupOf(channel);
    const end = channel.indexOf('/');
    return {
      own: this.inGroup(group, 'c', channel),
      head: end < 0 ? '' : this.inGroup(group, 't', channel.slice(0, end)),
      any: this.inGroup(group, 't', ''),
    };
  }

  /** Where the script that appends publishes: the Redis channel, or {@link routes} and the name, one in each line. */
  historyRoute(channel: string): string {
    if (!this.isSharded) return this.toPublish(channel);
    const { own, head, any } = this.routes(channel);
    return [own, head, any, channel].join('\n');
  }

  /** What the script that appends publishes with. */
  get publishCommand(): string {
    return this.isSharded ? 'SPUBLISH' : 'PUBLISH';
  }

  /** The channel of a group by which one server looks whether it hears what is published there. */
  ofGroup(group: number, name: string): string {
    return this.inGroup(group, 'b', name);
  }

  /** A classic Redis channel, which all members of a Cluster pass on to each other. */
  classic(name: string): string {
    return this.before + name;
  }

  /** Keys of the history: `prefix|{part}h|channel` and alike. No keys of other prefixes are among them. */
  history(channel: string): HistoryKeys {
    const part = this.isSharded ? groupOf(channel) : createHash('sha1').update(channel).digest().readUInt16BE() >> 6;
    const before = this.part(part);
    const key = (kind: string): string => `${before}${kind}|${channel}`;
    return {
      part,
      changes: this.changes(part),
      state: key('h'),
      stream: key('s'),
      appender: (node) => key(`a|${node}`),
      post: (id) => key(`p|${id.length}|${id}`),
    };
  }

  /** How many parts there are; if channels are sharded, each group is one. */
  get parts(): number {
    return this.isSharded ? GROUPS : HISTORY_PARTS;
  }

  /** Key of what tells which channels of a part were posted to: `prefix|{part}c`. */
  changes(part: number): string {
    return `${this.part(part)}c`;
  }

  /** How the keys of a part begin; the name of a channel itself may hold braces. */
  private part(part: number): string {
    return `${this.beforeKeys}{${this.isSharded ? tagOf(part) : part.toString(16).padStart(3, '0')}}`;
  }

  /**
   * Whether stock parts take part in a channel, by its name without prefix. Names that contain the library's prefix, and
   * those that look like a prefixed one, never stand in Redis without prefix.
   *
   * @param interop - what the channel's definition says
   */
  isPlain(channel: string, interop: boolean | undefined): boolean {
    return this.interop !== false && (interop ?? this.interop ?? false) && mayBePlain(channel);
  }

  /** What has to be subscribed to in order to hear a channel or all channels of a template. */
  toSubscribe(name: string, interop: boolean | undefined): RedisTopic[] {
    if (this.isSharded) return this.shardedTopics(name);
    const isPattern = isTemplate(name);
    const key = isPattern ? escape(this.before) + toPattern(name) : this.before + name;
    const topics = [{ key, isPattern, isPlain: false }];
    if (this.isPlain(name, interop)) topics.push({ key: isPattern ? toPattern(name) : name, isPattern, isPlain: true });
    return topics;
  }

  /**
   * Whether what came by a pattern belongs to a template, of which the pattern says less.
   *
   * @returns the name of the channel
   */
  match(redisChannel: string, segments: readonly string[], isPlain: boolean): string | undefined {
    const { before } = this;
    if (redisChannel.length > before.length + MAX_CHANNEL_NAME_LENGTH) return undefined;
    if (isPlain ? !mayBePlain(redisChannel) : !redisChannel.startsWith(before)) return undefined;
    const name = isPlain ? redisChannel : redisChannel.slice(before.length);
    return matches(name, segments) ? name : undefined;
  }

  /**
   * Takes apart what came by a topic that carries many channels. Anybody on this Redis may have written it.
   *
   * @returns the name of the channel, and what was posted; `undefined` for what names no channel
   */
  splitShared(text: string): readonly [channel: string, payload: string] | undefined {
    const end = text.indexOf('\n');
    if (end < 1 || end > MAX_CHANNEL_NAME_LENGTH) return undefined;
    return [text.slice(0, end), text.slice(end + 1)];
  }

  /** Whether {@link splitShared} found a channel of a template. */
  isOf(channel: string, segments: readonly string[]): boolean {
    return matches(channel, segments);
  }

  private shardedTopics(name: string): RedisTopic[] {
    if (!isTemplate(name)) {
      const group = groupOf(name);
      return [{ key: this.inGroup(group, 'c', name), isPattern: false, isPlain: false, group }];
    }
    const [first = ''] = name.split('/');
    const head = first.startsWith(':') ? '' : first;
    return Array.from({ length: GROUPS }, (_, group) => ({
      key: this.inGroup(group, 't', head),
      isPattern: false,
      isPlain: false,
      group,
      isShared: true,
    }));
  }

  private inGroup(group: number, kind: string, name: string): string {
    return `${this.part(group)}${kind}|${name}`;
  }
}

function matches(name: string, segments: readonly string[]): boolean {
  return matchTemplate(segments, name.split('/')) !== undefined && isChannelName(name);
}

function mayBePlain(name: string): boolean {
  return !name.includes(RESERVED_PREFIX) && !name.includes(PREFIX_END);
}

function checkPrefix(prefix: unknown): asserts prefix is string {
  // Neither control characters, which would break lines of logs, nor what ends the prefix.
  if (typeof prefix === 'string' && !/[|\p{Cc}\p{Cs}]/u.test(prefix)) return;
  throw new ConfigurationError(
    `Option "prefix" must be a string without "|" and control characters, not ${describe(prefix)}`,
  );
}

function toPattern(template: string): string {
  return template
    .split('/')
    .map((segment) => (segment.startsWith(':') ? '*' : escape(segment)))
    .join('/');
}

/** Takes from characters the meaning that they have in Redis' patterns. */
function escape(text: string): string {
  return text.replace(/[\\*?[\]]/g, '\\$&');
}
