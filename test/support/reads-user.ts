import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';

/** Takes the user from the header `x-user`: `userId authId scope,scope`; refuses whoever has `x-banned`. */
@Injectable()
export class ReadsUser implements CanActivate {
  canActivate(context: ExecutionContext) {
    const request = context.switchToHttp().getRequest<{ headers: Record<string, string>; user?: unknown }>();
    const [userId, authId, scopes] = (request.headers['x-user'] ?? '').split(' ');
    if (userId) request.user = { userId, authId, scopes: scopes?.split(',') };
    return request.headers['x-banned'] === undefined;
  }
}
