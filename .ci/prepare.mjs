// Makes a checkout ready to run; does nothing where nothing is missing. Plain Node, since it runs before anything is installed.
//
//   node .ci/prepare.mjs            installs the packages
//     --tests                       ... and provides redis-server, Chromium, nginx and the packages of a Nest 11 project for the tests
//     --redis                       ... and provides redis-server, unless REDIS_URL names one
//     --commonjs                    ... and builds the CommonJS form of lib and the schematic, which are for packages only
//     --build | --build=lib         ... and builds lib and sample-app, or lib alone, where dist is older than the sources
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
process.chdir(root);
const wants = new Set(process.argv.slice(2));

installPackages();
if (wants.has('--tests')) {
  installPackages('fixtures/nest-11');
  providePrograms([redisServer(), chromium(), nginx()]);
} else if (wants.has('--redis') && !process.env['REDIS_URL']) providePrograms([redisServer()]);
if (['--build', '--build=lib', '--commonjs'].some((want) => wants.has(want))) aloneIn('dist', buildWhatIsOld);

/**
 * Installs what package-lock.json says, unless node_modules holds it. Not `npm ci`: that refuses a lock file which lacks the binaries of
 * another platform, as npm writes it where a registry does not have them all.
 */
function installPackages(folder = '.') {
  if (packagesAreInstalled(folder)) return;
  say(folder === '.' ? 'Installing packages (once, about a minute) ...' : `Installing the packages of ${folder} ...`);
  const npm = process.env['npm_execpath'];
  const [command, first] = npm ? [process.execPath, [npm]] : ['npm', []];
  const args = [...first, 'install', '--no-save', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'];
  if (!run(command, [...args, `--prefix=${folder}`]))
    give('The packages could not be installed; see above what npm says.');
}

/** npm writes node_modules/.package-lock.json last, so a broken-off install is seen; contents are compared, as file times change with every checkout. */
function packagesAreInstalled(folder) {
  const installedFile = join(folder, 'node_modules/.package-lock.json');
  if (!existsSync(installedFile)) return false;
  const wanted = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8')).packages;
  const installed = JSON.parse(readFileSync(installedFile, 'utf8')).packages;
  return Object.entries(wanted).every(
    ([path, { version, optional, link }]) =>
      path === '' || link || (optional && !installed[path]) || installed[path]?.version === version,
  );
}

function redisServer() {
  return { name: 'redis-server', package: 'redis-server', found: isOnPath('redis-server') };
}

function chromium() {
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
  const macApp = '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome';
  return { name: 'Chromium', package: 'chromium', found: names.some(isOnPath) || existsSync(macApp) };
}

function nginx() {
  return { name: 'nginx', package: 'nginx-light', found: isOnPath('nginx') || existsSync('/usr/sbin/nginx') };
}

function isOnPath(program) {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
}

/**
 * Installs missing programs where that needs nobody's consent: apt-get is there and we are root or sudo asks for no password.
 * Debian starts services of Redis and nginx after installing them; nothing here uses their ports, every server is started on a free one.
 */
function providePrograms(programs) {
  const missing = programs.filter(({ found }) => !found);
  if (missing.length === 0) return;
  const names = missing.map(({ name }) => name).join(' and ');
  const install = ['apt-get', 'install', '-y', '--no-install-recommends', ...missing.map((program) => program.package)];
  const asRoot = rootPrefix();
  if (asRoot) {
    say(`Installing ${names} ...`);
    if (runQuietly([...asRoot, 'apt-get', 'update']) && runQuietly([...asRoot, ...install])) return;
  }
  give(`Please install ${names} (on Debian and Ubuntu: sudo ${install.join(' ')}), then run this again.`);
}

/** What to put before a command that must be run as root; undefined if there is no way, or no apt-get. */
function rootPrefix() {
  if (!isOnPath('apt-get')) return undefined;
  if (process.getuid?.() === 0) return [];
  return isOnPath('sudo') && spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0
    ? ['sudo', '-n']
    : undefined;
}

function buildWhatIsOld() {
  if (wants.has('--build') || wants.has('--build=lib')) build('lib', 'index.js', []);
  if (wants.has('--commonjs')) {
    buildCommonJs();
    buildSchematics();
  }
  if (wants.has('--build')) {
    build('sample-app', 'main.js', ['dist/lib/index.js']);
    bundlePage();
  }
}

/**
 * Works in a folder while nobody else does who calls this: two workers of Jest run suites that need the same build, and a build begins by
 * deleting the former one. Whoever comes second waits, and finds everything built.
 */
function aloneIn(folder, work) {
  mkdirSync(folder, { recursive: true });
  const lock = join(folder, '.lock');
  for (let waits = 0; !create(lock, String(process.pid)); waits++) {
    const holder = Number(readText(lock));
    if (waits === 0) say(`Another process builds. If none does, delete ${lock}.`);
    // A holder that was killed cannot take its lock away. One that has just created it has not yet written who it is.
    if (holder > 0 && !isRunning(holder)) rmSync(lock, { force: true });
    else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  }
  // Also if a build fails, which ends the process.
  process.on('exit', () => rmSync(lock, { force: true }));
  work();
}

/** Creates a file. `false` if it is there. */
function create(path, content) {
  try {
    writeFileSync(path, content, { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

/** The text of a file; empty if there is none. */
function readText(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return '';
    throw error;
  }
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code !== 'ESRCH';
  }
}

/** Builds one project of nest-cli.json if a source, a setting or something it `needs` is younger than its `entry`. */
function build(project, entry, needs) {
  const sources = [project, 'tsconfig.json', 'nest-cli.json', ...needs];
  if (modified(join('dist', project, entry)) >= Math.max(...sources.map(newest))) return;
  say(`Building ${project} ...`);
  if (!run(process.execPath, ['node_modules/@nestjs/cli/bin/nest.js', 'build', project])) {
    give(`${project} could not be built; see above.`);
  }
}

/** The same once more, for programs that load CommonJS only: those of Jest, above all. */
function buildCommonJs() {
  compileCommonJs('lib as CommonJS', 'lib', 'lib/tsconfig.cjs.json', 'dist/cjs');
}

/** What `nest add` runs. It is CommonJS, because the schematics CLI of Nest 11 loads it by require(). */
function buildSchematics() {
  compileCommonJs('the schematic', 'schematics', 'schematics/tsconfig.json', 'dist/schematics', [
    'collection.json',
    'nest-add/schema.json',
    'nest-add/files',
  ]);
}

/** Compiles a folder, and copies some of its files as they are, if the result is older than its sources. */
function compileCommonJs(what, folder, project, out, copied = []) {
  // Written last: it is there only if the build was complete.
  const manifest = join(out, 'package.json');
  if (modified(manifest) >= Math.max(...[folder, 'tsconfig.json'].map(newest))) return;
  say(`Building ${what} ...`);
  rmSync(out, { recursive: true, force: true });
  if (!run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', project])) {
    give(`Building ${what} has failed; see above.`);
  }
  for (const path of copied) cpSync(join(folder, path), join(out, path), { recursive: true });
  writeFileSync(manifest, '{ "type": "commonjs" }\n');
}

/** Makes the script of the sample app's page if it is missing, as after each build, or older than what goes into it. */
function bundlePage() {
  if (modified('dist/sample-app/public/app.js') >= Math.max(...['sample-app', 'lib', 'tsconfig.json'].map(newest)))
    return;
  say('Bundling the page ...');
  if (!run(process.execPath, ['sample-app/bundle.mjs'])) give('The page could not be bundled; see above.');
}

/** The time of the last change to a file or below a folder; a folder's own time counts, which tells of deletions. */
function newest(path) {
  const entries = existsSync(path) && statSync(path).isDirectory() ? readdirSync(path) : [];
  return Math.max(modified(path), ...entries.map((entry) => newest(join(path, entry))));
}

function modified(path) {
  return existsSync(path) ? statSync(path).mtimeMs : 0;
}

function run(command, args) {
  return spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] }).status === 0;
}

function runQuietly([command, ...args]) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const { status, stderr } = spawnSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8', env });
  if (status !== 0) say(stderr.trim());
  return status === 0;
}

function say(text) {
  console.log(text);
}

/** Gives up with one sentence. */
function give(text) {
  console.error(text);
  process.exit(1);
}
