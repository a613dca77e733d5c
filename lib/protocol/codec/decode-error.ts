// As the language itself has them: not enumerable.
const HIDDEN = ['message', 'cause', 'errors'];

/**
 * Makes an error that {@link fillError} fills, so that its cause may refer to it.
 *
 * @param tag - the class of the language
 * @param prototype - of a class that extends it, instead
 */
export function makeError(
  tag: string,
  prototype = (globalThis as unknown as Record<string, { readonly prototype: object }>)[tag]!.prototype,
): Error {
  // A real error, made by Error itself: debuggers and structuredClone() tell them by more than their prototype.
  return Object.setPrototypeOf(new Error(), prototype) as Error;
}

/** Gives an error its properties. */
export function fillError(error: Error, properties: Readonly<Record<string, unknown>>): void {
  for (const [key, value] of Object.entries(properties)) {
    if (key === 'stack' || (key === 'name' && value === error.name)) continue;
    define(error, key, value, !HIDDEN.includes(key));
  }
  // The place of the throw is unknown here, and the place of the restore does not matter.
  define(error, 'stack', `${error.name}: ${error.message}`, false);
}

/** Gives an object a property of its own, whatever setter its class has. */
export function define(object: object, key: string, value: unknown, enumerable: boolean): void {
  Object.defineProperty(object, key, { value, writable: true, enumerable, configurable: true });
}
