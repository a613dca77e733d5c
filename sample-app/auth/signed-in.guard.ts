import { Injectable, UnauthorizedException, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { readSessionCookie } from './session-cookie.js';
import type { RequestWithUser } from './signed-in-user.js';
import { SignInsService } from './sign-ins.service.js';

/** Lets through who is signed in, and leaves who that is in `request.user`. */
@Injectable()
export class SignedInGuard implements CanActivate {
  constructor(private readonly signIns: SignInsService) {}

  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<RequestWithUser>();
    const user = this.signIns.read(readSessionCookie(request) ?? '');
    if (user === undefined) throw new UnauthorizedException('Please sign in.');
    request.user = user;
    return true;
  }
}
