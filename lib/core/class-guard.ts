import { quote } from '../protocol/channel-name.js';
import type { ChannelDefinition } from '../protocol/channel.js';
import { InvalidMessageError } from '../protocol/errors.js';
import type { Class } from '../protocol/message.js';
import { describeOther, isInstance } from '../protocol/message-class.js';

// A channel of a class carries instances of it, subclasses included, and nothing else.

/** Whether a message is plainly of a channel's class: all that most posts need, in a few nanoseconds (bench/local.ts). */
export function isDirectly(message: unknown, { prototype }: ChannelDefinition): boolean {
  return typeof message === 'object' && message !== null && Object.getPrototypeOf(message) === prototype;
}

/** @throws InvalidMessageError where somebody posts anything else */
export function assertPosted(message: unknown, type: Class | undefined, channel: string): void {
  if (type === undefined || isInstance(message, type)) return;
  throw new InvalidMessageError(
    `Channel ${quote(channel)} carries ${type.name}: post new ${type.name}(…), not ${describeOther(message, type)}`,
  );
}

/** What to tell where anything else has arrived, or is on its way to a listener of the class. */
export function notCarried(message: unknown, type: Class): InvalidMessageError {
  return new InvalidMessageError(`the channel carries ${type.name}, and this is ${describeOther(message, type)}`);
}
