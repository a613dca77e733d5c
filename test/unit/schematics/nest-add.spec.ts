import { describe, expect, it } from '@jest/globals';
import { fileURLToPath } from 'node:url';
import { nestAdd } from '../../../schematics/nest-add/index.js';

const FOLDER = fileURLToPath(new URL('../../../schematics/nest-add', import.meta.url));
const MODULE = `import { Module } from '@nestjs/common';\n\n@Module({ imports: [] })\nexport class AppModule {}\n`;
const main = (module: string) => `import { NestFactory } from '@nestjs/core';
import { AppModule } from '${module}';

const app = await NestFactory.create(AppModule);
await app.listen(3000);
`;
const usual = { 'src/main.ts': main('./app.module'), 'src/app.module.ts': MODULE };

/** The resulting files and the output. Jest cannot load the Tree of the CLI, so this has only the needed parts. */
async function apply(before: Record<string, string>, options = {}) {
  const files = new Map(Object.entries(before));
  const said: string[] = [];
  const say = (text: string) => said.push(text);
  const tree = {
    exists: (path: string) => files.has(path),
    read: (path: string) => (files.has(path) ? Buffer.from(files.get(path)!) : null),
    create: (path: string, text: string) => files.set(path, text),
    overwrite: (path: string, text: string) => files.set(path, text),
    getDir(folder: string) {
      const paths = [...files.keys()].filter((path) => path.startsWith(`${folder}/`));
      const inside = paths.map((path) => path.slice(folder.length + 1).split('/'));
      const subfiles = inside.filter((names) => names.length === 1).map(([name]) => name);
      return { subfiles, subdirs: [...new Set(inside.filter((names) => names.length > 1).map(([name]) => name))] };
    },
  };
  const rule = nestAdd(options) as unknown as (tree: object, context: object) => Promise<void>;
  await rule(tree, { logger: { info: say, warn: say }, schematic: { description: { path: FOLDER } } });
  return { files, said };
}

/** How the imports of our files end in a module, and in the example. */
async function endings(before: Record<string, string>) {
  const { files } = await apply(before);
  return ['app.module', 'greetings/greetings.service'].map(
    (file) => /greetings\.m\w+(\.\w+)?';/.exec(files.get(`src/${file}.ts`)!)![1],
  );
}

/** The module after the schematic. */
async function edited(module: string) {
  const { files } = await apply({ ...usual, 'src/app.module.ts': module }, { example: false });
  return files.get('src/app.module.ts')!;
}

