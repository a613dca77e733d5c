import { NoOperationTraceWriter, convertWorkflowTemplate, parseWorkflow } from '@actions/workflow-parser';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { Queue } from '../support/queue.js';

// The library's surroundings: workflows, issue templates, and the commands that pages name.

const ROOT = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8');
const filesIn = (folder: string, ending: string): string[] =>
  readdirSync(new URL(folder, ROOT), { encoding: 'utf8' })
    .filter((file) => file.endsWith(ending))
    .map((file) => `${folder}/${file}`);

interface Manifest {
  readonly engines: { readonly node: string };
  readonly scripts: Record<string, string>;
  readonly peerDependencies: Record<string, string>;
}

/** A field of an issue form. */
interface Field {
  readonly type: string;
  readonly id?: unknown;
  readonly attributes: { readonly label?: unknown };
}

type Combination = Record<'node' | 'nest' | 'http' | 'ioredis' | 'redis', string>;

interface Matrix {
  readonly nest: Record<string, Record<string, string>>;
  readonly ioredis: Record<string, string>;
  readonly lowest: Record<string, string>;
  readonly redis: Record<string, object>;
  readonly combinations: readonly Combination[];
}

const manifest = JSON.parse(read('package.json')) as Manifest;
const matrix = JSON.parse(read('.ci/matrix.json')) as Matrix;
const WORKFLOWS = filesIn('.github/workflows', '.yml');

describe('The workflows', () => {
  test.each(WORKFLOWS)('in %s are valid', async (path) => {
    const { context, value } = parseWorkflow({ name: path, content: read(path) }, new NoOperationTraceWriter());
    expect(context.errors.getErrors().map(String)).toEqual([]);
    const { jobs } = await convertWorkflowTemplate(context, value!);
    expect(context.errors.getErrors().map(String)).toEqual([]);
    expect(jobs.length).toBeGreaterThan(0);
  });
});

describe('The commands in the documents', () => {
  // Of the reader's application.
  const OTHERS = new Set(['dev', 'start:dev', 'start:prod']);

  test.each([
    ...['README.md', 'CONTRIBUTING.md', '.changeset/README.md', '.github/pull_request_template.md'],
    ...[
      ...WORKFLOWS,
      ...filesIn('.github/ISSUE_TEMPLATE', '.yml'),
      ...filesIn('docs', '.md'),
      ...filesIn('docs/decisions', '.md'),
    ],
  ])('in %s exist', (path) => {
    const text = read(path);
    const scripts = [...text.matchAll(/\bnpm run (?:--silent )?([\w:-]+)/g)].map(([, script]) => script!);
    expect(scripts.filter((script) => manifest.scripts[script] === undefined && !OTHERS.has(script))).toEqual([]);
    const programs = [...text.matchAll(/\b(?:node|bash) (\.ci\/[\w./-]+)/g)].map(([, program]) => program!);
    expect(programs.filter((program) => !existsSync(new URL(program, ROOT)))).toEqual([]);
  });
});

describe('The templates of issues', () => {
  const KINDS = ['markdown', 'input', 'textarea', 'dropdown', 'checkboxes'];

  test.each(filesIn('.github/ISSUE_TEMPLATE', '.yml').filter((path) => !path.endsWith('config.yml')))(
    'in %s are forms that GitHub accepts',
    (path) => {
      const form = parse(read(path)) as { name: unknown; description: unknown; body: Field[] };
      expect(form).toMatchObject({ name: expect.any(String), description: expect.any(String) });
      const fields = form.body.filter(({ type }) => type !== 'markdown');
      expect(form.body.filter(({ type }) => !KINDS.includes(type))).toEqual([]);
      expect(fields.filter(({ attributes }) => typeof attributes.label !== 'string')).toEqual([]);
      const ids = fields.map(({ id }) => id);
      expect(ids).toEqual([...new Set(ids)].filter((id) => typeof id === 'string'));
    },
  );
});

const rangesOf = (range: string) => range.split(' || ');

