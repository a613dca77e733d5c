import { Serializable, defineChannel } from 'nestjs-messaging';
import type { ChatMessage, Room } from './rooms.messages.js';

/** A server that has just started asks the others what there is. */
@Serializable()
export class RoomsQuestion {}

export const RoomsQuestions = defineChannel('rooms_questions', RoomsQuestion);

/** The answer of each of them, for one room. */
@Serializable()
export class RoomReport {
  constructor(
    readonly room: Room,
    readonly messages: readonly ChatMessage[],
  ) {}
}

export const RoomReports = defineChannel('rooms_reports', RoomReport);
