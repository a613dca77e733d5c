import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { RequestWithUser } from './signed-in-user.js';

/** Who makes the request; for routes behind the SignedInGuard. */
export const CurrentUser = createParamDecorator(
  (_data: unknown, context: ExecutionContext) => context.switchToHttp().getRequest<RequestWithUser>().user,
);
