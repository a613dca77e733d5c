import { UnauthorizedException } from '@nestjs/common';
import type { Session } from '../core/session.js';

const MESSAGES = { revoked: 'The sign-in was revoked', expired: 'The sign-in has expired' } as const;

/** Whether a session has closed because its sign-in was revoked or has expired. */
export function isSignedOut(session: Session): session is Session & { readonly closeReason: keyof typeof MESSAGES } {
  return session.closeReason === 'revoked' || session.closeReason === 'expired';
}

/**
 * Refuses a request whose sign-in was revoked or has expired, before the request or during it.
 *
 * @param cause - the error that the closed session led to
 * @throws UnauthorizedException whose body gives the reason, which our client reads
 */
export function refuseSignedOut(session: Session, cause?: unknown): void {
  if (!isSignedOut(session)) return;
  const { closeReason } = session;
  const body = { statusCode: 401, error: 'Unauthorized', message: MESSAGES[closeReason], reason: closeReason };
  throw new UnauthorizedException(body, cause === undefined ? {} : { cause });
}