describe('nest add', () => {
  it('finds the root module by the import of the main file, in any project of a workspace', async () => {
    const { files } = await apply(
      { 'apps/shop/src/main.ts': main('./shop/shop.module'), 'apps/shop/src/shop/shop.module.ts': MODULE },
      { sourceRoot: 'apps/shop/src' },
    );
    const module = files.get('apps/shop/src/shop/shop.module.ts')!;
    expect(module).toContain("import { GreetingsModule } from '../greetings/greetings.module';");
    expect(module).toContain("MessagingModule.forRoot({ redis: process.env['REDIS_URL'], gateway: true })");
    expect(files.has('apps/shop/src/greetings/greetings.messages.ts')).toBe(true);
  });

  it('finds the root module in the index of a folder', async () => {
    const { files } = await apply({ 'src/main.ts': main('./root'), 'src/root/index.ts': MODULE });
    expect(files.get('src/root/index.ts')).toContain(
      "import { GreetingsModule } from '../greetings/greetings.module';",
    );
  });

  it.each(['node_modules/some', 'dist', '.cache'])('ignores the contents of %s', async (folder) => {
    const other = 'import { MessagingModule } from "nestjs-messaging";\nMessagingModule.forRoot()';
    const { files } = await apply({ ...usual, [`src/${folder}/some.module.ts`]: other });
    expect(files.get('src/app.module.ts')).toContain('MessagingModule.forRoot');
  });

  it('imports files as the project does, with .js if it has no import yet and is an ES module', async () => {
    expect(await endings(usual)).toEqual([undefined, undefined]);
    expect(await endings({ ...usual, 'src/main.ts': main('./app.module.ts') })).toEqual(['.ts', '.ts']);
    const alias = { ...usual, 'src/main.ts': main('src/app.module'), 'package.json': '{"type":"module"}' };
    expect(await endings(alias)).toEqual(['.js', '.js']);
  });

  it('formats its additions, and no file that was not formatted before', async () => {
    const formatted = (await edited(MODULE.replace(' imports: [] ', '\n  imports: [],\n'))).split('\n');
    expect(formatted).toEqual(expect.arrayContaining(['  imports: [', '  ],']));
    expect(await edited(MODULE)).toMatch(/@Module\(\{\n {2}imports: \[\n[^]*\n {2}\],\n\}\)/);
    expect(await edited(MODULE.replace(' imports: [] ', 'imports:[A]'))).toMatch(
      /@Module\(\{imports:\[A,\n[^]*\n\]\}\)/,
    );
  });

  it('adds no example if the option forbids it', async () => {
    const { files, said } = await apply(usual, { example: false });
    expect([...files.keys()].toSorted()).toEqual(['src/app.module.ts', 'src/main.ts']);
    expect(files.get('src/app.module.ts')!).not.toContain('Greetings');
    expect(said).toEqual([]);
  });

  it('gives our module another name if the application already uses its name', async () => {
    const own = MODULE.replace('imports: []', 'imports: [MessagingModule]');
    const { files } = await apply({ ...usual, 'src/app.module.ts': own });
    const module = files.get('src/app.module.ts')!;
    expect(module).toContain("import { MessagingModule as NestjsMessagingModule } from 'nestjs-messaging';");
    expect(module).toContain('NestjsMessagingModule.forRoot({');
  });

  it.each(['forRoot', 'forRootAsync'])('changes nothing if a module already imports %s()', async (method) => {
    const own = `import { MessagingModule } from "nestjs-messaging";\n@Module({ imports: [MessagingModule.${method}({})] })`;
    const before = { ...usual, 'src/live/live.module.ts': own };
    const { files, said } = await apply(before);
    expect(Object.fromEntries(files)).toEqual(before);
    expect(said).toEqual(['nestjs-messaging is already set up in src/live/live.module.ts. Nothing was changed.']);
  });

  it('names the line to add if it does not find the code that creates the application', async () => {
    const { files, said } = await apply({ ...usual, 'src/main.ts': "import { serve } from './serve';\nserve();\n" });
    expect(files.get('src/app.module.ts')!).toContain('MessagingModule.forRoot');
    expect(said[0]).toMatch(/^src\/main\.ts .*Call app\.enableShutdownHooks\(\) yourself.*--main=<path>/);
  });

  it.each<[string, Record<string, string>, object, RegExp]>([
    ['no main file', { 'src/app.module.ts': MODULE }, {}, /^There is no src\/main\.ts\. .*--main=<path/],
    ['no such main file', usual, { main: 'src/index.ts' }, /^There is no src\/index\.ts\. .*--main=<path/],
    ['no root module', { 'src/main.ts': main('./root') }, {}, /^There is no src\/root\.ts\. .*--module=<path/],
    ['no such root module', usual, { module: 'src/root.ts' }, /^There is no src\/root\.ts\. .*--module=<path/],
    [
      'imports that are not a list',
      { ...usual, 'src/app.module.ts': '@Module({ imports }) class A {}' },
      {},
      /by hand/,
    ],
    [
      'an existing file of that name',
      { ...usual, 'src/greetings/greetings.page.ts': '' },
      {},
      /exists\. .*--example=false/,
    ],
  ])('names the option or the fix for %s', async (_what, files, options, problem) => {
    await expect(apply(files, options)).rejects.toThrow(problem);
  });
});
