const encoder = new TextEncoder();

/** The room of one request, for subscribing and unsubscribing together. */
export class Room {
  bytes = 40_000;
}

/**
 * Takes as many items as fit into one request: many servers accept bodies of at most 100 kB, and hand on to each other at
 * most `limits.maxMessageBytes`.
 *
 * @param left - the room that is left; it shrinks by the items that are taken
 */
export function portionOf<T>(items: Iterable<T>, left: Room): T[] {
  const portion: T[] = [];
  for (const item of items) {
    const bytes = encoder.encode(JSON.stringify(item)).length + 1;
    if (bytes > left.bytes) break;
    left.bytes -= bytes;
    portion.push(item);
  }
  return portion;
}
