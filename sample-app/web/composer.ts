import type { RoomEntry } from '../rooms/rooms.messages.js';
import { ApiError } from './api.js';
import { $, showError } from './dom.js';
import type { UnsentDrafts } from './unsent.js';

/** The field that messages are written in. What stands in it is the draft of the room that it is open for. */
export class Composer {
  readonly #drafts: UnsentDrafts;
  readonly #form = $('write-form', HTMLFormElement);
  readonly #text = $('text', HTMLTextAreaElement);
  readonly #send = $('send', HTMLButtonElement);
  #room: RoomEntry | undefined;

  constructor(drafts: UnsentDrafts) {
    this.#drafts = drafts;
    this.close();
  }

  get text(): string {
    return this.#text.value;
  }

  /** Shows the draft of a room. In a room that is gone it can be read and changed, and not sent. */
  openFor(room: RoomEntry, { isGone = false } = {}): void {
    const draft = this.#drafts.get(room.roomId)?.text ?? '';
    if (this.#text.value !== draft) this.#text.value = draft;
    this.#room = room;
    this.#text.readOnly = false;
    this.#send.disabled = isGone;
    showError(this.#form);
  }

  /** Nothing can be written. Drafts are kept. */
  close(): void {
    this.#room = undefined;
    this.#text.value = '';
    this.#text.readOnly = true;
    this.#send.disabled = true;
    showError(this.#form);
  }

  /** To be called when the text has changed. */
  keep(): void {
    if (this.#room) this.#drafts.keep(this.#room, this.#text.value);
  }

  /** @throws (rejects) with the failure of `write`; the draft is then still there */
  async send(write: (text: string) => Promise<void>): Promise<void> {
    const room = this.#room;
    const written = this.#text.value.trim();
    if (room === undefined || this.#send.disabled || written === '') return;
    try {
      await write(written);
    } catch (error) {
      if (this.#isOpenFor(room) || !(error instanceof ApiError)) throw error;
      throw new ApiError(error.status, `Not sent in ${room.name}: ${error.message}`, error.isUnreachable);
    }
    // Not what was written meanwhile.
    if (this.#drafts.get(room.roomId)?.text.trim() === written) this.#drafts.keep(room, '');
    if (this.#isOpenFor(room) && this.#text.value.trim() === written) this.#text.value = '';
  }

  #isOpenFor({ roomId }: RoomEntry): boolean {
    return this.#room?.roomId === roomId;
  }
}
