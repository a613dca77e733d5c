import { transform } from '@swc/core';
import { build } from 'esbuild';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';

/** Where Node runs a bundled program, to find the packages. */
export const PROGRAM_ROOT = resolve(import.meta.dirname, '../..');

/** A place in a source file to replace, so that a test sees which code finds it. */
export interface Damage {
  /** How the file's path ends. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

/**
 * A program and the library, from the sources, for Node versions without TypeScript.
 *
 * @param contents - imports its dependencies from files of test/support
 * @throws if the part to replace is missing
 */
export async function bundleProgram(contents: string, damage?: Damage): Promise<string> {
  let isDamaged = damage === undefined;
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
            let source = await readFile(path, 'utf8');
            if (damage !== undefined && path.endsWith(damage.file) && source.includes(damage.from)) {
              source = source.replace(damage.from, damage.to);
              isDamaged = true;
            }
            const { code } = await transform(source, {
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
  if (!isDamaged) throw new Error(`${damage!.file} does not have: ${damage!.from}`);
  return outputFiles[0]!.text;
}
