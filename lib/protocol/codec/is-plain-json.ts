import { MAX_DEPTH } from './codec-limits.js';

/**
 * Whether `JSON.stringify` alone carries a message: nothing in it but what JSON can say, and no object twice.
 *
 * Every message comes through here, and there is little time: looking at each property once takes a quarter of what
 * `JSON.stringify` takes, a `Set` of the objects seen as much as half of it again (bench/codec.ts). Hence the hash
 * table of {@link areDistinct}, and hence the first thing that JSON cannot say ends the walk.
 *
 * @param root - a plain object or array, or an instance whose own properties are to travel
 */
export function isPlainJson(root: object): boolean {
  const walk: Walk = { ancestors: [], objects: [], fingerprints: [], nextCheck: 10_000 };
  return isPlain(root, 0, walk);
}

interface Walk {
  readonly ancestors: object[];
  /** Every object met, as often as it was met, children before their parents. */
  readonly objects: object[];
  /** To each of `objects` a number that depends on nothing but its contents. */
  readonly fingerprints: number[];
  /** Objects that share their parts at every level are met exponentially often unless somebody looks in between. */
  nextCheck: number;
}

function isPlain(object: object, depth: number, walk: Walk): boolean {
  const { ancestors } = walk;
  if (depth === MAX_DEPTH) return false;
  for (let level = 0; level < depth; level++) {
    if (ancestors[level] === object) return false;
  }
  ancestors[depth] = object;
  const fingerprint = Array.isArray(object) ? ofItems(object, depth, walk) : ofProperties(object, depth, walk);
  if (fingerprint === undefined) return false;
  walk.objects.push(object);
  walk.fingerprints.push(fingerprint);
  if (walk.objects.length === walk.nextCheck) {
    if (!areDistinct(walk)) return false;
    walk.nextCheck *= 2;
  }
  return depth > 0 || areDistinct(walk);
}

function ofItems(items: unknown[], depth: number, walk: Walk): number | undefined {
  if (Object.getPrototypeOf(items) !== Array.prototype) return undefined;
  let fingerprint = items.length;
  // By index, because that sees holes, which JSON cannot say, as undefined.
  for (let index = 0; index < items.length; index++) {
    const value = items[index];
    switch (typeof value) {
      case 'string':
        fingerprint += value.length;
        break;
      case 'boolean':
        break;
      case 'number':
        if (!isJsonNumber(value)) return undefined;
        fingerprint += value;
        break;
      case 'object':
        if (value !== null && !isPlain(value, depth + 1, walk)) return undefined;
        break;
      default:
        return undefined;
    }
  }
  return fingerprint;
}

function ofProperties(object: object, depth: number, walk: Walk): number | undefined {
  if (depth > 0 && Object.getPrototypeOf(object) !== Object.prototype) return undefined;
  const properties = object as Record<string, unknown>;
  let fingerprint = 0;
  // A loop with `in` is several times faster than Object.keys(). It also sees what is inherited; that JSON.stringify
  // leaves it out does no harm, because a value that is inherited and enumerable either is of JSON or ends the walk.
  for (const key in properties) {
    // Whether these may be sent is decided where there is time for it.
    if (key === '__proto__' || key === 'constructor') return undefined;
    const value = properties[key];
    switch (typeof value) {
      case 'string': {
        const { length } = value;
        if (length > 1) {
          fingerprint = fingerprint * 31 + length + value.charCodeAt(length - 1) + value.charCodeAt(length - 2) * 19;
        }
        break;
      }
      case 'boolean':
        break;
      case 'number':
        if (!isJsonNumber(value)) return undefined;
        fingerprint = fingerprint * 31 + value;
        break;
      case 'object':
        if (value !== null && !isPlain(value, depth + 1, walk)) return undefined;
        break;
      default:
        return undefined;
    }
  }
  return fingerprint;
}

/** Neither NaN nor infinite, which JSON says as null, nor -0, which it says as 0. */
function isJsonNumber(value: number): boolean {
  return value - value === 0 && (value !== 0 || 1 / value > 0);
}

/**
 * Whether no object was met twice. A hash table over the fingerprints: the same object has the same fingerprint
 * wherever it is met, so only objects with equal hashes need comparing. Where too many of them look alike, a `Set`.
 */
function areDistinct({ objects, fingerprints }: Walk): boolean {
  const count = objects.length;
  if (count <= 8) return objects.every((object, index) => objects.indexOf(object, index + 1) === -1);
  let size = 32;
  while (size < 2 * count) size *= 2;
  const mask = size - 1;
  const table = new Int32Array(size); // one more than the index in `objects`
  let comparisons = 4 * count;
  for (let index = 0; index < count; index++) {
    const object = objects[index];
    let hash = Math.imul(fingerprints[index]! * 64, 0x9e3779b1);
    hash = (hash ^ (hash >>> 15)) & mask;
    for (let other = table[hash]!; other !== 0; other = table[hash]!) {
      if (objects[other - 1] === object) return false;
      if (--comparisons === 0) return new Set(objects).size === count;
      hash = (hash + 1) & mask;
    }
    table[hash] = index + 1;
  }
  return true;
}
