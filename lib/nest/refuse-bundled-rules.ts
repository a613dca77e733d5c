import { readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { ConfigurationError } from '../protocol/errors.js';
import { declaredClasses, declaredNames } from '../protocol/declared-classes.js';
import { placeOf } from '../protocol/serializable.js';
import { BUNDLER_REMEDY } from './class-transformer-loader.js';
import { fileOfPlace } from './file-of-place.js';

// The name of a method that every copy of class-transformer has, minified or not, and that nothing else has.
const TRACE = 'addExcludeMetadata';
// A copy of class-transformer takes as much at least; most files of an application are smaller, and not read.
const MIN_COPY_BYTES = 8_000;

/**
 * To be called when the classes of an application have been declared. A bundle that took class-transformer in and left this
 * package out has a copy of its own, whose rules nobody outside can see: not even that there are any.
 *
 * @throws ConfigurationError where the classes of this application stand in such a bundle
 */
export function refuseBundledRules(): void {
  // Of a bundle that has this package, too, all of it reads the same copy; its file has another name.
  if (!/^refuse-bundled-rules\.[jt]s$/.test(basename(ownFile()))) return;
  const bundle = [...filesOfClasses()].find((file) => holdsCopy(file));
  if (bundle === undefined) return;
  throw new ConfigurationError(
    `${bundle} contains its own copy of class-transformer, while nestjs-messaging reads the one in node_modules, so @Exclude() would be ignored; ${BUNDLER_REMEDY}, or take nestjs-messaging into the bundle as well`,
  );
}

function ownFile(): string {
  // Not import.meta, which bundles of CommonJS have not.
  return /([^/\\\s(]+):\d+:\d+\)?$/.exec(new Error().stack?.split('\n')[1] ?? '')?.[1] ?? '';
}

/** Where the declared classes stand, and what node was started with. */
function filesOfClasses(): Set<string> {
  const places = declaredNames().flatMap((name) =>
    [...declaredClasses(name, 'data'), ...declaredClasses(name, 'source')].flatMap((type) => placeOf(type) ?? []),
  );
  return new Set([...(process.argv[1] === undefined ? [] : [process.argv[1]]), ...places].map(fileOfPlace));
}

function holdsCopy(file: string): boolean {
  try {
    return statSync(file).size >= MIN_COPY_BYTES && readFileSync(file, 'utf8').includes(TRACE);
  } catch {
    // It is gone, or a source map named another one. Then nothing can be said.
    return false;
  }
}
