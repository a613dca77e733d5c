import { LimitExceededError, TransportUnavailableError, type MessagingError } from '../protocol/errors.js';
import type { FailureReason } from './node-packet.js';

/** A question has reached the broker, or could have, but that node is gone or gives no answer. */
export class NodeSilentError extends TransportUnavailableError {
  // Applications know only the class that it extends.
  override readonly name = 'TransportUnavailableError';
}

/** The question did not reach that node. */
export function unavailable(reason: string): MessagingError {
  return new TransportUnavailableError(textOf(reason));
}

/** See {@link NodeSilentError}. */
export function silent(reason: string): MessagingError {
  return new NodeSilentError(textOf(reason));
}

/** That node has said that it has no answer. */
export function failed(reason: FailureReason): MessagingError {
  if (reason === 'tooLong') {
    return new LimitExceededError(
      'Another server could not answer: the answer is longer than limits.maxMessageBytes there',
    );
  }
  return silent('it failed while it made the answer; its log says why');
}

function textOf(reason: string): string {
  return `Another server could not be asked: ${reason}`;
}
