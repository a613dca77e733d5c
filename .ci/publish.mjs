// Publishes the packages that .ci/pack.mjs made, in dist/packages or the folder that it is given, the client first, because the server needs
// exactly its version:
//
//   node .ci/publish.mjs [folder]
//
// Leaves out a package whose version the registry has already, so a release that broke off between the two can be run again. The workflow
// of releases sets NPM_CONFIG_PROVENANCE; npm then signs where the packages were built, and compares that with `repository`.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const packages = process.argv[2] ?? join(dirname(dirname(fileURLToPath(import.meta.url))), 'dist', 'packages');

for (const name of ['nestjs-messaging-client', 'nestjs-messaging']) {
  const folder = join(packages, name);
  const file = join(folder, 'package.json');
  const manifest = JSON.parse(readFileSync(file, 'utf8'));
  const release = `${manifest.name}@${manifest.version}`;
  if (isPublished(release)) {
    console.log(`${release} is published already`);
    continue;
  }
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: repository } = process.env;
  if (server && repository) manifest.repository = { type: 'git', url: `git+${server}/${repository}.git` };
  writeFileSync(file, `${JSON.stringify(manifest, null, 2)}\n`);
  // A preview must not become what `npm install` takes.
  const tag = manifest.version.includes('-') ? 'next' : 'latest';
  if (npm(['publish', folder, '--access', 'public', '--tag', tag], 'inherit').status !== 0) process.exit(1);
}

/** Whether the registry has it. Only its answer that it does not counts as no. */
function isPublished(release) {
  const { status, stdout, stderr } = npm(['view', release, 'version', '--json'], 'pipe');
  if (status === 0) return stdout.trim() !== '';
  if (!`${stdout}${stderr}`.includes('E404'))
    throw new Error(`The registry does not say whether it has ${release}: ${stderr}`);
  return false;
}

function npm(args, stdio) {
  const path = process.env['npm_execpath'];
  const [command, first] = path ? [process.execPath, [path]] : ['npm', []];
  return spawnSync(command, [...first, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', stdio, stdio === 'pipe' ? 'pipe' : 'inherit'],
  });
}
