import { transform } from '@swc/core';
import { build } from 'esbuild';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';

/** Where Node runs a bundled program, to find the packages. */
export const PROGRAM_ROOT = resolve(import.meta.dirname, '../..');

/**
 * A program and the library, from the sources, for a Node that knows no TypeScript.
 *
 * @param contents - imports what it needs from files of test/support
 */
export async function bundleProgram(contents: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: import.meta.dirname },
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    alias: {
      'nestjs-messaging': resolve(PROGRAM_ROOT, 'lib/index.ts'),
      'nestjs-messaging/client': resolve(PROGRAM_ROOT, 'lib/client/index.ts'),
    },
    plugins: [
      {
        name: 'types of constructor parameters, which Nest injects by',
        setup: (building) =>
          building.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
            const { code } = await transform(await readFile(path, 'utf8'), {
              filename: path,
              jsc: {
                target: 'es2022',
                parser: { syntax: 'typescript', decorators: true },
                transform: { legacyDecorator: true, decoratorMetadata: true },
                keepClassNames: true,
              },
            });
            return { contents: code, loader: 'js' };
          }),
      },
    ],
    write: false,
  });
  return outputFiles[0]!.text;
}
