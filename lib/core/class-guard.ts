import { quote } from '../protocol/channel-name.js';
import type { ChannelDefinition } from '../protocol/channel-definition.js';
import { InvalidMessageError } from '../protocol/errors.js';
import type { Class } from '../protocol/message.js';
import { describeOther, isInstance } from '../protocol/message-class.js';
import { nameOf } from '../protocol/text-of.js';

// A channel of a class carries instances of that class and its subclasses, and nothing else.

const UNNAMED = 'instances of an unnamed class';

// Set on the prototype of a posted class, with the prototype itself as its value. Reading it takes 2 ns; Object.getPrototypeOf() takes 9
// and `instanceof` 12 as soon as an application has two classes. Nobody else can set it, so it proves the same as they do.
const MARK = Symbol('nestjs-messaging: message class');

/** Prepares the check of each post. Call it for each class of a channel. */
export function markClass(type: Class): void {
  const prototype = type.prototype as object | undefined;
  if (prototype === undefined || Object.hasOwn(prototype, MARK) || !Object.isExtensible(prototype)) return;
  Object.defineProperty(prototype, MARK, { value: prototype });
}

/** Whether a message is obviously of a channel's class. Most posts need no other check (bench/local.ts). */
export function isDirectly(message: unknown, { prototype }: ChannelDefinition): boolean {
  try {
    return (
      typeof message === 'object' &&
      message !== null &&
      (message as { [MARK]?: unknown })[MARK] === prototype &&
      // The prototype carries the mark as well.
      message !== prototype
    );
  } catch {
    // For example a revoked proxy.
    return false;
  }
}

/** @throws InvalidMessageError if a post is not an instance of the class */
export function assertPosted(message: unknown, type: Class | undefined, channel: string): void {
  if (type === undefined || isInstance(message, type)) return;
  throw new InvalidMessageError(
    `Channel ${quote(channel)} carries ${nameOf(type) ? `${nameOf(type)}: post new ${nameOf(type)}(…)` : UNNAMED}, not ${describeOther(message, type)}`,
  );
}

/** The error for a message of another class that has arrived, or is about to reach a listener. */
export function notCarried(message: unknown, type: Class): InvalidMessageError {
  return new InvalidMessageError(`the channel carries ${nameOf(type) || UNNAMED}, not ${describeOther(message, type)}`);
}
