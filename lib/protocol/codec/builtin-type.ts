import type { Tag } from './note.js';

/** The classes of numbers in a row; by name, because not every engine has all of them. */
export const TYPED_ARRAYS = [
  'Int8Array',
  'Uint8Array',
  'Uint8ClampedArray',
  'Int16Array',
  'Uint16Array',
  'Int32Array',
  'Uint32Array',
  'Float16Array',
  'Float32Array',
  'Float64Array',
  'BigInt64Array',
  'BigUint64Array',
] as const;
export const ERRORS = [
  'Error',
  'AggregateError',
  'EvalError',
  'RangeError',
  'ReferenceError',
  'SyntaxError',
  'TypeError',
  'URIError',
] as const;
const OTHERS = ['Date', 'RegExp', 'URL', 'Map', 'Set', 'ArrayBuffer', 'DataView'] as const;

/** Every class of the language that may travel, with what it is restored by. */
export type BuiltinTag = (typeof TYPED_ARRAYS | typeof ERRORS | typeof OTHERS)[number];
/** The tag of a typed array. */
export type TypedArrayTag = (typeof TYPED_ARRAYS)[number];
/** The tag of an error. */
export type ErrorTag = (typeof ERRORS)[number];

// The marks let bundlers leave this out of a page, which only reads.
const BY_PROTOTYPE: ReadonlyMap<object, BuiltinTag> = /* @__PURE__ */ tagsByPrototype();
const NAMES: ReadonlySet<string> = /* @__PURE__ */ new Set(/* @__PURE__ */ BY_PROTOTYPE.values());

function tagsByPrototype(): Map<object, BuiltinTag> {
  return new Map(
    [...TYPED_ARRAYS, ...ERRORS, ...OTHERS].flatMap((tag) => {
      const type = (globalThis as unknown as Record<string, { prototype: object } | undefined>)[tag];
      return type === undefined ? [] : [[type.prototype, tag] as const];
    }),
  );
}

// Patterns, since the lists would be twice as long in a page, which needs no more than these. A test holds them equal.
export function isTypedArrayTag(tag: Tag): tag is TypedArrayTag {
  return /^(Uint8Clamped|(Int|Uint)(8|16|32)|Float(16|32|64)|Big(Int|Uint)64)Array$/.test(tag);
}

export function isErrorTag(tag: Tag): tag is ErrorTag {
  return /^(Aggregate|Eval|Range|Reference|Syntax|Type|URI)?Error$/.test(tag);
}

/** The tag of an instance of just this class of the language; a subclass has none, but for Node's Buffer. */
export function builtinTag(prototype: object): BuiltinTag | undefined {
  const tag = BY_PROTOTYPE.get(prototype);
  if (tag !== undefined) return tag;
  const name = nativeName(prototype);
  if (name !== undefined) return NAMES.has(name) ? (name as BuiltinTag) : undefined;
  const parent = Object.getPrototypeOf(prototype) as object | null;
  const isBuffer =
    parent !== null && constructorOf(prototype)?.name === 'Buffer' && builtinTag(parent) === 'Uint8Array';
  return isBuffer ? 'Uint8Array' : undefined;
}

/** The class of the language that a class extends, Error excepted: its contents are in no property. */
export function extendedBuiltin(prototype: object | null): string | undefined {
  for (let parent = prototype; parent !== null; parent = Object.getPrototypeOf(parent) as object | null) {
    const tag = Array.isArray(parent) ? 'Array' : builtinTag(parent);
    if (tag !== undefined) return isErrorTag(tag) ? undefined : tag;
  }
  return undefined;
}

/** Whether objects with this prototype are plain ones, `{}`, also those of another realm: a frame, a vm context. */
export function isPlainPrototype(prototype: object): boolean {
  return prototype === Object.prototype || nativeName(prototype) === 'Object';
}

// A realm has its own Date, so that instanceof and prototypes tell nothing of its values. What does is slow to ask for,
// and remembered.
const nativeNames = new WeakMap<object, { readonly name: string | undefined }>();

function nativeName(prototype: object): string | undefined {
  let known = nativeNames.get(prototype);
  if (known === undefined) nativeNames.set(prototype, (known = { name: findNativeName(prototype) }));
  return known.name;
}

function findNativeName(prototype: object): string | undefined {
  const type = constructorOf(prototype);
  if (type === undefined || type.prototype !== prototype) return undefined;
  return Function.prototype.toString.call(type).endsWith('{ [native code] }') ? type.name : undefined;
}

function constructorOf(prototype: object): Function | undefined {
  if (!Object.hasOwn(prototype, 'constructor')) return undefined;
  const type: unknown = (prototype as { constructor: unknown }).constructor;
  return typeof type === 'function' ? type : undefined;
}
