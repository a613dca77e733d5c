import { decodePrimitive } from './codec/decode-value.js';
import type { MessageInstances } from './codec/message-instances.js';
import type { ReadNote } from './codec/note.js';
import { InvalidMessageError } from './errors.js';
import type { Class } from './message.js';
import { isInstance } from './message-class.js';
import { classInfo, typeName } from './serializable.js';

type Properties = Record<string, unknown>;

/**
 * Keeps one live instance for each class and primary key: a message that holds a keyed `@Serializable` again updates
 * the existing instance instead of making another. It keeps no instance from being collected. Give each client its own. docs/codec.md
 * describes how it distinguishes and updates instances.
 */
export class IdentityMap {
  private readonly instances = new WeakInstances();

  /** How many instances it knows; one that was collected counts until the engine has reported it. */
  get size(): number {
    return this.instances.size;
  }

  /** The live instance of a class that has this key; a number and its decimal text are the same key. */
  find<T>(type: Class<T>, key: string | number | bigint): T | undefined {
    const identity = identityOf(type, key);
    const instance = identity === undefined ? undefined : this.instances.get(identity);
    return isInstance(instance, type) ? (instance as T) : undefined;
  }

  /**
   * Opens one message.
   *
   * @internal
   */
  begin(): MessageIdentities {
    return new MessageIdentities(this.instances);
  }
}

/**
 * The keyed instances of one message: says which object stands for each while the message is read, and changes
 * nothing that lives before it is accepted.
 *
 * @internal
 */
export class MessageIdentities implements MessageInstances {
  hasMerged = false;
  private readonly standing = new Map<string, object>();
  private readonly contents = new Map<object, object>();

  constructor(private readonly instances: WeakInstances) {}

  /** Itself, if nothing else has its identity. */
  resolve(type: Function, fresh: object, note: ReadNote): object {
    const key = classInfo(type)?.key;
    const identity = key === undefined ? undefined : identityOf(type, readKey(fresh, key, note));
    if (identity === undefined) return fresh;
    let instance = this.standing.get(identity);
    if (instance === undefined) {
      const live = this.instances.get(identity);
      // Not one of the class that this one has replaced (a hot update).
      instance = live !== undefined && isInstance(live, type as Class) && isUpdatable(live) ? live : fresh;
      this.standing.set(identity, instance);
    } else {
      this.hasMerged = true;
    }
    return instance;
  }

  /** The last one wins. */
  complete(instance: object, fresh: object): void {
    if (instance === fresh) this.contents.delete(instance);
    else this.contents.set(instance, fresh);
  }

  /**
   * Makes the instances of the message the live ones and brings those that were to what it says.
   *
   * @throws InvalidMessageError after all of that, if a setter of the application threw
   */
  accept(): void {
    // Before any setter runs, which might read another message.
    for (const [identity, instance] of this.standing) this.instances.set(identity, instance);
    const failures: unknown[] = [];
    for (const [live, fresh] of this.contents) update(live as Properties, fresh as Properties, failures);
    if (failures.length > 0) {
      throw new InvalidMessageError('a setter of the instance that it updates threw', { cause: failures[0] });
    }
  }
}

/** Objects by name, held weakly. */
class WeakInstances {
  private readonly byIdentity = new Map<string, WeakRef<object>>();
  private readonly collected = new FinalizationRegistry<string>((identity) => {
    if (this.get(identity) === undefined) this.byIdentity.delete(identity);
  });

  get size(): number {
    return this.byIdentity.size;
  }

  get(identity: string): object | undefined {
    return this.byIdentity.get(identity)?.deref();
  }

  set(identity: string, instance: object): void {
    if (this.get(identity) === instance) return;
    this.byIdentity.set(identity, new WeakRef(instance));
    this.collected.register(instance, identity);
  }
}

/** @returns `undefined` for an invalid key; the name of a class contains no "/" */
function identityOf(type: Function, key: unknown): string | undefined {
  const isKey = typeof key === 'string' || typeof key === 'bigint' || (typeof key === 'number' && Number.isFinite(key));
  return isKey && key !== '' ? `${typeName(type)}/${key}` : undefined;
}

/** The key as it will be once the data is restored; `undefined` where that is no primitive value. */
function readKey(data: object, key: string, { parts = {}, names = {} }: ReadNote): unknown {
  const renamed = Object.keys(names).findLast((name) => names[name] === key);
  const name = renamed ?? key;
  // Own ones only: the class may have a getter of that name. And not what was renamed to something else.
  if (!Object.hasOwn(data, name) || (renamed === undefined && Object.hasOwn(names, key))) return undefined;
  const value = (data as Properties)[name];
  if (!Object.hasOwn(parts, name)) return value;
  return decodePrimitive(parts[name], value);
}

/** Whether an object can become whatever a message says. What is not enumerable is the application's. */
function isUpdatable(live: object): boolean {
  return (
    Object.isExtensible(live) &&
    Object.keys(live).every((key) => {
      const property = Object.getOwnPropertyDescriptor(live, key)!;
      return property.writable || property.set !== undefined;
    })
  );
}

function update(live: Properties, fresh: Properties, failures: unknown[]): void {
  const lacking = Object.keys(live).filter((key) => !Object.hasOwn(fresh, key));
  for (const key of lacking.concat(Object.keys(fresh))) {
    try {
      if (!Object.hasOwn(fresh, key)) remove(live, key);
      else if (Object.hasOwn(live, key)) Reflect.set(live, key, fresh[key]);
      // No setter of the class runs, as for any instance that arrives.
      else Object.defineProperty(live, key, Object.getOwnPropertyDescriptor(fresh, key)!);
    } catch (error) {
      failures.push(error);
    }
  }
}

/** An accessor stays: who put it there, as reactive libraries do, would never hear of the property again. */
function remove(live: Properties, key: string): void {
  const isAccessor = Object.getOwnPropertyDescriptor(live, key)?.set !== undefined;
  if (isAccessor || !Reflect.deleteProperty(live, key)) Reflect.set(live, key, undefined);
}
