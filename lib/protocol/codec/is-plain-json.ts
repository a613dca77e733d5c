import { MAX_DEPTH } from './codec-limits.js';

/**
 * Whether `JSON.stringify` alone carries a message: nothing in it but JSON's own values, and no object twice.
 *
 * Every message comes through here, so this is the one place where speed decides the shape (bench/codec.ts): one flat
 * loop over a queue, level by level, that looks at each property once and leaves at the first thing JSON cannot say.
 *
 * @param root - a plain object or array, or an instance whose own properties are to be looked at
 */
export function isPlainJson(root: object): boolean {
  const queue: object[] = [root];
  const fingerprints: number[] = [];
  let depth = 1;
  let levelEnd = 1;
  for (let index = 0; index < queue.length; index++) {
    if (index === levelEnd) {
      // Objects that share their parts without end, or contain themselves, must not fill the queue.
      if (++depth > MAX_DEPTH || (queue.length > 2 * levelEnd + 1_000 && !areDistinct(queue, fingerprints))) return false;
      levelEnd = queue.length;
    }
    const object = queue[index]!;
    const fingerprint = Array.isArray(object) ? pushItems(object, queue) : pushProperties(object, queue, index === 0);
    if (fingerprint === undefined) return false;
    fingerprints.push(fingerprint);
  }
  return areDistinct(queue, fingerprints);
}
