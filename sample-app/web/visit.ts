import { ChannelDeniedError, sourceRef, type MessagingClient } from 'nestjs-messaging/client';
import { UserUpdates, type Person } from '../people/people.messages.js';
import { ChatMessage, Invitations, RoomMessages, Rooms, type RoomEntry } from '../rooms/rooms.messages.js';
import { ApiError, request } from './api.js';
import { Composer } from './composer.js';
import { connect, type ErrorListener } from './connection.js';
import { $ } from './dom.js';
import { OpenRoom } from './open-room.js';
import { People } from './people.js';
import { Replica } from './replica.js';
import { RoomList, addressOf } from './room-list.js';
import { UnsentDrafts } from './unsent.js';

/** Who has signed in. */
export type Me = Pick<Person, 'userId' | 'name'>;

/** All that somebody sees between signing in and signing out, over one connection. */
export class Visit {
  /** The room that is open, as soon as it is known which rooms there are. */
  room: OpenRoom | undefined;
  readonly #me: Me;
  readonly #onEnd: (why: string) => void;
  readonly #client: MessagingClient;
  readonly #people: People;
  readonly #rooms: RoomList;
  readonly #drafts: UnsentDrafts;
  readonly #composer: Composer;
  /** The room that was opened last: what was said in it is still shown while the room is gone. */
  #shown: RoomEntry | undefined;
  #knowsRooms = false;
  readonly #ending = new AbortController();

  /** @param onEnd - called when the server ends it, with a sentence that says why */
  constructor(me: Me, onEnd: (why: string) => void) {
    this.#me = me;
    this.#onEnd = onEnd;
    this.#drafts = new UnsentDrafts(me.userId);
    this.#composer = new Composer(this.#drafts);
    this.#clearRoom();
    this.#client = connect(onEnd, this.#report);
    this.#people = new People(me.userId);
    this.#rooms = new RoomList(this.#client, this.#drafts, this.#report);
    this.#followPeople();
    this.#followRooms();
    this.#client
      .subscribe(sourceRef('ChatServer', 'house'), ChatMessage, (notice) => this.room?.log.add(notice))
      .catch(this.#report);
  }

  addRoom(room: RoomEntry): void {
    this.#rooms.add(room);
    this.openRoom();
  }

  /** Opens the room that the page's address names, unless it is open. */
  openRoom(): void {
    this.#rooms.show();
    const room = this.#rooms.open;
    if (room === undefined) return this.#knowsRooms ? this.#showGone() : undefined;
    if (room.roomId === this.room?.roomId) return;
    this.#leaveRoom();
    const channel = RoomMessages.for({ roomId: room.roomId }).name;
    this.room = new OpenRoom(this.#client, this.#me, room, (error) => this.#report(error, { channel }));
    this.#shown = room;
    this.#composer.openFor(room);
  }

  /** What is being written has changed. */
  draft(): void {
    this.#composer.keep();
    this.room?.draft(this.#composer.text);
    this.#rooms.show();
  }

  async write(): Promise<void> {
    const { room } = this;
    await this.#composer.send(async (text) => room?.write(text));
    room?.draft(room === this.room ? this.#composer.text : '');
  }

  end(): void {
    this.#ending.abort();
    this.#leaveRoom();
    this.#composer.close();
    this.#client.close();
  }

  /** As at the end of a visit to a computer that others use, too. */
  discardDrafts(): void {
    this.#drafts.clear();
  }

  #followPeople(): void {
    const people = new Replica<Person[]>(this.#client, {
      fetch: () => request('GET', '/people'),
      show: (all) => this.#people.set(all),
      onError: this.#report,
      signal: this.#ending.signal,
    });
    people.on(UserUpdates, (update) => this.#people.update(update));
    people.start();
  }

  #followRooms(): void {
    const rooms = new Replica<RoomEntry[]>(this.#client, {
      fetch: () => request('GET', '/rooms'),
      show: (all) => {
        this.#knowsRooms = true;
        this.#rooms.set(all);
        this.openRoom();
      },
      onError: this.#report,
      signal: this.#ending.signal,
    });
    rooms.on(Rooms, (room) => this.addRoom(room));
    rooms.on(Invitations.for({ userId: this.#me.userId }), (room) => this.addRoom(room));
    rooms.start();
  }

  readonly #report: ErrorListener = (error, { channel = '' } = {}) => {
    if (this.#ending.signal.aborted) return;
    if (error instanceof ApiError && error.status === 401) this.#onEnd('You are signed out.');
    else if (error instanceof ChannelDeniedError && channel.startsWith('rooms/'))
      this.#loseRoom(channel.split('/')[1]!);
    else console.error(error);
  };

  // A server that has been started anew may not know all rooms any more, or not yet: of those that it learns of later,
  // it tells.
  #loseRoom(roomId: string): void {
    this.#rooms.remove(roomId);
    if (this.room?.roomId === roomId) this.openRoom();
  }

  /** The address names a room that does not exist, or no more. Nothing that was written for it goes elsewhere. */
  #showGone(): void {
    this.#leaveRoom();
    const shown = this.#shown && addressOf(this.#shown.roomId) === location.hash ? this.#shown : undefined;
    const room = shown ?? this.#rooms.gone;
    if (shown === undefined) this.#clearRoom();
    $('room-name').textContent = room?.name ?? 'No such room';
    $('invite-form').hidden = true;
    $('room-gone').hidden = false;
    if (room === undefined) return;
    this.#composer.openFor(room, { isGone: true });
    $('room-gone-draft').hidden = this.#composer.text === '';
  }

  #clearRoom(): void {
    this.#shown = undefined;
    this.#composer.close();
    for (const id of ['log', 'drafts', 'room-name']) $(id).replaceChildren();
  }

  #leaveRoom(): void {
    this.room?.leave();
    this.room = undefined;
    $('room-gone').hidden = true;
    $('room-gone-draft').hidden = true;
  }
}
