import { isRecord } from '../is-record.js';
import { isTypeName } from '../serializable.js';
import { SourceRef } from '../source.js';
import { decodeTypedArray, fromBase64, isNumberText, toBigInt } from './binary.js';

const ISO_DATE = /^(?:\d{4}|[+-]\d{6})-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/**
 * Reads a value that is no object.
 *
 * @returns `undefined` if the note is not that of such a value, or the data is not of its type
 */
export function decodePrimitive(note: unknown, data: unknown): number | bigint | undefined {
  if (note === 'bigint') return toBigInt(data);
  return isNumberText(note) ? Number(note) : undefined;
}

/**
 * Reads an object that has no parts.
 *
 * @returns `undefined` if the tag is not known or the data is not of that type
 * @throws SyntaxError or TypeError of a class of the language that does not take the data
 */
export function decodeValue(tag: string, data: unknown): object | undefined {
  switch (tag) {
    case 'Date':
      return decodeDate(data);
    case 'RegExp':
      return decodeRegExp(data);
    case 'URL':
      return typeof data === 'string' ? new URL(data) : undefined;
    case 'ArrayBuffer':
      return fromBase64(data)?.buffer;
    case 'DataView': {
      const bytes = fromBase64(data);
      return bytes && new DataView(bytes.buffer);
    }
    case 'source':
      return decodeSource(data);
    default:
      return tag.endsWith('Array') ? decodeTypedArray(tag, data) : undefined;
  }
}

function decodeDate(data: unknown): Date | undefined {
  if (data === null) return new Date(NaN);
  // Only what toISOString() writes: Date reads any text, "1" as a day of this engine's choice.
  if (typeof data !== 'string' || !ISO_DATE.test(data)) return undefined;
  const date = new Date(data);
  return Number.isNaN(+date) ? undefined : date;
}

function decodeRegExp(data: unknown): RegExp | undefined {
  const [, source, flags] = (typeof data === 'string' && /^\/(.*)\/(.*)$/s.exec(data)) || [];
  return source === undefined ? undefined : new RegExp(source, flags);
}

function decodeSource(data: unknown): SourceRef | undefined {
  if (!isRecord(data)) return undefined;
  const { type, key } = data;
  return isTypeName(type) && typeof key === 'string' && key !== '' ? new SourceRef(type, key) : undefined;
}
