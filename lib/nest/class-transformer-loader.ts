import type { ClassTransformOptions } from 'class-transformer';
import { ConfigurationError } from '../protocol/errors.js';
import { importOptional } from './import-optional.js';
import { ClassTransformerFilter, type ClassTransformerInternals } from './class-transformer-filter.js';

/** What a bundler must be told where it has split class-transformer in two. */
export const BUNDLER_REMEDY =
  "keep class-transformer out of the bundle, with esbuild by --packages=external or external: ['class-transformer', 'nestjs-messaging'], " +
  'with webpack by externals';

type Transformer = typeof import('class-transformer');
type Files = Promise<[{ defaultMetadataStorage: unknown }, { TransformOperationExecutor: unknown }]>;

// The builds that a package of class-transformer holds. Node takes the first; a bundler may have taken another one. Each is
// named as a text, so that a bundler takes it in together with what the classes use, instead of leaving it to be found
// beside the bundle, which would be a second copy.
const BUILDS: readonly (() => Files)[] = [
  () =>
    Promise.all([
      import('class-transformer/cjs/storage.js'),
      import('class-transformer/cjs/TransformOperationExecutor.js'),
    ]),
  () =>
    Promise.all([
      import('class-transformer/esm5/storage.js'),
      import('class-transformer/esm5/TransformOperationExecutor.js'),
    ]),
  () =>
    Promise.all([
      import('class-transformer/esm2015/storage.js'),
      import('class-transformer/esm2015/TransformOperationExecutor.js'),
    ]),
];

/**
 * Makes the filter that obeys class-transformer, where it is installed.
 *
 * @param options - as for `instanceToPlain`
 * @returns `undefined` where class-transformer is not installed: then nobody can have used its decorators
 * @throws ConfigurationError where a version is installed that this cannot read, or the rules that its decorators write
 *   cannot be found: they must not be lost in silence
 */
export async function loadClassTransformerFilter(
  options: ClassTransformOptions = {},
): Promise<ClassTransformerFilter | undefined> {
  const transformer = await importOptional(() => import('class-transformer'));
  if (transformer === undefined) return undefined;
  const failures: unknown[] = [];
  for (const build of BUILDS) {
    try {
      const [{ defaultMetadataStorage: storage }, { TransformOperationExecutor: executor }] = await build();
      const internals = { storage, executor } as ClassTransformerInternals;
      if (isOf(internals.storage, transformer)) return new ClassTransformerFilter(internals, options);
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length < BUILDS.length) {
    throw new ConfigurationError(
      `There are two copies of class-transformer: its decorators write their rules into one, and this library reads the other, so @Exclude() would be ignored; ${BUNDLER_REMEDY}`,
    );
  }
  throw new ConfigurationError('The installed class-transformer cannot be read; install class-transformer 0.5', {
    cause: failures[0],
  });
}

/** Whether a storage holds what the decorators of this copy write: tried out on a class of nobody's. */
function isOf(storage: ClassTransformerInternals['storage'], transformer: Transformer): boolean {
  class Probe {}
  const { Exclude } = 'Exclude' in transformer ? transformer : (transformer as { default: Transformer }).default;
  Exclude()(Probe.prototype, 'secret');
  return storage.getExcludedMetadatas(Probe).length > 0;
}
