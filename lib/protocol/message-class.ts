import { kindOf } from './channel-name.js';
import { isObject } from './is-record.js';
import { classOf } from './class-of.js';
import type { Class } from './message.js';
import { describePlace, typeName } from './serializable.js';

/** Whether a value is an instance of a class or of a subclass, whatever the class says of itself. Never throws. */
export function isInstance(value: unknown, type: Class): boolean {
  try {
    return isObject(value) && Object.prototype.isPrototypeOf.call(type.prototype, value);
  } catch {
    // A proxy that has been revoked, for one.
    return false;
  }
}

/** Describes a value that is not an instance of a class, for errors. */
export function describeOther(value: unknown, type: Class): string {
  const other = isObject(value) ? readableClassOf(value) : undefined;
  if (other === undefined || typeName(other) !== typeName(type)) return kindOf(value);
  const places = [other, type].map((each) => describePlace(each as Class));
  return `an instance of another class of that name (${places.join(' and ')}: a module that was loaded twice makes two classes)`;
}

function readableClassOf(value: object): Function | undefined {
  try {
    return classOf(value);
  } catch {
    return undefined;
  }
}
