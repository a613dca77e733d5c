import { Channel, ChannelTemplate, reservedChannel } from './channel.js';
import { RESERVED_PREFIX, checkSyntax, describe, encodeParameter } from './channel-name.js';
import { classOf } from './class-of.js';
import { COPY, describeCopy, refuseOtherCopy } from './copy.js';
import { ConfigurationError } from './errors.js';
import { isObject } from './is-record.js';
import type { Class } from './message.js';
import { checkKey, classInfo, typeName, type ClassInfo } from './serializable.js';

/** The name of the template over all sources of a class. */
type SourceTemplate = `messaging:from/${string}/:key/${string}`;

/** Names a source without holding it: by its class and its primary key. */
export class SourceRef {
  /** @internal */
  constructor(
    /** The wire name of the source's class. */
    readonly type: string,
    /** The primary key, as text. */
    readonly key: string,
  ) {}

  /** @internal */
  get [COPY](): string {
    return describeCopy('SourceRef');
  }
}

/**
 * Names a source that this program has no instance of.
 *
 * @example
 * ```ts
 * sourceRef('ChatServer', 'lobby');
 * ```
 */
export function sourceRef(type: string | Class, key: string | number): SourceRef {
  const name: unknown = typeof type === 'function' ? typeName(type) : type;
  if (typeof name !== 'string') throw new ConfigurationError(`A source has a class or its name, not ${describe(type)}`);
  return new SourceRef(name, checkKey(name, key));
}

/**
 * The name of a source, as it stands in a message instead of the source itself.
 *
 * @throws ConfigurationError for a source without a key
 */
export function toSourceRef(source: object): SourceRef {
  if (source instanceof SourceRef) return source;
  const { name, keyOf } = keyedInfo(source);
  return new SourceRef(name, keyOf(source));
}

/**
 * The channel of what a source sends: all messages of one class from one source. Two sources are the
 * same if their class and their key are.
 *
 * @param source - an instance of a class with `@MessageSource` or a keyed `@Serializable`, a
 *   {@link SourceRef}, or such a class itself: the template over all of its instances, with the parameter `key`
 * @param type - the class of the messages
 * @throws ConfigurationError for a source without a key
 */
export function messagesFrom<T>(source: Class, type: Class<T>): ChannelTemplate<T, SourceTemplate>;
export function messagesFrom<T>(source: object, type: Class<T>): Channel<T, SourceTemplate>;
export function messagesFrom<T>(
  source: object,
  type: Class<T>,
): Channel<T, SourceTemplate> | ChannelTemplate<T, SourceTemplate> {
  const { type: sourceType, key } = readSource(source, type);
  const { all, channels } = sentBy(sourceType, type);
  return key === undefined ? all : (channels.get(key) ?? keep(channels, key, all.for({ key }), MAX_KEYS));
}

/**
 * The name of the channel that {@link messagesFrom} gives, and of its template: for a page, which asks for few of them and
 * need not keep channels.
 */
export function nameOfSource(source: object, type: Class): { readonly name: string; readonly template: string } {
  const { type: sourceType, key } = readSource(source, type);
  const template = RESERVED_PREFIX + pathOf(sourceType, type);
  const parameter = key === undefined ? key : encodeParameter(template, key);
  const name = RESERVED_PREFIX + pathOf(sourceType, type, parameter);
  checkSyntax(name);
  return { name, template };
}

/** The key is read each time: it may change, as that of an instance which is saved later does. A class has none. */
function readSource(source: object, type: Class): { readonly type: string; readonly key?: string } {
  if (typeof type !== 'function') {
    throw new ConfigurationError(`A source needs the class of its messages, not ${describe(type)}`);
  }
  return typeof source === 'function' ? { type: keyedInfo(source).name } : toSourceRef(source);
}

function pathOf(sourceType: string, type: Class, key = ':key'): string {
  return `from/${sourceType}/${key}/${typeName(type)}`;
}

/** The channels of all sources of one class for one class of messages. */
interface Sent<T> {
  readonly typeName: string;
  readonly all: ChannelTemplate<T, SourceTemplate>;
  /** Recently used channels, by key. */
  readonly channels: Map<string, Channel<T, SourceTemplate>>;
}

// Making a channel costs 30 times as much as posting to it. Keyed by classes and names, so that no source is kept alive.
const SENT = new WeakMap<Class, Map<string, Sent<unknown>>>();
const MAX_SOURCE_CLASSES = 100;
const MAX_KEYS = 1_000;

function sentBy<T>(sourceType: string, type: Class<T>): Sent<T> {
  let bySource = SENT.get(type);
  if (bySource === undefined) SENT.set(type, (bySource = new Map<string, Sent<unknown>>()));
  const known = bySource.get(sourceType);
  const name = typeName(type);
  if (known?.typeName === name) return known as Sent<T>;
  const all = reservedChannel<unknown>(pathOf(sourceType, type), type) as Sent<unknown>['all'];
  return keep(bySource, sourceType, { typeName: name, all, channels: new Map() }, MAX_SOURCE_CLASSES) as Sent<T>;
}

/** Sets an entry in place of the oldest one if there are too many. */
function keep<V>(map: Map<string, V>, key: string, value: V, max: number): V {
  if (map.size >= max) map.delete(map.keys().next().value!);
  map.set(key, value);
  return value;
}

/** Whether a name is that of a channel for messages of sources: it has the reserved prefix but belongs to the application. */
export function isOfSource(name: string): boolean {
  return name.startsWith(`${RESERVED_PREFIX}from/`);
}

/** The class of the source whose messages a channel, or a template over all sources of that class, carries. */
export function sourceOfChannel(
  segments: readonly string[],
): { readonly type: string; readonly template: string } | undefined {
  const [from, type, key, messageType] = segments;
  if (from !== `${RESERVED_PREFIX}from` || segments.length !== 4 || !type || !key || !messageType) return undefined;
  return { type, template: `${from}/${type}/:key/${messageType}` };
}

/** The declaration of a source's class, or of such a class itself. */
function keyedInfo(source: object): ClassInfo {
  refuseOtherCopy(source);
  const target = isObject(source) ? classOf(source) : source;
  const info = typeof target === 'function' ? classInfo(target) : undefined;
  if (info?.key === undefined) {
    throw new ConfigurationError(
      `${describe(source)} cannot be a source: its class needs @MessageSource({ key }) or @Serializable({ key })`,
    );
  }
  return info;
}
