import type { Class } from '../protocol/message.js';
import { classInfo, placeOf } from '../protocol/serializable.js';

/**
 * Whether a class is another one evaluated once more, as a hot update does with the modules that have changed. Decorated
 * classes are known by the place of their decorator, others by their source.
 */
export function isDeclaredAnew(earlier: Class, later: Class): boolean {
  const isDecorated = classInfo(earlier) !== undefined;
  if (isDecorated !== (classInfo(later) !== undefined)) return false;
  if (!isDecorated) return String(earlier) === String(later);
  const [, file, query, position] = partsOf(earlier);
  const [, laterFile, laterQuery, laterPosition] = partsOf(later);
  // Lines move when a file is edited. Two loads of a module have different queries (Vite), or the file is a module for
  // sure (webpack); in a bundle the place tells two classes of a name apart.
  const isModule = query !== laterQuery || file?.startsWith('webpack-internal:');
  return !!file && file === laterFile && (isModule || position === laterPosition);
}

/** File, query and position of a class. */
function partsOf(type: Class): readonly (string | undefined)[] {
  return /^([^?]*?)(\?[^:]*)?:(\d+:\d+)$/.exec(placeOf(type) ?? '') ?? [];
}
