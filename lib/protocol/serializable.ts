import { describe } from './channel-name.js';
import { checkOptions, type OptionCheck } from './check-options.js';
import { rememberClass } from './declared-classes.js';
import { ConfigurationError } from './errors.js';
import type { Class } from './message.js';
import { nameOf } from './text-of.js';

/** The options that a decorator sets for a class. */
export interface ClassInfo {
  /** `data` travels by value, `source` as a reference. */
  readonly kind: 'data' | 'source';
  /** Its name on the wire: stable under minification and renaming of the class. */
  readonly name: string;
  /** Whether the decorator says that name. Else it is that of the class, which minifiers change. */
  readonly isNamed: boolean;
  /** The property that holds the primary key; makes instances possible sources. */
  readonly key?: string | undefined;
  /** Whether clients may subscribe to what its instances send. */
  readonly clients?: boolean | undefined;
  /** Its stack tells where; see {@link placeOf}. */
  readonly declaredAt: Error;
  // Functions of the declaration, so that a page without declared classes needs no code for them.
  /** Whether it is another declaration evaluated once more, as by a hot update. */
  readonly replaces: (earlier: ClassInfo) => boolean;
  /** The primary key of an instance, as text. @throws ConfigurationError if it has none that can be read */
  readonly keyOf: (instance: object) => string;
}

/** Options of {@link Serializable}. */
export interface SerializableOptions {
  /**
   * The name on the wire. Give one if the code is minified or the class may be renamed.
   * @defaultValue the name of the class
   */
  name?: string | undefined;
  /**
   * The property that holds the primary key. With it, instances may be sources of messages.
   * @defaultValue none: instances are not sources
   */
  key?: string | undefined;
  /**
   * Whether clients may subscribe to what an instance sends.
   * @defaultValue false, unless an `@AuthorizeChannel` decides
   */
  clients?: boolean | undefined;
}

/** Options of {@link MessageSource}. */
export interface MessageSourceOptions {
  /**
   * The name on the wire. Give one if the code is minified or the class may be renamed.
   * @defaultValue the name of the class
   */
  name?: string | undefined;
  /** The property that holds the key, which distinguishes this source from others of its class. */
  key: string;
  /**
   * Whether clients may subscribe to what an instance sends.
   * @defaultValue false, unless an `@AuthorizeChannel` decides
   */
  clients?: boolean | undefined;
}

