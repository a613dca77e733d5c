import type { RoomEntry } from '../rooms/rooms.messages.js';

/** What somebody has written and not sent. */
export interface Draft {
  readonly roomName: string;
  readonly text: string;
}

/**
 * The drafts of one person in this tab: one for each room, and it never moves to another one. They outlive the room,
 * the connection and a reload of the page.
 */
export class UnsentDrafts {
  readonly #prefix: string;

  constructor(userId: string) {
    this.#prefix = `draft/${encodeURIComponent(userId)}/`;
  }

  get(roomId: string): Draft | undefined {
    const kept = sessionStorage.getItem(this.#prefix + roomId);
    return kept === null ? undefined : (JSON.parse(kept) as Draft);
  }

  /** Keeps a text; an empty one is no draft. */
  keep({ roomId, name }: Pick<RoomEntry, 'roomId' | 'name'>, text: string): void {
    const draft: Draft = { roomName: name, text };
    if (text.trim() === '') sessionStorage.removeItem(this.#prefix + roomId);
    else sessionStorage.setItem(this.#prefix + roomId, JSON.stringify(draft));
  }

  /** The rooms that have a draft. */
  rooms(): RoomEntry[] {
    const ids = this.#keys().map((key) => key.slice(this.#prefix.length));
    return ids.map((roomId) => ({ roomId, name: this.get(roomId)!.roomName }));
  }

  clear(): void {
    for (const key of this.#keys()) sessionStorage.removeItem(key);
  }

  #keys(): string[] {
    return Object.keys(sessionStorage).filter((key) => key.startsWith(this.#prefix));
  }
}
