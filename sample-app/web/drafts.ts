import type { Typing } from '../rooms/rooms.messages.js';
import { $, element } from './dom.js';

const SHOWN_MS = 6_000;
const TOLD_EVERY_MS = 200;

/** What the others in a room are writing, as they write it. */
export class Drafts {
  readonly #list = $('drafts');
  readonly #byUser = new Map<string, { item: HTMLElement; timer: ReturnType<typeof setTimeout> }>();

  constructor() {
    this.#list.replaceChildren();
  }

  show({ userId, name, text }: Typing): void {
    this.remove(userId);
    if (text === '') return;
    const item = element('li', {}, `${name} is writing: `, element('span', { className: 'draft', textContent: text }));
    // Whoever goes away in the middle of a sentence does not say so.
    const timer = setTimeout(() => this.remove(userId), SHOWN_MS);
    this.#byUser.set(userId, { item, timer });
    this.#list.append(item);
  }

  remove(userId: string): void {
    const draft = this.#byUser.get(userId);
    clearTimeout(draft?.timer);
    draft?.item.remove();
    this.#byUser.delete(userId);
  }
}

/** Tells what is being written: not each letter, but at most five times a second, and the last of it always. */
export class DraftTeller {
  readonly #tell: (text: string) => Promise<unknown>;
  #text = '';
  #told = '';
  #isTelling = false;

  constructor(tell: (text: string) => Promise<unknown>) {
    this.#tell = tell;
  }

  async note(text: string): Promise<void> {
    this.#text = text;
    if (this.#isTelling) return;
    this.#isTelling = true;
    while (this.#told !== this.#text) {
      this.#told = this.#text;
      // One after the other, so that none overtakes another; nobody is the worse if one is lost.
      await Promise.all([this.#tell(this.#told).catch(() => {}), pause()]);
    }
    this.#isTelling = false;
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, TOLD_EVERY_MS));
}
