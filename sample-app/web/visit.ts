import { ChannelDeniedError, sourceRef, type MessagingClient } from 'nestjs-messaging/client';
import { UserUpdates, type Person } from '../people/people.messages.js';
import { ChatMessage, Invitations, Rooms, type RoomEntry } from '../rooms/rooms.messages.js';
import { ApiError, request } from './api.js';
import { connect } from './connection.js';
import { OpenRoom } from './open-room.js';
import { People } from './people.js';
import { Replica } from './replica.js';
import { RoomList } from './room-list.js';

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
  readonly #ending = new AbortController();

  /** @param onEnd - called when the server ends it, with a sentence that says why */
  constructor(me: Me, onEnd: (why: string) => void) {
    this.#me = me;
    this.#onEnd = onEnd;
    this.#client = connect(onEnd, this.#report);
    this.#people = new People(me.userId);
    this.#rooms = new RoomList(this.#client, this.#report);
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
    if (room === undefined || room.roomId === this.room?.roomId) return;
    this.#closeRoom();
    this.room = new OpenRoom(this.#client, this.#me, room, this.#report);
  }

  end(): void {
    this.#ending.abort();
    this.#closeRoom();
    this.#client.close();
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

  readonly #report = (error: unknown): void => {
    if (this.#ending.signal.aborted) return;
    if (error instanceof ApiError && error.status === 401) this.#onEnd('You are signed out.');
    else if (error instanceof ChannelDeniedError) this.#closeRoom();
    else console.error(error);
  };

  // A server that has been started anew may not know all rooms any more, or not yet. Which ones there are is asked
  // anyway after a reconnect, and then one of them is opened.
  #closeRoom(): void {
    this.room?.leave();
    this.room = undefined;
  }
}
