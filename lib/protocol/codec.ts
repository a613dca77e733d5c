import { extendedBuiltin } from './codec/builtin-type.js';
import { checkJson } from './codec/check-json.js';
import type { ClassFilter } from './codec/class-filter.js';
import { Decoder } from './codec/decoder.js';
import { Encoder } from './codec/encoder.js';
import { isPlainJson } from './codec/is-plain-json.js';
import { InvalidMessageError } from './errors.js';
import { Message } from './message.js';
import { classInfo, classOf, typeName } from './serializable.js';
import type { TypeRegistry } from './type-registry.js';

/** A message as text. */
export interface EncodedMessage {
  /** Plain JSON that reads naturally to whoever does not know this library. */
  readonly data: string;
  /** The wire name of the message's class; none for a plain value. */
  readonly type?: string | undefined;
  /** JSON that restores in `data` what JSON cannot say; none where there is nothing to restore. */
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
  private readonly plainClasses = new Map<Function, boolean>();

  /**
   * @param types - the classes of the application
   * @param filter - what of an instance leaves the process; without it, all of its own enumerable properties
   */
  constructor(
    private readonly types: TypeRegistry,
    private readonly filter?: ClassFilter,
  ) {}

  /**
   * Writes a message. Neither the message nor anything in it is changed, and no method of it is called; getters are.
   *
   * @throws UnserializableError with the path to a value that cannot travel
   * @throws ConfigurationError where the application sends instances of two classes of one name
   */
  encode(message: unknown): EncodedMessage {
    const target = this.messageClass(message);
    const type = target && this.types.nameToSend(target, true);
    if (this.isPlain(message, target)) return { data: JSON.stringify(message), type };
    const { data, note } = new Encoder(this.types, this.filter).encode(message, target);
    return { data: JSON.stringify(data), type, meta: note === undefined ? undefined : JSON.stringify(note) };
  }

  /**
   * Reads a message. What `JSON.parse` made of it becomes part of the message: it must be used for nothing else.
   * Safe for any input: it ends in time linear in the size of the texts, and calls no constructor and no setter.
   *
   * @param data - what JSON.parse made of `EncodedMessage.data`
   * @param meta - what JSON.parse made of `EncodedMessage.meta`
   * @throws InvalidMessageError where it is no value of its type, and nothing else
   */
  decode(data: unknown, type: string | undefined, meta: unknown): unknown {
    try {
      checkJson(data);
      return type === undefined && meta === undefined ? data : new Decoder(this.types).decode(data, type, meta);
    } catch (error) {
      if (error instanceof InvalidMessageError) throw error;
      throw new InvalidMessageError(`it cannot be read: ${(error as Error).message}`, { cause: error });
    }
  }

  /** The wire name of a message's class; `undefined` for plain values and undeclared classes. */
  typeOf(message: unknown): string | undefined {
    const target = this.messageClass(message);
    return target && typeName(target);
  }

  private messageClass(message: unknown): Function | undefined {
    if (typeof message !== 'object' || message === null) return undefined;
    const target = classOf(message);
    if (target === undefined) return undefined;
    const isKnown = message instanceof Message || classInfo(target)?.kind === 'data' || this.types.has(target);
    return isKnown ? target : undefined;
  }

  private isPlain(message: unknown, target: Function | undefined): boolean {
    if (typeof message === 'string' || typeof message === 'boolean' || message === null) return true;
    if (typeof message !== 'object') return false;
    if (target === undefined) {
      const prototype: unknown = Object.getPrototypeOf(message);
      return (prototype === Object.prototype || Array.isArray(message)) && isPlainJson(message);
    }
    return this.isPlainClass(target) && isPlainJson(message);
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
