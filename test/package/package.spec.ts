import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { build, transformSync } from 'esbuild';
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

interface Manifest {
  name: string;
  version: string;
  exports: Record<string, unknown>;
  dependencies?: Record<string, string>;
  peerDependencies: Record<string, string>;
  peerDependenciesMeta: Record<string, { optional: boolean }>;
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;
const dependencies = Object.keys(manifest.dependencies ?? {});
const peers = Object.keys(manifest.peerDependencies);
const requiredPeers = peers.filter((peer) => !manifest.peerDependenciesMeta[peer]?.optional);

let folder: string;
let tarball: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nestjs-messaging-package-'));
  run(root, '.ci/prepare.mjs', '--build=lib', '--commonjs');
  execFileSync('npm', ['pack', '--ignore-scripts', '--loglevel=error', '--pack-destination', folder], {
    cwd: root,
    stdio: 'pipe',
  });
  tarball = join(folder, `${manifest.name}-${manifest.version}.tgz`);
  execFileSync('tar', ['-xzf', tarball, '-C', folder]);
}, 60_000);

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Runs a script or a tool of this repository in Node and gives its output; its failure is the test's. */
function run(cwd: string, ...args: string[]): string {
  try {
    return execFileSync(process.execPath, args, { cwd, encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`node ${args.join(' ')} failed:\n${stdout}${stderr}`, { cause: error });
  }
}

function tool(path: string): string {
  return join(root, 'node_modules', path);
}

/** Creates a project of which nothing is installed but the packed files and the packages named. */
function createProject(name: string, packages: string[]): string {
  const project = join(folder, name);
  mkdirSync(join(project, 'node_modules'), { recursive: true });
  cpSync(join(folder, 'package'), join(project, 'node_modules', manifest.name), { recursive: true });
  for (const installed of packages) {
    const link = join(project, 'node_modules', installed);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(tool(installed), link, 'junction');
  }
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name, private: true, type: 'module' }));
  return project;
}

function entry(subpath: string): string {
  return join(manifest.name, subpath);
}

/** The names that a module exports when Node loads it in that project. */
function namesOf(project: string, code: string): string[] {
  return JSON.parse(
    run(project, '--input-type=module', '-e', `${code}; console.log(JSON.stringify(Object.keys(loaded)))`),
  ) as string[];
}

function importFrom(project: string, subpath: string): string[] {
  return namesOf(project, `const loaded = await import('${entry(subpath)}')`);
}

function packedFiles(): string[] {
  return readdirSync(join(folder, 'package'), { recursive: true, encoding: 'utf8' }).map((file) =>
    file.replaceAll('\\', '/'),
  );
}

function packedText(file: string): string {
  return readFileSync(join(folder, 'package', file), 'utf8');
}

/** What a document links to, outside of the web: a path, as the document gives it, and a heading. */
function linksIn(file: string): { readonly target: string; readonly heading: string | undefined }[] {
  return [...packedText(file).matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].map(([, path, heading]) => ({
    target: path === '' ? file : join(dirname(file), path!),
    heading,
  }));
}

