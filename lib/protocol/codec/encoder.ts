import { classOf } from '../class-of.js';
import { describe } from '../channel-name.js';
import { fromOtherCopy } from '../copy.js';
import { MessagingError, UnserializableError } from '../errors.js';
import { ignoreRejection } from '../promises.js';
import { classInfo } from '../serializable.js';
import { SourceRef, toSourceRef } from '../source.js';
import { nameOf } from '../text-of.js';
import { isErrorOf, thrownText } from '../thrown.js';
import type { TypeRegistry } from '../type-registry.js';
import { builtinTag, extendedBuiltin, isErrorTag, isPlainPrototype, type BuiltinTag } from './builtin-type.js';
import { isPolluting } from './check-json.js';
import { FailedProperty, type ClassFilter } from './class-filter.js';
import { MAX_BIGINT_DIGITS, MAX_DEPTH, MAX_HOLES, MAX_NUMERIC_KEYS, MAX_REGEXP_CHARACTERS } from './codec-limits.js';
import { encodeBuiltinValue } from './encode-builtin-value.js';
import { TOO_MANY_HOLES } from './holes.js';
import { pathText, type MessagePath } from './message-path.js';
import { shownOf } from './shown.js';
import { CLASS_MARK, NoteDraft, type Note } from './note.js';

/** A part of a message as plain JSON values, and what restores it. */
interface Encoded {
  readonly data: unknown;
  readonly note: NoteDraft | Note | undefined;
}

/** The record of an object that the walk has met. */
interface Met {
  readonly note: NoteDraft;
  /** Its data once it is complete; while it is not, the object contains the place that refers to it. */
  data: unknown;
  isComplete: boolean;
  /** About the characters that its data takes. */
  size: number;
  /** How many levels its data is high. */
  height: number;
}

// Data that other readers get a second time, because it would read as null instead. It never more than doubles a message.
const MIN_COPIED_SIZE = 16_384;

/** Turns one message into plain JSON values and a note. Use it once. */
export class Encoder {
  private readonly met = new Map<object, Met>();
  private readonly path: MessagePath = [];
  private lastId = 0;
  private size = 0;
  private copiedSize = 0;
  private deepest = 0;
  private regExpCharacters = 0;
  private numericKeys = 0;

  constructor(
    private readonly types: TypeRegistry,
    private readonly filter: ClassFilter | undefined,
  ) {}

  /**
   * @param rootType - the class of the message, if the envelope names it
   * @throws UnserializableError with the path to what cannot travel
   */
  encode(message: unknown, rootType: Function | undefined): { data: unknown; note: Note | undefined } {
    try {
      const { data, note } = this.value(message, 0, undefined, rootType);
      return { data, note: note instanceof NoteDraft ? note.finish() : note };
    } catch (error) {
      // An error of application code at the current place of the walk: a proxy, a getter, or a rule of its class.
      if (isErrorOf(error, MessagingError)) throw error;
      return this.refuse(`it cannot be read: ${thrownText(error)}`, error);
    }
  }

  private value(value: unknown, depth: number, type?: Function, rootType?: Function): Encoded {
    switch (typeof value) {
      case 'string':
        this.size += value.length + 3;
        return { data: value, note: undefined };
      case 'number':
        this.size += 8;
        return encodeNumber(value);
      case 'bigint':
        return this.bigint(value);
      case 'boolean':
        return { data: value, note: undefined };
      case 'undefined':
        return { data: null, note: 'undefined' };
      case 'object':
        return value === null ? { data: null, note: undefined } : this.object(value, depth + 1, type, rootType);
      default:
        return this.refuse(`${describe(value)} cannot be sent`);
    }
  }

  private object(object: object, depth: number, type: Function | undefined, rootType: Function | undefined): Encoded {
    const known = this.met.get(object);
    if (known !== undefined) return this.reference(known, depth);
    if (depth > MAX_DEPTH) this.refuse(`it is nested deeper than ${MAX_DEPTH} levels`);
    const met: Met = { note: new NoteDraft(), data: null, isComplete: false, size: this.size, height: 0 };
    this.met.set(object, met);
    const deepest = this.deepest;
    this.deepest = depth;
    this.size += 8;
    met.data = this.contents(object, depth, met.note, type, rootType);
    met.isComplete = true;
    met.size = this.size - met.size;
    met.height = this.deepest - depth;
    this.deepest = Math.max(deepest, this.deepest);
    return met;
  }

  /** The same object once more. Its data is repeated for readers that know no notes, within reason. */
  private reference(met: Met, depth: number): Encoded {
    if (met.note.id === 0) met.note.id = ++this.lastId;
    const isRepeated =
      met.isComplete &&
      depth + met.height <= MAX_DEPTH &&
      this.copiedSize + met.size <= Math.max(MIN_COPIED_SIZE, this.size - this.copiedSize);
    if (isRepeated) {
      this.size += met.size;
      this.copiedSize += met.size;
      this.deepest = Math.max(this.deepest, depth + met.height);
    }
    return { data: isRepeated ? met.data : null, note: met.note.id };
  }

