import { latestDeclared } from './declared-classes.js';
import { ConfigurationError } from './errors.js';
import type { Class } from './message.js';
import { typeName } from './serializable.js';

/** The classes that the messages of a program may be instances of, or hold instances of, by their wire names. */
export class KnownTypes {
  protected readonly classes = new Map<string, Class>();
  readonly #replaces: (earlier: Class, later: Class) => boolean;

  /** @param replaces - whether a class takes the place of an earlier one of its name */
  constructor(replaces: (earlier: Class, later: Class) => boolean) {
    this.#replaces = replaces;
  }

  /**
   * Makes a class known under its wire name.
   *
   * @param name - given only for the library's own classes, which a minifier may have renamed
   * @returns whether it was not yet
   * @throws ConfigurationError if this application uses another class of that name: its messages would arrive as
   *   the wrong class
   */
  register(type: Class, name = typeName(type)): boolean {
    const known = this.classes.get(name);
    if (known === type) return false;
    if (known && !this.#replaces(known, type)) {
      throw new ConfigurationError(`Two message classes are called "${name}"; rename one with @Serializable({ name })`);
    }
    this.classes.set(name, type);
    return true;
  }

  /**
   * The class of a name.
   *
   * @throws ConfigurationError if decorators declared several classes of that name and this application has neither
   *   registered nor sent one of them
   */
  resolve(name: string): Class | undefined {
    return this.classes.get(name) ?? latestDeclared(name, this.#replaces);
  }
}
