import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { build, transformSync } from 'esbuild';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import { PackedPackage, PackedPair, REPOSITORY as root, run, tool, type Manifest } from '../support/packed-pair.js';

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Required<Manifest>;
const peers = Object.keys(manifest.peerDependencies);
const requiredPeers = peers.filter((peer) => !manifest.peerDependenciesMeta[peer]?.optional);

let pair: PackedPair;

beforeAll(() => {
  pair = new PackedPair();
}, 60_000);

afterAll(() => pair[Symbol.dispose]());

/** Creates a project that has both packages, and links to others. */
function createProject(name: string, packages: string[]): string {
  return pair.createProject(name, [pair.client, pair.server], packages);
}

function entry(subpath: string): string {
  return join(manifest.name, subpath);
}

/** The exports of a module when Node loads it in that project. */
function namesOf(project: string, code: string): string[] {
  return JSON.parse(
    run(project, '--input-type=module', '-e', `${code}; console.log(JSON.stringify(Object.keys(loaded)))`),
  ) as string[];
}

function importFrom(project: string, subpath: string): string[] {
  return namesOf(project, `const loaded = await import('${entry(subpath)}')`);
}

/** The links of a server document, except those to the web: a path, as in the document, and a heading. */
function linksIn(file: string): { readonly target: string; readonly heading: string | undefined }[] {
  return [...pair.server.text(file).matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].map(
    ([, path, heading]) => ({
      target: path === '' ? file : join(dirname(file), path!),
      heading,
    }),
  );
}

