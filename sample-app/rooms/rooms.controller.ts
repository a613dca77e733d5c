import { randomUUID } from 'node:crypto';
import { Body, ConflictException, Controller, Get, Post, UseGuards } from '@nestjs/common';
import { CurrentUser } from '../auth/current-user.decorator.js';
import type { SignedInUser } from '../auth/signed-in-user.js';
import { SignedInGuard } from '../auth/signed-in.guard.js';
import { ChatServer } from '../house/chat-server.js';
import { CreateRoomDto } from './rooms.dto.js';
import { Room, type RoomEntry } from './rooms.messages.js';
import { MAX_ROOMS, RoomsService } from './rooms.service.js';

/** The rooms that there are. */
@Controller('rooms')
@UseGuards(SignedInGuard)
export class RoomsController {
  constructor(
    private readonly rooms: RoomsService,
    private readonly house: ChatServer,
  ) {}

  @Get()
  all(@CurrentUser() { userId }: SignedInUser): RoomEntry[] {
    return this.rooms.openTo(userId).map((room) => room.toEntry());
  }

  @Post()
  async create(@Body() { name, isPrivate }: CreateRoomDto, @CurrentUser() user: SignedInUser): Promise<RoomEntry> {
    const room = isPrivate ? privateRoom(name, user.userId) : new Room(toRoomId(name), name);
    if (this.rooms.get(room.roomId)) throw new ConflictException('There is a room of this name already.');
    if (this.rooms.count >= MAX_ROOMS) throw new ConflictException(`There are ${MAX_ROOMS} rooms already.`);
    await this.rooms.publish(room);
    if (!isPrivate) await this.house.announce(`${user.name} opened the room ${name}`);
    return room.toEntry();
  }
}

/** Its id tells nothing of it, and nobody is told that the name is taken. */
function privateRoom(name: string, ownerId: string): Room {
  return new Room(randomUUID(), name, ownerId, new Set([ownerId]));
}

/** "Coffee & cake" → "coffee-cake": what stands in addresses and in the name of the channel. */
function toRoomId(name: string): string {
  const words =
    name
      .normalize('NFKC')
      .toLowerCase()
      .match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  return words.join('-');
}
