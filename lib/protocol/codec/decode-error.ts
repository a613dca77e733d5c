// As the language itself has them: not enumerable.
const HIDDEN = ['message', 'cause', 'errors'];

/** The prototype of a class of errors of the language; `undefined` for any other name. */
export function errorPrototype(name: string): object | undefined {
  const type = (globalThis as unknown as Record<string, { readonly prototype?: object } | undefined>)[name];
  // Only those of the language have it of their own; a class of the application inherits it.
  return Object.hasOwn(type?.prototype ?? {}, 'message') ? type!.prototype : undefined;
}

/** Makes an error that {@link fillError} fills, so that its cause may refer to it. */
export function makeError(prototype: object): Error {
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
export function define(object: object, key: string, value: unknown, enumerable = true): void {
  Object.defineProperty(object, key, { value, writable: true, enumerable, configurable: true });
}
