import type { ClassTransformOptions } from 'class-transformer';
import { ConfigurationError } from '../protocol/errors.js';
import { importOptional } from './import-optional.js';
import { ClassTransformerFilter, type ClassTransformerInternals } from './class-transformer-filter.js';

/**
 * Makes the filter that obeys class-transformer, where it is installed.
 *
 * @param options - as for `instanceToPlain`
 * @returns `undefined` where class-transformer is not installed: then nobody can have used its decorators
 * @throws ConfigurationError where a version is installed that this cannot read: its rules must not be lost in silence
 */
export async function loadClassTransformerFilter(
  options: ClassTransformOptions = {},
): Promise<ClassTransformerFilter | undefined> {
  if ((await importOptional(() => import('class-transformer'))) === undefined) return undefined;
  try {
    return new ClassTransformerFilter(await loadInternals(), options);
  } catch (error) {
    throw new ConfigurationError('The installed class-transformer cannot be read; install class-transformer 0.5', {
      cause: error,
    });
  }
}

async function loadInternals(): Promise<ClassTransformerInternals> {
  // Names in variables, because these files come without an entry in the package's types.
  const [storageFile, executorFile] = [
    'class-transformer/cjs/storage.js',
    'class-transformer/cjs/TransformOperationExecutor.js',
  ];
  const storage = (await import(storageFile)) as { defaultMetadataStorage: ClassTransformerInternals['storage'] };
  const executor = (await import(executorFile)) as {
    TransformOperationExecutor: ClassTransformerInternals['executor'];
  };
  return { storage: storage.defaultMetadataStorage, executor: executor.TransformOperationExecutor };
}
