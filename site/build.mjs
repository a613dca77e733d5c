// Builds the site into dist/site: the documents as they are, with the reference of the API. Needs no network. Arguments go to
// VitePress: --base=/docs/ for a site that is not at the root of its host.
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
process.chdir(root);

/** The pages lie here as in the repository, so that their links hold. */
const PAGES = 'dist/pages';
/** Those outside of docs/. */
const DOCUMENTS = ['README.md', 'CHANGELOG.md', 'SECURITY.md'];

rmSync(PAGES, { recursive: true, force: true });
for (const path of ['docs', ...DOCUMENTS]) cpSync(path, join(PAGES, path), { recursive: true });
cpSync('site/index.md', join(PAGES, 'index.md'));
run('node_modules/typedoc/bin/typedoc', '--out', join(PAGES, 'api'), '--logLevel', 'Warn');
run('node_modules/vitepress/bin/vitepress.js', 'build', 'site', ...process.argv.slice(2));

function run(...args) {
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}
