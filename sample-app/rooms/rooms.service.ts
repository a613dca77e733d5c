import { Injectable, ServiceUnavailableException } from '@nestjs/common';
import { MessagingService, OnMessage } from 'nestjs-messaging';
import { KnownRooms } from './known-rooms.messages.js';
import { Room } from './rooms.messages.js';

export const MAX_ROOMS = 100;

/** The rooms. What was said in them is in their histories, and nowhere else. */
@Injectable()
export class RoomsService {
  private readonly rooms = new Map<string, Room>();

  constructor(private readonly messaging: MessagingService) {
    for (const room of [new Room('lobby', 'Lobby'), new Room('ideas', 'Ideas')]) this.rooms.set(room.roomId, room);
  }

  get count(): number {
    return this.rooms.size;
  }

  get(roomId: string): Room | undefined {
    return this.rooms.get(roomId);
  }

  /** The rooms that somebody may read. */
  openTo(userId: string): readonly Room[] {
    return [...this.rooms.values()].filter((room) => room.isOpenTo(userId));
  }

  /**
   * Makes a room, or who may read it, known to all servers.
   *
   * @throws ServiceUnavailableException (rejects) while the others cannot be reached
   */
  async publish(room: Room): Promise<void> {
    const isKept = await this.messaging.postMessage(KnownRooms, room);
    if (!isKept) throw cutOff();
    // Here it is known before the answer, whenever it comes back from Redis.
    this.learn(room);
  }

  @OnMessage(KnownRooms, { replay: 10_000 })
  learn(room: Room): void {
    const known = this.rooms.get(room.roomId);
    if (known === undefined ? this.rooms.size >= MAX_ROOMS : known.includes(room)) return;
    const next = known?.with(room) ?? room;
    this.rooms.set(room.roomId, next);
    // The pages of this server; each server tells its own.
    for (const channel of next.audience) void this.messaging.postMessage(channel, next);
  }
}

/** What cannot be kept is not said to be. */
export function cutOff(): ServiceUnavailableException {
  return new ServiceUnavailableException('This server did not reach the others. Please try again.');
}
