// Runs a selection of the tests with the versions that the library supports, one combination of .ci/matrix.json after another.
//
//   npm run matrix                 all combinations
//   npm run matrix -- node-24      those with this word in their names
//   npm run matrix -- --only NAME  this one, as its name says; a Redis of another version does not do
//   npm run matrix -- --list       the combinations as JSON, for a workflow
//
// Node and packages come from npm, each set of packages into a folder of its own in dist/matrix. Redis servers are those on PATH and
// those of MATRIX_REDIS, a list of programs in the form of PATH. Plain Node, since it runs before anything is installed.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const work = join(root, 'dist', 'matrix');
const matrix = readJson(join(root, '.ci', 'matrix.json'));

/** What a folder needs to build lib and to run the tests. */
const SOURCES = ['.ci', '.npmrc', 'docs', 'lib', 'nest-cli.json', 'sample-app', 'test', 'tsconfig.json'];
/** What no test of the selection uses. */
const NOT_NEEDED =
  /^(@actions|@angular|@arethetypeswrong|@changesets|@nats-io|@socket\.io|autocannon|knip|oxlint|playwright|prettier|publint|react|socket|vue)/;

const [option, value] = process.argv.slice(2);
const named = matrix.combinations.map((combination) => ({ name: nameOf(combination), ...combination }));
if (option === '--list') console.log(JSON.stringify(named.map((one) => ({ ...one, server: matrix.redis[one.redis] }))));
else if (option === '--only')
  runAll(
    named.filter(({ name }) => name === value),
    true,
  );
else
  runAll(
    named.filter(({ name }) => name.includes(option ?? '')),
    false,
  );

function nameOf({ node, nest, http, ioredis, redis }) {
  return `node-${node} nest-${nest} ${http.toLowerCase()} ioredis-${ioredis} ${redis}`.replaceAll(' ', '_');
}

