import { encodeTypedArray, toBase64, type TypedArray } from './binary.js';
import { isTypedArrayTag, type BuiltinTag } from './builtin-type.js';

/** Encodes a built-in value without parts in the form that it has in JSON. */
export function encodeBuiltinValue(tag: BuiltinTag, value: object): unknown {
  if (isTypedArrayTag(tag)) return encodeTypedArray(tag, value as TypedArray);
  if (tag === 'Date') {
    const date = value as Date;
    return Number.isNaN(date.getTime()) ? null : date.toISOString();
  }
  if (tag === 'ArrayBuffer' || tag === 'DataView') return toBase64(value as ArrayBuffer | DataView);
  return (value as RegExp | URL).toString(); // /source/flags, or the href
}
