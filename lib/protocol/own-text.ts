/** How many texts are remembered. After that, all are forgotten at once. */
const MAX_SHARED = 1_000;

const shared = new Map<string, string>();

/**
 * A copy of a text that may be part of a longer one. The engine makes a part as a view of the whole, so whoever keeps a part keeps the whole
 * in memory: for a message, its whole batch.
 */
export function ownText(text: string): string {
  return Buffer.from(text).toString();
}

/** Like {@link ownText}, for short texts that come again and again: equal ones share a copy. */
export function sharedText(text: string): string {
  let own = shared.get(text);
  if (own === undefined) {
    if (shared.size === MAX_SHARED) shared.clear();
    own = ownText(text);
    shared.set(own, own);
  }
  return own;
}
