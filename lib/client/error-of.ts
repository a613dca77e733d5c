import type { ErrorCode } from '../protocol/error-codes.js';
import {
  ChannelDeniedError,
  ConfigurationError,
  ConnectionClosedError,
  ConnectionLostError,
  InvalidChannelError,
  LimitExceededError,
  MessagingError,
} from '../protocol/errors.js';
import { isErrorOf, thrownText } from '../protocol/thrown.js';

type ErrorClass = new (message: string) => MessagingError;

const CLASSES: readonly ErrorClass[] = [
  ConfigurationError,
  ConnectionClosedError,
  ConnectionLostError,
  InvalidChannelError,
  LimitExceededError,
];

/** The error of a code that came over a wire; one of another version is a denial. */
export function errorOf(code: ErrorCode, message: string): MessagingError {
  // Each knows its code itself.
  const known = CLASSES.map((type) => new type(message)).find((error) => error.code === code);
  return known ?? new ChannelDeniedError(message);
}

/** The reason for a failed attempt to talk to the server, as an error of this library. Takes any thrown value; never throws. */
export function failedBy(cause: unknown, url: string): MessagingError {
  if (isErrorOf(cause, MessagingError)) return cause;
  return new ConnectionLostError(`The connection to ${url} failed: ${thrownText(cause)}`, { cause });
}
