import { describe, expect, it } from '@jest/globals';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { basename, dirname, join, normalize } from 'node:path/posix';
import { URL, fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What each layer of lib/ may import: other layers, and packages (`node:*` and `@nestjs/*` stand for all of a kind). */
const LAYERS: Record<string, { layers: string[]; packages: string[] }> = {
  protocol: { layers: [], packages: [] },
  core: { layers: ['protocol'], packages: ['rxjs', 'node:*'] },
  transport: { layers: ['protocol', 'core'], packages: ['rxjs', 'ioredis', 'node:*'] },
  sse: { layers: ['protocol', 'core'], packages: ['rxjs', 'node:*', 'http'] },
  gateway: { layers: ['protocol', 'core', 'sse'], packages: ['rxjs', 'node:*'] },
  nest: {
    layers: ['protocol', 'core', 'transport', 'sse', 'gateway'],
    packages: [
      'rxjs',
      'ioredis',
      'reflect-metadata',
      'class-transformer',
      'class-validator',
      '@nestjs/*',
      'node:*',
      'http',
    ],
  },
  client: { layers: ['protocol'], packages: [] },
  testing: {
    layers: ['protocol', 'core', 'transport', 'client', 'nest'],
    packages: ['rxjs', '@nestjs/*', 'node:*', 'http'],
  },
  index: { layers: ['protocol', 'core', 'transport', 'sse', 'gateway', 'nest'], packages: [] },
};

const HTTP = /^(node:)?(http|https|http2)$|^(express|fastify|@types\/express)(\/|$)|^@nestjs\/platform-/;

const WORDS = '[a-z0-9]+(-[a-z0-9]+)*';
const KEBAB_CASE = new RegExp(`^lib/(${WORDS}/)*${WORDS}\\.ts$|^lib/nest/(${WORDS}/)*${WORDS}\\.[a-z]+\\.ts$`);

interface ImportStatement {
  file: string;
  layer: string;
  specifier: string;
}

function sourceFiles(): string[] {
  const entries = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' });
  return entries.map((entry) => `lib/${entry.replaceAll('\\', '/')}`).filter((file) => file.endsWith('.ts'));
}

function read(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}

function readJson(file: string): unknown {
  return JSON.parse(read(file));
}

/** `lib/core/hub.ts` is in `core`, `lib/index.ts` is a layer of its own. */
function layerOf(file: string): string {
  return file.split('/')[1]?.replace(/\.ts$/, '') ?? '';
}

/** All imports in lib: static, dynamic, type-only, and re-exports. */
function imports(): ImportStatement[] {
  return sourceFiles().flatMap((file) => {
    const { importedFiles } = ts.preProcessFile(read(file), true, true);
    return importedFiles.map(({ fileName }) => ({ file, layer: layerOf(file), specifier: fileName }));
  });
}

function isAllowed({ file, layer, specifier }: ImportStatement): boolean {
  const allowed = LAYERS[layer];
  if (!allowed) return false;
  if (specifier.startsWith('.')) {
    const target = layerOf(normalize(join(dirname(file), specifier)));
    return target === layer || allowed.layers.includes(target);
  }
  return allowed.packages.includes(kindOf(specifier));
}

function kindOf(specifier: string): string {
  if (HTTP.test(specifier)) return 'http';
  if (isBuiltin(specifier)) return 'node:*';
  if (specifier.startsWith('@nestjs/')) return '@nestjs/*';
  return specifier.split('/')[0] ?? specifier;
}

describe('The layers of lib/', () => {
  it('are all named in the import rule, and no file lies outside them', () => {
    const unknown = sourceFiles().filter((file) => !LAYERS[layerOf(file)]);

    expect(sourceFiles()).not.toEqual([]);
    expect(unknown).toEqual([]);
  });

  it('import one way only: protocol <- core <- { transport, sse } <- gateway <- nest, gateway without transport, client -> protocol, testing -> { nest, client }', () => {
    const refused = imports()
      .filter((statement) => !isAllowed(statement))
      .map(({ file, specifier }) => `${file} imports ${specifier}`);

    expect(refused).toEqual([]);
  });

  it.each([
    ['lib/protocol/codec.ts', 'node:crypto'],
    ['lib/protocol/codec.ts', 'rxjs'],
    ['lib/protocol/codec.ts', '../core/hub.js'],
    ['lib/core/hub.ts', '@nestjs/common'],
    ['lib/core/hub.ts', 'ioredis'],
    ['lib/core/hub.ts', 'node:http'],
    ['lib/core/hub.ts', '../transport/memory.js'],
    ['lib/transport/redis.ts', 'http2'],
    ['lib/transport/redis.ts', '../sse/frame.js'],
    ['lib/sse/connection.ts', '@nestjs/common'],
    ['lib/sse/connection.ts', '../nest/module.js'],
    ['lib/sse/connection.ts', '../gateway/gateway.js'],
    ['lib/gateway/gateway.ts', '@nestjs/common'],
    ['lib/gateway/gateway.ts', 'node:http'],
    ['lib/gateway/gateway.ts', '../transport/redis.js'],
    ['lib/gateway/gateway.ts', '../nest/module.js'],
    ['lib/client/client.ts', '../core/hub.js'],
    ['lib/client/client.ts', 'node:timers'],
    ['lib/testing/harness.ts', '../gateway/gateway.js'],
    ['lib/nest/module.ts', '../testing/index.js'],
    ['lib/nest/module.ts', '../client/index.js'],
    ['lib/index.ts', './testing/index.js'],
    ['lib/nest/module.ts', '../index.js'],
    ['lib/utils/things.ts', './more.js'],
  ])('would be broken by %s importing %s', (file, specifier) => {
    expect(isAllowed({ file, layer: layerOf(file), specifier })).toBe(false);
  });

  it('have no files that import each other in a circle', () => {
    const edges = imports()
      .filter(({ specifier }) => specifier.startsWith('.'))
      .map(({ file, specifier }) => [file, normalize(join(dirname(file), specifier)).replace(/\.js$/, '.ts')] as const);
    // A file that imports none of the rest, or that none of the rest imports, is in no cycle.
    let circles = edges;
    for (let count = -1; count !== circles.length;) {
      count = circles.length;
      const importing = new Set(circles.map(([file]) => file));
      const imported = new Set(circles.map(([, other]) => other));
      circles = circles.filter(([file, other]) => imported.has(file) && importing.has(other));
    }

    expect(circles.map(([file, other]) => `${file} imports ${other}`)).toEqual([]);
  });

  it('leave the HTTP types to sse/, nest/ and testing/', () => {
    const touching = imports().filter(({ specifier }) => HTTP.test(specifier));

    expect(
      [...new Set(touching.map(({ layer }) => layer))].filter((layer) => !['sse', 'nest', 'testing'].includes(layer)),
    ).toEqual([]);
  });
});

describe('A file of lib/', () => {
  it('has at most 400 lines', () => {
    const long = sourceFiles().filter((file) => read(file).trimEnd().split('\n').length > 400);

    expect(long).toEqual([]);
  });

  it('has a kebab-case name, like its folders, and in nest/ the suffix that Nest uses for its kind', () => {
    const misnamed = sourceFiles().filter((file) => !KEBAB_CASE.test(file));

    expect(misnamed).toEqual([]);
  });

  it('is not a catch-all', () => {
    const vague = sourceFiles().filter((file) =>
      /(^|-)(util|utils|helper|helpers|common|misc|manager)$/.test(basename(file, '.ts')),
    );

    expect(vague).toEqual([]);
  });
});

interface Manifest {
  exports: Record<string, string | Record<'module-sync' | 'require' | 'default', { types: string; default: string }>>;
  jest: { moduleNameMapper: Record<string, string | string[]> };
}

/** `./dist/lib/index.js` comes from `lib/index.ts`. */
function sourceOf(built: string): string {
  return built.replace('./dist/', '').replace(/\.js$/, '.ts');
}

describe('An entry of the package', () => {
  const manifest = readJson('package.json') as Manifest;
  const entries = Object.entries(manifest.exports).flatMap(([entry, target]) =>
    typeof target === 'string'
      ? []
      : [{ name: `nestjs-messaging${entry.slice(1)}`, target, source: sourceOf(target.default.default) }],
  );

  it.each(entries)('exists as a source: $name', ({ source, target }) => {
    expect(existsSync(join(root, source))).toBe(true);
    expect(target['module-sync']).toEqual(target.default);
    expect(sourceOf(target.require.default.replace('/cjs/', '/lib/'))).toBe(source);
    for (const { types, default: built } of Object.values(target)) {
      expect(types).toBe(built.replace(/\.js$/, '.d.ts'));
    }
  });

  it.each(entries)('means the same source to TypeScript and to Jest: $name', ({ name, source }) => {
    const config = ts.getParsedCommandLineOfConfigFile(
      join(root, 'tsconfig.json'),
      {},
      { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => {} },
    );
    const resolved = ts.resolveModuleName(
      name,
      join(root, 'test/unit/any.spec.ts'),
      config?.options ?? {},
      ts.sys,
      undefined,
      undefined,
      ts.ModuleKind.ESNext,
    );
    const [pattern, target] = Object.entries(manifest.jest.moduleNameMapper).find(([regExp]) =>
      new RegExp(regExp).test(name),
    ) ?? ['', ''];

    expect(resolved.resolvedModule?.resolvedFileName).toBe(join(root, source));
    expect(name.replace(new RegExp(pattern), String(target))).toBe(`<rootDir>/${source}`);
  });
});
