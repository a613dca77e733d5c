import { describe } from '../protocol/channel-name.js';
import { ConfigurationError, InvalidChannelError } from '../protocol/errors.js';
import { isObject } from '../protocol/is-record.js';
import { handlerName } from './handler-name.js';

/** A method as a decorator gets it. */
export interface MarkedMethod {
  /** `@Decorator on Class.method`, for errors. */
  readonly place: string;
  readonly handler: Function;
}

/**
 * Checks the channel of a decorator, so that the error names the method, and its stack the file.
 *
 * @throws InvalidChannelError for anything that cannot be a channel
 */
export function checkMarkedChannel(channel: unknown, place: string): void {
  if (typeof channel === 'string' || isObject(channel)) return;
  const advice =
    channel === undefined
      ? '; an imported one is undefined while two files import each other: give it a file of its own'
      : '';
  throw new InvalidChannelError(
    `${place}: a channel is a string or the result of defineChannel(), not ${describe(channel)}${advice}`,
  );
}

/** What one decorator has noted on methods: one mark for each time that it is written there. */
export class MethodMarks<Mark> {
  private readonly key: symbol;

  /** @param decorator - its name: `@OnMessage` */
  constructor(private readonly decorator: string) {
    this.key = Symbol(`nestjs-messaging:${decorator}`);
  }

  /** @throws ConfigurationError for anything but a method of instances that Nest finds */
  methodOf(target: object, key: string | symbol, descriptor: PropertyDescriptor | undefined): MarkedMethod {
    const place = `${this.decorator} on ${handlerName(this.decorator, target, key)}`;
    const handler: unknown = descriptor?.value;
    if (typeof handler === 'function') return { place, handler };
    throw new ConfigurationError(`${place}: it decorates methods, not ${describe(handler)}`);
  }

  /** Notes a mark beside those that are there. */
  add(handler: Function, mark: Mark): void {
    Reflect.defineMetadata(this.key, [...this.of(handler), mark], handler);
  }

  of(handler: Function): readonly Mark[] {
    return (Reflect.getMetadata(this.key, handler) as Mark[] | undefined) ?? [];
  }
}
