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
   * @throws ConfigurationError for a prefix that would not keep applications apart
   */
  constructor(
    prefix: string,
    private readonly interop: boolean | undefined,
  ) {
    checkPrefix(prefix);
    this.before = prefix + PREFIX_END;
    // A Cluster would take braces in the prefix for those that say what belongs together.
    this.beforeKeys = prefix.replace(/[%{}]/g, encodeURIComponent) + PREFIX_END;
    this.everything = { key: `${escape(prefix)}*`, isPattern: true, isPlain: false };
  }

  /** The Redis channel that the servers of this application publish on and hear. */
  toPublish(channel: string): string {
    return this.before + channel;
  }

  /** Keys of the history: `prefix|{part}h|channel` and alike. No keys of other prefixes are among them. */
  history(channel: string): HistoryKeys {
    const part = createHash('sha1').update(channel).digest().readUInt16BE() >> 6;
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

  /** Key of what tells which channels of a part were posted to: `prefix|{part}c`. */
  changes(part: number): string {
    return `${this.part(part)}c`;
  }

  /** How the keys of a part begin; the name of a channel itself may hold braces. */
  private part(part: number): string {
    return `${this.beforeKeys}{${part.toString(16).padStart(3, '0')}}`;
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
    return matchTemplate(segments, name.split('/')) && isChannelName(name) ? name : undefined;
  }
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
