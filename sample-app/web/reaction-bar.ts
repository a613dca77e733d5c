import { REACTIONS } from '../rooms/rooms.messages.js';
import { element } from './dom.js';

/** Who has reacted to a message, by emoji. */
export type Reactions = ReadonlyMap<string, ReadonlySet<string>>;

export type OnReact = (messageId: string, emoji: string, isOn: boolean) => void;

/** A button for each reaction to a message. They are changed in place, so that one that has the focus keeps it. */
export class ReactionBar {
  readonly element: HTMLElement;
  readonly #me: string;
  readonly #buttons = new Map<string, HTMLButtonElement>();

  constructor(messageId: string, me: string, onReact: OnReact) {
    this.#me = me;
    for (const emoji of Object.keys(REACTIONS)) {
      const button = element('button', { type: 'button', ariaPressed: 'false' });
      button.addEventListener('click', () => onReact(messageId, emoji, button.ariaPressed !== 'true'));
      this.#buttons.set(emoji, button);
    }
    this.element = element('div', { className: 'reactions' }, ...this.#buttons.values());
  }

  show(reactions: Reactions): void {
    for (const [emoji, button] of this.#buttons) {
      const users = reactions.get(emoji) ?? new Set();
      button.textContent = users.size === 0 ? emoji : `${emoji} ${users.size}`;
      button.ariaLabel = `${REACTIONS[emoji]!}, ${users.size}`;
      button.ariaPressed = String(users.has(this.#me));
      button.title = [...users].join(', ');
      button.classList.toggle('given', users.size > 0);
    }
  }
}
