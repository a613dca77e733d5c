import type { ChatMessage, Reaction } from '../rooms/rooms.messages.js';
import { avatar } from './avatar.js';
import { $, element } from './dom.js';
import { ReactionBar, type OnReact } from './reaction-bar.js';

const MAX_LINES = 300;
const SAME_BREATH_MS = 5 * 60_000;

const timeFormat = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

interface Line {
  message: ChatMessage;
  readonly item: HTMLElement;
  readonly reactions: ReactionBar;
}

/** The log of a room: what was said and, in between, notices. */
export class Log {
  readonly #list = $('log');
  readonly #me: string;
  readonly #onReact: OnReact;
  /** As they are shown: the oldest first. */
  readonly #lines: Line[] = [];

  constructor(me: string, onReact: OnReact) {
    this.#me = me;
    this.#onReact = onReact;
    this.#list.replaceChildren();
  }

  /** Adds a message where its time belongs. Of one that is there already, only the reactions may be new. */
  add(message: ChatMessage): void {
    const line = this.#lineOf(message.id) ?? this.#insert(message);
    line.message = message;
    line.reactions.show(message);
  }

  react(reaction: Reaction): void {
    const line = this.#lineOf(reaction.messageId);
    line?.message.react(reaction);
    line?.reactions.show(line.message);
  }

  #lineOf(messageId: string): Line | undefined {
    return this.#lines.find(({ message }) => message.id === messageId);
  }

  #insert(message: ChatMessage): Line {
    // Who has scrolled up to read is not dragged down.
    const isAtEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 80;
    const index = this.#lines.findLastIndex((line) => line.message.sentAt <= message.sentAt) + 1;
    const reactions = new ReactionBar(message.id, this.#me, this.#onReact);
    const item = message.isNotice ? noticeItem(message) : messageItem(message, reactions.element);
    item.classList.toggle('mine', message.userId === this.#me);
    item.classList.toggle('continued', isContinued(message, this.#lines[index - 1]?.message));
    this.#list.insertBefore(item, this.#lines[index]?.item ?? null);
    const line = { message, item, reactions };
    this.#lines.splice(index, 0, line);
    if (this.#lines.length > MAX_LINES) this.#lines.shift()!.item.remove();
    if (isAtEnd) this.#list.scrollTop = this.#list.scrollHeight;
    return line;
  }
}

function isContinued({ userId, sentAt }: ChatMessage, before: ChatMessage | undefined): boolean {
  return before?.userId === userId && sentAt.getTime() - before.sentAt.getTime() < SAME_BREATH_MS;
}

function messageItem({ userId, author, text, sentAt }: ChatMessage, reactions: HTMLElement): HTMLElement {
  const head = element('p', { className: 'head' }, element('strong', { textContent: author }), ' ', time(sentAt));
  const body = element('div', { className: 'body' }, element('p', { className: 'text', textContent: text }), reactions);
  return element('li', { className: 'message' }, avatar(userId, author), element('div', {}, head, body));
}

function noticeItem({ text, sentAt }: ChatMessage): HTMLElement {
  return element('li', { className: 'event' }, `${text} `, time(sentAt));
}

function time(at: Date): HTMLElement {
  return element('time', { dateTime: at.toISOString(), textContent: timeFormat.format(at) });
}