  private contents(object: object, depth: number, note: NoteDraft, type?: Function, rootType?: Function): unknown {
    const prototype = Object.getPrototypeOf(object) as object | null;
    if (Array.isArray(object)) {
      // Array.prototype is an array itself; the prototype of a class that extends it is not one.
      if (!Array.isArray(prototype)) this.refuseClass(object);
      return this.items(object, depth, note, type);
    }
    if (prototype === null || isPlainPrototype(prototype)) {
      if (prototype === null) note.tag = 'null-prototype';
      return this.properties(object, Object.keys(object), depth, note, type);
    }
    if (prototype === SourceRef.prototype) return this.source(object as SourceRef, note);
    const tag = builtinTag(prototype);
    return tag === undefined
      ? this.instance(object, depth, note, rootType)
      : this.builtin(tag, object, depth, note, type);
  }

  private items(items: readonly unknown[], depth: number, note: NoteDraft, type: Function | undefined): unknown[] {
    const data: unknown[] = [];
    let holes = 0;
    for (let index = 0; index < items.length; index++) {
      const value = this.read(items, index);
      if (value === undefined && !Object.hasOwn(items, index)) {
        if (++holes > MAX_HOLES) this.refuse(TOO_MANY_HOLES);
        data.push(null);
        note.addPart(index, 'hole');
        continue;
      }
      data.push(this.part(index, value, depth, note, index, type));
    }
    return data;
  }

  private properties(object: object, keys: readonly string[], depth: number, note: NoteDraft, type?: Function): object {
    const data: Record<string, unknown> = {};
    if (type !== undefined && this.filter?.appliesTo(type)) {
      // Through an object, because notes are read in the order in which JavaScript keeps properties: a number first.
      const ordered: Record<string, unknown> = {};
      const types = new Map<string, Function | undefined>();
      for (const { name, property, value, type: partType } of this.leaving(this.filter, object, type, keys)) {
        this.checkKey(name, value);
        ordered[name] = value;
        types.set(name, partType);
        if (name !== property) note.rename(name, property);
      }
      for (const name of Object.keys(ordered)) this.property(data, name, ordered[name], depth, note, types.get(name));
      return data;
    }
    for (const key of keys) {
      const value = this.read(object, key);
      this.checkKey(key, value);
      this.property(data, key, value, depth, note, undefined);
    }
    return data;
  }

  private leaving(filter: ClassFilter, object: object, type: Function, keys: readonly string[]) {
    try {
      return filter.properties(object, type, keys);
    } catch (error) {
      if (!isErrorOf(error, FailedProperty)) throw error;
      this.path.push(error.property);
      throw error.cause;
    }
  }

  /** A property whose getter fails is named by the error. */
  private read(object: object, key: string | number): unknown {
    try {
      return (object as Record<string | number, unknown>)[key];
    } catch (error) {
      this.path.push(key);
      throw error;
    }
  }

  private property(
    data: Record<string, unknown>,
    key: string,
    value: unknown,
    depth: number,
    note: NoteDraft,
    type: Function | undefined,
  ): void {
    this.size += key.length + 4;
    // JSON leaves it out, as everybody does who writes JSON by hand.
    if (value === undefined) note.addPart(key, 'undefined');
    else data[key] = this.part(key, value, depth, note, key, type);
  }

  private checkKey(key: string, value: unknown): void {
    if (key !== '__proto__' && key !== 'constructor') return;
    if (isPolluting(key, value)) {
      this.refuse(
        `a property "${key === '__proto__' ? key : `${key}.prototype`}" cannot be sent; no receiver would accept it`,
      );
    }
  }

  private part(
    segment: string | number | { readonly text: string },
    value: unknown,
    depth: number,
    note: NoteDraft,
    key: string | number,
    type: Function | undefined,
  ): unknown {
    // Most of any message; without this a message takes a third longer.
    if (typeof value === 'string') {
      this.size += value.length + 3;
      return value;
    }
    if (value === null || typeof value === 'boolean') return value;
    this.path.push(segment);
    const encoded = this.value(value, depth, type);
    this.path.pop();
    if (encoded.note !== undefined) note.addPart(key, encoded.note);
    return encoded.data;
  }

  private instance(object: object, depth: number, note: NoteDraft, rootType: Function | undefined): unknown {
    const type = classOf(object);
    if (type !== undefined && classInfo(type)?.kind === 'source') return this.source(toSourceRef(object), note);
    const name = type === undefined ? undefined : this.types.nameToSend(type, type === rootType);
    if (type === undefined || name === undefined) return this.refuseClass(object);
    const builtin = extendedBuiltin(Object.getPrototypeOf(object) as object);
    if (builtin !== undefined)
      this.refuse(`${nameOf(type)} extends ${builtin}; only own properties travel, so hold a ${builtin} in one`);
    if (type !== rootType) note.tag = CLASS_MARK + name;
    const shown = this.shown(object, type);
    return this.properties(shown, ownKeys(shown), depth, note, type);
  }

