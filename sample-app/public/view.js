const MAX_LINES = 300;
const SAME_BREATH_MS = 5 * 60_000;

const timeFormat = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

export const $ = (id) => document.getElementById(id);

/** Makes an element. Text is always set as text, so nothing that people write can become part of the page. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** The initials of somebody, in a colour of their own. */
export function avatar(userId, name) {
  const made = element('span', { className: 'avatar', ariaHidden: 'true' });
  dressAvatar(made, userId, name);
  return made;
}

export function dressAvatar(target, userId, name) {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  target.textContent = words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join(''); // prettier-ignore
  const hash = [...userId].reduce((sum, character) => (sum * 31 + character.codePointAt(0)) % 360, 7);
  target.style.setProperty('--hue', hash);
}

/** The log of a room: what was said, and in between what happened. */
export class Log {
  #list = $('log');
  #ids = new Set();
  #last;

  clear() {
    this.#list.replaceChildren();
    this.#ids.clear();
    this.#last = undefined;
  }

  message({ id, userId, author, text, sentAt }, isMine) {
    if (this.#ids.has(id)) return;
    this.#ids.add(id);
    const isContinued = this.#last?.userId === userId && sentAt - this.#last.sentAt < SAME_BREATH_MS;
    this.#last = { userId, sentAt };
    const line = element('li', { className: 'message' });
    line.classList.toggle('mine', isMine);
    line.classList.toggle('continued', isContinued);
    const head = element('p', { className: 'head' }, element('strong', { textContent: author }), ' ', time(sentAt));
    line.append(
      avatar(userId, author),
      element('div', {}, head, element('p', { className: 'text', textContent: text })),
    );
    this.#append(line);
  }

  event(text, at) {
    this.#last = undefined;
    this.#append(element('li', { className: 'event' }, `${text} `, time(at)));
  }

  #append(line) {
    const list = this.#list;
    // Who has scrolled up to read is not dragged down.
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
    list.append(line);
    while (list.childElementCount > MAX_LINES) list.firstElementChild.remove();
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  }
}

function time(at) {
  const date = new Date(at);
  return element('time', { dateTime: date.toISOString(), textContent: timeFormat.format(date) });
}

/** Shows what went wrong in a form, or that nothing did. */
export function showError(form, text = '') {
  const line = form.querySelector('.error');
  line.textContent = text;
  line.hidden = text === '';
}
