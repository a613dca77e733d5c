import { Injectable } from '@nestjs/common';
import { OnMessage, type MessageContext } from 'nestjs-messaging';
import { RoomReport } from './rooms-catch-up.messages.js';
import { ChatMessage, Invitations, Room, RoomMessages, RoomReactions, Rooms, type Reaction } from './rooms.messages.js';

export const MAX_ROOMS = 100;
const MAX_RECENT = 50;

interface KnownRoom {
  readonly room: Room;
  readonly recent: readonly ChatMessage[];
}

/** The rooms, and what was said in them lately: no more than that, and only for as long as the process lives. */
@Injectable()
export class RoomsService {
  private readonly rooms = new Map<string, KnownRoom>();

  constructor() {
    this.add(new Room('lobby', 'Lobby'));
    this.add(new Room('ideas', 'Ideas'));
  }

  get count(): number {
    return this.rooms.size;
  }

  get(roomId: string): Room | undefined {
    return this.rooms.get(roomId)?.room;
  }

  /** The rooms that somebody may read. */
  openTo(userId: string): readonly Room[] {
    return [...this.rooms.values()].map(({ room }) => room).filter((room) => room.isOpenTo(userId));
  }

  /** What a newcomer sees. */
  recent(roomId: string): readonly ChatMessage[] {
    return this.rooms.get(roomId)?.recent ?? [];
  }

  /** Whether all there is to know of a room is known here. */
  knows({ roomId, members = new Set() }: Room): boolean {
    const known = this.get(roomId);
    return known !== undefined && [...members].every((userId) => known.isOpenTo(userId));
  }

  @OnMessage(Rooms)
  @OnMessage(Invitations)
  add(room: Room): void {
    const { roomId, name, ownerId, members } = room;
    const known = this.rooms.get(roomId);
    if (known === undefined) {
      if (this.rooms.size < MAX_ROOMS) this.rooms.set(roomId, { room, recent: [] });
    } else if (members !== undefined && known.room.members !== undefined) {
      // Two may have been invited at the same time, on two servers.
      const all = new Set([...known.room.members, ...members]);
      this.rooms.set(roomId, { ...known, room: new Room(roomId, name, ownerId, all) });
    }
  }

  // All rooms in one handler: whatever is posted in any of them, on any server, passes here.
  @OnMessage(RoomMessages)
  keep(message: ChatMessage, { params }: MessageContext): void {
    const known = this.rooms.get(params['roomId']!);
    if (known === undefined) return;
    // What a server has learned from others may be older than what it has heard since.
    const sorted = [...known.recent, message].toSorted((one, other) => one.sentAt.getTime() - other.sentAt.getTime());
    this.rooms.set(known.room.roomId, { ...known, recent: sorted.slice(-MAX_RECENT) });
  }

  @OnMessage(RoomReactions)
  react(reaction: Reaction, { params }: MessageContext): void {
    const message = this.recent(params['roomId']!).find(({ id }) => id === reaction.messageId);
    message?.react(reaction);
  }

  reports(): readonly RoomReport[] {
    return [...this.rooms.values()].map(({ room, recent }) => new RoomReport(room, recent));
  }
}
