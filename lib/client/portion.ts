/** How much goes into one request, to subscribe and to unsubscribe together. */
const MAX_BYTES = 40_000;
const encoder = new TextEncoder();

/** The room of one request. */
export function room(): { bytes: number } {
  return { bytes: MAX_BYTES };
}

/**
 * As many of some items as go into one request: many servers take bodies of no more than 100 kB, and hand on to each
 * other no more than `limits.maxMessageBytes`.
 *
 * @param left - how much room there is; what is taken is taken off
 */
export function portionOf<T>(items: Iterable<T>, left = room()): T[] {
  const portion: T[] = [];
  for (const item of items) {
    const bytes = encoder.encode(JSON.stringify(item)).length + 1;
    if (bytes > left.bytes) break;
    left.bytes -= bytes;
    portion.push(item);
  }
  return portion;
}
