import { describe } from '../protocol/channel-name.js';
import { ConfigurationError } from '../protocol/errors.js';
import { handlerName } from './handler-name.js';

/** A method as a decorator gets it. */
export interface MarkedMethod {
  /** `@Decorator on Class.method`, for errors. */
  readonly place: string;
  readonly handler: Function;
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
