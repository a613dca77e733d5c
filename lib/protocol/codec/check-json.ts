import { quote } from '../channel-name.js';
import { InvalidMessageError } from '../errors.js';
import { isObject } from '../is-record.js';
import { MAX_DEPTH } from './codec-limits.js';

/**
 * Checks what `JSON.parse` made of a message before anything is done with it: the depth of its nesting, and names that
 * would turn a later copy of it, by whatever code, into a change of a prototype. Everything that arrives passes here
 * once. If nothing has to be restored, decoding costs no more than this.
 *
 * @throws InvalidMessageError that names the fault
 */
export function checkJson(value: unknown): void {
  if (isObject(value)) check(value, 1);
}

/** Whether a property of this name with this value is refused, both when sending and on arrival. */
export function isPolluting(key: string, value: unknown): boolean {
  return key === '__proto__' || (key === 'constructor' && isObject(value) && Object.hasOwn(value, 'prototype'));
}

// The questions are written out: a call for each value, as of isObject() or isPolluting(), takes 6 to 100 % more.
function check(object: object, depth: number): void {
  if (depth > MAX_DEPTH) throw new InvalidMessageError(`it is nested deeper than ${MAX_DEPTH} levels`);
  if (Array.isArray(object)) {
    for (let index = 0; index < object.length; index++) {
      const value: unknown = object[index];
      if (typeof value === 'object' && value !== null) check(value, depth + 1);
    }
    return;
  }
  const properties = object as Record<string, unknown>;
  for (const key in properties) {
    const value = properties[key];
    if ((key === '__proto__' || key === 'constructor') && isPolluting(key, value)) {
      throw new InvalidMessageError(pollution(key));
    }
    if (typeof value === 'object' && value !== null) check(value, depth + 1);
  }
}

/** The fault of a property that {@link isPolluting}. */
export function pollution(property: string): string {
  return `it has a property ${quote(property)}, which is not allowed`;
}
