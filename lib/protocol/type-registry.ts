import { ConfigurationError } from './errors.js';
import type { Class } from './message.js';
import { classInfo, declaredClasses, declarations, typeName } from './serializable.js';

/**
 * The classes that one application's messages may be instances of, or hold instances of, by their wire names.
 *
 * It learns them in three ways: the application registers them (the hub does so for the classes of its channels), it
 * sends an instance of one, or a decorator declared one and nobody else has that name. So an application in the same
 * process, or another test, may have another class of the same name: only where it is unclear which of them is meant
 * does anything fail, and registering the right one makes it clear.
 */
export class TypeRegistry {
  readonly #classes = new Map<string, Class>();
  readonly #replaces: (earlier: Class, later: Class) => boolean;
  readonly #names = new Map<Function, string>();

  /** @param replaces - whether a class takes the place of an earlier one of its name; by default none does */
  constructor(replaces: (earlier: Class, later: Class) => boolean = () => false) {
    this.#replaces = replaces;
  }

  /**
   * Makes a class known under its wire name.
   *
   * @param name - given only for the library's own classes, which a minifier may have renamed
   * @returns whether it was not yet
   * @throws ConfigurationError where this application uses another class of that name: its messages would arrive as
   *   the wrong class
   */
  register(type: Class, name = typeName(type)): boolean {
    const known = this.#classes.get(name);
    if (known === type) return false;
    if (known !== undefined && !this.#replaces(known, type)) {
      throw new ConfigurationError(
        `Two message classes are called "${name}"; give one another: @Serializable({ name })`,
      );
    }
    if (known !== undefined) this.#names.delete(known);
    this.#classes.set(name, type);
    this.#names.set(type, name);
    declarations.version++;
    return true;
  }

  /**
   * The class of a name.
   *
   * @throws ConfigurationError where decorators declared several classes of that name and this application has neither
   *   registered nor sent one of them
   */
  resolve(name: string): Class | undefined {
    const known = this.#classes.get(name);
    if (known !== undefined) return known;
    const declared = declaredClasses(name, 'data');
    const latest = declared.at(-1);
    if (declared.some((type) => type !== latest && !this.#replaces(type, latest!))) {
      throw new ConfigurationError(
        `${declared.length} classes are called "${name}"; give them other names, @Serializable({ name }), or register the one that is meant`,
      );
    }
    return latest;
  }

  /** Whether this application is known to use a class of a name. */
  knows(name: string): boolean {
    return this.#classes.has(name);
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
   * @throws ConfigurationError where this application uses another class of that name
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
