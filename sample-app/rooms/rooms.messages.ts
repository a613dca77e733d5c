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

export const RoomReactions = defineChannel('rooms/:roomId/reactions', Reaction);

/** What somebody has said in a room; or a notice of the house, which has no author. */
@Serializable({ name: 'ChatMessage' })
export class ChatMessage {
  constructor(
    readonly userId: string,
    readonly author: string,
    readonly text: string,
    readonly sentAt = new Date(),
    /** Who has reacted, by emoji. */
    readonly reactions = new Map<string, Set<string>>(),
    readonly id: string = crypto.randomUUID(),
  ) {}

  static notice(text: string): ChatMessage {
    return new ChatMessage('', '', text);
  }

  /** From the plain JSON that requests are answered with; whatever comes as a message is an instance already. */
  static from({ userId, author, text, sentAt, reactions, id }: PlainChatMessage): ChatMessage {
    const sets = reactions.map(([emoji, users]) => [emoji, new Set(users)] as const);
    return new ChatMessage(userId, author, text, new Date(sentAt), new Map(sets), id);
  }

  get isNotice(): boolean {
    return this.userId === '';
  }

  react({ userId, emoji, isOn }: Reaction): void {
    const users = this.reactions.get(emoji) ?? new Set();
    if (isOn) users.add(userId);
    else users.delete(userId);
    this.reactions.set(emoji, users);
  }

  /** For answers to requests. Not toJSON(), which messages would obey too. */
  toPlain() {
    const reactions = [...this.reactions].map(([emoji, users]) => [emoji, [...users]] as const);
    const { userId, author, text, sentAt, id } = this;
    return { userId, author, text, sentAt: sentAt.toISOString(), reactions, id };
  }
}

export type PlainChatMessage = ReturnType<ChatMessage['toPlain']>;

/** One channel a room: `RoomMessages.for({ roomId })`. As it stands, servers listen to all rooms at once. */
export const RoomMessages = defineChannel('rooms/:roomId', ChatMessage);

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

/** Rooms for everybody who is signed in. */
export const Rooms = defineChannel('rooms', Room, { clients: true });

/** Rooms for one person. */
export const Invitations = defineChannel('invitations/:userId', Room);
