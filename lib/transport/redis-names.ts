import { createHash } from 'node:crypto';
import {
  MAX_CHANNEL_NAME_LENGTH,
  RESERVED_PREFIX,
  describe,
  isChannelName,
  isTemplate,
  isOfTemplate,
} from '../protocol/channel-name.js';
import { ConfigurationError } from '../protocol/errors.js';
import { GROUPS, groupOf, tagOf } from './redis-groups.js';

/**
 * Separates prefix and name. No prefix contains it, so its first occurrence in a Redis channel ends the prefix. Applications with different
 * prefixes therefore never share a Redis channel, even if one prefix begins with the other.
 */
const PREFIX_END = '|';

/** A Redis channel or pattern to subscribe to. */
export interface RedisTopic {
  /** A Redis channel or, for a template, a pattern. */
  readonly key: string;
  readonly isPattern: boolean;
  /** Whether it has no prefix of this library, as stock parts publish. */
  readonly isPlain: boolean;
  /** The group of channels that it belongs to, in a Cluster with sharded channels. */
  readonly group?: number | undefined;
  /** Whether it carries messages of many channels, each preceded by the channel's name and a line break. */
  readonly isShared?: boolean | undefined;
}

/** The three Redis channels of a post, all in one slot, in a Cluster with sharded channels. */
export interface ShardedRoutes {
  /** For listeners of this channel. */
  readonly own: string;
  /** For templates with the same literal first segment; empty: no template can match. */
  readonly head: string;
  /** For templates whose first segment is a parameter. */
  readonly any: string;
}

/**
 * The number of parts in which histories are kept, each in one slot of a Cluster, so that each master carries a share: of 3, 6 or 16
 * masters, none has more than 5 % above its share.
 */
export const HISTORY_PARTS = 1_024;

/** For how many channels the keys of histories are remembered: a hash costs more than the rest of a post. */
const MAX_REMEMBERED = 1_000;

/** The keys of one channel's history. A Cluster keeps all of them in one slot. */
export interface HistoryKeys {
  /** Its part, one of {@link HISTORY_PARTS}. */
  readonly part: number;
  /** A sorted set of the whole part: its channels, by the time of their latest post. See {@link RedisNames.changes}. */
  readonly changes: string;
  /** A hash: how far the history has come. */
  readonly state: string;
  /** A stream: the messages. */
  readonly stream: string;
  /** The record of a node that appends to it. */
  appender(node: string): string;
  /** The record of a post that has an id. */
  post(id: string): string;
}

/** The names of channels and templates in Redis. */
export class RedisNames {
  /** The pattern of all channels of this prefix, exactly as an ACL rule `&prefix*` names it. */
  readonly everything: RedisTopic;
  /** Nothing is subscribed to this Redis channel: a post there shows whether Redis takes posts. */
  readonly probe: string;
  private readonly before: string;
  private readonly beforeKeys: string;
  private readonly histories = new Map<string, HistoryKeys>();
  private last: { readonly channel: string | undefined; readonly key: string } = { channel: undefined, key: '' };

  /**
   * @param prefix - comes before every name
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
    this.probe = `${this.before}${RESERVED_PREFIX}probe`;
    // A Cluster would treat braces in the prefix as a hash tag.
    this.beforeKeys = prefix.replace(/[%{}]/g, encodeURIComponent) + PREFIX_END;
    this.everything = { key: `${escape(prefix)}*`, isPattern: true, isPlain: false };
  }

  /** The Redis channel that the servers of this application publish on and hear. */
  toPublish(channel: string): string {
    // Most posts are to the channel of the one before, and a key that is made anew has to be put together before it can be compared.
    if (channel !== this.last.channel) {
      const key = this.isSharded ? this.inGroup(groupOf(channel), 'c', channel) : this.before + channel;
      this.last = { channel, key };
    }
    return this.last.key;
  }

  /** Where the name begins in {@link toPublish}, unless channels are sharded. */
  get nameStart(): number {
    return this.before.length;
  }

