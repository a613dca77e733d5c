import { ConfigurationError } from './errors.js';
import type { Class } from './message.js';

/** What a class was declared as; see `ClassInfo`. */
type Kind = 'data' | 'source';

// Shared by all copies of this file, as what decorators write on the classes is.
const DECLARED = Symbol.for('nestjs-messaging:declared-classes');
const holder = globalThis as { [DECLARED]?: DeclaredClasses };

/**
 * The other half of what decorators keep: from a name to the classes that bear it. Held weakly, so that a class that nobody uses any
 * more, from a test or a module that was loaded anew, leaves no trace.
 */
class DeclaredClasses {
  readonly #byName = new Map<string, { readonly kind: Kind; readonly reference: WeakRef<Class> }[]>();

  get names(): string[] {
    return [...this.#byName.keys()];
  }

  add(name: string, kind: Kind, type: Class): void {
    const living = (this.#byName.get(name) ?? []).filter(({ reference }) => reference.deref() !== undefined);
    this.#byName.set(name, [...living, { kind, reference: new WeakRef(type) }]);
  }

  of(name: string, kind: Kind): Class[] {
    const named = (this.#byName.get(name) ?? []).filter((each) => each.kind === kind);
    return named.flatMap(({ reference }) => reference.deref() ?? []);
  }

  latest(name: string, replaces: (earlier: Class, later: Class) => boolean): Class | undefined {
    const declared = this.of(name, 'data');
    const latest = declared.at(-1);
    if (declared.some((type) => type !== latest && !replaces(type, latest!))) {
      throw new ConfigurationError(
        `${declared.length} message classes are called "${name}"; rename one with @Serializable({ name }), or pass the right one as "types"`,
      );
    }
    return latest;
  }
}

/** Remembers a class for the functions below. Only this makes the registry, so a page without declarations needs no code for it. */
export function rememberClass(name: string, kind: Kind, type: Class): void {
  (holder[DECLARED] ??= new DeclaredClasses()).add(name, kind, type);
}

/** Every class of this kind that a decorator in this process gave this name, whichever application it belongs to. */
export function declaredClasses(name: string, kind: Kind): Class[] {
  return holder[DECLARED]?.of(name, kind) ?? [];
}

/**
 * The class of the messages of this name that was declared last.
 *
 * @param replaces - whether a class takes the place of an earlier one
 * @throws ConfigurationError if there are several, and the last one does not replace them
 */
export function latestDeclared(name: string, replaces: (earlier: Class, later: Class) => boolean): Class | undefined {
  return holder[DECLARED]?.latest(name, replaces);
}

/** The names that declared classes of this process have. */
export function declaredNames(): string[] {
  return holder[DECLARED]?.names ?? [];
}
