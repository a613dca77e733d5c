import { RESERVED_PREFIX, isTemplate, matchTemplate } from '../protocol/channel-name.js';

/** One thing to subscribe to in Redis. */
export interface RedisTopic {
  /** A Redis channel or, for a template, a pattern. */
  readonly key: string;
  readonly isPattern: boolean;
  /** Whether it is without our prefix, as stock parts publish. */
  readonly isPlain: boolean;
}

/** How names and templates of channels stand in Redis. */
export class RedisNames {
  /**
   * @param prefix - before every name
   * @param interop - see `RedisTransportOptions.interop`
   */
  constructor(
    private readonly prefix: string,
    private readonly interop: boolean | undefined,
  ) {}

  /** The Redis channel to publish on. */
  toPublish(channel: string, interop: boolean | undefined): string {
    const isPlain = this.interop !== false && (interop ?? this.interop ?? false) && this.mayBePlain(channel);
    return isPlain ? channel : this.prefix + channel;
  }

  /** What has to be subscribed to in order to hear a channel or all channels of a template. */
  toSubscribe(name: string): RedisTopic[] {
    const isPattern = isTemplate(name);
    const write = isPattern ? toPattern : (text: string): string => text;
    const topics = [{ key: escapeIf(isPattern, this.prefix) + write(name), isPattern, isPlain: false }];
    if (this.interop !== false && this.mayBePlain(name)) topics.push({ key: write(name), isPattern, isPlain: true });
    return topics;
  }

  /**
   * Whether what came by a pattern belongs to a template, of which the pattern says less.
   *
   * @returns the name of the channel
   */
  match(redisChannel: string, segments: readonly string[], isPlain: boolean): string | undefined {
    if (isPlain ? !this.mayBePlain(redisChannel) : !redisChannel.startsWith(this.prefix)) return undefined;
    const name = isPlain ? redisChannel : redisChannel.slice(this.prefix.length);
    return matchTemplate(segments, name.split('/')) && name;
  }

  /**
   * The library's own channels are nobody else's matter; and a plain name that begins with the prefix would
   * be taken for another channel's. (Every name does with an empty prefix, which leaves one form.)
   */
  private mayBePlain(name: string): boolean {
    return !name.startsWith(RESERVED_PREFIX) && !name.startsWith(this.prefix);
  }
}

function toPattern(template: string): string {
  return template
    .split('/')
    .map((segment) => (segment.startsWith(':') ? '*' : escape(segment)))
    .join('/');
}

function escapeIf(condition: boolean, text: string): string {
  return condition ? escape(text) : text;
}

/** Takes from characters the meaning that they have in Redis' patterns. */
function escape(text: string): string {
  return text.replace(/[\\*?[\]]/g, '\\$&');
}
