import { element } from './dom.js';

/** The initials of somebody, in a colour of their own. */
export function avatar(userId: string, name: string): HTMLElement {
  const made = element('span', { className: 'avatar', ariaHidden: 'true' });
  dressAvatar(made, userId, name);
  return made;
}

export function dressAvatar(target: HTMLElement, userId: string, name: string): void {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  const initials = words.slice(0, 2).map((word) => Array.from(word)[0]!.toUpperCase());
  const hash = Array.from(userId).reduce((sum, character) => (sum * 31 + character.codePointAt(0)!) % 360, 7);
  target.textContent = initials.join('');
  target.style.setProperty('--hue', String(hash));
}
