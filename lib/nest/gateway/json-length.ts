/**
 * Whether a value that was read from JSON takes more than `maxBytes` as JSON without spaces. Unlike `JSON.stringify`, it is not
 * recursive: a client may nest values as deeply as it likes.
 */
export function exceedsJsonBytes(value: unknown, maxBytes: number): boolean {
  let left = maxBytes;
  const rest = [value];
  while (rest.length > 0 && left >= 0) {
    const next = rest.pop();
    if (typeof next !== 'object' || next === null) {
      left -= leafLength(next);
      continue;
    }
    const isArray = Array.isArray(next);
    const items: readonly unknown[] = isArray ? next : Object.values(next);
    left -= 2 + Math.max(0, items.length - 1);
    if (!isArray) for (const key of Object.keys(next)) left -= leafLength(key) + 1;
    // One by one: as arguments of one call, they could overflow the stack.
    if (left >= 0) for (const item of items) rest.push(item);
  }
  return left < 0;
}

function leafLength(value: unknown): number {
  if (typeof value === 'string') return Buffer.byteLength(JSON.stringify(value));
  return String(value).length;
}
