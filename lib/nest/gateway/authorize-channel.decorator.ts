import type { AnyListenableChannel, Channel, ChannelParams, ChannelTemplate } from '../../protocol/channel.js';
import { checkChannelName } from '../../protocol/channel-name.js';
import type { AuthenticationInfo } from '../../protocol/authentication.js';
import { checkOptions, flag } from '../../protocol/check-options.js';
import { checkMarkedChannel, MethodMarks } from '../method-marks.js';

/** A client that asks for a channel. */
export interface ClientContext {
  /** The user, as the module's option `authenticate` returns it; `null`: nobody. */
  readonly auth: AuthenticationInfo | null;
  /** The channel name that it asks for, parameters filled in. */
  readonly channel: string;
  /** The HTTP request, as Nest injects it. */
  readonly request: unknown;
}

/** Options of {@link AuthorizeChannel}. */
export interface AuthorizeChannelOptions {
  /**
   * Whether the method decides about the whole template, that is, all of its channels at once. Without such a
   * method no client may subscribe to the whole template.
   * @defaultValue false: it decides about one channel at a time
   */
  all?: boolean | undefined;
}

/** What a decorator says of a method. */
export interface Authorization {
  /** Asked for once all decorators have run. */
  readonly channel: () => AnyListenableChannel;
  readonly all: boolean;
}

const AUTHORIZATIONS = new MethodMarks<Authorization>('@AuthorizeChannel');

type Decision = boolean | Promise<boolean>;
type AuthorizerDecorator<Params> = <Method extends (client: ClientContext, params: Params) => Decision>(
  target: object,
  method: string | symbol,
  descriptor: TypedPropertyDescriptor<Method>,
) => void;

/**
 * Lets a method of a provider or controller decide which clients may subscribe to a channel. `true` lets a client in.
 * Any other value and any error deny, and the client cannot distinguish a denied channel from one that does not exist. If
 * several methods decide about one channel, all must return `true`. They are called once for each subscription, and again
 * when a client reconnects or renews its sign-in.
 *
 * @param channel - a channel, a template, the messages of a source, or a name; or a function that returns one, for a source that
 *   decides itself, because its class decorator runs after those of its methods: `() => messagesFrom(ChatServer, ChatMessage)`
 * @example
 * ```ts
 * @Injectable()
 * class RoomAccess {
 *   constructor(private readonly rooms: Rooms) {}
 *
 *   @AuthorizeChannel(RoomMessages)
 *   mayRead(client: ClientContext, { roomId }: { roomId: string }): Promise<boolean> {
 *     return this.rooms.hasMember(roomId, client.auth?.userId);
 *   }
 * }
 * ```
 */
export function AuthorizeChannel<T, Name extends string>(
  channel: ChannelTemplate<T, Name>,
  options?: AuthorizeChannelOptions,
): AuthorizerDecorator<{ readonly [Parameter in keyof ChannelParams<Name>]: string }>;
// oxlint-disable-next-line typescript/no-explicit-any -- a template is invariant in its message type; only `any` stands for all
export function AuthorizeChannel<Template extends ChannelTemplate<any>>(
  channel: () => Template,
  options?: AuthorizeChannelOptions,
): AuthorizerDecorator<
  Template extends { readonly name: infer Name extends string }
    ? { readonly [Parameter in keyof ChannelParams<Name>]: string }
    : never
>;
export function AuthorizeChannel<T>(
  channel: Channel<T> | string | (() => Channel<T>),
  options?: AuthorizeChannelOptions,
): AuthorizerDecorator<Readonly<Record<string, string>>>;
export function AuthorizeChannel(
  channel: AnyListenableChannel | (() => AnyListenableChannel),
  options: AuthorizeChannelOptions = {},
): AuthorizerDecorator<never> {
  return (target, method, descriptor) => {
    const { place, handler } = AUTHORIZATIONS.methodOf(target, method, descriptor);
    checkOptions(options, place, { all: flag });
    if (typeof channel === 'string') checkChannelName(channel);
    else if (typeof channel !== 'function') checkMarkedChannel(channel, place);
    const authorization: Authorization = {
      channel: typeof channel === 'function' ? channel : () => channel,
      all: options.all ?? false,
    };
    AUTHORIZATIONS.add(handler, authorization);
  };
}

/** What a method is decorated with. */
export function authorizationsOf(handler: Function): readonly Authorization[] {
  return AUTHORIZATIONS.of(handler);
}
