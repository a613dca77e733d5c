import { isTemplate } from './channel-name.js';
import type { Class } from './message.js';

/** How much a channel keeps. */
export interface HistoryOptions {
  /** The latest messages, so many of each channel: 1 to 1,000,000. Somewhat more may be kept. */
  maxMessages: number;
  /** How long messages are kept, in milliseconds: 1,000 to 2,592,000,000 (30 days). */
  ttlMs: number;
}

/** Options of `defineChannel`. */
export interface ChannelOptions {
  /**
   * Whether stock parts of Nest take part over Redis, which know the channel by its name without prefix: its posts are
   * published there too, one packet a message, and its listeners hear what a stock `ClientProxy` emits.
   * @defaultValue the module's `redis.interop`
   */
  interop?: boolean;
  /**
   * Whether clients may subscribe to it through the gateway, where `requiredScopes` and the `@AuthorizeChannel` of
   * the channel, if there are any, let them.
   * @defaultValue false: the channel does not exist for clients, unless it has an `@AuthorizeChannel`
   */
  clients?: boolean;
  /** Scopes that a client's authentication must have, all of them. */
  requiredScopes?: readonly string[];
  /**
   * What becomes of an event stream whose reader has left more than `sse.maxBufferedBytes` waiting. `disconnect`: it is
   * cut off, and its browser comes back. `dropOldest`: the oldest messages of this channel that wait are dropped, and the
   * event `messaging:gap` stands in their place. `conflate`: of messages with the same key only the latest waits.
   * @defaultValue 'disconnect'
   */
  slowConsumer?: 'disconnect' | 'dropOldest' | 'conflate';
  /** The key of a message, for `slowConsumer: 'conflate'`: of a price, its share. */
  // oxlint-disable-next-line typescript/no-explicit-any -- the class of the messages is another parameter
  conflateBy?: (message: any) => string | number;
  /**
   * Keeps its latest messages, over the crashes of servers and of Redis: what a reader has missed is read again, and a
   * reader that begins may ask for what was before (`replay`). Its messages have positions, and reach every server in the same
   * order, that of the poster too.
   * @defaultValue none is kept
   */
  history?: HistoryOptions;
  /**
   * Whether its messages are of the server that they are posted on: what comes from elsewhere under its name is not heard.
   * @internal
   */
  isLocal?: boolean;
}

/** What a channel, or all channels of a template, have in common. Immutable. */
export class ChannelDefinition<T = unknown> {
  /**
   * A template's name, split; `undefined` for a channel without parameters.
   * @internal
   */
  readonly segments: readonly string[] | undefined;
  /**
   * That of the messages of the class.
   * @internal
   */
  readonly prototype: object | undefined;
  /** @internal */
  readonly keepsHistory: boolean;

  /** @internal */
  constructor(
    /** The name, or the template with its parameters as `:parameter`. */
    readonly name: string,
    /** The class of the messages, where one was given. */
    readonly type: Class<T> | undefined,
    readonly options: Readonly<ChannelOptions>,
  ) {
    // A function without one is refused where the channel is used.
    this.prototype = (type as { readonly prototype?: object } | undefined)?.prototype;
    this.keepsHistory = options.history !== undefined;
    this.segments = isTemplate(name) ? name.split('/') : undefined;
  }
}
