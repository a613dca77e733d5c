// As the language itself has them: not enumerable.
const HIDDEN = ['message', 'cause', 'errors'];

type ErrorClass = new (message?: string) => Error;

/**
 * Makes an error to be filled later, so that its cause may refer to it.
 *
 * @param tag - the class of the language
 * @param prototype - of a class that extends it, instead
 */
export function decodeError(
  tag: string,
  prototype?: object,
): { error: Error; fill: (properties: Readonly<Record<string, unknown>>) => void } {
  // A real error, made by Error itself: debuggers and structuredClone() tell them by more than their prototype.
  const types = globalThis as unknown as Record<string, ErrorClass>;
  const error = prototype !== undefined || tag === 'AggregateError' ? new Error() : new types[tag]!();
  if (prototype !== undefined) Object.setPrototypeOf(error, prototype);
  else if (tag === 'AggregateError') Object.setPrototypeOf(error, AggregateError.prototype);
  return {
    error,
    fill: (properties) => {
      for (const key of Object.keys(properties)) {
        const value = properties[key];
        if (key === 'stack' || (key === 'name' && value === error.name)) continue;
        Object.defineProperty(error, key, {
          value,
          writable: true,
          enumerable: !HIDDEN.includes(key),
          configurable: true,
        });
      }
      // Where it was thrown is not known here, and where it was restored interests nobody.
      Object.defineProperty(error, 'stack', {
        value: `${error.name}: ${error.message}`,
        writable: true,
        enumerable: false,
        configurable: true,
      });
    },
  };
}
