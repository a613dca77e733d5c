import type { Rule, SchematicContext, Tree } from '@angular-devkit/schematics';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path/posix';
import { loadCompiler, loadFormatter, type Formatter } from './project-tools.js';
import { relativeImports, rootModuleOf, withModules, withShutdownHooks, type Compiler } from './source-edits.js';

/** As schema.json describes them. */
export interface NestAddOptions {
  readonly sourceRoot?: string;
  readonly main?: string;
  readonly module?: string;
  readonly example?: boolean;
}

interface Project {
  readonly tree: Tree;
  readonly ts: Compiler;
  readonly format: Formatter;
  readonly logger: SchematicContext['logger'];
  /** The folder of this schematic. */
  readonly schematic: string;
}

const HOOKS_COMMENT = '// On SIGTERM and Ctrl-C, streams end in order and clients go on at another server.';
const MODULE_COMMENT =
  '// Set REDIS_URL and install ioredis to reach every server. The gateway serves pages at /messages.';
const EXAMPLE_COMMENT = '// The example of nestjs-messaging: open /greetings.';

/**
 * What `nest add nestjs-messaging` runs once the package is installed. It imports nothing but Node's own modules, and borrows TypeScript
 * and prettier from the project, so the package needs no dependency for it.
 */
export function nestAdd(options: NestAddOptions): Rule {
  return async (tree, { logger, schematic }) => {
    const sourceRoot = normalize(options.sourceRoot ?? 'src');
    const setUp = findSetUp(tree, sourceRoot);
    if (setUp !== undefined) {
      logger.info(`nestjs-messaging is already set up in ${setUp}. Nothing was changed.`);
      return;
    }
    const { path } = schematic.description as { path?: string };
    const project: Project = {
      ...{ tree, logger, schematic: path! },
      ts: loadCompiler(),
      format: loadFormatter(logger),
    };
    const main = normalize(options.main ?? join(sourceRoot, 'main.ts'));
    const mainText = read(project, main, 'main file', 'main');
    const root = rootModuleOf(project.ts, mainText);
    const module = findModule(project, main, sourceRoot, root?.specifier, options.module);
    const ending = importEnding(project, [module, main]);
    const example = (options.example ?? true) ? join(sourceRoot, 'greetings') : undefined;

    if (example !== undefined) await addExample(project, example, ending);
    await addModules(project, module, root?.name, example, ending);
    await enableShutdownHooks(project, main, mainText);
    if (example !== undefined) logger.info('Start the application, and open /greetings in two windows.');
  };
}

/** The file that imports `MessagingModule.forRoot()` or `forRootAsync()` already. */
function findSetUp(tree: Tree, folder: string): string | undefined {
  const { subfiles, subdirs } = tree.getDir(folder);
  for (const name of subfiles.filter((file) => /\.[cm]?ts$/.test(file))) {
    const text = tree.read(join(folder, name))?.toString() ?? '';
    if (/['"]nestjs-messaging['"]/.test(text) && /MessagingModule\s*\.\s*forRoot(Async)?\s*\(/.test(text)) {
      return join(folder, name);
    }
  }
  for (const name of subdirs) {
    const found = /^(\.|node_modules$|dist$)/.test(name) ? undefined : findSetUp(tree, join(folder, name));
    if (found !== undefined) return found;
  }
  return undefined;
}

function read({ tree }: Project, path: string, what: string, option: string): string {
  const content = tree.read(path);
  if (content === null) {
    throw new Error(`There is no ${path}. Name the ${what} of your application: --${option}=<path of a .ts file>`);
  }
  return content.toString();
}

function findModule(
  project: Project,
  main: string,
  sourceRoot: string,
  specifier: string | undefined,
  option: string | undefined,
): string {
  const imported = specifier?.startsWith('.') ? [join(dirname(main), specifier.replace(/\.[jt]s$/, ''))] : [];
  const candidates = [
    ...imported.flatMap((path) => [`${path}.ts`, `${path}/index.ts`]),
    join(sourceRoot, 'app.module.ts'),
  ];
  const path = option === undefined ? candidates.find((file) => project.tree.exists(file)) : normalize(option);
  const module = path ?? candidates[0]!;
  read(project, module, 'file of the root module', 'module');
  return module;
}

/** How imports of other files end: as those that are there do, or as the module system of the project needs it. */
function importEnding({ tree, ts }: Project, files: string[]): string {
  const specifier = files.flatMap((file) => relativeImports(ts, tree.read(file)!.toString())).at(0);
  if (specifier !== undefined) return /\.[jt]s$/.exec(specifier)?.[0] ?? '';
  const manifest = JSON.parse(tree.read('package.json')?.toString() ?? '{}') as { type?: string };
  return manifest.type === 'module' ? '.js' : '';
}

/** The example is TypeScript as it is: checked, formatted and linted with this repository. */
async function addExample({ tree, format, schematic }: Project, folder: string, ending: string): Promise<void> {
  const source = join(schematic, 'files/greetings');
  for (const name of readdirSync(source)) {
    const path = join(folder, name);
    if (tree.exists(path)) throw new Error(`${path} exists. Move it, or leave out the example: --example=false`);
    const text = readFileSync(join(source, name), 'utf8').replaceAll(/(?<=from '\.[^']*)\.js'/g, `${ending}'`);
    tree.create(path, await format(path, text));
  }
}

async function addModules(
  { tree, ts, format }: Project,
  path: string,
  moduleClass: string | undefined,
  example: string | undefined,
  ending: string,
): Promise<void> {
  const before = tree.read(path)!.toString();
  // The application may have a MessagingModule of its own.
  const taken = /\bMessagingModule\b/.test(before);
  const local = taken ? 'NestjsMessagingModule' : 'MessagingModule';
  const forRoot = `${local}.forRoot({ redis: process.env['REDIS_URL'], gateway: true })`;
  const imports = [{ name: taken ? `MessagingModule as ${local}` : local, from: 'nestjs-messaging' }];
  const elements = [`${MODULE_COMMENT}\n${forRoot}`];
  if (example !== undefined) {
    const specifier = relative(dirname(path), join(example, 'greetings.module'));
    imports.push({ name: 'GreetingsModule', from: `${specifier.startsWith('.') ? '' : './'}${specifier}${ending}` });
    elements.push(`${EXAMPLE_COMMENT}\nGreetingsModule`);
  }
  const after = withModules(ts, before, moduleClass, { imports, elements });
  if (after === undefined) {
    throw new Error(
      `${path} has no class with @Module({ … }) whose imports are written as a list. Name the file of the root module ` +
        `(--module=<path>), or set the module up by hand: add MessagingModule.forRoot({ gateway: true }) to its imports.`,
    );
  }
  tree.overwrite(path, await format(path, after, before));
}

async function enableShutdownHooks({ tree, ts, format, logger }: Project, path: string, before: string): Promise<void> {
  const after = withShutdownHooks(ts, before, HOOKS_COMMENT);
  if (after === undefined) {
    logger.warn(
      `${path} does not contain "const app = await NestFactory.create(…)". Call app.enableShutdownHooks() yourself, ` +
        `before the application listens, or name the file that creates the application: --main=<path>`,
    );
  } else if (after !== before) tree.overwrite(path, await format(path, after, before));
}
