import { MAX_DEPTH } from './codec-limits.js';

/**
 * Whether `JSON.stringify` alone carries a message: nothing in it but what JSON can say, and no object twice.
 *
 * Every message comes through here, and there is little time: looking at each property once takes a quarter of what
 * `JSON.stringify` takes, a `Set` of the objects met as much as half of it again (bench/codec.ts). Hence the hash
 * table of {@link areDistinct}, and hence the first thing that JSON cannot say ends the walk.
 *
 * @param root - a plain object or array, or an instance whose own properties are to travel
 */
export function isPlainJson(root: object): boolean {
  const walk: Walk = { objects: [], fingerprints: [], nextCheck: 1_000 };
  return isPlain(root, 0, walk) && (walk.objects.length <= FEW + 1 || areDistinct(walk));
}

/** With so many objects the next one is simply compared. */
const FEW = 12;

interface Walk {
  /** Every object met, as often as it was met. */
  readonly objects: object[];
  /** To each of `objects` a number that depends on nothing but its contents; 0 while they are still looked at. */
  readonly fingerprints: number[];
  /** Objects that share their parts at every level are met exponentially often unless somebody looks in between. */
  nextCheck: number;
}

// Objects and arrays in one function, each kind of value at most common first: a call more for each object, or a switch,
// shows in the bench.
function isPlain(object: object, depth: number, walk: Walk): boolean {
  // The depth ends what contains itself.
  if (depth === MAX_DEPTH || !isNew(object, walk)) return false;
  const index = walk.objects.push(object) - 1;
  walk.fingerprints.push(0);
  let fingerprint = 0;
  if (Array.isArray(object)) {
    if (Object.getPrototypeOf(object) !== Array.prototype) return false;
    fingerprint = object.length;
    // By index, because that sees holes, which JSON cannot say, as undefined.
    for (let item = 0; item < object.length; item++) {
      const value: unknown = object[item];
      if (typeof value === 'object') {
        if (value !== null && !isPlain(value, depth + 1, walk)) return false;
      } else if (typeof value === 'number') {
        if (!isJsonNumber(value)) return false;
        fingerprint = (fingerprint + value) | 0;
      } else if (typeof value === 'string') {
        fingerprint = (fingerprint + value.length) | 0;
      } else if (typeof value !== 'boolean') return false;
    }
  } else {
    if (depth > 0 && Object.getPrototypeOf(object) !== Object.prototype) return false;
    const properties = object as Record<string, unknown>;
    // A loop with `in` is several times faster than Object.keys(). It also sees what is inherited; that JSON.stringify
    // leaves it out does no harm, because a value that is inherited and enumerable either is of JSON or ends the walk.
    for (const key in properties) {
      // Whether these may be sent is decided where there is time for it.
      if (key === '__proto__' || key === 'constructor') return false;
      const value = properties[key];
      if (typeof value === 'string') {
        const { length } = value;
        fingerprint = (Math.imul(fingerprint, 31) + length + (length > 0 ? value.charCodeAt(length - 1) : 0)) | 0;
      } else if (typeof value === 'number') {
        if (!isJsonNumber(value)) return false;
        fingerprint = (Math.imul(fingerprint, 31) + value) | 0;
      } else if (typeof value === 'object') {
        if (value !== null && !isPlain(value, depth + 1, walk)) return false;
      } else if (typeof value !== 'boolean') return false;
    }
  }
  walk.fingerprints[index] = fingerprint;
  return true;
}

/** A first look, which is all that a small message needs. */
function isNew(object: object, walk: Walk): boolean {
  const { objects } = walk;
  if (objects.length <= FEW) return !objects.includes(object);
  if (objects.length < walk.nextCheck) return true;
  walk.nextCheck *= 4;
  return areDistinct(walk);
}

/** Neither NaN nor infinite, which JSON says as null, nor -0, which it says as 0. */
function isJsonNumber(value: number): boolean {
  return value - value === 0 && (value !== 0 || 1 / value > 0);
}

/**
 * Whether no object was met twice. A hash table over the fingerprints: the same object has the same fingerprint
 * wherever it is met, so only objects with equal hashes need comparing. Those that find their places taken by others,
 * because they look alike, go into a `Set`; they find them taken every time, so none is both in the table and there.
 */
function areDistinct({ objects, fingerprints }: Walk): boolean {
  const count = objects.length;
  let size = 32;
  while (size < 2 * count) size *= 2;
  const mask = size - 1;
  const table = new Int32Array(size); // one more than the index in `objects`
  let alike: Set<object> | undefined;
  for (let index = 0; index < count; index++) {
    const object = objects[index]!;
    let hash = Math.imul(fingerprints[index]!, 0x9e3779b1);
    hash = (hash ^ (hash >>> 15)) & mask;
    let places = PLACES;
    for (let other = table[hash]!; other !== 0 && places > 0; other = table[hash]!) {
      if (objects[other - 1] === object) return false;
      hash = (hash + 1) & mask;
      places--;
    }
    if (places > 0) {
      table[hash] = index + 1;
    } else {
      alike ??= new Set();
      const before = alike.size;
      if (alike.add(object).size === before) return false;
    }
  }
  return true;
}

const PLACES = 4;
