import type { Request } from 'express';
import type { AuthenticationInfo } from 'nestjs-messaging';

/**
 * Who is behind a request. The guard puts it where the messaging module looks for it, in `request.user`; so
 * sessions and streams know whose they are.
 */
export interface SignedInUser extends AuthenticationInfo {
  readonly userId: string;
  /** This one sign-in: all tabs of one browser share it. */
  readonly authId: string;
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

export interface RequestWithUser extends Request {
  user?: SignedInUser;
}
