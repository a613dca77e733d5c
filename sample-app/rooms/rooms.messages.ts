import { Serializable, defineChannel } from 'nestjs-messaging';

/** What somebody has said in a room. */
@Serializable()
export class ChatMessage {
  constructor(
    readonly id: string,
    readonly roomId: string,
    readonly userId: string,
    readonly author: string,
    readonly text: string,
    /** Milliseconds since 1970. */
    readonly sentAt = Date.now(),
  ) {}
}

/** One channel a room: `RoomMessages.for({ roomId })`. As it stands, it is listened to for all rooms at once. */
export const RoomMessages = defineChannel('rooms/:roomId', ChatMessage);

/** Somebody is writing. Nobody keeps it: whoever is not there to see it has missed nothing. */
@Serializable()
export class Typing {
  constructor(
    readonly userId: string,
    readonly name: string,
  ) {}
}

export const RoomTyping = defineChannel('rooms/:roomId/typing', Typing);

/** A room that there is. */
@Serializable()
export class Room {
  constructor(
    readonly roomId: string,
    readonly name: string,
  ) {}
}

export const Rooms = defineChannel('rooms', Room);

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
