import { MAX_DEPTH } from './codec-limits.js';

/**
 * Whether `JSON.stringify` alone carries a message: nothing in it but what JSON can say, and no object twice.
 *
 * Every message comes through here, and there is little time: looking at each property once takes a fifth to a quarter
 * of what `JSON.stringify` takes, a `Set` of the objects met as much as half of it again (bench/codec.ts). Hence the
 * fingerprints and the hash table of {@link areDistinct}, and hence the first thing that JSON cannot say ends the walk.
 *
 * @param root - a plain object or array, or an instance whose own properties are to travel
 */
export function isPlainJson(root: object): boolean {
  const walk: Walk = { objects: [], fingerprints: spare ?? new Int32Array(FIRST_SIZE), nextCheck: 4_000 };
  // A getter of the message may encode another one.
  spare = undefined;
  const isPlainTree = isPlain(root, 0, walk) && (walk.objects.length <= FEW + 1 || areDistinct(walk));
  if (walk.fingerprints.length <= MOST_KEPT) spare = walk.fingerprints;
  return isPlainTree;
}

/** The fingerprints of the last message, to be overwritten: a list made anew shows with small messages in the bench. */
let spare: Int32Array | undefined;
const FIRST_SIZE = 256;
const MOST_KEPT = 4_096;
/** With so many objects the next one is simply compared. */
const FEW = 12;

interface Walk {
  /** Every object met, as often as it was met. */
  readonly objects: object[];
  /** To each of `objects` a number that depends on nothing but its contents; any number while they are looked at. */
  fingerprints: Int32Array;
  /** Objects that share their parts at every level are met exponentially often unless somebody looks in between. */
  nextCheck: number;
}

// Objects and arrays in one function, each kind of value at most common first: a call more for each object, or a switch,
// shows in the bench.
function isPlain(object: object, depth: number, walk: Walk): boolean {
  // The depth ends what contains itself.
  if (depth === MAX_DEPTH || !isNew(object, walk)) return false;
  const index = walk.objects.push(object) - 1;
  if (index === walk.fingerprints.length) growFingerprints(walk);
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

function growFingerprints(walk: Walk): void {
  const { fingerprints } = walk;
  walk.fingerprints = new Int32Array(4 * fingerprints.length);
  walk.fingerprints.set(fingerprints);
}

/**
 * Whether no object was met twice. A hash table over the fingerprints: the same object has the same fingerprint
 * wherever it is met, so it also comes to the same place in the table. What finds its place taken by another, mostly
 * because they look alike, does so every time, so nothing is both in the table and among those `alike`.
 */
function areDistinct({ objects, fingerprints }: Walk): boolean {
  const count = objects.length;
  let size = 128;
  while (size < 8 * count) size *= 2;
  const places = size <= usualPlaces.length ? usualPlaces.fill(0, 0, size) : new Int32Array(size);
  const alike: object[] = [];
  for (let index = 0; index < count; index++) {
    const object = objects[index]!;
    const hash = Math.imul(fingerprints[index]!, 0x9e3779b1);
    const place = (hash ^ (hash >>> 15)) & (size - 1);
    const other = places[place]!;
    if (other === 0) places[place] = index + 1;
    else if (objects[other - 1] === object) return false;
    else alike.push(object);
  }
  return !haveTwins(alike);
}

/** One more than an index in `objects`, for each place. Nothing of the application runs meanwhile, so one serves all. */
const usualPlaces = new Int32Array(8_192);

function haveTwins(objects: readonly object[]): boolean {
  // Up to here searching takes less time than a Set, which gives each object a hash; comparing them here takes more.
  if (objects.length > 128) return new Set(objects).size < objects.length;
  for (let index = 1; index < objects.length; index++) {
    if (objects.indexOf(objects[index]!) < index) return true;
  }
  return false;
}
