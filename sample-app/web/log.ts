import type { ChatMessage, Reaction } from '../rooms/rooms.messages.js';
import { avatar } from './avatar.js';
import { $, element } from './dom.js';
import { ReactionBar, type OnReact } from './reaction-bar.js';

const MAX_LINES = 300;
const SAME_BREATH_MS = 5 * 60_000;

const timeFormat = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

interface Line {
  readonly at: Date;
  /** Empty for a notice. */
  readonly userId: string;
  readonly messageId?: string;
  readonly item: HTMLElement;
}

/** The log of a room: what was said and, in between, notices. */
export class Log {
  readonly #list = $('log');
  readonly #me: string;
  readonly #onReact: OnReact;
  /** As they are shown: the oldest first. */
  readonly #lines: Line[] = [];
  readonly #bars = new Map<string, ReactionBar>();
  /** By message. */
  readonly #reactions = new Map<string, Map<string, Set<string>>>();
  #upToDate: HTMLElement | undefined;

  constructor(me: string, onReact: OnReact) {
    this.#me = me;
    this.#onReact = onReact;
    this.#list.replaceChildren();
  }

  /** Adds a message where its time belongs. */
  add(message: ChatMessage): void {
    const { id, userId, sentAt, text } = message;
    if (message.isNotice) return this.#insert({ at: sentAt, userId, item: noticeItem(text, sentAt) });
    const bar = new ReactionBar(id, this.#me, this.#onReact);
    bar.show(this.#reactionsTo(id));
    this.#bars.set(id, bar);
    this.#insert({ at: sentAt, userId, messageId: id, item: messageItem(message, bar.element) });
  }

  /** A reaction may come before its message, which is then shown with it. */
  react({ messageId, userId, emoji, isOn }: Reaction): void {
    const reactions = this.#reactionsTo(messageId);
    const users = reactions.get(emoji) ?? new Set();
    if (isOn) users.add(userId);
    else users.delete(userId);
    reactions.set(emoji, users);
    this.#bars.get(messageId)?.show(reactions);
  }

  /** Says that nothing is missing, as of now. */
  tellUpToDate(text: string): void {
    this.#upToDate?.remove();
    this.#upToDate = this.#tell(text, 'up-to-date');
  }

  /** Says that something may be missing here. */
  tellGap(text: string): void {
    this.#tell(text, 'gap');
  }

  #tell(text: string, className: string): HTMLElement {
    const at = new Date();
    const item = noticeItem(text, at);
    item.classList.add(className);
    this.#insert({ at, userId: '', item });
    return item;
  }

  #reactionsTo(messageId: string): Map<string, Set<string>> {
    const reactions = this.#reactions.get(messageId) ?? new Map<string, Set<string>>();
    this.#reactions.set(messageId, reactions);
    return reactions;
  }

  #insert(line: Line): void {
    const { at, userId, item } = line;
    // Who has scrolled up to read is not dragged down.
    const isAtEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 80;
    const index = this.#lines.findLastIndex((other) => other.at <= at) + 1;
    item.classList.toggle('mine', userId === this.#me);
    item.classList.toggle('continued', isContinued(line, this.#lines[index - 1]));
    this.#list.insertBefore(item, this.#lines[index]?.item ?? null);
    this.#lines.splice(index, 0, line);
    if (this.#lines.length > MAX_LINES) this.#forget(this.#lines.shift()!);
    if (isAtEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }

  #forget({ item, messageId = '' }: Line): void {
    item.remove();
    this.#bars.delete(messageId);
    this.#reactions.delete(messageId);
  }
}

function isContinued({ userId, at }: Line, before: Line | undefined): boolean {
  return userId !== '' && before?.userId === userId && at.getTime() - before.at.getTime() < SAME_BREATH_MS;
}

function messageItem({ userId, author, text, sentAt }: ChatMessage, reactions: HTMLElement): HTMLElement {
  const head = element('p', { className: 'head' }, element('strong', { textContent: author }), ' ', time(sentAt));
  const body = element('div', { className: 'body' }, element('p', { className: 'text', textContent: text }), reactions);
  return element('li', { className: 'message' }, avatar(userId, author), element('div', {}, head, body));
}

function noticeItem(text: string, at: Date): HTMLElement {
  return element('li', { className: 'event' }, `${text} `, time(at));
}

function time(at: Date): HTMLElement {
  return element('time', { dateTime: at.toISOString(), textContent: timeFormat.format(at) });
}
