import { isTemplate } from './channel-name.js';
import type { Class } from './message.js';

/** How many messages a channel keeps, and how long. */
export interface HistoryOptions {
  /** How many of its latest messages each channel keeps: 1 to 1,000,000. Somewhat more may be kept. */
  maxMessages: number;
  /** How long messages are kept, in milliseconds: 1,000 to 2,592,000,000 (30 days). */
  ttlMs: number;
}

/** Options of `defineChannel`. */
export interface ChannelOptions {
  /**
   * Whether Nest's stock parts take part in this channel over Redis. They know the channel by its name without a prefix: its
   * posts are published there too, one packet per message, and its listeners hear the emits of a stock `ClientProxy`.
   * @defaultValue the module's `redis.interop`
   */
  interop?: boolean | undefined;
  /**
   * Whether clients may subscribe to it through the gateway, if its `requiredScopes` and its `@AuthorizeChannel` (if any)
   * let them.
   * @defaultValue false: the channel does not exist for clients, unless it has an `@AuthorizeChannel`
   */
  clients?: boolean | undefined;
  /**
   * Scopes that a client's authentication must have, all of them.
   * @defaultValue none
   */
  requiredScopes?: readonly string[] | undefined;
  /**
   * What happens to an event stream if more than `sse.maxBufferedBytes` waits for its reader. `disconnect`: it is
   * cut off, and its browser comes back. `dropOldest`: the oldest waiting messages of this channel are dropped, and the
   * event `messaging:gap` takes their place. `conflate`: of messages with the same key, only the latest waits.
   * @defaultValue 'disconnect'
   */
  slowConsumer?: 'disconnect' | 'dropOldest' | 'conflate' | undefined;
  /**
   * The key of a message, for `slowConsumer: 'conflate'`: the share of a price, for instance.
   * @defaultValue none: required for `'conflate'`, and only for that
   */
  // oxlint-disable-next-line typescript/no-explicit-any -- the class of the messages is another parameter
  conflateBy?: ((message: any) => string | number) | undefined;
  /**
   * Keeps its latest messages, even if servers or Redis crash. A reader gets the messages it missed, and a new reader may ask
   * for earlier messages (`replay`). Its messages have positions, and reach every server in the same order, including the
   * poster's.
   * @defaultValue no history
   */
  history?: HistoryOptions | undefined;
  /**
   * Whether its messages are of the server that they are posted on: what comes from elsewhere under its name is not heard.
   * @internal
   */
  isLocal?: boolean;
}

/** The definition of a channel, or of all channels of a template. Immutable. */
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
    /** The class of the messages, if one was given. */
    readonly type: Class<T> | undefined,
    readonly options: Readonly<ChannelOptions>,
  ) {
    // The channel's first use refuses a function without one.
    this.prototype = (type as { readonly prototype?: object } | undefined)?.prototype;
    this.keepsHistory = options.history !== undefined;
    this.segments = isTemplate(name) ? name.split('/') : undefined;
  }
}
