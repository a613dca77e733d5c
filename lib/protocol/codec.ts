import { describe } from './channel-name.js';
import { InvalidMessageError, UnserializableError } from './errors.js';
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

/** Values to JSON and back, types kept. */
export class Codec {
  constructor(private readonly types: TypeRegistry) {}

  /**
   * @throws UnserializableError with the path to a value that cannot travel
   */
  encode(message: unknown): EncodedMessage {
    const type = this.typeOf(message);
    check(message, 'message', [], type !== undefined);
    return { data: JSON.stringify(message ?? null), type };
  }

  /**
   * @param data - what JSON.parse made of `EncodedMessage.data`
   * @throws InvalidMessageError where it is no value of its type
   */
  decode(data: unknown, type: string | undefined, _meta: unknown): unknown {
    if (type === undefined) return data;
    const target = this.types.resolve(type);
    if (target === undefined) throw new InvalidMessageError(`its type "${type}" is not known here`);
    if (typeof data !== 'object' || data === null || Array.isArray(data)) {
      throw new InvalidMessageError(`it is called a ${type}, but its data is ${describe(data)}`);
    }
    const instance = Object.create(target.prototype as object) as object;
    for (const [key, value] of Object.entries(data)) {
      Object.defineProperty(instance, key, { value, writable: true, enumerable: true, configurable: true });
    }
    return instance;
  }

  /** The wire name of a message's class; `undefined` for plain values and undeclared classes. */
  typeOf(message: unknown): string | undefined {
    if (typeof message !== 'object' || message === null) return undefined;
    const target = classOf(message);
    if (target === undefined) return undefined;
    const isKnown = message instanceof Message || classInfo(target)?.kind === 'data' || this.types.has(target);
    return isKnown ? typeName(target) : undefined;
  }
}

function check(value: unknown, path: string, parents: object[], isInstance: boolean): void {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return;
  if (typeof value === 'number' && Number.isFinite(value)) return;
  if (value === undefined && parents.length === 0) return;
  if (typeof value !== 'object') throw new UnserializableError(path, `${describe(value)} cannot be sent`);
  if (parents.includes(value)) throw new UnserializableError(path, 'it contains itself');
  if (!isInstance && !Array.isArray(value) && classOf(value) !== undefined) {
    throw new UnserializableError(path, `${classOf(value)!.name} is not @Serializable`);
  }
  for (const [key, property] of Object.entries(value)) {
    if (property === undefined) continue;
    check(property, Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`, [...parents, value], false);
  }
}
