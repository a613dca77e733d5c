import { quote } from '../protocol/channel-name.js';
import type { ChannelDefinition } from '../protocol/channel-definition.js';
import { InvalidMessageError } from '../protocol/errors.js';
import type { Class } from '../protocol/message.js';
import { describeOther, isInstance } from '../protocol/message-class.js';
import { nameOf } from '../protocol/thrown.js';

// A channel of a class carries instances of it, subclasses included, and nothing else.

const UNNAMED = 'instances of an unnamed class';

// Set to itself on the prototype of a class whose instances are posted. Read in 2 ns, where Object.getPrototypeOf() takes 9 and
// `instanceof` 12 as soon as an application has two classes; nobody else can set it, so that it proves what they prove.
const MARK = Symbol('nestjs-messaging: message class');

/** Prepares the check of each post; to be called for each class of a channel. */
export function markClass(type: Class): void {
  const prototype = type.prototype as object | undefined;
  if (prototype === undefined || Object.hasOwn(prototype, MARK) || !Object.isExtensible(prototype)) return;
  Object.defineProperty(prototype, MARK, { value: prototype });
}

/** Whether a message is plainly of a channel's class: all that most posts need (bench/local.ts). */
export function isDirectly(message: unknown, { prototype }: ChannelDefinition): boolean {
  try {
    return (
      typeof message === 'object' &&
      message !== null &&
      (message as { [MARK]?: unknown })[MARK] === prototype &&
      // The prototype has the mark, too.
      message !== prototype
    );
  } catch {
    // A proxy that has been revoked, for one.
    return false;
  }
}

/** @throws InvalidMessageError where somebody posts anything else */
export function assertPosted(message: unknown, type: Class | undefined, channel: string): void {
  if (type === undefined || isInstance(message, type)) return;
  throw new InvalidMessageError(
    `Channel ${quote(channel)} carries ${nameOf(type) ? `${nameOf(type)}: post new ${nameOf(type)}(…)` : UNNAMED}, not ${describeOther(message, type)}`,
  );
}

/** What to tell where anything else has arrived, or is on its way to a listener of the class. */
export function notCarried(message: unknown, type: Class): InvalidMessageError {
  return new InvalidMessageError(`the channel carries ${nameOf(type) || UNNAMED}, not ${describeOther(message, type)}`);
}