// On the class itself and under a registered symbol, so that a class declared through the server's
// entry is known to the client's entry even if a bundler made two copies of this file.
const INFO = Symbol.for('nestjs-messaging:class');
const TYPE_NAME = /^[^\p{Cc}\p{Cs}/*:]{1,100}$/u;

// Their values are checked together, below.
const anything: OptionCheck = () => undefined;
const WITHOUT_NAME: Record<string, OptionCheck> = { key: anything, clients: anything };
const OPTIONS: Record<string, OptionCheck> = { name: anything, key: anything, clients: anything };

/**
 * Declares a class whose instances may travel in messages, at any depth. Own properties travel; the
 * constructor is not run on arrival.
 *
 * @throws ConfigurationError for unknown options, and for a name that cannot stand on the wire
 * @example
 * ```ts
 * @Serializable({ name: 'user', key: 'id' })
 * class User {
 *   constructor(readonly id: number, readonly name: string) {}
 * }
 * ```
 */
export function Serializable(options: SerializableOptions = {}): ClassDecorator {
  const declaredAt = new Error();
  return (target) => {
    checkOptions(options, `@Serializable on ${nameOf(target)}`, OPTIONS);
    declare(target, '@Serializable', { ...options, kind: 'data', declaredAt });
  };
}

/**
 * {@link Serializable} without a decorator: for code that is shared with a page whose build tools do not support decorators.
 *
 * @param name - the name on the wire
 * @returns the class
 * @throws ConfigurationError for a value that is not a class, for a name that cannot be sent, and for unknown options
 * @example
 * ```ts
 * class User {
 *   readonly id: number;
 *   constructor(id: number) {
 *     this.id = id;
 *   }
 * }
 * defineMessage('user', User, { key: 'id' });
 * ```
 */
export function defineMessage<T extends Class>(
  name: string,
  type: T,
  options: Omit<SerializableOptions, 'name'> = {},
): T {
  const declaredAt = new Error();
  if (typeof type !== 'function') {
    throw new ConfigurationError(`defineMessage: the second argument must be a class, not ${describe(type)}`);
  }
  if (!isTypeName(name)) throw new ConfigurationError(`defineMessage: ${nameRule(name)}`);
  checkOptions(options, `defineMessage(${describe(name)})`, WITHOUT_NAME);
  declare(type, 'defineMessage', { ...options, name, kind: 'data', declaredAt });
  return type;
}

/**
 * Declares a service that may be the source of messages: `sendMessage(this, message)`. Inside a message
 * it travels as a reference, never by value.
 *
 * @throws ConfigurationError without a key, and for unknown options
 */
export function MessageSource(options: MessageSourceOptions): ClassDecorator {
  const declaredAt = new Error();
  return (target) => {
    if (typeof options?.key !== 'string') {
      throw new ConfigurationError(
        `@MessageSource on ${target.name}: "key" must name the property that tells one ${target.name} from another`,
      );
    }
    checkOptions(options, `@MessageSource on ${nameOf(target)}`, OPTIONS);
    declare(target, '@MessageSource', { ...options, kind: 'source', declaredAt });
  };
}

function declare(
  target: Function,
  decorator: string,
  given: Omit<ClassInfo, 'name' | 'isNamed' | 'replaces' | 'keyOf'> & { readonly name?: string | undefined },
): void {
  const name = given.name ?? target.name;
  if (!isTypeName(name)) {
    throw new ConfigurationError(`${decorator} on ${target.name}: ${nameRule(name)}`);
  }
  if (given.key !== undefined && (typeof given.key !== 'string' || given.key === '')) {
    throw new ConfigurationError(
      `${decorator} on ${target.name}: "key" must be the name of a property, not ${describe(given.key)}`,
    );
  }
  if (given.clients !== undefined && (typeof given.clients !== 'boolean' || given.key === undefined)) {
    throw new ConfigurationError(
      `${decorator} on ${target.name}: "clients" says with true or false whether clients may subscribe to what an instance sends, which needs a "key" too`,
    );
  }
  const info: ClassInfo = {
    ...given,
    name,
    isNamed: !!given.name,
    replaces: (earlier) => isDeclaredAnew(earlier, info),
    keyOf: (instance) => readKey(name, instance, given.key!),
  };
  Object.defineProperty(target, INFO, { value: info });
  declarations.version++;
  rememberClass(name, info.kind, target as unknown as Class);
}

function readKey(type: string, instance: object, property: string): string {
  try {
    return checkKey(type, (instance as Record<string, unknown>)[property]);
  } catch (cause) {
    throw cause instanceof ConfigurationError
      ? cause
      : new ConfigurationError(`The key of a ${type} cannot be read`, { cause });
  }
}

/** The key of a source, as text. @throws ConfigurationError for anything but a non-empty text or a number */
export function checkKey(type: string, key: unknown): string {
  if (!(typeof key === 'string' ? key : typeof key === 'bigint' || Number.isFinite(key))) {
    throw new ConfigurationError(
      `A ${type} needs a key to be a source: a non-empty string or a number, not ${describe(key)}`,
    );
  }
  return String(key);
}

/**
 * Its version rises with each class, and each definition of a channel, that becomes known to this process. An object, since
 * each post looks at it.
 */
export const declarations = { version: 1 };

/** The place of a class's decorator, `file:line:column`; the file includes the query that it was loaded with. */
export function placeOf(target: Class): string | undefined {
  const info = classInfo(target);
  return info && placeIn(info);
}

function placeIn({ declaredAt }: ClassInfo): string | undefined {
  // The decorator itself, then who called it; V8 writes a line above them, and "at" where others write "@".
  const places = declaredAt.stack?.matchAll(/^(?:.* \(|\s*at |[^@\n]*@)(.*:\d+:\d+)\)?$/gm) ?? [];
  return [...places][1]?.[1];
}

/** Whether a declaration is another one evaluated once more: from the same place of a module. */
function isDeclaredAnew(earlier: ClassInfo, later: ClassInfo): boolean {
  const [, file, query, position] = partsOf(earlier);
  const [, laterFile, laterQuery, laterPosition] = partsOf(later);
  // Lines move when a file is edited. Two loads of a module have different queries (Vite), or the file is a module for
  // sure (webpack); in a bundle the place tells two classes of a name apart.
  const isModule = query !== laterQuery || file?.startsWith('webpack-internal:');
  return !!file && file === laterFile && (isModule || position === laterPosition);
}

/** File, query and position of a declaration. */
function partsOf(info: ClassInfo): readonly (string | undefined)[] {
  return /^([^?]*?)(\?[^:]*)?:(\d+:\d+)$/.exec(placeIn(info) ?? '') ?? [];
}

/** {@link placeOf} for people: without what loaders add to load a file anew. */
export function describePlace(target: Class): string {
  return placeOf(target)?.replace(/\?[^:]*/, '') ?? 'an unknown place';
}

function nameRule(name: unknown): string {
  return `the name ${describe(name)} must have 1 to 100 characters and no "/", ":", "*" or control character`;
}

/** Whether a text may be the name of a class on the wire. */
export function isTypeName(name: unknown): name is string {
  return typeof name === 'string' && TYPE_NAME.test(name);
}

/** The options that a decorator set for exactly this class; subclasses do not inherit them. */
export function classInfo(target: Function): ClassInfo | undefined {
  return Object.hasOwn(target, INFO) ? (target as unknown as { [INFO]: ClassInfo })[INFO] : undefined;
}

/** The name of a class on the wire; empty if it has none that is a text. */
export function typeName(target: Class | Function): string {
  return classInfo(target)?.name ?? nameOf(target) ?? '';
}

/** The advice in errors about a class whose name is unknown or {@link isMinified minified}. */
export const NAME_IT = "name it with defineMessage('name', Class)";

/**
 * Whether a minifier gave a class its name on the wire: one or two characters, no decorator says it, and the name stands in
 * code without a space before the first brace. A minifier that keeps names gives the class another one there, and writes
 * the name into it as a text.
 */
export function isMinified(type: Class): boolean {
  const name = typeName(type);
  const source = String(type);
  return (
    !classInfo(type)?.isNamed &&
    !name[2] &&
    !source.includes(`"${name}"`) &&
    /^class( extends [^{]*\S)?\{/.test(source.replace(' ' + name, ''))
  );
}