/** The targets of links within a document: its headings, in GitHub's form for addresses. */
function anchorsOf(document: string): Set<string> {
  const withoutCode = document.replace(/^```.*?^```/gms, '');
  const headings = [...withoutCode.matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading!.toLowerCase());
  return new Set(headings.map((heading) => heading.replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-')));
}

describe.each(['client', 'server'] as const)('The packed files of the %s', (which) => {
  let packed: PackedPackage;
  beforeAll(() => {
    packed = pair[which];
  });

  it('satisfy publint', () => {
    expect(run(root, tool('publint/src/cli.js'), 'run', packed.tarball, '--strict')).toContain('All good!');
  });

  it('have types that resolve from ES modules, CommonJS and bundlers, even by the old resolution of TypeScript', () => {
    expect(() => run(root, tool('@arethetypeswrong/cli/dist/index.js'), packed.tarball)).not.toThrow();
  });

  it('are the built library, its sources, its licence and its documents, and nothing else', () => {
    const documents = which === 'client' ? 'README.md' : 'docs(/.*)?|README.md|CHANGELOG.md|SECURITY.md';
    const known = new RegExp(`^(dist|dist/(lib|cjs|schematics)(/.*)?|lib(/.*)?|package.json|LICENSE|${documents})$`);

    expect(packed.files().filter((file) => !known.test(file))).toEqual([]);
    expect(packed.files().filter((file) => /\.spec\.|tsconfig|tsbuildinfo/.test(file))).toEqual([]);
    expect(packed.files()).toEqual(
      expect.arrayContaining(['LICENSE', 'README.md', 'dist/lib/client/index.js', 'dist/cjs/client/index.d.ts']),
    );
  });

  it('contain every source that a source map or a declaration map names', () => {
    const maps = packed.files().filter((file) => file.endsWith('.map'));
    const dangling = maps.filter((file) => {
      const path = join(packed.folder, file);
      const { sources } = JSON.parse(readFileSync(path, 'utf8')) as { sources: string[] };
      return !sources.every((source) => existsSync(resolve(dirname(path), source)));
    });

    expect(maps).toContain(which === 'client' ? 'dist/lib/client/index.d.ts.map' : 'dist/lib/index.d.ts.map');
    expect(dangling).toEqual([]);
  });
});

describe('The documents of the server', () => {
  it('contain every document and heading that one of them links to', () => {
    const documents = pair.server.files().filter((file) => file.endsWith('.md'));
    const dead = documents.flatMap((file) =>
      linksIn(file)
        .filter(({ target, heading }) => {
          if (!existsSync(join(pair.server.folder, target))) return true;
          return heading !== undefined && !anchorsOf(pair.server.text(target)).has(heading);
        })
        .map(({ target, heading }) => `${file}: ${target}#${heading ?? ''}`),
    );

    expect(documents).toContain('docs/redis.md');
    expect(dead).toEqual([]);
  });

  it('contain no document without a link to it', () => {
    const documents = pair.server.files().filter((file) => file.endsWith('.md'));
    const linked = new Set(
      documents.flatMap((file) => linksIn(file).flatMap(({ target }) => (target === file ? [] : [target]))),
    );

    expect(documents.filter((file) => !linked.has(file))).toEqual(['CHANGELOG.md']);
  });
});

describe('A project that installed the package', () => {
  it.each(Object.keys(manifest.exports).filter((subpath) => subpath !== './package.json'))('imports %s', (subpath) => {
    const project = createProject(`import-${subpath.replace(/\W/g, '')}`, peers);

    expect(importFrom(project, subpath)).not.toEqual([]);
  });

  it('needs no optional peer for anything but ./microservices', () => {
    const project = createProject('without-optional-peers', [...requiredPeers]);

    expect(importFrom(project, '.')).toContain('MessagingModule');
    expect(importFrom(project, './testing')).not.toEqual([]);
  });

  it('needs no peer at all for ./client', () => {
    const project = createProject('client-alone', []);

    expect(importFrom(project, './client')).not.toEqual([]);
  });

  it('gets the same classes with require() as with import, and from either package', () => {
    const project = createProject('commonjs', peers);
    const load = `const require = (await import('node:module')).createRequire(import.meta.url)`;
    const compare = `
      const [server, client] = [await import('nestjs-messaging'), await import('nestjs-messaging-client')];
      const loaded = {
        ...(server.MessagingModule === require('nestjs-messaging').MessagingModule && { sameModule: 1 }),
        ...(server.Channel === client.Channel && { sameChannel: 1 }),
        ...(client.MessagingClient === require('nestjs-messaging/client').MessagingClient && { sameClient: 1 }),
      }`;

    expect(namesOf(project, `${load}; ${compare}`)).toEqual(['sameModule', 'sameChannel', 'sameClient']);
  });

  it('runs the examples of its documents for node:test', () => {
    const project = createProject('node-test', requiredPeers);
    const blocks = [...pair.server.text('docs/testing.md').matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code!);
    const [code] = blocks.filter((block) => block.includes("from 'node:test'"));
    writeFileSync(join(project, 'prices.test.mjs'), transformSync(code!, { loader: 'ts', target: 'es2022' }).code);
    expect(run(project, '--test', 'prices.test.mjs')).toMatch(
      /Prices older than a minute[^]*A transport never[^]*# fail 0/,
    );
  });

  it('compiles the shared code of the README as a new page of Vite does, with the client alone, erasable syntax and no types of Node', () => {
    const project = pair.createProject('page', [pair.client]);
    const [, shared] = /```ts\n(\/\/ In a file that server and page share[^]*?)```/.exec(
      pair.server.text('README.md'),
    )!;
    writeFileSync(join(project, 'shared.ts'), shared!.replace('nestjs-messaging/client', 'nestjs-messaging-client'));
    writeFileSync(
      join(project, 'main.ts'),
      `import { MessagingClient } from 'nestjs-messaging-client';
       import { RoomMessages } from './shared.ts';
       const client = new MessagingClient({ url: '/messages' });
       void client.subscribe(RoomMessages.for({ roomId: 42 }), ({ author, sentAt }) => document.write(author, String(sentAt.getHours())));`,
    );
    const compilerOptions = {
      ...{ noEmit: true, strict: true, target: 'es2023', lib: ['es2023', 'dom'], types: [] },
      ...{ module: 'esnext', moduleResolution: 'bundler', allowImportingTsExtensions: true, moduleDetection: 'force' },
      ...{ verbatimModuleSyntax: true, erasableSyntaxOnly: true, noUnusedLocals: true, skipLibCheck: false },
    };
    writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['main.ts'] }));
    expect(run(project, tool('typescript/bin/tsc'))).toBe('');
  });

  it('bundles ./client for the browser without a Node module, Nest or RxJS', async () => {
    const project = createProject('browser', []);

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

    expect(inputs).toContain('node_modules/nestjs-messaging-client/dist/lib/client/index.js');
    expect(inputs.filter((file) => /@nestjs|rxjs|reflect-metadata|ioredis/.test(file))).toEqual([]);
    expect(inputs.filter((file) => /\/lib\/(core|transport|sse|nest|testing)\//.test(file))).toEqual([]);
    expect(outputFiles[0]?.text).not.toMatch(/['"]node:|\brequire\(/);
  });

  it('is no larger in a page than the README states, minified and compressed', async () => {
    const project = createProject('size', []);
    const sizeFrom = async (from: string, names: string) => {
      const { outputFiles } = await build({
        stdin: { contents: `export { ${names} } from '${from}'`, resolveDir: project },
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
    const sizeOf = async (names: string) => {
      const size = await sizeFrom('nestjs-messaging-client', names);
      expect(await sizeFrom('nestjs-messaging/client', names)).toBe(size);
      return size;
    };

    // The figure of docs/performance.md, and a little more, so that a larger package does not go unnoticed.
    expect(await sizeOf('MessagingClient')).toBeLessThan(12_000);
    expect(await sizeOf('MessagingClient, shareAcrossTabs')).toBeLessThan(13_775);
    expect(await sizeOf('defineChannel, Serializable, Message')).toBeLessThan(3_483);
  });
});

describe('A CommonJS project as Nest 11 generates it', () => {
  const fixture = join(root, 'fixtures/nest-11');
  let project: string;

  beforeAll(() => {
    project = join(pair.folder, 'nest-11');
    cpSync(join(fixture, 'src'), join(project, 'src'), { recursive: true });
    for (const file of ['package.json', 'tsconfig.json']) cpSync(join(fixture, file), join(project, file));
    mkdirSync(join(project, 'node_modules'));
    for (const installed of readdirSync(join(fixture, 'node_modules'))) {
      if (installed.startsWith('.')) continue;
      symlinkSync(join(fixture, 'node_modules', installed), join(project, 'node_modules', installed), 'junction');
    }
    for (const packed of [pair.client, pair.server]) packed.copyTo(project);
  });

  it('passes its tests in Jest, which loads no ES modules from CommonJS', () => {
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

describe('The repository', () => {
  it('packs itself for trials as one package that needs no other', () => {
    run(root, '.ci/prepare.mjs', '--build=lib', '--commonjs');
    const args = ['pack', '--ignore-scripts', '--loglevel=error', '--pack-destination', pair.folder];
    const [tarball] = execFileSync('npm', args, { cwd: root, encoding: 'utf8', stdio: 'pipe' }).trim().split('\n');
    const packed = new PackedPackage(join(pair.folder, tarball!), join(pair.folder, 'packed-whole'));
    const project = pair.createProject('whole', [packed], requiredPeers);

    expect(packed.manifest.dependencies).toBeUndefined();
    expect(importFrom(project, '.')).toContain('MessagingModule');
    expect(importFrom(project, './client')).toContain('MessagingClient');
  });
});