  /** The Redis channels of a post if channels are sharded. */
  routes(channel: string): ShardedRoutes {
    const group = groupOf(channel);
    const end = channel.indexOf('/');
    return {
      own: this.inGroup(group, 'c', channel),
      head: end < 0 ? '' : this.inGroup(group, 't', channel.slice(0, end)),
      any: this.inGroup(group, 't', ''),
    };
  }

  /** Where the append script publishes: the Redis channel, or {@link routes} and the name, one in each line. */
  historyRoute(channel: string): string {
    if (!this.isSharded) return this.toPublish(channel);
    const { own, head, any } = this.routes(channel);
    return [own, head, any, channel].join('\n');
  }

  /** The command that the append script publishes with. */
  get publishCommand(): string {
    return this.isSharded ? 'SPUBLISH' : 'PUBLISH';
  }

  /** A Redis channel in a group, through which one server checks whether it hears that group. */
  ofGroup(group: number, name: string): string {
    return this.inGroup(group, 'b', name);
  }

  /** A classic Redis channel, which all members of a Cluster pass on to each other. */
  classic(name: string): string {
    return this.before + name;
  }

  /** The keys of a history: `prefix|{part}h|channel` and similar. They never clash with those of other prefixes. */
  history(channel: string): HistoryKeys {
    let keys = this.histories.get(channel);
    if (keys === undefined) {
      if (this.histories.size >= MAX_REMEMBERED) this.histories.clear();
      this.histories.set(channel, (keys = this.historyOf(channel)));
    }
    return keys;
  }

  private historyOf(channel: string): HistoryKeys {
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

  /** The number of parts. If channels are sharded, each group is one part. */
  get parts(): number {
    return this.isSharded ? GROUPS : HISTORY_PARTS;
  }

  /** The key of the record of changes in a part: `prefix|{part}c`. */
  changes(part: number): string {
    return `${this.part(part)}c`;
  }

  /** The beginning of the keys of a part. The name of a channel itself may contain braces. */
  private part(part: number): string {
    return `${this.beforeKeys}{${this.isSharded ? tagOf(part) : part.toString(16).padStart(3, '0')}}`;
  }

  /**
   * Whether stock parts take part in a channel, by its name without prefix. Names that contain the library's prefix, or look like a
   * prefixed name, never appear in Redis without prefix.
   *
   * @param interop - the option of the channel's definition
   */
  isPlain(channel: string, interop: boolean | undefined): boolean {
    return this.interop !== false && (interop ?? this.interop ?? false) && mayBePlain(channel);
  }

  /** The topics to subscribe to for a channel, or for all channels of a template. */
  toSubscribe(name: string, interop: boolean | undefined): RedisTopic[] {
    if (this.isSharded) return this.shardedTopics(name);
    const isPattern = isTemplate(name);
    const key = isPattern ? escape(this.before) + toPattern(name) : this.before + name;
    const topics = [{ key, isPattern, isPlain: false }];
    if (this.isPlain(name, interop)) topics.push({ key: isPattern ? toPattern(name) : name, isPattern, isPlain: true });
    return topics;
  }

  /**
   * Whether a message that arrived through a pattern belongs to a template: the pattern matches more than the template does.
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
   * Splits a message of a topic that carries many channels. Any client of this Redis may have written it.
   *
   * @returns the name of the channel, and the payload; `undefined` if it names no valid channel
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
  return isOfTemplate(segments, name.split('/')) && isChannelName(name);
}

function mayBePlain(name: string): boolean {
  return !name.includes(RESERVED_PREFIX) && !name.includes(PREFIX_END);
}

function checkPrefix(prefix: unknown): asserts prefix is string {
  // No control characters, which would break lines of logs, and no separator.
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

/** Escapes characters with a meaning in Redis patterns. */
function escape(text: string): string {
  return text.replace(/[\\*?[\]]/g, '\\$&');
}