  /** The visible form of an instance: the result of its toJSON(), as in any JSON. */
  private shown(object: object, type: Function): object {
    try {
      return shownOf(object);
    } catch (error) {
      return this.refuse(`toJSON() of ${nameOf(type)} ${(error as Error).message}`, (error as Error).cause);
    }
  }

  private source(source: SourceRef, note: NoteDraft): unknown {
    note.tag = 'source';
    return { type: source.type, key: source.key };
  }

  private builtin(
    tag: BuiltinTag,
    object: object,
    depth: number,
    note: NoteDraft,
    type: Function | undefined,
  ): unknown {
    note.tag = tag;
    if (tag === 'Map') return this.entries(object as Map<unknown, unknown>, depth, note, type);
    if (tag === 'Set') return this.members(object as Set<unknown>, depth, note, type);
    if (isErrorTag(tag)) {
      const data = this.properties(object, ownKeys(object), depth, note);
      const { name, message } = object as Error;
      return { name: typeof name === 'string' ? name : tag, message, ...data };
    }
    const data = encodeBuiltinValue(tag, object);
    if (tag === 'RegExp' && (this.regExpCharacters += String(data).length) > MAX_REGEXP_CHARACTERS) {
      this.refuse(`the regular expressions of a message may have ${MAX_REGEXP_CHARACTERS} characters together`);
    }
    this.size += typeof data === 'string' ? data.length : Array.isArray(data) ? data.length * 8 : 4;
    return data;
  }

  private entries(map: Map<unknown, unknown>, depth: number, note: NoteDraft, type: Function | undefined): unknown[] {
    const data: unknown[] = [];
    for (const [key, value] of map) {
      this.countKey(key);
      const index = data.length;
      const pair = new NoteDraft();
      const keyData = this.part({ text: `.keys()[${index}]` }, key, depth + 1, pair, 0, undefined);
      const segment = {
        text: typeof key === 'string' ? `.get(${JSON.stringify(key).slice(0, 100)})` : `.values()[${index}]`,
      };
      data.push([keyData, this.part(segment, value, depth + 1, pair, 1, type)]);
      note.addPart(index, pair);
    }
    return data;
  }

  private members(set: Set<unknown>, depth: number, note: NoteDraft, type: Function | undefined): unknown[] {
    const data: unknown[] = [];
    for (const value of set) {
      this.countKey(value);
      const index = data.length;
      data.push(this.part({ text: `.values()[${index}]` }, value, depth, note, index, type));
    }
    return data;
  }

  private countKey(key: unknown): void {
    if (typeof key !== 'number' && typeof key !== 'bigint') return;
    if (++this.numericKeys > MAX_NUMERIC_KEYS) {
      this.refuse(
        `the Maps and Sets of a message may have ${MAX_NUMERIC_KEYS} numbers as keys together; send an array`,
      );
    }
  }

  private bigint(value: bigint): Encoded {
    const data = value.toString();
    if (data.length > MAX_BIGINT_DIGITS)
      this.refuse(`a bigint may have ${MAX_BIGINT_DIGITS} digits, not ${data.length}`);
    this.size += data.length;
    return { data, note: 'bigint' };
  }

  private refuseClass(object: object): never {
    // The async function of a @Transform or a getter.
    ignoreRejection(object);
    const problem = fromOtherCopy(object);
    if (problem !== undefined) this.refuse(problem);
    return this.refuse(
      `${nameOf(classOf(object)) || 'an object of an unnamed class'} is not @Serializable; declare the class with @Serializable(), let it extend Message, or make it the class of a channel`,
    );
  }

  private refuse(problem: string, cause?: unknown): never {
    throw new UnserializableError(pathText(this.path), problem, cause === undefined ? undefined : { cause });
  }
}

function encodeNumber(value: number): Encoded {
  if (Object.is(value, -0)) return { data: 0, note: '-0' };
  return Number.isFinite(value) ? { data: value, note: undefined } : { data: null, note: String(value) };
}

// An error keeps what matters most in properties that are not enumerable. A stack tells of files and must stay here.
function ownKeys(object: object): string[] {
  const keys = Object.keys(object);
  if (!isError(object)) return keys;
  const hidden = ['message', 'cause', 'errors'].filter((key) => Object.hasOwn(object, key) && !keys.includes(key));
  return [...keys.filter((key) => key !== 'stack'), ...hidden];
}

function isError(object: object): boolean {
  return object instanceof Error || Object.prototype.toString.call(object) === '[object Error]';
}
