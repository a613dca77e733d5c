/** The class that made an object, or `undefined` for plain objects and those without a prototype. */
export function classOf(value: object): Function | undefined {
  const prototype = Object.getPrototypeOf(value) as { constructor?: unknown } | null;
  if (prototype === null || prototype === Object.prototype) return undefined;
  return typeof prototype.constructor === 'function' ? prototype.constructor : undefined;
}
