import { Controller, Query, UseGuards } from '@nestjs/common';
import { SessionMessages, Sse } from 'nestjs-messaging';
import { defer, filter, finalize, from, map, merge, type Observable } from 'rxjs';
import { CurrentUser } from '../auth/current-user.decorator.js';
import type { SignedInUser } from '../auth/signed-in-user.js';
import { SignedInGuard } from '../auth/signed-in.guard.js';
import { UserUpdate, UserUpdates } from '../people/people.messages.js';
import { PeopleService } from '../people/people.service.js';
import { RoomPipe } from '../rooms/room.pipe.js';
import { RoomMessages, RoomTyping, Rooms } from '../rooms/rooms.messages.js';
import { RoomsService } from '../rooms/rooms.service.js';
import { Settings } from '../settings.js';
import { RoomActivity, Welcome } from './live.messages.js';

@Controller()
@UseGuards(SignedInGuard)
export class LiveController {
  constructor(
    private readonly messages: SessionMessages,
    private readonly people: PeopleService,
    private readonly rooms: RoomsService,
    private readonly settings: Settings,
  ) {}

  /** All that a page shows, in one stream: a browser opens six connections to a server, and no more. */
  @Sse('live')
  live(@CurrentUser() user: SignedInUser, @Query('room', RoomPipe) roomId: string): Observable<object> {
    // What there is already and what comes are taken in one step, so nothing falls between them.
    return defer(() => {
      this.people.enter(user);
      return merge(from(this.present(user, roomId)), this.news(user, roomId));
    }).pipe(finalize(() => this.leave(user)));
  }

  private present({ userId }: SignedInUser, roomId: string): readonly object[] {
    return [
      new Welcome(userId, roomId, this.settings.serverName),
      ...this.rooms.all(),
      ...this.people.everybody().map((person) => new UserUpdate('present', person)),
      ...this.rooms.recent(roomId),
    ];
  }

  private news({ userId }: SignedInUser, roomId: string): Observable<object> {
    const elsewhere = this.messages.createStream(RoomMessages).pipe(filter((message) => message.roomId !== roomId));
    const typing = this.messages.createStream(RoomTyping.for({ roomId }));
    return merge(
      this.messages.createStream(UserUpdates),
      this.messages.createStream(Rooms),
      this.messages.createStream(RoomMessages.for({ roomId })),
      elsewhere.pipe(map((message) => new RoomActivity(message.roomId))),
      typing.pipe(filter((somebody) => somebody.userId !== userId)),
    );
  }

  private leave({ userId }: SignedInUser): void {
    // Signed out: gone for good. Else it may be a reload.
    this.people.leave(userId, { forGood: this.messages.session.closeReason === 'revoked' });
  }
}
