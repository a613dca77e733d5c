import { KnownTypes } from './known-types.js';
import type { Class } from './message.js';
import { classInfo, declarations, typeName } from './serializable.js';

/**
 * The classes of one application, which sends messages too.
 *
 * It learns them in three ways: the application registers them (the hub does so for the classes of its channels), it
 * sends an instance of one, or a decorator declared one and nobody else has that name. So an application in the same
 * process, or another test, may have another class of the same name: a name fails only while it is unclear which of
 * them is meant, until the right one is registered.
 */
export class TypeRegistry extends KnownTypes {
  readonly #names = new Map<Function, string>();

  constructor() {
    super(() => false);
  }

  override register(type: Class, name = typeName(type)): boolean {
    const isNew = super.register(type, name);
    if (isNew) {
      this.#names.set(type, name);
      declarations.version++;
    }
    return isNew;
  }

  /** The class of a name that this application is known to use. */
  known(name: string): Class | undefined {
    return this.classes.get(name);
  }

  /** The classes that this application is known to use. */
  get used(): Iterable<Function> {
    return this.#names.keys();
  }

  /** Whether this application is known to use a class. */
  has(type: Function): boolean {
    return this.#names.has(type);
  }

  /**
   * The name under which an instance of a class is sent.
   *
   * @param isMessage - whether it is the message itself, whose class needs no decorator if it extends Message
   * @returns `undefined` for a class whose instances may not travel
   * @throws ConfigurationError if this application uses another class of that name
   * @internal
   */
  nameToSend(type: Function, isMessage: boolean): string | undefined {
    const known = this.#names.get(type);
    if (known !== undefined) return known;
    if (!isMessage && classInfo(type)?.kind !== 'data') return undefined;
    this.register(type as Class);
    return this.#names.get(type);
  }
}
