import { describe, expect, it } from '@jest/globals';
import ts from 'typescript';
import {
  relativeImports,
  rootModuleOf,
  withModules,
  withShutdownHooks,
} from '../../../schematics/nest-add/source-edits.js';

// The edits of `nest add`: existing code stays as it is, and the addition matches its style.

const IMPORTS = [{ name: 'Added', from: './added.js' }];

const module = (text: string, moduleClass?: string) =>
  withModules(ts, text, moduleClass, { imports: IMPORTS, elements: ['// why\nAdded.forRoot()', 'Other'] });

const main = (text: string) => withShutdownHooks(ts, text, '// why');

const file = (metadata: string, imports = '') =>
  `import { Module } from '@nestjs/common';\n${imports}\n@Module({\n${metadata}\n})\nexport class AppModule {}\n`;

describe('A module file that gets modules', () => {
  it.each<[string, string, string]>([
    ['an empty list', '  imports: [],', '  imports: [\n    // why\n    Added.forRoot(),\n    Other,\n  ],'],
    [
      'a list on one line',
      '  imports: [A, B.forRoot({ a: [1] })],',
      '  imports: [A, B.forRoot({ a: [1] }),\n    // why\n    Added.forRoot(),\n    Other,\n  ],',
    ],
    [
      'a list on several lines, without the last comma',
      '  imports: [\n    A,\n    B // the last\n  ],',
      '  imports: [\n    A,\n    B, // the last\n    // why\n    Added.forRoot(),\n    Other,\n  ],',
    ],
    [
      'a list on several lines, with a comment at its end',
      '  imports: [\n    A,\n    // more to come\n  ],',
      '  imports: [\n    A,\n    // more to come\n    // why\n    Added.forRoot(),\n    Other,\n  ],',
    ],
    [
      'a list of comments',
      '  imports: [/* none */],',
      '  imports: [/* none */\n    // why\n    Added.forRoot(),\n    Other,\n  ],',
    ],
    ['tabs', '\timports: [],', '\timports: [\n\t\t// why\n\t\tAdded.forRoot(),\n\t\tOther,\n\t],'],
    ['a quoted name', "  'imports': [],", "  'imports': [\n    // why\n    Added.forRoot(),\n    Other,\n  ],"],
    [
      'no list',
      '  controllers: [],',
      '  imports: [\n    // why\n    Added.forRoot(),\n    Other,\n  ],\n  controllers: [],',
    ],
  ])('keeps the existing text: %s', (_what, before, after) => {
    expect(module(file(before))).toBe(file(after, "import { Added } from './added.js';\n"));
  });

  it('gets imports if @Module() had an empty object', () => {
    expect(module('@Module({})\nclass AppModule {}\n')).toBe(
      "import { Added } from './added.js';\n@Module({\n  imports: [\n    // why\n    Added.forRoot(),\n    Other,\n  ],\n})\nclass AppModule {}\n",
    );
  });

  it('keeps its quotes and line endings', () => {
    const before =
      'import { Module } from "@nestjs/common";\r\n\r\n@Module({\r\n  imports: [],\r\n})\r\nclass AppModule {}\r\n';
    const after = module(before)!;
    expect(after).toContain('import { Added } from "./added.js";\r\n');
    expect(after.replaceAll('\r\n', '')).not.toContain('\n');
  });

  it('is the class that the application is created from, if it has several', () => {
    const before = '@Module({ imports: [] })\nclass First {}\n@Module({ imports: [] })\nclass Second {}\n';
    expect(module(before, 'Second')).toMatch(/imports: \[\] }\)\nclass First[^]*Added\.forRoot\(\)[^]*class Second/);
    expect(module(before, 'Elsewhere')).toMatch(/Added\.forRoot\(\)[^]*class First/);
  });

  it.each([
    ['no class with @Module()', 'export class AppModule {}'],
    ['a @Module() of a variable', 'const metadata = {};\n@Module(metadata)\nclass AppModule {}'],
    ['a @Module() of nothing', '@Module()\nclass AppModule {}'],
    ['imports of a variable', '@Module({ imports: modules })\nclass AppModule {}'],
    ['imports by shorthand', '@Module({ imports })\nclass AppModule {}'],
  ])('is not changed with %s', (_what, before) => {
    expect(module(before)).toBeUndefined();
  });
});

