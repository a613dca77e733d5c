import type { Person, UserUpdate } from '../people/people.messages.js';
import { avatar } from './avatar.js';
import { $, element } from './dom.js';

/** Who is online. */
export class People {
  readonly #me: string;
  #people = new Map<string, Person>();

  constructor(me: string) {
    this.#me = me;
  }

  set(people: readonly Person[]): void {
    this.#people = new Map(people.map((person) => [person.userId, person]));
    this.#show();
  }

  update(update: UserUpdate): void {
    if (update.kind === 'left') this.#people.delete(update.userId);
    else this.#people.set(update.userId, update);
    this.#show();
  }

  #show(): void {
    const sorted = [...this.#people.values()].toSorted((one, other) => one.name.localeCompare(other.name));
    const others = sorted.filter(({ userId }) => userId !== this.#me);
    $('people').replaceChildren(...sorted.map(personItem));
    $('people-count').textContent = String(sorted.length);
    $('present').replaceChildren(...others.map(({ name }) => element('option', { value: name })));
    const status = $('status', HTMLInputElement);
    if (document.activeElement !== status) status.value = this.#people.get(this.#me)?.status ?? '';
  }
}

function personItem({ userId, name, status }: Person): HTMLElement {
  const who = element('span', { className: 'who' }, element('strong', { textContent: name }));
  if (status !== '') who.append(element('span', { className: 'muted', textContent: status }));
  return element('li', { className: 'person' }, avatar(userId, name), who);
}
