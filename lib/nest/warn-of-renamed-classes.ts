import { readFileSync } from 'node:fs';
import { quote } from '../protocol/channel-name.js';
import type { Class } from '../protocol/message.js';
import { declaredClasses, declaredNames } from '../protocol/declared-classes.js';
import { classInfo, isMinified, placeOf, typeName } from '../protocol/serializable.js';
import type { TypeRegistry } from '../protocol/type-registry.js';
import { fileOfPlace } from './file-of-place.js';
import type { LoggingReporter } from './logging-reporter.js';

/**
 * Warns, once, if a bundler or a minifier changed the names of message classes. To be called when the classes of the
 * application's channels are known.
 */
export function warnOfRenamedClasses(types: TypeRegistry, reporter: LoggingReporter): void {
  const declared = declaredNames().flatMap((name) => [
    ...declaredClasses(name, 'data'),
    ...declaredClasses(name, 'source'),
  ]);
  const classes = new Set<Class>([...declared, ...(types.used as Iterable<Class>)]);
  const renamed = [...classes].filter(isRenamed).map((type) => quote(typeName(type)));
  if (renamed.length === 0) return;
  reporter.warn(
    'renamed classes',
    `A bundler or minifier changed the names of message classes: ${renamed.join(', ')}. Servers and pages that use other names ` +
      "reject their messages. Name each class, @Serializable({ name: 'user-update' }), or let the bundler keep names (esbuild: keepNames)",
  );
}

function isRenamed(type: Class): boolean {
  return isMinified(type) || (!classInfo(type)?.isNamed && hasOtherNameInBundle(type));
}

/**
 * Of what compilers write, `let Update = class Update`, bundlers that keep no names make `class Update2` or `class _Update`.
 * A class that is called so in the source is assigned to a variable of its own name.
 */
function hasOtherNameInBundle(type: Class): boolean {
  const name = typeName(type);
  const place = /^_\w+$|^\w+\d$/.test(name) ? placeOf(type) : undefined;
  if (place === undefined) return false;
  const [, variable] = new RegExp(`([\\w$]+) = class ${name}\\b`).exec(textAt(place)) ?? [];
  // Of a class that refers to itself TypeScript makes `let Update = Update_1 = class Update`.
  return variable !== undefined && !variable.startsWith(name);
}

function textAt(place: string): string {
  try {
    return readFileSync(fileOfPlace(place), 'utf8');
  } catch {
    // It is gone, or a source map named another one. Then nothing can be said.
    return '';
  }
}
