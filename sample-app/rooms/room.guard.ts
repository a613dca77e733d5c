import { Injectable, NotFoundException, type CanActivate, type ExecutionContext } from '@nestjs/common';
import type { RequestWithUser } from '../auth/signed-in-user.js';
import { RoomsService } from './rooms.service.js';

/** Lets through who may read the room of the route. A room that one may not read is as good as none. */
@Injectable()
export class RoomGuard implements CanActivate {
  constructor(private readonly rooms: RoomsService) {}

  canActivate(context: ExecutionContext): boolean {
    const { params, user } = context.switchToHttp().getRequest<RequestWithUser>();
    const room = this.rooms.get(String(params['roomId']));
    if (user !== undefined && room?.isOpenTo(user.userId)) return true;
    throw new NotFoundException('There is no such room.');
  }
}
