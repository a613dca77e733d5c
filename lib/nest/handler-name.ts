import { ConfigurationError } from '../protocol/errors.js';

/**
 * What a decorated method is called in errors and logs: `Class.method`.
 *
 * @param decorator - how it is written: `@OnMessage()`
 * @throws ConfigurationError for a method that Nest does not look at: a static one, and one named by a symbol
 */
export function handlerName(decorator: string, target: object, key: string | symbol): string {
  const isStatic = typeof target === 'function';
  const name = `${(isStatic ? target : target.constructor).name}.${String(key)}`;
  if (isStatic)
    throw new ConfigurationError(`${decorator} on ${name}: the method is static; Nest calls those of instances`);
  if (typeof key === 'symbol') {
    throw new ConfigurationError(
      `${decorator} on ${name}: Nest does not find methods named by a symbol; give it a name`,
    );
  }
  return name;
}
