import type { SchematicContext } from '@angular-devkit/schematics';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Compiler } from './source-edits.js';

/** Formats a file as the project does. A file that was not formatted `before` stays as it is, so an edit shows as an edit. */
export type Formatter = (path: string, text: string, before?: string) => Promise<string>;

interface Prettier {
  resolveConfig(path: string, options: { editorconfig: boolean }): Promise<object | null>;
  check(text: string, options: object): Promise<boolean> | boolean;
  format(text: string, options: object): Promise<string> | string;
}

/** A package of the project in the current folder. `undefined` if it is not installed. */
function load(name: string, from = join(process.cwd(), 'package.json')): unknown {
  const require = createRequire(from);
  try {
    require.resolve(name);
  } catch {
    return undefined;
  }
  return require(name) as unknown;
}

/** TypeScript of the project, or of the Nest CLI if the project has none with an API. */
export function loadCompiler(): Compiler {
  const places = [join(process.cwd(), 'package.json'), process.argv[1]];
  for (const place of places) {
    const compiler = (place && load('typescript', place)) as Partial<Compiler> | undefined;
    if (compiler?.createSourceFile !== undefined) return compiler as Compiler;
  }
  throw new Error(
    'nest add nestjs-messaging needs the compiler API of TypeScript 5 or 6: npm install --save-dev typescript@6',
  );
}

/** Prettier with the project's settings, or nothing if the project does not have it. */
export function loadFormatter(logger: SchematicContext['logger']): Formatter {
  const prettier = load('prettier') as Prettier | undefined;
  if (prettier === undefined) return (_path, text) => Promise.resolve(text);
  return async (path, text, before) => {
    const filepath = join(process.cwd(), path);
    try {
      const options = { ...(await prettier.resolveConfig(filepath, { editorconfig: true })), filepath };
      if (before !== undefined && !(await prettier.check(before, options))) return text;
      return await prettier.format(text, options);
    } catch (error) {
      logger.warn(`${path} was not formatted: ${error instanceof Error ? error.message : String(error)}`);
      return text;
    }
  };
}
