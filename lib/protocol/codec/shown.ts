import { describe } from '../channel-name.js';
import { ignoreRejection, isThenable } from '../promises.js';
import { thrownText } from '../thrown.js';
import { extendedBuiltin } from './builtin-type.js';

/**
 * The visible form of an instance of an application's class: the result of its `toJSON()`, or the instance itself.
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
  // The content of these is not in properties.
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
