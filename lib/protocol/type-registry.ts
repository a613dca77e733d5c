import { ConfigurationError } from './errors.js';
import type { Class } from './message.js';
import { typeName } from './serializable.js';

/** The classes that one application's messages may be instances of, by their wire names. */
export class TypeRegistry {
  private readonly classes = new Map<string, Class>();

  /**
   * Makes a class known under its wire name.
   *
   * @throws ConfigurationError where another class has that name already: its messages would arrive as the wrong class
   */
  register(type: Class): void {
    const name = typeName(type);
    const known = this.classes.get(name);
    if (known === type) return;
    if (known !== undefined) {
      throw new ConfigurationError(
        `Two message classes are called "${name}"; give one of them another name with @Serializable({ name: '…' })`,
      );
    }
    this.classes.set(name, type);
  }

  resolve(name: string): Class | undefined {
    return this.classes.get(name);
  }

  has(type: Function): boolean {
    return this.classes.get(typeName(type)) === type;
  }
}
