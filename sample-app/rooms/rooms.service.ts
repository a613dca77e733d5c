import { Injectable } from '@nestjs/common';
import { OnMessage } from 'nestjs-messaging';
import { ChatMessage, Room, RoomMessages, RoomReport, Rooms } from './rooms.messages.js';

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

  all(): readonly Room[] {
    return [...this.rooms.values()].map(({ room }) => room);
  }

  has(roomId: string): boolean {
    return this.rooms.has(roomId);
  }

  /** What a newcomer sees. */
  recent(roomId: string): readonly ChatMessage[] {
    return this.rooms.get(roomId)?.recent ?? [];
  }

  @OnMessage(Rooms)
  add(room: Room): void {
    if (this.has(room.roomId) || this.rooms.size >= MAX_ROOMS) return;
    this.rooms.set(room.roomId, { room, recent: [] });
  }

  // All rooms in one handler: whatever is posted in any of them, on any server, passes here.
  @OnMessage(RoomMessages)
  keep(message: ChatMessage): void {
    this.merge(message.roomId, [message]);
  }

  reports(): readonly RoomReport[] {
    return [...this.rooms.values()].map(({ room, recent }) => new RoomReport(room, recent));
  }

  /** Adds messages that may be known already, and may be older than those that are. */
  merge(roomId: string, messages: readonly ChatMessage[]): void {
    const known = this.rooms.get(roomId);
    if (known === undefined) return;
    const byId = new Map([...known.recent, ...messages].map((message) => [message.id, message]));
    const sorted = [...byId.values()].toSorted((one, other) => one.sentAt - other.sentAt);
    this.rooms.set(roomId, { ...known, recent: sorted.slice(-MAX_RECENT) });
  }
}
