import { defineChannel } from 'nestjs-messaging';
import { Room } from './rooms.messages.js';

/**
 * Every room that is opened, and again with each member who is invited. For servers only: one that has just started
 * begins with the history, and so knows what the others know.
 */
export const KnownRooms = defineChannel('known_rooms', Room, {
  history: { maxMessages: 10_000, ttlMs: 30 * 24 * 3_600_000 },
});
