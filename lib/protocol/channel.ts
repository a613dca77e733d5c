import { RESERVED_PREFIX, checkChannelName, checkSyntax, describe, fillTemplate, quote } from './channel-name.js';
import { ChannelDefinition, type ChannelOptions, type HistoryOptions } from './channel-definition.js';
import { callback, checkOptions, flag, oneOf, strings, wholeNumber, type OptionCheck } from './check-options.js';
import { COPY, describeCopy, refuseOtherCopy } from './copy.js';
import { declareChannel } from './declared-channels.js';
import { ConfigurationError, InvalidChannelError } from './errors.js';
import type { Class } from './message.js';

/** The names of a template's parameters, at compile time: `rooms/:roomId` has `roomId`. */
export type ParameterNames<Name extends string> = Name extends `${infer Head}/${infer Tail}`
  ? ParameterNames<Head> | ParameterNames<Tail>
  : Name extends `:${infer Parameter}`
    ? Parameter
    : never;

/** The argument of {@link ChannelTemplate.for}. */
export type ChannelParams<Name extends string> = { readonly [Parameter in ParameterNames<Name>]: string | number };

/**
 * The parameters that a listener is told of with a message: those of the template, as texts; of a name that is known at
 * run time only, whatever it has.
 */
export type MessageParams<Name extends string = string> = string extends Name
  ? Readonly<Record<string, string>>
  : { readonly [Parameter in ParameterNames<Name>]: string };

const HISTORY_OPTIONS: Record<keyof HistoryOptions, OptionCheck> = {
  // The marks let bundlers leave out of a page what it does not call.
  maxMessages: /* @__PURE__ */ wholeNumber(1, 1_000_000),
  // Up to 30 days.
  ttlMs: /* @__PURE__ */ wholeNumber(1_000, 2_592_000_000),
};

const OPTIONS: Record<Exclude<keyof ChannelOptions, 'isLocal'>, OptionCheck> = {
  interop: flag,
  clients: flag,
  requiredScopes: strings,
  slowConsumer: /* @__PURE__ */ oneOf('disconnect', 'dropOldest', 'conflate'),
  conflateBy: callback,
  history: (value, path) => checkOptions(value, path, HISTORY_OPTIONS),
};

/** A named stream of messages of one type. `Name` is its name, or that of the template that it is of. */
export class Channel<T = unknown, Name extends string = string> {
  // Compile-time marks: without the first a Channel<A> could be passed in place of a Channel<B>.
  declare protected readonly message: (message: T) => T;
  declare protected readonly template: Name;

  /** @internal */
  constructor(
    /** The name, with the parameters of a template filled in. */
    readonly name: string,
    /** The class of its messages, and its options. */
    readonly definition: ChannelDefinition<T>,
  ) {}

  /** @internal */
  get [COPY](): string {
    return describeCopy('Channel');
  }
}

/** Many channels under one definition, told apart by parameters: all rooms. */
export class ChannelTemplate<T = unknown, Name extends string = string> {
  declare protected readonly message: (message: T) => T;

  /** @internal */
  constructor(
    /** The template, with its parameters as `:parameter`. */
    readonly name: Name,
    /** The class of the messages, and the options of its channels. */
    readonly definition: ChannelDefinition<T>,
  ) {}

  /** @internal */
  get [COPY](): string {
    return describeCopy('ChannelTemplate');
  }

  /**
   * The channel of these parameters.
   *
   * @throws InvalidChannelError if a parameter is missing, unknown, empty, contains "/" or begins with ":"
   * @example
   * ```ts
   * RoomMessages.for({ roomId: 42 }).name; // 'rooms/42'
   * ```
   */
  for(params: ChannelParams<Name>): Channel<T, Name> {
    return new Channel(fillTemplate(this.name, params), this.definition);
  }
}

/** A channel that messages may be posted to, or its name. */
export type PostableChannel<T = unknown> = Channel<T> | string;

/** A channel that may be listened to, or a template, which stands for all of its channels. */
export type ListenableChannel<T = unknown, Name extends string = string> =
  Channel<T, Name> | ChannelTemplate<T, Name> | Name;

// oxlint-disable typescript/no-explicit-any -- a channel is invariant in its message type; only `any` stands for all
/** {@link PostableChannel} of whatever messages. */
export type AnyPostableChannel = PostableChannel<any>;

