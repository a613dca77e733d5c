import { UnauthorizedException } from '@nestjs/common';
import type { Session } from '../core/session.js';

const MESSAGES = { revoked: 'The sign-in was revoked', expired: 'The sign-in has expired' } as const;

/** Whether the sign-in was withdrawn, or has expired. */
export function isSignedOut({ closeReason }: Session): boolean {
  return closeReason === 'revoked' || closeReason === 'expired';
}

/**
 * Refuses a request whose sign-in was withdrawn, or has expired, whenever that happened.
 *
 * @param cause - what failed since the session had closed
 * @throws UnauthorizedException whose body gives the reason, by which our client knows it
 */
export function refuseSignedOut({ closeReason }: Session, cause?: unknown): void {
  if (closeReason !== 'revoked' && closeReason !== 'expired') return;
  const body = { statusCode: 401, error: 'Unauthorized', message: MESSAGES[closeReason], reason: closeReason };
  throw new UnauthorizedException(body, cause === undefined ? {} : { cause });
}
