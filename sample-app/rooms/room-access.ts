import { Injectable } from '@nestjs/common';
import { AuthorizeChannel, type ClientContext } from 'nestjs-messaging';
import { Invitations, RoomMessages, RoomReactions, RoomTyping } from './rooms.messages.js';
import { RoomsService } from './rooms.service.js';

/** Who may subscribe to what happens in a room. For requests, the RoomGuard says the same. */
@Injectable()
export class RoomAccess {
  constructor(private readonly rooms: RoomsService) {}

  @AuthorizeChannel(RoomMessages)
  @AuthorizeChannel(RoomReactions)
  @AuthorizeChannel(RoomTyping)
  mayRead({ auth }: ClientContext, { roomId }: { roomId: string }): boolean {
    return auth !== null && (this.rooms.get(roomId)?.isOpenTo(String(auth.userId)) ?? false);
  }

  /** One's own invitations, and nobody else's. */
  @AuthorizeChannel(Invitations)
  isInvited({ auth }: ClientContext, { userId }: { userId: string }): boolean {
    return auth?.userId === userId;
  }
}