/** Runs combinations, prints their results as a table, and ends with 1 if one failed or, if `isExact`, could not be run as it is. */
function runAll(wanted, isExact) {
  if (wanted.length === 0)
    give(`No combination has this name. The names are:\n${named.map(({ name }) => name).join('\n')}`);
  const servers = redisServers();
  if (servers.size === 0) give('There is no redis-server and no valkey-server, on PATH or in MATRIX_REDIS.');
  const { status } = spawnSync(process.execPath, ['.ci/prepare.mjs', '--build=lib'], { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(1);
  const [results, missing, seen] = [[], [], new Set()];
  for (const combination of wanted) {
    const server = servers.get(combination.redis);
    if (!server) missing.push(`${combination.redis}, for ${combination.name}`);
    const used = server ? combination.redis : isExact ? undefined : [...servers.keys()][0];
    // With the same Redis in place of two others, two combinations may be one.
    const what = nameOf({ ...combination, redis: used ?? 'no Redis' });
    if (used === undefined || seen.has(what)) continue;
    seen.add(what);
    results.push(runOne({ ...combination, name: what, redis: used }, servers.get(used), missing));
  }
  report(results.filter(Boolean), missing);
  process.exitCode =
    results.every((result) => result && result.failed === 0) && !(isExact && missing.length > 0) ? 0 : 1;
}

/** Runs one combination; `undefined` if its Node or its packages cannot be had. */
function runOne(combination, server, missing) {
  say(`${combination.name} ...`);
  const node = provideNode(combination.node);
  const folder = node && providePackages(combination);
  if (!folder) {
    missing.push(`${node ? 'the packages' : `Node ${combination.node}`}, for ${combination.name}`);
    return undefined;
  }
  const typeErrors = provideLibrary(folder);
  const [log, outcome] = ['log', 'json'].map((kind) => join(work, `${combination.name}.${kind}`));
  const flags = ['--expose-gc', '--experimental-vm-modules', '--disable-warning=ExperimentalWarning'];
  // Redis 6 lacks what a Cluster needs that shards channels.
  const isOld = combination.redis === 'redis-6';
  const specs = matrix.tests.filter((spec) => !isOld || !spec.includes('sharded'));
  if (isOld) specs.push('-t', '^(?!.*sharded)');
  const output = openSync(log, 'w');
  const start = Date.now();
  rmSync(outcome, { force: true });
  spawnSync(
    node,
    [...flags, 'node_modules/jest/bin/jest.js', ...specs, '--json', `--outputFile=${outcome}`, '--reporters=default'],
    {
      cwd: folder,
      env: {
        ...process.env,
        PATH: [dirname(node), process.env['PATH']].join(delimiter),
        REDIS_SERVER: server.program,
        TEST_ADAPTER: combination.http,
      },
      stdio: ['ignore', output, output],
    },
  );
  const result = readResult(outcome, typeErrors);
  for (const name of result.failures) say(`  FAILED ${name}`);
  if (result.failed > 0) say(`  See ${log}`);
  const versions = {
    node: spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim().slice(1),
    nest: versionIn(folder, '@nestjs/core'),
    http: `${combination.http} ${versionIn(folder, combination.http.toLowerCase())}`,
    ioredis: versionIn(folder, 'ioredis'),
    redis: server.version,
  };
  return { ...versions, ...result, seconds: Math.round((Date.now() - start) / 1000) };
}

function readResult(outcome, typeErrors) {
  if (!existsSync(outcome)) return { passed: 0, failed: 1, failures: [...typeErrors, 'Jest did not run'] };
  const { numPassedTests, numFailedTests, numRuntimeErrorTestSuites, testResults } = readJson(outcome);
  const failures = testResults.flatMap(({ name, assertionResults, status }) => {
    const failed = assertionResults.filter((test) => test.status === 'failed').map(({ fullName }) => fullName);
    const place = name.slice(name.indexOf('/test/') + 1);
    return failed.length === 0 && status === 'failed'
      ? [`${place} could not be run`]
      : failed.map((test) => `${place}: ${test}`);
  });
  return {
    passed: numPassedTests,
    failed: numFailedTests + numRuntimeErrorTestSuites + typeErrors.length,
    failures: [...typeErrors, ...failures],
  };
}

function report(results, missing) {
  say(
    '\n| Node | Nest | HTTP | ioredis | Redis | passed | failed | s |\n| --- | --- | --- | --- | --- | --: | --: | --: |',
  );
  for (const { node, nest, http, ioredis, redis, passed, failed, seconds } of results) {
    say(`| ${[node, nest, http, ioredis, redis, passed, failed, seconds].join(' | ')} |`);
  }
  for (const thing of missing) say(`Not to be had here: ${thing}`);
}

/** The Redis servers of this machine, the first of each name. */
function redisServers() {
  const programs = (process.env['MATRIX_REDIS'] ?? '').split(delimiter).filter((program) => program !== '');
  const servers = new Map();
  for (const program of [...programs, 'redis-server', 'valkey-server']) {
    const { stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
    const [, kind, version, major, minor] = /^(Redis|Valkey) server v=((\d+)\.(\d+)[\d.]*)/.exec(stdout ?? '') ?? [];
    if (kind === undefined) continue;
    // Milestones of Redis 8 count from 7.9 on.
    const name = `${kind.toLowerCase()}-${kind === 'Redis' && major === '7' && minor >= 9 ? 8 : major}`;
    if (!servers.has(name)) servers.set(name, { program, version: `${kind} ${version}` });
  }
  return servers;
}

/** A Node of this version: the one that runs this, or the one of the npm package that holds its program. */
function provideNode(version) {
  if (`${process.versions.node}.`.startsWith(`${version}.`)) return process.execPath;
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
  const folder = join(work, `node-${version}`);
  const program = join(folder, 'node_modules', name, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
  if (!existsSync(program)) {
    mkdirSync(folder, { recursive: true });
    // Without one, npm installs into this repository instead.
    writeFileSync(join(folder, 'package.json'), '{}');
    npm(folder, 'install', '--no-save', '--no-package-lock', `${name}@${version}`);
  }
  return existsSync(program) ? program : undefined;
}

/** A copy of the sources beside the packages of a combination. */
function providePackages(combination) {
  const folder = join(work, `nest-${combination.nest}_ioredis-${combination.ioredis}`);
  mkdirSync(folder, { recursive: true });
  for (const source of SOURCES) {
    rmSync(join(folder, source), { recursive: true, force: true });
    cpSync(join(root, source), join(folder, source), { recursive: true });
  }
  const manifest = readJson(join(root, 'package.json'));
  const versions =
    combination.nest === 'lowest'
      ? matrix.lowest
      : { ...matrix.nest[combination.nest], ioredis: matrix.ioredis[combination.ioredis] };
  manifest.devDependencies = Object.fromEntries(
    Object.entries({ ...manifest.devDependencies, ...versions }).filter(([name]) => !NOT_NEEDED.test(name)),
  );
  const file = join(folder, 'package.json');
  const text = JSON.stringify(manifest, null, 2);
  const isInstalled =
    existsSync(join(folder, 'node_modules/.package-lock.json')) && readFileSync(file, 'utf8') === text;
  writeFileSync(file, text);
  return isInstalled || npm(folder, 'install') ? folder : undefined;
}

/** Copies the library as it is published to a folder; gives what the compiler says of its declarations beside the packages there. */
function provideLibrary(folder) {
  const built = join(folder, 'dist', 'lib');
  rmSync(built, { recursive: true, force: true });
  cpSync(join(root, 'dist', 'lib'), built, { recursive: true });
  const entries = ['.', './client', './testing', './nest/microservices'];
  const text = entries.map(
    (entry, index) => `export * as entry${index} from '${join('./dist/lib', entry, 'index.js')}';`,
  );
  writeFileSync(join(folder, 'consumer.ts'), text.join('\n').replaceAll("'dist", "'./dist"));
  const flags = [
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
  const options = [...flags, '--ignoreConfig', '--skipLibCheck', 'false'];
  const { stdout } = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', 'consumer.ts', ...options], {
    cwd: folder,
    encoding: 'utf8',
  });
  return stdout.split('\n').filter((line) => /^(dist|consumer)/.test(line));
}

function npm(cwd, ...args) {
  const path = process.env['npm_execpath'];
  const [command, first] = path ? [process.execPath, [path]] : ['npm', []];
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  return (
    spawnSync(command, [...first, ...args, ...quiet], { cwd, stdio: ['ignore', 'inherit', 'inherit'] }).status === 0
  );
}

function versionIn(folder, name) {
  return readJson(join(folder, 'node_modules', name, 'package.json')).version;
}

function readJson(file) {
  return JSON.parse(readFileSync(file, 'utf8'));
}

function say(text) {
  console.log(text);
}

/** Gives up with one sentence. */
function give(text) {
  console.error(text);
  process.exit(1);
}
