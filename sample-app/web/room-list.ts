import type { MessagingClient } from 'nestjs-messaging/client';
import { RoomMessages, type RoomEntry } from '../rooms/rooms.messages.js';
import type { ErrorListener } from './connection.js';
import { $, element } from './dom.js';
import type { UnsentDrafts } from './unsent.js';

const DEFAULT_ROOM = 'lobby';

/** The rooms that one may read, and how much in each of them is unread. The page's address says which one is open. */
export class RoomList {
  readonly #client: MessagingClient;
  readonly #drafts: UnsentDrafts;
  readonly #onError: ErrorListener;
  readonly #rooms = new Map<string, RoomEntry>();
  /** The messages that nobody has looked at, by their ids. */
  readonly #unread = new Map<string, Set<string>>();
  readonly #subscriptions = new Map<string, { readonly closed: boolean }>();

  constructor(client: MessagingClient, drafts: UnsentDrafts, onError: ErrorListener) {
    this.#client = client;
    this.#drafts = drafts;
    this.#onError = onError;
  }

  /** The room that the address names; `undefined` if it names one that does not exist, or is closed to this person. */
  get open(): RoomEntry | undefined {
    if (location.hash === '') return this.#rooms.get(DEFAULT_ROOM);
    return this.#named([...this.#rooms.values()]);
  }

  /** The room that the address names, if it is gone and something that was written for it has not been sent. */
  get gone(): RoomEntry | undefined {
    return this.#named(this.#goneRooms());
  }

  /** These rooms there are, and no others. */
  set(rooms: readonly RoomEntry[]): void {
    const gone = new Set(this.#rooms.keys());
    for (const room of rooms) {
      gone.delete(room.roomId);
      this.add(room);
    }
    for (const roomId of gone) this.#rooms.delete(roomId);
    this.show();
  }

  add(room: RoomEntry): void {
    this.#rooms.set(room.roomId, room);
    this.#listen(room.roomId);
    this.show();
  }

  remove(roomId: string): void {
    this.#rooms.delete(roomId);
    this.show();
  }

  show(): void {
    const open = this.open;
    if (open) this.#unread.delete(open.roomId);
    const list = $('rooms');
    // Whoever is in the list with the keyboard stays where they are.
    const focused = [...list.querySelectorAll('a')].findIndex((link) => link === document.activeElement);
    const gone = this.#goneRooms();
    list.replaceChildren(
      ...[...this.#rooms.values()].map((room) => this.#item(room, room === open)),
      ...gone.map((room) => goneItem(room, room.roomId === this.#named(gone)?.roomId)),
    );
    list.querySelectorAll('a')[focused]?.focus();
  }

  /** All rooms over the one connection, however many there are. */
  #listen(roomId: string): void {
    // It may be closed: a server that has just been started does not know all rooms yet.
    if (this.#subscriptions.get(roomId)?.closed === false) return;
    this.#subscriptions.set(roomId, { closed: false });
    this.#client
      .subscribe(RoomMessages.for({ roomId }), ({ id }) => this.#count(roomId, id))
      .then((subscription) => this.#subscriptions.set(roomId, subscription))
      .catch((error: unknown) => {
        this.#subscriptions.delete(roomId);
        this.#onError(error, { channel: RoomMessages.for({ roomId }).name });
      });
  }

  #named(rooms: readonly RoomEntry[]): RoomEntry | undefined {
    return rooms.find(({ roomId }) => addressOf(roomId) === location.hash);
  }

  /** The rooms that are gone while something that was written for them has not been sent. */
  #goneRooms(): RoomEntry[] {
    return this.#drafts.rooms().filter(({ roomId }) => !this.#rooms.has(roomId));
  }

  #count(roomId: string, messageId: string): void {
    this.#unread.set(roomId, (this.#unread.get(roomId) ?? new Set()).add(messageId));
    this.show();
  }

  #item({ roomId, name, ownerId }: RoomEntry, isOpen: boolean): HTMLElement {
    const link = element('a', { href: addressOf(roomId) }, element('span', { textContent: name }));
    if (isOpen) link.ariaCurrent = 'page';
    if (ownerId !== undefined) link.append(element('span', { role: 'img', ariaLabel: 'private', textContent: '🔒' }));
    const count = this.#unread.get(roomId)?.size ?? 0;
    if (count > 0) {
      link.append(
        element('span', { className: 'badge', role: 'img', ariaLabel: `${count} new`, textContent: `${count}` }),
      );
    }
    return element('li', {}, link);
  }
}

function goneItem({ roomId, name }: RoomEntry, isOpen: boolean): HTMLElement {
  const link = element('a', { href: addressOf(roomId), className: 'gone' }, element('span', { textContent: name }));
  link.append(element('span', { className: 'muted', textContent: 'not sent' }));
  if (isOpen) link.ariaCurrent = 'page';
  return element('li', {}, link);
}

/** The address of a room, within the page. */
export function addressOf(roomId: string): string {
  return `#${encodeURIComponent(roomId)}`;
}
