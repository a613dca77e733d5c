import type { MessageContext } from '../core/message-context.js';
import type { AnyListenableChannel, Channel, ChannelTemplate } from '../protocol/channel.js';
import { MethodMarks } from './method-marks.js';

const CHANNELS = new MethodMarks<AnyListenableChannel>('@OnMessage');

/**
 * Whether a parameter may be given a message, or what decorators and pipes make of one: the message itself,
 * the context, a property, or a plain value. An object of another type is a mistake.
 */
type Fits<Parameter, T> = T extends Parameter
  ? unknown
  : MessageContext extends Parameter
    ? unknown
    : Parameter extends object
      ? Parameter extends T[keyof T]
        ? unknown
        : never
      : unknown;

type HandlerDecorator<T> = <Method extends (...args: never[]) => unknown>(
  target: object,
  method: string | symbol,
  descriptor: TypedPropertyDescriptor<Method> & Fits<Parameters<Method>[0], T>,
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
    CHANNELS.add(CHANNELS.methodOf(target, method, descriptor).handler, channel);
  };
}

/** The channels that a method is decorated with. */
export function channelsOf(handler: Function): readonly AnyListenableChannel[] {
  return CHANNELS.of(handler);
}
