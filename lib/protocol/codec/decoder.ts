import { kindOf, quote } from '../channel-name.js';
import { InvalidMessageError } from '../errors.js';
import { isObject, isRecord } from '../is-record.js';
import { NAME_IT } from '../serializable.js';
import type { KnownTypes } from '../known-types.js';
import { isPolluting, pollution } from './check-json.js';
import { MAX_NUMERIC_KEYS, MAX_REGEXP_CHARACTERS } from './codec-limits.js';
import { define, errorPrototype, fillError, makeError } from './decode-error.js';
import { decodePrimitive, decodeValue } from './decode-value.js';
import type { MessageInstances } from './message-instances.js';
import { pathText, type MessagePath } from './message-path.js';
import { CLASS_MARK, type ReadNote } from './note.js';

type Properties = Record<string, unknown>;

/**
 * Restores one message in place: what `JSON.parse` made becomes the message. Use it once, after `checkJson`. It goes
 * where notes lead and the data follows, so its depth and its time are bounded by those of the data.
 */
export class Decoder {
  readonly #types: KnownTypes;
  readonly #instances: MessageInstances | undefined;
  readonly #restored = new Map<number, unknown>();
  readonly #path: MessagePath = [];
  #regExpCharacters = 0;
  #numericKeys = 0;

  constructor(types: KnownTypes, instances?: MessageInstances) {
    this.#types = types;
    this.#instances = instances;
  }

  /**
   * @param type - the wire name of the message's class, if the envelope names one
   * @throws InvalidMessageError that names the place and the fault
   */
  decode(data: unknown, type: string | undefined, meta: unknown = ''): unknown {
    const message = type === undefined ? this.#restore(data, meta) : this.#root(data, type, meta);
    this.#instances?.accept();
    return message;
  }

