import type { TypedArrayTag } from './builtin-type.js';
import { MAX_BIGINT_DIGITS } from './codec-limits.js';

/** Any of the classes of numbers in a row. */
export type TypedArray = ArrayBufferView & { readonly length: number; [index: number]: number | bigint };

const NUMBERS: readonly unknown[] = ['NaN', 'Infinity', '-Infinity', '-0'];

/** Arrays of bytes read as Base64, as bytes do all over JSON; rows of other numbers as the numbers they are. */
export function encodeTypedArray(tag: TypedArrayTag, array: TypedArray): unknown {
  if (isOfBytes(tag)) return toBase64(array);
  return Array.from({ length: array.length }, (_, index) => {
    const value = array[index]!;
    if (typeof value === 'bigint') return value.toString();
    if (Object.is(value, -0)) return '-0';
    return Number.isFinite(value) ? value : String(value);
  });
}

/** @returns `undefined` if the tag does not name a typed array of this platform, or the data is not valid for one */
export function decodeTypedArray(tag: string, data: unknown): object | undefined {
  const type = (globalThis as unknown as Record<string, new (source: number | ArrayBuffer) => TypedArray>)[tag];
  // Only the classes of the language have it of their own; a class of the application would inherit it.
  if (!type || !Object.hasOwn(type, 'BYTES_PER_ELEMENT')) return undefined;
  if (isOfBytes(tag)) {
    const bytes = fromBase64(data);
    return bytes && new type(bytes.buffer);
  }
  if (!Array.isArray(data)) return undefined;
  const isOfBigInts = tag.startsWith('Big');
  const array = new type(data.length);
  for (let index = 0; index < data.length; index++) {
    const value = isOfBigInts ? toBigInt(data[index]) : toNumber(data[index]);
    if (value === undefined) return undefined;
    array[index] = value;
    // A value that does not fit into the type would change silently.
    if (!Object.is(array[index], value)) return undefined;
  }
  return array;
}

/** The bytes of a view, or of a buffer, as Base64 (RFC 4648, section 4). */
export function toBase64(source: ArrayBufferView | ArrayBuffer): string {
  const bytes = ArrayBuffer.isView(source)
    ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    : new Uint8Array(source);
  let text = '';
  for (let start = 0; start < bytes.length; start += 4096) {
    // In pieces, because each byte becomes an argument, and their number has an end.
    text += String.fromCharCode(...bytes.subarray(start, start + 4096));
  }
  return btoa(text);
}

/** @returns `undefined` if the data is not Base64 */
export function fromBase64(data: unknown): Uint8Array<ArrayBuffer> | undefined {
  if (typeof data !== 'string' || data.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(data)) return undefined;
  const text = atob(data);
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  return bytes;
}

function isOfBytes(tag: string): boolean {
  return tag.startsWith('Uint8');
}

function toNumber(data: unknown): number | undefined {
  if (typeof data === 'number') return data;
  return isNumberText(data) ? Number(data) : undefined;
}

/** @returns `undefined` for anything but the digits of a whole number */
export function toBigInt(data: unknown): bigint | undefined {
  const isInteger = typeof data === 'string' && data.length <= MAX_BIGINT_DIGITS && /^-?\d+$/.test(data);
  return isInteger ? BigInt(data) : undefined;
}

/** Whether a text stands for a number that JSON cannot hold. */
export function isNumberText(data: unknown): boolean {
  return NUMBERS.includes(data);
}