/** What links within a document may lead to: its headings, as GitHub writes them in addresses. */
function anchorsOf(document: string): Set<string> {
  const withoutCode = document.replace(/^```.*?^```/gms, '');
  const headings = [...withoutCode.matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading!.toLowerCase());
  return new Set(headings.map((heading) => heading.replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-')));
}

describe('The packed files', () => {
  it('satisfy publint', () => {
    expect(run(root, tool('publint/src/cli.js'), 'run', tarball, '--strict')).toContain('All good!');
  });

  it('have types that resolve from ES modules, CommonJS and bundlers, by the old resolution of TypeScript too', () => {
    expect(() => run(root, tool('@arethetypeswrong/cli/dist/index.js'), tarball)).not.toThrow();
  });

  it('are the built library, its sources, its licence and its documents, and nothing else', () => {
    const foreign = packedFiles().filter(
      (file) =>
        !/^(dist|dist\/(lib|cjs|schematics)|lib|docs)(\/|$)|^(package\.json|README\.md|LICENSE|CHANGELOG\.md|SECURITY\.md)$/.test(
          file,
        ),
    );

    expect(foreign).toEqual([]);
    expect(packedFiles().filter((file) => /\.spec\.|tsconfig|tsbuildinfo/.test(file))).toEqual([]);
    expect(packedFiles()).toEqual(
      expect.arrayContaining(['LICENSE', 'README.md', 'dist/lib/index.js', 'dist/lib/index.d.ts']),
    );
  });

  it('hold every document, and every heading in it, that one of them links to', () => {
    const documents = packedFiles().filter((file) => file.endsWith('.md'));
    const dead = documents.flatMap((file) =>
      linksIn(file)
        .filter(({ target, heading }) => {
          if (!existsSync(join(folder, 'package', target))) return true;
          return heading !== undefined && !anchorsOf(packedText(target)).has(heading);
        })
        .map(({ target, heading }) => `${file}: ${target}#${heading ?? ''}`),
    );

    expect(documents).toContain(join('docs', 'redis.md'));
    expect(dead).toEqual([]);
  });

  it('hold no document that none of them links to', () => {
    const documents = packedFiles().filter((file) => file.endsWith('.md'));
    const linked = new Set(
      documents.flatMap((file) => linksIn(file).flatMap(({ target }) => (target === file ? [] : [target]))),
    );

    expect(documents.filter((file) => !linked.has(file))).toEqual(['CHANGELOG.md']);
  });

  it('hold every source that a source map or a declaration map leads to', () => {
    const maps = packedFiles().filter((file) => file.endsWith('.map'));
    const dangling = maps.filter((file) => {
      const path = join(folder, 'package', file);
      const { sources } = JSON.parse(readFileSync(path, 'utf8')) as { sources: string[] };
      return !sources.every((source) => existsSync(resolve(dirname(path), source)));
    });

    expect(maps).toContain('dist/lib/index.d.ts.map');
    expect(dangling).toEqual([]);
  });

  it('hold every Lua script beside the code that loads it', () => {
    const scripts = packedFiles().filter((file) => file.startsWith('dist/lib/') && file.endsWith('.lua'));
    const sources = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' }).filter((file) =>
      file.endsWith('.lua'),
    );

    expect(scripts.toSorted()).toEqual(sources.map((file) => `dist/lib/${file.replaceAll('\\', '/')}`).toSorted());
  });
});

describe('A project that installed the package', () => {
  it.each(Object.keys(manifest.exports).filter((subpath) => subpath !== './package.json'))('imports %s', (subpath) => {
    const project = createProject(`import-${subpath.replace(/\W/g, '')}`, [...dependencies, ...peers]);

    expect(importFrom(project, subpath)).not.toEqual([]);
  });

  it('needs no optional peer for anything but ./microservices', () => {
    const project = createProject('without-optional-peers', [...dependencies, ...requiredPeers]);

    expect(importFrom(project, '.')).toContain('MessagingModule');
    expect(importFrom(project, './testing')).not.toEqual([]);
  });

  it('needs no peer at all for ./client', () => {
    const project = createProject('client-alone', dependencies);

    expect(importFrom(project, './client')).not.toEqual([]);
  });

  it('gets the same classes with require() as with import', () => {
    const project = createProject('commonjs', [...dependencies, ...peers]);
    const load = `const require = (await import('node:module')).createRequire(import.meta.url)`;
    const same = `const loaded = (await import('nestjs-messaging')).MessagingModule === require('nestjs-messaging').MessagingModule ? { same: 1 } : {}`;

    expect(namesOf(project, `${load}; ${same}`)).toEqual(['same']);
  });

  it('compiles against the declarations of every entry, with their own mistakes shown', () => {
    const project = createProject('types', [...dependencies, ...peers, '@types/node']);
    const subpaths = Object.keys(manifest.exports).filter((subpath) => subpath !== './package.json');
    writeFileSync(
      join(project, 'consumer.ts'),
      subpaths.map((subpath, index) => `export * as entry${index} from '${entry(subpath)}';\n`).join(''),
    );

    const compiler = tool('typescript/bin/tsc');
    const options = [
      '--noEmit',
      '--strict',
      '--target',
      'es2022',
      '--module',
      'nodenext',
      '--types',
      'node',
      '--experimentalDecorators',
    ];
    const errors = declarationErrors(() => run(project, compiler, 'consumer.ts', ...options));

    expect(errors).toEqual([]);
  });

  it('runs the examples of its documents for node:test', () => {
    const project = createProject('node-test', [...dependencies, ...requiredPeers]);
    const blocks = [...packedText('docs/testing.md').matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code!);
    const [code] = blocks.filter((block) => block.includes("from 'node:test'"));
    writeFileSync(join(project, 'prices.test.mjs'), transformSync(code!, { loader: 'ts', target: 'es2022' }).code);
    expect(run(project, '--test', 'prices.test.mjs')).toMatch(
      /Prices older than a minute[^]*A transport never[^]*# fail 0/,
    );
  });

  it('compiles the shared code of the README as a new page of Vite does: nothing to erase but types, no types of Node', () => {
    const project = createProject('page', []);
    const [, shared] = /```ts\n(\/\/ In a file that server and page share[^]*?)```/.exec(packedText('README.md'))!;
    writeFileSync(join(project, 'shared.ts'), shared!);
    writeFileSync(
      join(project, 'main.ts'),
      `import { MessagingClient } from 'nestjs-messaging/client';
       import { RoomMessages } from './shared.ts';
       const client = new MessagingClient({ url: '/messages' });
       void client.subscribe(RoomMessages.for({ roomId: 42 }), ({ author, sentAt }) => document.write(author, String(sentAt.getHours())));`,
    );
    const compilerOptions = {
      ...{ noEmit: true, strict: true, target: 'es2023', lib: ['es2023', 'dom', 'esnext.disposable'], types: [] },
      ...{ module: 'esnext', moduleResolution: 'bundler', allowImportingTsExtensions: true, moduleDetection: 'force' },
      ...{ verbatimModuleSyntax: true, erasableSyntaxOnly: true, noUnusedLocals: true, skipLibCheck: false },
    };
    writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['main.ts'] }));
    expect(run(project, tool('typescript/bin/tsc'))).toBe('');
  });

  it('bundles ./client for the browser without a Node module, Nest or RxJS', async () => {
    const project = createProject('browser', dependencies);

    const { metafile, outputFiles } = await build({
      stdin: { contents: `export * from '${entry('./client')}'`, resolveDir: project },
      absWorkingDir: project,
      bundle: true,
      format: 'esm',
      platform: 'browser',
      metafile: true,
      write: false,
      logLevel: 'silent',
    });
    const inputs = Object.keys(metafile.inputs);

    expect(inputs).toContain('node_modules/nestjs-messaging/dist/lib/client/index.js');
    expect(inputs.filter((file) => /@nestjs|rxjs|reflect-metadata|ioredis/.test(file))).toEqual([]);
    expect(inputs.filter((file) => /\/lib\/(core|transport|sse|nest|testing)\//.test(file))).toEqual([]);
    expect(outputFiles[0]?.text).not.toMatch(/['"]node:|\brequire\(/);
  });

  it('takes no more of a page than it says it does, minified and compressed', async () => {
    const project = createProject('size', dependencies);
    const sizeOf = async (names: string) => {
      const { outputFiles } = await build({
        stdin: { contents: `export { ${names} } from '${entry('./client')}'`, resolveDir: project },
        absWorkingDir: project,
        bundle: true,
        minify: true,
        format: 'esm',
        target: 'es2022',
        platform: 'browser',
        write: false,
      });
      return gzipSync(outputFiles[0]!.contents, { level: 9 }).length;
    };

    // What docs/performance.md says, and a little: who adds to it shall notice.
    expect(await sizeOf('MessagingClient')).toBeLessThan(13_740);
    expect(await sizeOf('MessagingClient, shareAcrossTabs')).toBeLessThan(15_430);
    expect(await sizeOf('defineChannel, Serializable, Message')).toBeLessThan(2_990);
  });
});

describe('A CommonJS project as Nest 11 generates it', () => {
  const fixture = join(root, 'fixtures/nest-11');
  let project: string;

  beforeAll(() => {
    project = join(folder, 'nest-11');
    cpSync(join(fixture, 'src'), join(project, 'src'), { recursive: true });
    for (const file of ['package.json', 'tsconfig.json']) cpSync(join(fixture, file), join(project, file));
    mkdirSync(join(project, 'node_modules'));
    for (const installed of readdirSync(join(fixture, 'node_modules'))) {
      if (installed.startsWith('.')) continue;
      symlinkSync(join(fixture, 'node_modules', installed), join(project, 'node_modules', installed), 'junction');
    }
    cpSync(join(folder, 'package'), join(project, 'node_modules', manifest.name), { recursive: true });
  });

  it('passes its tests in Jest, whose CommonJS loads no ES module', () => {
    expect(() => run(project, join(fixture, 'node_modules/jest/bin/jest.js'))).not.toThrow();
  });

  it.each([
    ['nodenext', 'nodenext'],
    ['commonjs', 'node10'],
  ])('compiles with module %s and moduleResolution %s', (module, resolution) => {
    const options = [
      '--module',
      module,
      '--moduleResolution',
      resolution,
      '--resolvePackageJsonExports',
      String(resolution !== 'node10'),
    ];
    expect(
      run(project, join(fixture, 'node_modules/typescript/bin/tsc'), '--noEmit', '--incremental', 'false', ...options),
    ).toBe('');
  });

  it('has one copy of the library, by require() and by import', () => {
    const code = `const { MessagingModule } = require('nestjs-messaging'); import('nestjs-messaging').then((again) => console.log(again.MessagingModule === MessagingModule))`;
    expect(run(project, '-e', code)).toBe('true\n');
  });
});

/** The compiler's complaints about our declarations; what it says about those of other packages is not our concern. */
function declarationErrors(compile: () => string): string[] {
  try {
    compile();
    return [];
  } catch (error) {
    const lines = String(error)
      .split('\n')
      .filter((line) => /error TS\d+/.test(line));
    return lines.filter((line) => /^(consumer\.ts|node_modules\/nestjs-messaging\/)|^error /.test(line));
  }
}
