import { describe, quote } from '../protocol/channel-name.js';
import type { ClassFilter } from '../protocol/codec/class-filter.js';
import type { InstanceCheck } from '../protocol/codec/instance-check.js';
import { MAX_DEPTH } from '../protocol/codec/codec-limits.js';
import { MessagePath } from '../protocol/codec/message-path.js';
import { shownOf } from '../protocol/codec/shown.js';
import { InvalidMessageError, MessagingError } from '../protocol/errors.js';
import { ignoreRejection } from '../protocol/promises.js';
import { classInfo, classOf, declaredClasses, declaredNames, declarations } from '../protocol/serializable.js';
import { isErrorOf } from '../protocol/thrown.js';
import type { TypeRegistry } from '../protocol/type-registry.js';

type Properties = Readonly<Record<string, unknown>>;

/** One walk through a message. */
interface Walk {
  readonly channel: string;
  readonly path: MessagePath;
  readonly met: Set<object>;
}

/**
 * Refuses to the poster what any receiver would refuse: it checks the same instances, at any depth, as receivers would see
 * them. A message is walked through only if there is a class with rules that may be in it.
 */
export class PostCheck {
  private seenVersion = -1;
  private hasRules = false;

  constructor(
    private readonly types: TypeRegistry,
    private readonly check: InstanceCheck,
    private readonly filter: ClassFilter | undefined,
  ) {}

  /** Whether there are rules at all, among the classes known so far. */
  get mayRefuse(): boolean {
    if (this.seenVersion !== declarations.version) {
      this.hasRules = this.appliesToAny();
      this.seenVersion = declarations.version;
    }
    return this.hasRules;
  }

  /** @throws InvalidMessageError that names the channel, the place, the property and the rule */
  assertValid(message: unknown, channel: string): void {
    if (typeof message !== 'object' || message === null) return;
    try {
      if (this.mayRefuse && !this.isFlat(message))
        this.object(message, 0, { channel, path: new MessagePath(), met: new Set() });
    } catch (error) {
      // What cannot be read is told of where it is to leave.
      if (isErrorOf(error, MessagingError)) throw error;
    }
  }

  /** Whether a class has rules, of those that this application is known to use and of all declared ones. */
  private appliesToAny(): boolean {
    const declared = declaredNames().flatMap((name) => declaredClasses(name, 'data'));
    return [...this.types.used, ...declared].some((type) => this.check.appliesTo(type));
  }

  /** Most messages: nothing in them but texts and numbers, and no rules for them. */
  private isFlat(message: object): boolean {
    const type = classOf(message);
    if (type !== undefined && this.check.appliesTo(type)) return false;
    // Without their keys, which may be a million.
    if (ArrayBuffer.isView(message)) return true;
    if (Array.isArray(message)) return !message.some(isObject);
    for (const key in message) if (isObject((message as Properties)[key])) return false;
    return !(message instanceof Map || message instanceof Set || message instanceof Error);
  }

  private object(object: object, depth: number, walk: Walk): void {
    // What is deeper, the codec refuses.
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
    // Of an async @Transform or toJSON(), which is refused where the message leaves.
    else ignoreRejection(object);
  }

  private instance(object: object, type: Function, depth: number, walk: Walk): void {
    const seen = this.asReceived(object, type);
    if (seen === undefined) return;
    if (this.check.appliesTo(type)) {
      const problem = this.check.problemOf(seen, type, false);
      if (problem !== undefined) {
        throw new InvalidMessageError(`Channel ${quote(walk.channel)}: ${walk.path.toString()}: ${problem}`);
      }
    }
    this.values(seen, Object.keys(seen), depth, walk);
  }

  /** An instance as receivers would see it; nothing if its `toJSON()` fails, which is told where it is to leave. */
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
    walk.path.enter(segment);
    this.object(value, depth + 1, walk);
    walk.path.leave();
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