/** {@link ListenableChannel} of whatever messages. */
export type AnyListenableChannel = ListenableChannel<any>;
// oxlint-enable typescript/no-explicit-any

/** The result of {@link defineChannel}: a template if the name has parameters. */
export type DefinedChannel<T, Name extends string> = [ParameterNames<Name>] extends [never]
  ? Channel<T, Name>
  : ChannelTemplate<T, Name>;

/**
 * Defines a channel, or with parameters in its name (`rooms/:roomId`) a template of channels. Call it
 * once for each name, at the top of a file that the posting and the listening code import: definitions are kept as long
 * as the process runs.
 *
 * @param name - 1 to 255 characters, without control characters and `*`, not beginning with `messaging:`
 * @param type - the class of the messages; leave it out for plain values and name the type instead:
 *   `defineChannel<Tick>('ticks')`
 * @throws InvalidChannelError for a name that cannot be used
 * @throws ConfigurationError for a type that is no class, and for unknown options
 * @example
 * ```ts
 * const UserUpdates = defineChannel('user_updates', UserUpdate);
 * const RoomMessages = defineChannel('rooms/:roomId', ChatMessage);
 * ```
 */
export function defineChannel<T, const Name extends string>(
  name: Name,
  type: Class<T>,
  options?: ChannelOptions,
): DefinedChannel<T, Name>;
export function defineChannel<T = unknown, const Name extends string = string>(
  name: Name,
  type?: undefined,
  options?: ChannelOptions,
): DefinedChannel<T, Name>;
export function defineChannel(name: string, type?: Class, options: ChannelOptions = {}): Channel | ChannelTemplate {
  checkChannelName(name);
  if (type !== undefined && typeof type !== 'function') {
    throw new ConfigurationError(
      `defineChannel(${quote(name)}): the second argument is the class of its messages, not ${describe(type)}`,
    );
  }
  checkChannelOptions(name, options);
  const { history } = options;
  const frozen = history === undefined ? { ...options } : { ...options, history: Object.freeze({ ...history }) };
  const definition = new ChannelDefinition(name, type, Object.freeze(frozen));
  declareChannel(definition);
  return create(definition);
}

/** A channel of the library's own, under the reserved prefix. */
export function reservedChannel<T>(
  name: string,
  type?: Class<T>,
  options: ChannelOptions = {},
): Channel<T> | ChannelTemplate<T> {
  const full = RESERVED_PREFIX + name;
  checkSyntax(full);
  return create(new ChannelDefinition(full, type, options));
}

function create<T>(definition: ChannelDefinition<T>): Channel<T> | ChannelTemplate<T> {
  const { name, segments } = definition;
  return segments ? new ChannelTemplate(name, definition) : new Channel(name, definition);
}

function checkChannelOptions(name: string, options: ChannelOptions): void {
  const path = `defineChannel(${quote(name)})`;
  checkOptions(options, path, OPTIONS);
  const { slowConsumer, conflateBy, history, interop } = options;
  for (const option of ['maxMessages', 'ttlMs'] as const) {
    if (history !== undefined && history[option] === undefined) {
      throw new ConfigurationError(`${path}: option "history" needs "${option}"`);
    }
  }
  if (history !== undefined && interop === true) {
    throw new ConfigurationError(`${path}: options "history" and "interop" exclude each other`);
  }
  if ((slowConsumer === 'conflate') !== (conflateBy !== undefined)) {
    throw new ConfigurationError(`${path}: options "slowConsumer: 'conflate'" and "conflateBy" need each other`);
  }
}

/**
 * Whether something is a channel or a template, not a name.
 *
 * @throws ConfigurationError for one of another copy of this package
 */
export function isChannel(value: unknown): value is Channel | ChannelTemplate {
  if (value instanceof Channel || value instanceof ChannelTemplate) return true;
  if (typeof value === 'object') refuseOtherCopy(value);
  return false;
}

/**
 * The name under which something may be posted to.
 *
 * @throws InvalidChannelError if the value is not a channel, or is a template
 */
export function postableName(channel: unknown): string {
  if (channel instanceof Channel) return channel.name;
  const isDefined = isChannel(channel);
  const name: unknown = isDefined ? channel.name : channel;
  if (isDefined || checkChannelName(name)) {
    throw new InvalidChannelError(
      `Channel ${quote(name as string)} is a template: it can be listened to; to post, fill its parameters with .for({ … })`,
    );
  }
  return name as string;
}
