const MAX_SHOWN = 12;

/** The position of a walk through a message: properties' names, indexes, and texts that stand as they are. */
export type MessagePath = (string | number | { readonly text: string })[];

/** `message.order.items[3]`; the middle of a very long path is left out. */
export function pathText(path: Readonly<MessagePath>): string {
  const texts = path.map((segment) => {
    if (typeof segment === 'object') return segment.text;
    const isName = /^[A-Za-z_$][\w$]{0,99}$/.test(String(segment));
    return isName ? `.${segment}` : `[${JSON.stringify(segment).slice(0, 100)}]`;
  });
  if (texts.length > MAX_SHOWN) texts.splice(MAX_SHOWN / 2, texts.length - MAX_SHOWN, '…');
  return `message${texts.join('')}`;
}