describe('The combinations of `npm run matrix`', () => {
  const { combinations, lowest } = matrix;
  const latest = combinations.filter(({ nest }) => nest !== 'lowest');
  const values = (name: keyof Combination) => [...new Set(latest.map((combination) => combination[name]))];

  test('contain each pair of versions at least once', () => {
    const names = ['node', 'nest', 'http', 'ioredis', 'redis'] as const;
    const missing = names.flatMap((one, index) =>
      names.slice(index + 1).flatMap((other) =>
        values(one).flatMap((a) =>
          values(other)
            .filter((b) => !latest.some((combination) => combination[one] === a && combination[other] === b))
            .map((b) => `${one} ${a} with ${other} ${b}`),
        ),
      ),
    );
    expect(missing).toEqual([]);
    expect(values('redis').toSorted()).toEqual(Object.keys(matrix.redis).toSorted());
    expect(values('nest').toSorted()).toEqual(Object.keys(matrix.nest).toSorted());
    expect(values('ioredis').toSorted()).toEqual(Object.keys(matrix.ioredis).toSorted());
  });

  test('match package.json, from the lowest versions on', () => {
    const peers = Object.entries(manifest.peerDependencies);
    expect(peers.filter(([name, range]) => rangesOf(range)[0] !== `^${lowest[name]}`)).toEqual([]);
    const ofNest = peers.filter(([name]) => name.startsWith('@nestjs/'));
    const tested = ofNest.map(([name]) => [name, Object.values(matrix.nest).map((versions) => versions[name])]);
    expect(ofNest.map(([name, range]) => [name, rangesOf(range)])).toEqual(tested);
    expect(rangesOf(manifest.peerDependencies['ioredis']!)).toEqual(Object.values(matrix.ioredis));
    const [oldest] = combinations.filter(({ nest }) => nest === 'lowest');
    expect(`${manifest.engines.node}.0`).toBe(`>=${oldest!.node}`);
  });
});

describe('The build', () => {
  // A repository with a builder that fails if another one is at work, and works until the file `done` is there.
  const BUILDER = `
    import { appendFileSync, existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
    mkdirSync('at-work');
    appendFileSync('builds', 'one ');
    while (!existsSync('done')) {
      if (!existsSync('lib')) process.exit(1); // The test has ended.
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    mkdirSync('dist/lib', { recursive: true });
    writeFileSync('dist/lib/index.js', '');
    rmdirSync('at-work');`;
  let folder: string;

  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'nestjs-messaging-build-'));
    cpSync(fileURLToPath(new URL('.ci/prepare.mjs', ROOT)), join(folder, '.ci/prepare.mjs'));
    for (const path of ['package-lock.json', 'node_modules/.package-lock.json']) write(path, '{ "packages": {} }');
    write('node_modules/@nestjs/cli/package.json', '{ "type": "module" }');
    write('node_modules/@nestjs/cli/bin/nest.js', BUILDER);
    write('lib/index.ts', '');
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const prepare = (said = new Queue<string>()) => {
    const child = spawn(process.execPath, ['.ci/prepare.mjs', '--build=lib'], { cwd: folder });
    createInterface(child.stdout).on('line', said.push);
    return once(child, 'exit');
  };

  test('is made once if two suites need it at the same time: the second one waits for the first', async () => {
    const said = new Queue<string>();
    const ends = [prepare(said), prepare(said)];
    expect((await said.take(2)).toSorted()).toEqual([
      expect.stringMatching(/^Another process builds\. If none does, delete dist.\.lock\.$/),
      'Building lib ...',
    ]);
    write('done', '');
    expect(await Promise.all(ends)).toEqual([
      [0, null],
      [0, null],
    ]);
    expect(readFileSync(join(folder, 'builds'), 'utf8')).toBe('one ');
    expect(existsSync(join(folder, 'dist/.lock'))).toBe(false);
  });

  test('does not wait for a process that was killed while it built', async () => {
    const { pid } = spawnSync(process.execPath, ['-e', '']);
    write('dist/.lock', String(pid));
    write('done', '');
    expect(await prepare()).toEqual([0, null]);
    expect(existsSync(join(folder, 'dist/lib/index.js'))).toBe(true);
  });
});
