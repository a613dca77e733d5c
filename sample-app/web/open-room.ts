import type { MessagingClient, Position } from 'nestjs-messaging/client';
import type { Person } from '../people/people.messages.js';
import { RoomMessages, RoomReactions, RoomTyping, type RoomEntry } from '../rooms/rooms.messages.js';
import { request } from './api.js';
import { $ } from './dom.js';
import { Drafts, DraftTeller } from './drafts.js';
import { Log } from './log.js';
import { Returns } from './returns.js';

// What is shown of a room as it is entered. What comes later, and what was missed meanwhile, comes behind it.
const SHOWN_MESSAGES = 50;
const SHOWN_REACTIONS = 500;

/** The room that is open: what was said in it, what is being said, and a way to join in. */
export class OpenRoom {
  readonly log: Log;
  readonly roomId: string;
  readonly name: string;
  readonly #path: string;
  readonly #teller = new DraftTeller((text) => this.#send('PUT', 'typing', { text }));
  readonly #leaving = new AbortController();

  constructor(client: MessagingClient, me: Pick<Person, 'userId'>, room: RoomEntry, onError: (error: unknown) => void) {
    const { roomId, name, ownerId } = room;
    const { signal } = this.#leaving;
    const drafts = new Drafts();
    this.roomId = roomId;
    this.name = name;
    this.#path = `/rooms/${encodeURIComponent(roomId)}`;
    this.log = new Log(me.userId, (messageId, emoji, isOn) => {
      this.#send('PUT', `messages/${messageId}/reactions`, { emoji, isOn }).catch(onError);
    });
    $('room-name').textContent = name;
    $('invite-form').hidden = ownerId !== me.userId;

    const channel = RoomMessages.for({ roomId });
    const positionOfRoom = () => this.#send<Position>('GET', 'position');
    const returns = new Returns(client, channel.name, this.log, positionOfRoom, signal);
    const subscribed = [
      client.subscribe(
        channel,
        (message, { position }) => {
          this.log.add(message);
          drafts.remove(message.userId);
          returns.note(position!);
        },
        { replay: SHOWN_MESSAGES, signal },
      ),
      client.subscribe(RoomReactions.for({ roomId }), (reaction) => this.log.react(reaction), {
        replay: SHOWN_REACTIONS,
        signal,
      }),
      client.subscribe(RoomTyping.for({ roomId }), (typing) => typing.userId !== me.userId && drafts.show(typing), {
        signal,
      }),
    ];
    Promise.all(subscribed).catch((error: unknown) => signal.aborted || onError(error));
  }

  async write(text: string): Promise<void> {
    await this.#send('POST', 'messages', { text });
  }

  /** Tells the others what is being written. */
  draft(text: string): void {
    void this.#teller.note(text);
  }

  async invite(name: string): Promise<void> {
    await this.#send('POST', 'members', { name });
  }

  leave(): void {
    this.draft('');
    this.#leaving.abort();
  }

  #send<Answer>(method: string, path: string, body?: object): Promise<Answer> {
    return request(method, `${this.#path}/${path}`, body);
  }
}
