import { Injectable, NotFoundException, type PipeTransform } from '@nestjs/common';
import { RoomsService } from './rooms.service.js';

/** Lets the id of a room through if there is such a room. */
@Injectable()
export class RoomPipe implements PipeTransform<unknown, string> {
  constructor(private readonly rooms: RoomsService) {}

  transform(roomId: unknown): string {
    if (typeof roomId === 'string' && this.rooms.has(roomId)) return roomId;
    throw new NotFoundException('There is no such room.');
  }
}
