import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { MessagingService, OnMessage, type MessageContext } from 'nestjs-messaging';
import { RoomReports, Rooms, RoomsQuestion, RoomsQuestions, type RoomReport } from './rooms.messages.js';
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

  private learn({ room, messages }: RoomReport): void {
    // Only for the pages of this server; the others know.
    if (!this.rooms.has(room.roomId)) void this.messaging.postMessage(Rooms, room);
    this.rooms.merge(room.roomId, messages);
  }
}
