import { randomUUID } from 'node:crypto';
import { Body, ConflictException, Controller, Get, HttpCode, Param, Post, UseGuards } from '@nestjs/common';
import { Messages, SessionMessages } from 'nestjs-messaging';
import { CurrentUser } from '../auth/current-user.decorator.js';
import type { SignedInUser } from '../auth/signed-in-user.js';
import { SignedInGuard } from '../auth/signed-in.guard.js';
import { RoomPipe } from './room.pipe.js';
import { CreateRoomDto, WriteDto } from './rooms.dto.js';
import { ChatMessage, Room, RoomMessages, RoomTyping, Rooms, Typing } from './rooms.messages.js';
import { MAX_ROOMS, RoomsService } from './rooms.service.js';

@Controller('rooms')
@UseGuards(SignedInGuard)
export class RoomsController {
  constructor(private readonly rooms: RoomsService) {}

  @Get()
  all(): readonly Room[] {
    return this.rooms.all();
  }

  @Post()
  async create(@Body() { name }: CreateRoomDto, @Messages() messages: SessionMessages): Promise<Room> {
    const room = new Room(toRoomId(name), name);
    if (this.rooms.has(room.roomId)) throw new ConflictException('There is a room of this name already.');
    if (this.rooms.all().length >= MAX_ROOMS) throw new ConflictException(`There are ${MAX_ROOMS} rooms already.`);
    await messages.postMessage(Rooms, room, { scope: 'auto' });
    return room;
  }

  @Get(':roomId/messages')
  recent(@Param('roomId', RoomPipe) roomId: string): readonly ChatMessage[] {
    return this.rooms.recent(roomId);
  }

  @Post(':roomId/messages')
  async write(
    @Param('roomId', RoomPipe) roomId: string,
    @Body() { text }: WriteDto,
    @CurrentUser() { userId, name }: SignedInUser,
    @Messages() messages: SessionMessages,
  ): Promise<ChatMessage> {
    const message = new ChatMessage(randomUUID(), roomId, userId, name, text);
    // `auto`: to all servers where there is a Redis between them, else to this one.
    await messages.postMessage(RoomMessages.for({ roomId }), message, { scope: 'auto' });
    return message;
  }

  @Post(':roomId/typing')
  @HttpCode(204)
  async typing(
    @Param('roomId', RoomPipe) roomId: string,
    @CurrentUser() { userId, name }: SignedInUser,
    @Messages() messages: SessionMessages,
  ): Promise<void> {
    await messages.postMessage(RoomTyping.for({ roomId }), new Typing(userId, name), { scope: 'auto' });
  }
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
