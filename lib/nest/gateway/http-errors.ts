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

/** What a request is answered with that fails by this. */
export function httpErrorOf(error: unknown): unknown {
  if (error instanceof TransportUnavailableError) {
    // Its own text says where Redis is, and what the servers are called.
    return new GatewayTimeoutException('The server that holds the stream did not answer in time');
  }
  if (!(error instanceof Refusal)) return error;
  const { reason, message } = error;
  return new HttpException(message, STATUSES[reason]);
}