  #root(data: unknown, type: string, meta: unknown): unknown {
    const note = this.#read(meta);
    // The envelope has said it.
    if (note.tag) this.#refuseNote(meta);
    return this.#instance(data, type, note);
  }

  #restore(data: unknown, meta: unknown): unknown {
    if (typeof meta === 'number') return this.#reference(meta);
    if (meta === 'undefined') return undefined;
    const primitive = typeof meta === 'string' ? decodePrimitive(meta, data) : undefined;
    if (primitive !== undefined) return primitive;
    const note = this.#read(meta);
    const { tag } = note;
    if (tag === '' || tag === 'null-prototype') return this.#container(data, note);
    if (tag === 'Map') return this.#map(data, note);
    if (tag === 'Set') return this.#set(data, note);
    if (tag.startsWith(CLASS_MARK)) return this.#instance(data, tag.slice(1), note);
    return tag.endsWith('Error') ? this.#error(data, note, errorPrototype(tag)) : this.#value(data, note);
  }

  #read(meta: unknown): ReadNote {
    if (typeof meta === 'string') return noteOf(meta);
    if (isRecord(meta)) return noteOf('', meta);
    if (Array.isArray(meta) && meta.length <= 4) {
      const [tag, parts, id = 0, names] = meta as unknown[];
      const isWellFormed = typeof tag === 'string' && isRecordOrNone(parts) && isRecordOrNone(names);
      if (isWellFormed && Number.isSafeInteger(id) && (id as number) >= 0)
        return noteOf(tag, parts, (id as number) || undefined, names);
    }
    return this.#refuseNote(meta);
  }

  #reference(id: number): unknown {
    if (!this.#restored.has(id)) this.#lacks(id);
    return this.#restored.get(id);
  }

  #register(note: ReadNote, value: unknown): void {
    if (note.id === undefined) return;
    if (this.#restored.has(note.id)) this.#fail('it has an entry twice');
    this.#restored.set(note.id, value);
  }

  #container(data: unknown, note: ReadNote): object {
    if (!isObject(data)) return this.#refuse(data, 'object');
    if (Array.isArray(data)) {
      if (note.tag || note.names) this.#refuse(data, 'object');
      this.#register(note, data);
      this.#items(data as unknown[], note.parts);
      return data as unknown[];
    }
    if (note.tag === 'null-prototype') Object.setPrototypeOf(data, null);
    this.#register(note, data);
    this.#properties(data as Properties, note);
    return data;
  }

  #items(items: unknown[], parts: ReadNote['parts'], mayHaveHoles = true): void {
    for (const key in parts) {
      const index = Number(key);
      if (String(index) !== key || !(index in items)) this.#lacks(key);
      this.#path.push(index);
      if (parts[key] === 'hole' && mayHaveHoles) delete (items as unknown as Properties)[key];
      else items[index] = this.#restore(items[index], parts[key]);
      this.#path.pop();
    }
  }

  // Everything assigned here is there already as the object's own, so no setter of a class runs.
  #properties(object: Properties, { parts, names }: ReadNote): void {
    for (const key in parts) {
      if (!Object.hasOwn(object, key)) {
        if (parts[key] !== 'undefined') this.#lacks(key);
        this.#define(object, key, undefined);
        continue;
      }
      this.#path.push(key);
      const value = this.#restore(object[key], parts[key]);
      this.#checkProperty(key, value);
      object[key] = value;
      this.#path.pop();
    }
    if (names) this.#rename(object, names);
  }

  #rename(object: Properties, names: Properties): void {
    const renamed = Object.keys(names).map((key) => {
      const name = names[key];
      if (typeof name !== 'string' || !Object.hasOwn(object, key)) return this.#lacks(key);
      const value = object[key];
      delete object[key];
      return [name, value] as const;
    });
    for (const [name, value] of renamed) this.#define(object, name, value);
  }

  #define(object: object, key: string, value: unknown): void {
    this.#checkProperty(key, value);
    define(object, key, value);
  }

  // The data has been checked; this is what a note could still smuggle in.
  #checkProperty(key: string, value: unknown): void {
    if (isPolluting(key, value)) this.#fail(pollution(key));
  }

  #instance(data: unknown, name: string, note: ReadNote): object {
    const type = this.#types.resolve(name);
    if (!type) return this.#fail(`its type ${quote(name)} is not known here; ${NAME_IT}`);
    if (!isRecord(data)) return this.#refuse(data, name);
    const prototype = type.prototype as object;
    if (prototype instanceof Error) return this.#error(data, note, prototype);
    // In place: half the time of copying the properties to a new object. They stay the object's own, whatever the
    // class has in its prototype, and no code of the class runs.
    Object.setPrototypeOf(data, prototype);
    const instance = this.#instances?.resolve(type, data, note, this.#path) ?? data;
    this.#register(note, instance);
    this.#properties(data, note);
    this.#instances?.complete(instance, data);
    return instance;
  }

  #error(data: unknown, note: ReadNote, prototype: object | undefined): Error {
    if (!prototype || !isRecord(data)) return this.#refuse(data, 'Error');
    const error = makeError(prototype);
    this.#register(note, error);
    this.#properties(data, note);
    fillError(error, data);
    return error;
  }

  #map(data: unknown, note: ReadNote): Map<unknown, unknown> {
    const map = new Map<unknown, unknown>();
    if (!Array.isArray(data) || !data.every(isPair)) return this.#refuse(data, 'Map');
    this.#register(note, map);
    this.#items(data, note.parts, false);
    for (const [key, value] of data) map.set(this.#countKey(key), value);
    this.#checkSize(map, data);
    return map;
  }

  #set(data: unknown, note: ReadNote): Set<unknown> {
    const set = new Set<unknown>();
    if (!Array.isArray(data)) return this.#refuse(data, 'Set');
    this.#register(note, set);
    this.#items(data, note.parts, false);
    for (const value of data as unknown[]) set.add(this.#countKey(value));
    this.#checkSize(set, data);
    return set;
  }

  #checkSize({ size }: Map<unknown, unknown> | Set<unknown>, { length }: unknown[]): void {
    if (size !== length && !this.#instances?.hasMerged) this.#fail('it has an entry twice');
  }

  #countKey(key: unknown): unknown {
    const isNumeric = typeof key === 'number' || typeof key === 'bigint';
    if (isNumeric && ++this.#numericKeys > MAX_NUMERIC_KEYS) this.#fail('it has too many numbers as keys');
    return key;
  }

  /** Classes of the language throw errors of their own for wrong values, and their texts quote the value. */
  #value(data: unknown, note: ReadNote): object {
    const { tag } = note;
    if (tag === 'RegExp') {
      this.#regExpCharacters += typeof data === 'string' ? data.length : 0;
      if (this.#regExpCharacters > MAX_REGEXP_CHARACTERS) this.#fail('its regular expressions are too long');
    }
    let value: object | undefined;
    let cause: unknown;
    try {
      value = decodeValue(tag, data);
    } catch (error) {
      cause = error;
    }
    if (!value) return this.#refuse(data, tag, cause);
    this.#register(note, value);
    return value;
  }

  /** The data is not what its note, or its envelope, calls it. */
  #refuse(data: unknown, tag: string, cause?: unknown): never {
    return this.#fail(`${kindOf(data)} is no ${quote(tag)}`, cause);
  }

  #refuseNote(meta: unknown): never {
    return this.#fail(`its note cannot be ${kindOf(meta)}`);
  }

  /** A note is about something that is not there. */
  #lacks(part: string | number): never {
    return this.#fail(`it has no ${quote(String(part))}`);
  }

  #fail(reason: string, cause?: unknown): never {
    const text = this.#path.length > 0 ? `${pathText(this.#path)}: ${reason}` : reason;
    throw new InvalidMessageError(text, cause ? { cause } : undefined);
  }
}

/** All notes have one shape, also those with little in them. */
function noteOf(tag: string, parts?: ReadNote['parts'], id?: number, names?: ReadNote['names']): ReadNote {
  return { tag, parts, id, names };
}

function isRecordOrNone(value: unknown): value is Properties | undefined {
  return value === undefined || isRecord(value);
}

function isPair(value: unknown): value is [unknown, unknown] {
  return Array.isArray(value) && value.length === 2;
}
