import { GatewayTimeoutException, HttpException, HttpStatus } from '@nestjs/common';
import { Refusal, type RefusalReason } from '../../gateway/refusal.js';
import { TransportUnavailableError } from '../../protocol/errors.js';
import { responseOf } from '../http-exchange.js';

const STATUSES: Readonly<Record<RefusalReason, number>> = {
  serverFull: HttpStatus.SERVICE_UNAVAILABLE,
  userFull: HttpStatus.TOO_MANY_REQUESTS,
  // As nginx calls it; nobody reads it.
  clientLeft: 499,
  signedOut: HttpStatus.UNAUTHORIZED,
  noConnection: HttpStatus.NOT_FOUND,
  tooMuch: HttpStatus.PAYLOAD_TOO_LARGE,
  badAnswer: HttpStatus.BAD_GATEWAY,
};
const RETRY_AFTER_SECONDS = 5;

/** What a request is answered with that fails by this; if there was no room, the response says when to come back. */
export function httpErrorOf(error: unknown, request: object): unknown {
  if (error instanceof TransportUnavailableError) return new GatewayTimeoutException(error.message);
  if (!(error instanceof Refusal)) return error;
  const { reason, message } = error;
  if (reason === 'serverFull' || reason === 'userFull') {
    responseOf(request)?.setHeader('retry-after', RETRY_AFTER_SECONDS);
  }
  return new HttpException(message, STATUSES[reason]);
}
