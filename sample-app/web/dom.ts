/** The element of an id; where its class matters, of that class. */
export function $(id: string): HTMLElement;
export function $<T extends HTMLElement>(id: string, type: new () => T): T;
export function $(id: string, type: new () => HTMLElement = HTMLElement): HTMLElement {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(`The page has no ${type.name} #${id}`);
}

/** Makes an element. Text is always set as text, so nothing that people write can become part of the page. */
export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  properties: Partial<HTMLElementTagNameMap[Tag]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** What a form shows to be wrong. */
export function shownError(form: HTMLElement): string {
  return form.querySelector<HTMLElement>('.error')!.textContent;
}

/** Shows what went wrong in a form, or that nothing did. */
export function showError(form: HTMLElement, text = ''): void {
  const line = form.querySelector<HTMLElement>('.error')!;
  line.textContent = text;
  line.hidden = text === '';
}
