import { Body, Controller, ForbiddenException, Get, HttpCode, Param, Post, Put, UseGuards } from '@nestjs/common';
import { Messages, SessionMessages, type Position } from 'nestjs-messaging';
import { CurrentUser } from '../auth/current-user.decorator.js';
import type { SignedInUser } from '../auth/signed-in-user.js';
import { SignedInGuard } from '../auth/signed-in.guard.js';
import { SignInsService } from '../auth/sign-ins.service.js';
import { RoomGuard } from './room.guard.js';
import { InviteDto, ReactDto, TypingDto, WriteDto } from './rooms.dto.js';
import { ChatMessage, Reaction, Room, RoomMessages, RoomReactions, RoomTyping, Typing } from './rooms.messages.js';
import { RoomsService, cutOff } from './rooms.service.js';

/** What can be done in one room. */
@Controller('rooms/:roomId')
@UseGuards(SignedInGuard, RoomGuard)
export class RoomController {
  constructor(
    private readonly rooms: RoomsService,
    private readonly signIns: SignInsService,
  ) {}

  /** How far the room has come: a page that has come so far is up to date. */
  @Get('position')
  position(@Param('roomId') roomId: string, @Messages() messages: SessionMessages): Promise<Position> {
    return messages.position(RoomMessages.for({ roomId }));
  }

  @Post('messages')
  async write(
    @Param('roomId') roomId: string,
    @Body() { text }: WriteDto,
    @CurrentUser() { userId, name }: SignedInUser,
    @Messages() messages: SessionMessages,
  ): Promise<{ id: string }> {
    const message = new ChatMessage(userId, name, text);
    // To all servers; false if the history has not taken it.
    if (!(await messages.postMessage(RoomMessages.for({ roomId }), message))) throw cutOff();
    return { id: message.id };
  }

  @Put('messages/:messageId/reactions')
  @HttpCode(204)
  async react(
    @Param('roomId') roomId: string,
    @Param('messageId') messageId: string,
    @Body() { emoji, isOn }: ReactDto,
    @CurrentUser() { userId }: SignedInUser,
    @Messages() messages: SessionMessages,
  ): Promise<void> {
    const reaction = new Reaction(messageId, userId, emoji, isOn);
    if (!(await messages.postMessage(RoomReactions.for({ roomId }), reaction))) throw cutOff();
  }

  @Put('typing')
  @HttpCode(204)
  async typing(
    @Param('roomId') roomId: string,
    @Body() { text }: TypingDto,
    @CurrentUser() { userId, name }: SignedInUser,
    @Messages() messages: SessionMessages,
  ): Promise<void> {
    // This one is not kept: to all servers if there is a Redis between them, else to this one.
    await messages.postMessage(RoomTyping.for({ roomId }), new Typing(userId, name, text), { scope: 'auto' });
  }

  @Post('members')
  @HttpCode(204)
  async invite(
    @Param('roomId') roomId: string,
    @Body() { name }: InviteDto,
    @CurrentUser() user: SignedInUser,
    @Messages() messages: SessionMessages,
  ): Promise<void> {
    const { name: roomName, ownerId, members } = this.rooms.get(roomId)!;
    if (members === undefined || ownerId !== user.userId) {
      throw new ForbiddenException('Only who has opened a private room can invite to it.');
    }
    await this.rooms.publish(new Room(roomId, roomName, ownerId, new Set([...members, this.signIns.userIdOf(name)])));
    await messages.postMessage(RoomMessages.for({ roomId }), ChatMessage.notice(`${user.name} invited ${name}`));
  }
}