describe('A main file that enables shutdown hooks', () => {
  it.each<[string, string, string]>([
    [
      'in a function',
      'async function bootstrap() {\n  const app = await NestFactory.create(AppModule);\n  await app.listen(3000);\n}\n',
      '  // why\n  app.enableShutdownHooks();\n',
    ],
    [
      'at the top, with an adapter',
      'const server = await NestFactory.create<NestFastifyApplication>(AppModule, new FastifyAdapter());\nawait server.listen(3000);\n',
      '// why\nserver.enableShutdownHooks();\n',
    ],
    [
      'over several lines',
      'const app = (await NestFactory.create(AppModule, {\n  bufferLogs: true,\n})) as INestApplication;\nawait app.listen(3000);\n',
      '// why\napp.enableShutdownHooks();\n',
    ],
    [
      'by assignment',
      'let app: INestApplication;\ntry {\n  app = await NestFactory.create(AppModule);\n  await app.listen(3000);\n} catch {}\n',
      '  // why\n  app.enableShutdownHooks();\n',
    ],
  ])('does so before it listens, if it creates the application %s', (_what, before, added) => {
    const listen = /^.*\.listen\(/m.exec(before)!.index;
    expect(main(before)).toBe(before.slice(0, listen) + added + before.slice(listen));
  });

  it('is not changed if it does so already', () => {
    const text = 'const app = await NestFactory.create(AppModule);\napp.enableShutdownHooks();\n';
    expect(main(text)).toBe(text);
  });

  it.each([
    ['gives the application no name', 'NestFactory.create(AppModule).then((app) => app.listen(3000));'],
    ['does not await it', 'const app = NestFactory.create(AppModule);'],
    ['passes it on', 'const server = serve(await NestFactory.create(AppModule));'],
    ['takes something from it', 'const logger = (await NestFactory.create(AppModule)).get(Logger);'],
    ['creates it in an expression', 'const start = async () => (app = await NestFactory.create(AppModule));'],
    ['takes it apart', 'const { listen } = await NestFactory.create(AppModule);'],
    ['leaves it to another file', "import { createApp } from './app.js';\nconst app = await createApp();"],
  ])('is not changed if it %s', (_what, text) => {
    expect(main(text)).toBeUndefined();
  });
});

describe('The root module of a main file', () => {
  it.each<[string, string, ReturnType<typeof rootModuleOf>]>([
    ['imported', "import { AppModule } from './app.module.js';", { name: 'AppModule', specifier: './app.module.js' }],
    [
      'imported by another name',
      "import { Root as AppModule } from './root';",
      { name: 'AppModule', specifier: './root' },
    ],
    ['a default import', "import AppModule from './app';", { name: 'AppModule', specifier: './app' }],
    ['of the same file', 'class AppModule {}', { name: 'AppModule', specifier: undefined }],
  ])('is found if it is %s', (_what, text, found) => {
    expect(rootModuleOf(ts, `${text}\nconst app = await NestFactory.create(AppModule);`)).toEqual(found);
  });

  it('is unknown if it is made by a call, or elsewhere', () => {
    expect(rootModuleOf(ts, 'await NestFactory.create(AppModule.forRoot());')).toBeUndefined();
    expect(rootModuleOf(ts, 'await bootstrap();')).toBeUndefined();
  });
});

it('Relative imports are distinguished from imports of packages', () => {
  expect(relativeImports(ts, "import 'a';\nimport './b.js';\nimport { c } from '../c';")).toEqual(['./b.js', '../c']);
});
