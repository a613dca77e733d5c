import { classOf } from './class-of.js';
import { extendedBuiltin } from './codec/builtin-type.js';
import { checkJson } from './codec/check-json.js';
import { CheckedInstances } from './codec/checked-instances.js';
import type { ClassFilter } from './codec/class-filter.js';
import { decodeMessage } from './codec/decode-message.js';
import { Encoder } from './codec/encoder.js';
import type { InstanceCheck } from './codec/instance-check.js';
import type { InstanceReader } from './codec/message-instances.js';
import { isPlainJson } from './codec/is-plain-json.js';
import { MessagingError } from './errors.js';
import { isRecord } from './is-record.js';
import { Message, type Class } from './message.js';
import { classInfo, typeName } from './serializable.js';
import { isErrorOf } from './thrown.js';
import type { TypeRegistry } from './type-registry.js';

/** A message as text. */
export interface EncodedMessage {
  /** Plain JSON that reads naturally without this library. */
  readonly data: string;
  /** The wire name of the message's class; none for a plain value. */
  readonly type?: string | undefined;
  /** JSON that restores in `data` what JSON cannot say; none if there is nothing to restore. */
  readonly meta?: string | undefined;
}

/**
 * Values to JSON and back, types kept. What travels, and how it reads, is listed in docs/codec.md.
 *
 * @example
 * ```ts
 * const codec = new Codec(new TypeRegistry());
 * codec.encode({ at: new Date(0) }); // { data: '{"at":"1970-01-01T00:00:00.000Z"}', meta: '{"at":"Date"}' }
 * ```
 */
export class Codec {
  private readonly instances: InstanceReader | undefined;
  private readonly plainClasses = new Map<Function, boolean>();
  // That of the last instance: most messages are of the class of the one before, and looking it up takes longer than to compare.
  private lastPlain: PlainClass | undefined = undefined;
  // The same for those that have arrived; no prototype if they need a decoder.
  private lastRead: { readonly type: Class | undefined; readonly prototype: object | undefined } = {
    type: undefined,
    prototype: undefined,
  };

  /**
   * @param types - the classes of the application
   * @param filter - what of an instance leaves the process; without it, all of its own enumerable properties
   * @param check - what each instance that arrives must pass
   */
  constructor(
    private readonly types: TypeRegistry,
    private readonly filter?: ClassFilter,
    private readonly check?: InstanceCheck,
  ) {
    this.instances = check && { begin: () => new CheckedInstances(check) };
  }

  /**
   * Writes a message. Neither the message nor anything in it is changed, and no method of it is called but `toJSON()` of
   * instances; getters are.
   *
   * @throws UnserializableError with the path to a value that cannot travel
   * @throws ConfigurationError if the application sends instances of two classes of one name
   */
  encode(message: unknown): EncodedMessage {
    let target: Function | undefined;
    let type: string | undefined;
    try {
      const { lastPlain } = this;
      let isPlain = lastPlain !== undefined && isOf(message, lastPlain);
      if (isPlain) {
        ({ target, type } = lastPlain!);
      } else {
        // First of all what most other messages are, and what has the least time.
        if (isPlainRoot(message) && isPlainJson(message)) return { data: JSON.stringify(message) };
        target = this.messageClass(message);
        type = target && this.types.nameToSend(target, true);
        isPlain = target !== undefined && this.isPlainClass(target);
        if (isPlain) this.lastPlain = { prototype: Object.getPrototypeOf(message) as object, target: target!, type };
      }
      if (isPlain && !hasOwnToJson(message) && isPlainJson(message as object)) {
        return { data: JSON.stringify(message), type };
      }
    } catch (error) {
      if (isErrorOf(error, MessagingError)) throw error;
      // A getter or a proxy has failed. The encoder meets it, too, and says where.
    }
    const { data, note } = new Encoder(this.types, this.filter).encode(message, target);
    return { data: JSON.stringify(data), type, meta: note === undefined ? undefined : JSON.stringify(note) };
  }

  /**
   * Reads a message; see {@link decodeMessage}.
   *
   * @param data - what JSON.parse made of `EncodedMessage.data`; it becomes part of the message
   * @param meta - what JSON.parse made of `EncodedMessage.meta`
   * @throws InvalidMessageError, and nothing else, if it is not a value of its type
   */
  decode(data: unknown, type: string | undefined, meta: unknown): unknown {
    if (type !== undefined && meta === undefined) {
      try {
        const message = this.readPlain(data, type);
        if (message !== undefined) return message;
      } catch {
        // The decoder meets it, too, and says what is wrong.
      }
    }
    return decodeMessage(this.types, data, type, meta, this.instances);
  }

  /** The wire name of a message's class; `undefined` for plain values and undeclared classes. */
  typeOf(message: unknown): string | undefined {
    const target = this.messageClass(message);
    return target && typeName(target);
  }

  /**
   * Reads an instance in which nothing has to be restored or checked, as most are. A decoder for each would take a tenth of the time of a
   * message (bench/redis.ts).
   *
   * @returns `undefined` if it needs a decoder
   */
  private readPlain(data: unknown, name: string): object | undefined {
    const type = this.types.known(name);
    if (type === undefined || !isRecord(data)) return undefined;
    if (type !== this.lastRead.type) this.lastRead = { type, prototype: this.plainPrototype(type) };
    const { prototype } = this.lastRead;
    if (prototype === undefined) return undefined;
    checkJson(data);
    return Object.setPrototypeOf(data, prototype) as object;
  }

  /** The prototype of a class whose instances need no decoder. */
  private plainPrototype(type: Class): object | undefined {
    const prototype = type.prototype as object;
    return prototype instanceof Error || this.check?.appliesTo(type) === true ? undefined : prototype;
  }

  private messageClass(message: unknown): Function | undefined {
    if (typeof message !== 'object' || message === null) return undefined;
    const target = classOf(message);
    if (target === undefined || target === Array) return undefined;
    const isKnown = this.types.has(target) || message instanceof Message || classInfo(target)?.kind === 'data';
    return isKnown ? target : undefined;
  }

  /** Whether `JSON.stringify` writes just the own properties of its instances, and all of them may leave. */
  private isPlainClass(target: Function): boolean {
    let isPlain = this.plainClasses.get(target);
    if (isPlain === undefined) {
      const prototype = target.prototype as object;
      isPlain =
        !(this.filter?.appliesTo(target) ?? false) &&
        !(prototype instanceof Error) &&
        !('toJSON' in prototype) &&
        extendedBuiltin(prototype) === undefined;
      this.plainClasses.set(target, isPlain);
    }
    return isPlain;
  }
}

/** A class whose instances `JSON.stringify` can write alone. */
interface PlainClass {
  readonly prototype: object;
  readonly target: Function;
  readonly type: string | undefined;
}

/** Whether `classOf` would name this class. */
function isOf(message: unknown, { prototype, target }: PlainClass): boolean {
  return (
    typeof message === 'object' &&
    message !== null &&
    Object.getPrototypeOf(message) === prototype &&
    prototype.constructor === target
  );
}

// One that is not enumerable would be called by JSON.stringify() alone. The class has none, so that this is its own.
function hasOwnToJson(message: unknown): boolean {
  return (message as { toJSON?: unknown }).toJSON !== undefined;
}

function isPlainRoot(message: unknown): message is object {
  if (typeof message !== 'object' || message === null) return false;
  const prototype: unknown = Object.getPrototypeOf(message);
  return prototype === Object.prototype || (prototype === Array.prototype && Array.isArray(message));
}
