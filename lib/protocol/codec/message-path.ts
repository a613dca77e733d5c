const MAX_SHOWN = 12;

/** The position of a walk through a message. It costs almost nothing until the text is needed. */
export class MessagePath {
  readonly #segments: (string | number | { readonly text: string })[] = [];

  get isRoot(): boolean {
    return this.#segments.length === 0;
  }

  /** Goes down: by a property's name, an index, or a text that stands as it is. */
  enter(segment: string | number | { readonly text: string }): void {
    this.#segments.push(segment);
  }

  /** Goes up again. */
  leave(): void {
    this.#segments.pop();
  }

  /** `message.order.items[3]`; the middle of a very long path is left out. */
  toString(): string {
    const texts = this.#segments.map((segment) => {
      if (typeof segment === 'object') return segment.text;
      const isName = /^[A-Za-z_$][\w$]{0,99}$/.test(String(segment));
      return isName ? `.${segment}` : `[${JSON.stringify(segment).slice(0, 100)}]`;
    });
    if (texts.length > MAX_SHOWN) texts.splice(MAX_SHOWN / 2, texts.length - MAX_SHOWN, '…');
    return `message${texts.join('')}`;
  }
}
