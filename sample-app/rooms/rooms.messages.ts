import { Serializable, defineChannel, type Channel } from 'nestjs-messaging/client';

// Shared by the servers and the page, which both work with instances of these classes. Hence the client's entry: it
// brings no Nest into the page; and hence the names: the page is minified.

/** How one can react to a message, and what that is called. */
export const REACTIONS: Readonly<Record<string, string>> = {
  '👍': 'Thumbs up',
  '❤️': 'Heart',
  '😄': 'Laughing',
  '🎉': 'Hooray',
};

/** Somebody reacts to a message, or does so no more. */
@Serializable({ name: 'Reaction' })
export class Reaction {
  constructor(
    readonly messageId: string,
    readonly userId: string,
    readonly emoji: string,
    readonly isOn: boolean,
  ) {}
}

/** What is kept of each room: whoever comes in sees the last of it, and whoever was away gets what they have missed. */
const ROOM_HISTORY = { maxMessages: 1_000, ttlMs: 7 * 24 * 3_600_000 };

export const RoomReactions = defineChannel('rooms/:roomId/reactions', Reaction, { history: ROOM_HISTORY });

/** What somebody has said in a room; or a notice of the house, which has no author. */
@Serializable({ name: 'ChatMessage' })
export class ChatMessage {
  constructor(
    readonly userId: string,
    readonly author: string,
    readonly text: string,
    readonly sentAt = new Date(),
    readonly id: string = crypto.randomUUID(),
  ) {}

  static notice(text: string): ChatMessage {
    return new ChatMessage('', '', text);
  }

  get isNotice(): boolean {
    return this.userId === '';
  }
}

/** One channel a room, with a history of its own: `RoomMessages.for({ roomId })`. */
export const RoomMessages = defineChannel('rooms/:roomId', ChatMessage, { history: ROOM_HISTORY });

/** What somebody is writing just now. Nobody keeps it: whoever is not there to see it has missed nothing. */
@Serializable({ name: 'Typing' })
export class Typing {
  constructor(
    readonly userId: string,
    readonly name: string,
    /** Empty: nothing any more. */
    readonly text: string,
  ) {}
}

export const RoomTyping = defineChannel('rooms/:roomId/typing', Typing);

/** A room that there is. */
@Serializable({ name: 'Room' })
export class Room {
  constructor(
    readonly roomId: string,
    readonly name: string,
    /** Who has opened it, if it is a private one. */
    readonly ownerId?: string,
    /** Who may read it; without members, everybody may. */
    readonly members?: ReadonlySet<string>,
  ) {}

  isOpenTo(userId: string): boolean {
    return this.members?.has(userId) ?? true;
  }

  /** Whether another state of this room has nothing new. */
  includes({ members = new Set() }: Room): boolean {
    return [...members].every((userId) => this.isOpenTo(userId));
  }

  /** With the members of both: two people may have been invited at the same time. */
  with({ members = new Set() }: Room): Room {
    return new Room(this.roomId, this.name, this.ownerId, this.members && new Set([...this.members, ...members]));
  }

  /** Where it is made known: to everybody, or to its members. */
  get audience(): Channel<Room>[] {
    if (this.members === undefined) return [Rooms];
    return [...this.members].map((userId) => Invitations.for({ userId }));
  }

  /** For answers to requests. Who else may read it is nobody's business. */
  toEntry(): RoomEntry {
    return { roomId: this.roomId, name: this.name, ...(this.ownerId && { ownerId: this.ownerId }) };
  }
}

/** A room as the page lists it. */
export type RoomEntry = Pick<Room, 'roomId' | 'name' | 'ownerId'>;

/** For the pages of one server: rooms for everybody who is signed in. */
export const Rooms = defineChannel('rooms', Room, { clients: true });

/** For the pages of one server: rooms for one person. */
export const Invitations = defineChannel('invitations/:userId', Room);
