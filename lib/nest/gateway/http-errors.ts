import { GatewayTimeoutException, HttpException, HttpStatus } from '@nestjs/common';
import { Refusal, type RefusalReason } from '../../gateway/refusal.js';
import { TransportUnavailableError } from '../../protocol/errors.js';

const STATUSES: Readonly<Record<RefusalReason, number>> = {
  // As nginx calls it; nobody reads it.
  clientLeft: 499,
  noConnection: HttpStatus.NOT_FOUND,
  tooMuch: HttpStatus.PAYLOAD_TOO_LARGE,
  badAnswer: HttpStatus.BAD_GATEWAY,
};

/** The HTTP error for a request that fails with this error. */
export function httpErrorOf(error: unknown): unknown {
  if (error instanceof TransportUnavailableError) {
    // The error's own text names the address of Redis and the ids of servers.
    return new GatewayTimeoutException('The server that holds the stream did not answer in time');
  }
  if (!(error instanceof Refusal)) return error;
  const { reason, message } = error;
  return new HttpException(message, STATUSES[reason]);
}
