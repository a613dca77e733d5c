import { describe } from '../channel-name.js';
import { ignoreRejection, isThenable } from '../promises.js';
import { thrownText } from '../thrown.js';
import { extendedBuiltin } from './builtin-type.js';

/**
 * What an instance of an application's class lets be seen of it: the object that its `toJSON()` gives, or else itself.
 *
 * @throws Error whose text goes on from "toJSON() of Order": it failed, with what it threw as the `cause`, or gave no object
 */
export function shownOf(object: object): object {
  let shown: unknown;
  try {
    const { toJSON } = object as { toJSON?: unknown };
    if (typeof toJSON !== 'function') return object;
    shown = (toJSON as () => unknown).call(object);
  } catch (cause) {
    throw new Error(`failed: ${thrownText(cause)}`, { cause });
  }
  // What these hold is in no property.
  if (
    typeof shown !== 'object' ||
    shown === null ||
    extendedBuiltin(Object.getPrototypeOf(shown) as object | null) !== undefined ||
    isThenable(shown)
  ) {
    ignoreRejection(shown);
    throw new Error(
      `returned ${describe(shown)}; it must return an object, not a promise, with the properties to send`,
    );
  }
  return shown;
}
