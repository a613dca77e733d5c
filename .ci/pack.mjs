// Makes the two packages that are published, in dist/packages or the folder that it is given, and a tarball of each:
//
//   nestjs-messaging-client    lib/client and lib/protocol, without dependencies
//   nestjs-messaging           everything else; takes these two layers from exactly this version of the first, so that a class
//                              exists once in a process, whichever package code imports it from
//
// Publish them in this order, which is also the order of the output. package.json of both comes from the one of this repository.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))));

const CLIENT = 'nestjs-messaging-client';
const LAYERS = ['client', 'protocol'];
const FORMS = ['dist/lib', 'dist/cjs'];
const OUT = process.argv[2] ?? 'dist/packages';
if (OUT.startsWith('-')) throw new Error(`pack takes a folder for its output, no option such as ${OUT}`);

// What is for work on this repository only.
const OWN = new Set(['private', 'scripts', 'devDependencies', 'prettier', 'jest', 'knip', 'typedocOptions']);
const manifest = Object.fromEntries(Object.entries(readJson('package.json')).filter(([key]) => !OWN.has(key)));

execFileSync(process.execPath, ['.ci/prepare.mjs', '--build=lib', '--commonjs'], { stdio: ['ignore', 2, 2] });
rmSync(OUT, { recursive: true, force: true });
const folders = [makeClient(), makeServer()];
const packArgs = ['pack', '--ignore-scripts', '--loglevel=error', `--pack-destination=${OUT}`];
const npm = process.env['npm_execpath'];
const [command, first] = npm ? [process.execPath, [npm]] : ['npm', []];
execFileSync(command, [...first, ...packArgs, ...folders.map((folder) => resolve(folder))], {
  stdio: ['ignore', 1, 2],
});

function makeClient() {
  const { name, version, license, type, author, homepage, repository, bugs, engines, sideEffects } = manifest;
  const folder = join(OUT, CLIENT);
  for (const layer of LAYERS) copy(folder, ...[...FORMS, 'lib'].map((form) => `${form}/${layer}`));
  copy(folder, 'dist/cjs/package.json', 'LICENSE');
  cpSync('lib/client/README.md', join(folder, 'README.md'));
  writeJson(join(folder, 'package.json'), {
    name: CLIENT,
    version,
    description: `The client of ${name} for pages and other programs, and the code that they share with the server. Without Nest.`,
    ...{ license, author, homepage, repository, bugs, type, keywords: [...manifest.keywords, 'client'], engines },
    files: ['dist', 'lib/**/*.ts'],
    main: './dist/cjs/client/index.js',
    types: './dist/cjs/client/index.d.ts',
    typesVersions: { '*': { 'internal/*': ['./dist/cjs/*'] } },
    exports: {
      '.': manifest.exports['./client'],
      './internal/*.js': eachForm('*'),
      './package.json': './package.json',
    },
    sideEffects,
  });
  return folder;
}

function makeServer() {
  const folder = join(OUT, manifest.name);
  copy(folder, ...manifest.files.map((path) => path.split('/**')[0]), 'README.md', 'LICENSE');
  for (const layer of LAYERS) {
    rmSync(join(folder, 'lib', layer), { recursive: true });
    for (const form of FORMS) takeFromClient(join(folder, form), layer);
  }
  const dependencies = { ...manifest.dependencies, [CLIENT]: manifest.version };
  writeJson(join(folder, 'package.json'), { ...manifest, dependencies });
  return folder;
}

/** Puts one line in the place of each file of a layer: the file of the same name in the client's package. */
function takeFromClient(form, layer) {
  for (const entry of readdirSync(join(form, layer), { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    if (!entry.isFile()) continue;
    const [, path, ending, map] = /^(.*?)(\.js|\.d\.ts)(\.map)?$/.exec(
      file.slice(form.length + 1).replaceAll('\\', '/'),
    );
    const source = `'${CLIENT}/internal/${path}.js'`;
    if (map) rmSync(file);
    else if (ending === '.js' && form.endsWith('cjs')) writeFileSync(file, `module.exports = require(${source});\n`);
    else writeFileSync(file, `export * from ${source};\n`);
  }
}

/** The conditions of an entry, as those of package.json are. */
function eachForm(path) {
  const [esm, cjs] = FORMS.map((form) => ({ types: `./${form}/${path}.d.ts`, default: `./${form}/${path}.js` }));
  return { 'module-sync': esm, require: cjs, default: esm };
}

function copy(folder, ...paths) {
  for (const path of paths) cpSync(path, join(folder, path), { recursive: true });
}

function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}

function writeJson(path, value) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}
