import type { AuthenticationInfo } from './authentication.js';
import { MAX_CHANNEL_NAME_LENGTH, kindOf } from './channel-name.js';
import { InvalidMessageError } from './errors.js';
import { isRecord } from './is-record.js';
import { readAuthentication } from './read-authentication.js';

// Reads data between nodes with checks, never with a cast: any client of the broker may have written it.

/** @throws InvalidMessageError for anything but an object */
export function readObject(value: unknown, path: string): Readonly<Record<string, unknown>> {
  if (!isRecord(value)) throw wrong(path, 'an object', value);
  return value;
}

/** @throws InvalidMessageError for anything but a text of at most so many characters */
export function readText(value: unknown, path: string, maxLength: number): string {
  if (typeof value === 'string' && value.length <= maxLength) return value;
  throw wrong(path, `a text of at most ${maxLength} characters`, value);
}

/** @throws InvalidMessageError for anything longer than the name of a channel or template may be */
export function readName(value: unknown, path: string): string {
  return readText(value, path, MAX_CHANNEL_NAME_LENGTH);
}

/** @throws InvalidMessageError for anything but a whole number from 0 to 2^53 - 1 */
export function readWholeNumber(value: unknown, path: string): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw wrong(path, 'a whole number', value);
}

/**
 * @param readItem - reads each item
 * @throws InvalidMessageError for anything but an array of at most so many items
 */
export function readList<T>(
  value: unknown,
  path: string,
  maxLength: number,
  readItem: (item: unknown, path: string) => T,
): T[] {
  if (!Array.isArray(value)) throw wrong(path, 'an array', value);
  if (value.length > maxLength)
    throw new InvalidMessageError(`${path} has ${value.length} items, more than ${maxLength}`);
  return value.map((item: unknown) => readItem(item, path));
}

/** @throws InvalidMessageError for anything but an array of exactly so many items, which nobody has checked */
export function readTuple(value: unknown, path: string, length: number): unknown[] {
  const items = readList(value, path, length, (item) => item);
  if (items.length === length) return items;
  throw new InvalidMessageError(`${path} must have ${length} items, not ${items.length}`);
}

/** @throws InvalidMessageError for anything but `true` and `false` */
export function readFlag(value: unknown, path: string): boolean {
  if (typeof value === 'boolean') return value;
  throw wrong(path, 'true or false', value);
}

/** @throws InvalidMessageError for anything but a sign-in or `null` */
export function readAuth(value: unknown, path: string): AuthenticationInfo | null {
  if (value === null) return null;
  try {
    return readAuthentication(value);
  } catch (error) {
    throw new InvalidMessageError(`${path} cannot be read: ${(error as Error).message}`);
  }
}

function wrong(path: string, expected: string, value: unknown): InvalidMessageError {
  // Numbers here are the library's own offsets and times, not contents of messages.
  const found = typeof value === 'number' ? String(value) : kindOf(value);
  return new InvalidMessageError(`${path} must be ${expected}, not ${found}`);
}
