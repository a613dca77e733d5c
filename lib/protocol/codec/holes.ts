import { MAX_HOLES } from './codec-limits.js';

/** Why the codec refuses an array for which {@link hasTooManyHoles} is true. */
export const TOO_MANY_HOLES = `it has more than ${MAX_HOLES} holes; send a Map instead`;

/**
 * Whether an array has more holes than a message may. It looks at no more than that many: an array of a few bytes may be of length
 * 4,294,967,295, and any walk to its end would keep the process busy for minutes.
 */
export function hasTooManyHoles(items: readonly unknown[]): boolean {
  if (items.length <= MAX_HOLES) return false;
  let holes = 0;
  for (let index = 0; index < items.length; index++) {
    if (items[index] === undefined && !Object.hasOwn(items, index) && ++holes > MAX_HOLES) return true;
  }
  return false;
}
