import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { MessagingService, OnMessage, type MessageContext } from 'nestjs-messaging';
import { RoomReports, RoomsQuestion, RoomsQuestions, type RoomReport } from './rooms-catch-up.messages.js';
import { RoomMessages } from './rooms.messages.js';
import { RoomsService } from './rooms.service.js';

/** A server that joins others learns from them which rooms there are, and what was said. */
@Injectable()
export class RoomsCatchUp implements OnApplicationBootstrap {
  constructor(
    private readonly messaging: MessagingService,
    private readonly rooms: RoomsService,
  ) {}

  onApplicationBootstrap(): void {
    // Not @OnMessage, since the question has to wait until no answer to it can be missed. Nothing waits for
    // that here: where Redis is away, it is asked once Redis is back.
    const answers = this.messaging.addListener(RoomReports, (report) => this.learn(report));
    void answers.ready.then(() => this.messaging.postMessage(RoomsQuestions, new RoomsQuestion(), { scope: 'auto' }));
  }

  @OnMessage(RoomsQuestions)
  answer(_question: RoomsQuestion, { origin }: MessageContext): void {
    if (origin === 'local') return;
    for (const report of this.rooms.reports()) {
      void this.messaging.postMessage(RoomReports, report, { scope: 'auto' });
    }
  }

  /** Posts here what is new here: for the RoomsService, and for the pages that have come back already. */
  private learn({ room, messages }: RoomReport): void {
    const { roomId } = room;
    if (!this.rooms.knows(room)) {
      for (const channel of room.audience) void this.messaging.postMessage(channel, room);
    }
    const known = new Set(this.rooms.recent(roomId).map(({ id }) => id));
    for (const message of messages.filter(({ id }) => !known.has(id))) {
      void this.messaging.postMessage(RoomMessages.for({ roomId }), message);
    }
  }
}
