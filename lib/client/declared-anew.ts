import type { Class } from '../protocol/message.js';
import { classInfo } from '../protocol/serializable.js';

/**
 * Whether a class is another one evaluated once more, as a hot update does with the modules that have changed. Classes that
 * nothing declares are known by their source.
 */
export function isDeclaredAnew(earlier: Class, later: Class): boolean {
  const before = classInfo(earlier);
  const after = classInfo(later);
  return before && after ? after.replaces(before) : before === after && String(earlier) === String(later);
}
