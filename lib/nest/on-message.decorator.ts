import type { MessageContext } from '../core/message-context.js';
import type { AnyListenableChannel, Channel, ChannelTemplate } from '../protocol/channel.js';
import { checkListenOptions, type ListenOptions } from '../core/listen-options.js';
import { checkMarkedChannel, MethodMarks } from './method-marks.js';

/** Options of {@link OnMessage}. */
export interface OnMessageOptions extends Pick<ListenOptions, 'replay'> {}

/** What one decoration of a method asks for. */
export interface Handled {
  readonly channel: AnyListenableChannel;
  readonly replay: OnMessageOptions['replay'];
  /** For errors. */
  readonly place: string;
}

const HANDLED = new MethodMarks<Handled>('@OnMessage');

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
 * Guards, pipes, interceptors and filters of the method and of its class apply. Those of the whole application
 * do not, because they are made for requests. The parameters are `(message, context)`, unless
 * `@Payload()` and `@Ctx()` order them otherwise. An error of the method is logged and reported; other listeners still run.
 * An Observable that it returns is subscribed until the application closes, and its error is reported too.
 *
 * Messages posted while the application starts are delivered once it has started; with `replay`, after the earlier messages.
 * The start waits for those, unless Redis is away.
 *
 * @throws ConfigurationError for wrong options; at the start of the application for a `replay` that the channel does not support
 * @example
 * ```ts
 * @OnMessage(UserUpdates)
 * handle(update: UserUpdate, context: MessageContext) {}
 *
 * @OnMessage(Prices, { replay: 100 })
 * note(price: Price, { replayed }: MessageContext) {}
 * ```
 */
export function OnMessage<T>(channel: Channel<T> | ChannelTemplate<T>, options?: OnMessageOptions): HandlerDecorator<T>;
export function OnMessage(channel: string, options?: OnMessageOptions): MethodDecorator;
export function OnMessage(channel: AnyListenableChannel, options?: OnMessageOptions): MethodDecorator {
  return (target, method, descriptor) => {
    const { handler, place } = HANDLED.methodOf(target, method, descriptor);
    checkMarkedChannel(channel, place);
    if (options !== undefined) checkListenOptions(options, place, 'replay');
    HANDLED.add(handler, { channel, place, replay: options?.replay });
  };
}

/** What a method is decorated with. */
export function handledBy(handler: Function): readonly Handled[] {
  return HANDLED.of(handler);
}
