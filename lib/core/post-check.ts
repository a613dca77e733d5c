import { describe, quote } from '../protocol/channel-name.js';
import type { ClassFilter } from '../protocol/codec/class-filter.js';
import type { InstanceCheck } from '../protocol/codec/instance-check.js';
import { MAX_DEPTH } from '../protocol/codec/codec-limits.js';
import { hasTooManyHoles, TOO_MANY_HOLES } from '../protocol/codec/holes.js';
import { classOf } from '../protocol/class-of.js';
import { pathText, type MessagePath } from '../protocol/codec/message-path.js';
import { shownOf } from '../protocol/codec/shown.js';
import { InvalidMessageError, MessagingError, UnserializableError } from '../protocol/errors.js';
import { ignoreRejection } from '../protocol/promises.js';
import { declaredClasses, declaredNames } from '../protocol/declared-classes.js';
import { classInfo, declarations } from '../protocol/serializable.js';
import { isErrorOf } from '../protocol/thrown.js';
import type { TypeRegistry } from '../protocol/type-registry.js';

type Properties = Readonly<Record<string, unknown>>;

/** The state of one walk through a message. */
interface Walk {
  readonly channel: string;
  readonly path: MessagePath;
  readonly met: Set<object>;
}

/**
 * Refuses posts that any receiver would refuse. It checks the same instances as receivers would, at any depth. Only messages that may
 * contain a class with rules are walked through.
 */
export class PostCheck {
  private seenVersion = -1;
  private hasRules = false;

  constructor(
    private readonly types: TypeRegistry,
    private readonly check: InstanceCheck,
    private readonly filter: ClassFilter | undefined,
  ) {}

  /** Whether any class known so far has rules. */
  get mayRefuse(): boolean {
    if (this.seenVersion !== declarations.version) {
      this.hasRules = this.appliesToAny();
      this.seenVersion = declarations.version;
    }
    return this.hasRules;
  }

  /**
   * @throws InvalidMessageError that names the channel, the path, the property and the rule
   * @throws UnserializableError with the path to an array that has too many holes to be walked through
   */
  assertValid(message: unknown, channel: string): void {
    if (typeof message !== 'object' || message === null) return;
    try {
      if (this.mayRefuse && !this.isFlat(message)) this.object(message, 0, { channel, path: [], met: new Set() });
    } catch (error) {
      // Unreadable values are reported when the message is encoded.
      if (isErrorOf(error, MessagingError)) throw error;
    }
  }

  /** Whether any class has rules: among those that this application uses, and among all declared ones. */
  private appliesToAny(): boolean {
    const declared = declaredNames().flatMap((name) => declaredClasses(name, 'data'));
    return [...this.types.used, ...declared].some((type) => this.check.appliesTo(type));
  }

  /** Most messages: only texts and numbers, and no rules for them. */
  private isFlat(message: object): boolean {
    const type = classOf(message);
    if (type !== undefined && this.check.appliesTo(type)) return false;
    // Views are skipped without reading their keys, of which there may be a million.
    if (ArrayBuffer.isView(message)) return true;
    if (Array.isArray(message)) return !hasTooManyHoles(message) && !message.some(isObject);
    for (const key in message) if (isObject((message as Properties)[key])) return false;
    return !(message instanceof Map || message instanceof Set || message instanceof Error);
  }

  private object(object: object, depth: number, walk: Walk): void {
    // The codec refuses deeper values.
    if (depth > MAX_DEPTH || walk.met.has(object)) return;
    walk.met.add(object);
    if (Array.isArray(object)) return this.items(object, depth, walk);
    if (object instanceof Map) return this.entries(object, depth, walk);
    if (object instanceof Set) return this.items([...object], depth, walk);
    const type = classOf(object);
    if (type === undefined) return this.values(object, Object.keys(object), depth, walk);
    if (object instanceof Error) return this.values(object, [...Object.keys(object), 'cause', 'errors'], depth, walk);
    const isKnown = this.types.has(type) || classInfo(type)?.kind === 'data';
    if (isKnown) this.instance(object, type, depth, walk);
    // From an async @Transform or toJSON(), which is refused when the message is encoded.
    else ignoreRejection(object);
  }

  private instance(object: object, type: Function, depth: number, walk: Walk): void {
    const seen = this.asReceived(object, type);
    if (seen === undefined) return;
    // The parts come first: rules may walk through them, so endless arrays must be refused before that.
    try {
      this.values(seen, Object.keys(seen), depth, walk);
    } catch (error) {
      // An unreadable part is reported when the message is encoded. The rules still apply to the rest.
      if (isErrorOf(error, MessagingError)) throw error;
    }
    if (this.check.appliesTo(type)) {
      const problem = this.check.problemOf(seen, type, false);
      if (problem !== undefined) {
        throw new InvalidMessageError(`Channel ${quote(walk.channel)}: ${pathText(walk.path)}: ${problem}`);
      }
    }
  }

  /** An instance as receivers would see it; `undefined` if its `toJSON()` fails, which is reported when the message is encoded. */
  private asReceived(object: object, type: Function): object | undefined {
    let shown: object;
    try {
      shown = shownOf(object);
    } catch {
      return undefined;
    }
    const isFiltered = this.filter?.appliesTo(type) ?? false;
    if (shown === object && !isFiltered) return object;
    const properties = isFiltered
      ? this.filter!.properties(shown, type, Object.keys(shown)).map(
          ({ property, value }) => [property, value] as const,
        )
      : Object.entries(shown);
    const received = Object.create(type.prototype as object) as object;
    for (const [property, value] of properties) {
      Object.defineProperty(received, property, { value, enumerable: true, configurable: true, writable: true });
    }
    return received;
  }

  private entries(map: Map<unknown, unknown>, depth: number, walk: Walk): void {
    for (const [key, value] of map) {
      if (isObject(key)) this.part(key, { text: '.keys()' }, depth, walk);
      if (isObject(value)) this.part(value, { text: `.get(${describe(key)})` }, depth, walk);
    }
  }

  private items(items: readonly unknown[], depth: number, walk: Walk): void {
    if (hasTooManyHoles(items)) throw new UnserializableError(pathText(walk.path), TOO_MANY_HOLES);
    for (let index = 0; index < items.length; index++) {
      const value = items[index];
      if (isObject(value)) this.part(value, index, depth, walk);
    }
  }

  private values(object: object, keys: readonly string[], depth: number, walk: Walk): void {
    for (const key of keys) {
      const value = (object as Properties)[key];
      if (isObject(value)) this.part(value, key, depth, walk);
    }
  }

  private part(value: object, segment: string | number | { text: string }, depth: number, walk: Walk): void {
    walk.path.push(segment);
    try {
      this.object(value, depth + 1, walk);
    } finally {
      walk.path.pop();
    }
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
