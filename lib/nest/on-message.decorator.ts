import type { AnyListenableChannel, Channel, ChannelTemplate } from '../protocol/channel.js';
import { describe } from '../protocol/channel-name.js';
import { ConfigurationError } from '../protocol/errors.js';
import type { MessageContext } from '../core/delivery.js';

const ON_MESSAGE = Symbol('nestjs-messaging:on-message');

/** What a method decorated with {@link OnMessage} looks like, where neither parameter is decorated. */
export type MessageHandler<T> = (message: T, context: MessageContext) => unknown;

type HandlerDecorator<T> = <Method extends (...args: never[]) => unknown>(
  target: object,
  method: string | symbol,
  // A handler that takes other messages than the channel's does not compile; one whose parameters are
  // decorated may take whatever its decorators give.
  descriptor: TypedPropertyDescriptor<Method> & (Method extends MessageHandler<T> ? unknown : TypedPropertyDescriptor<Method>),
) => void;

/**
 * Calls a method of a provider or controller with each message of a channel. The class may be a singleton
 * or request-scoped (an instance and a session for each message), the method inherited, the module lazy.
 *
 * Guards, pipes, interceptors and filters of the method and of its class apply, those of the application
 * as a whole do not: they are made for requests. The parameters are `(message, context)`, or what
 * `@Payload()` and `@Ctx()` say. What it throws is logged and reported; other listeners still run.
 *
 * Messages posted while the application starts are delivered once it has started.
 *
 * @example
 * ```ts
 * @OnMessage(UserUpdates)
 * handle(update: UserUpdate, context: MessageContext) {}
 * ```
 */
export function OnMessage<T>(channel: Channel<T> | ChannelTemplate<T>): HandlerDecorator<T>;
export function OnMessage(channel: string): MethodDecorator;
export function OnMessage(channel: AnyListenableChannel): MethodDecorator {
  return (target, method, descriptor) => {
    const handler: unknown = (descriptor as PropertyDescriptor | undefined)?.value;
    if (typeof handler !== 'function') {
      throw new ConfigurationError(`@OnMessage on ${target.constructor.name}.${String(method)}: it decorates methods, not ${describe(handler)}`);
    }
    Reflect.defineMetadata(ON_MESSAGE, [...channelsOf(handler), channel], handler);
  };
}

/** The channels that a method is decorated with. */
export function channelsOf(handler: Function): readonly AnyListenableChannel[] {
  return (Reflect.getMetadata(ON_MESSAGE, handler) as AnyListenableChannel[] | undefined) ?? [];
}
