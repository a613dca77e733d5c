import { beforeAll, describe, expect, it } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Runs a script of this repository; fails the test if the script fails. */
function run(...args: string[]): string {
  try {
    return execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${stdout}${stderr}`, { cause: error });
  }
}

interface Sidebar {
  readonly GROUPS: readonly { readonly pages: readonly [title: string, page: string][] }[];
  apiTree(pages: string): unknown[];
}

const link = (path: string, text: string) => ({ text, link: `/api/nestjs-messaging/${path}/${text}` });

const sidebar = async () => (await import(pathToFileURL(join(root, 'site/sidebar.mjs')).href)) as Sidebar;

/** The pages in the sidebar of the site, as files. */
async function sidebarPages(): Promise<string[]> {
  const { GROUPS } = await sidebar();
  return GROUPS.flatMap(({ pages }) => pages.map(([, page]) => `${page}.md`)).filter(
    (page) => !page.startsWith('api/'),
  );
}

describe('The sidebar of the site', () => {
  it('has one place for each document', async () => {
    const documents = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.md'))
      .map((file) => join('docs', file));
    const pages = await sidebarPages();

    expect(pages.toSorted()).toEqual([...documents, 'README.md', 'CHANGELOG.md', 'SECURITY.md'].toSorted());
  });

  it('leads to documents that exist', async () => {
    expect((await sidebarPages()).filter((page) => !existsSync(join(root, page)))).toEqual([]);
  });

  it('shows the reference of the API as a tree of entries, kinds and names', async () => {
    const pages = mkdtempSync(join(tmpdir(), 'pages-'));
    for (const page of ['functions/defineChannel', 'classes/Message', 'classes/Channel', 'client/interfaces/Gap']) {
      const path = join(pages, 'api/nestjs-messaging', `${page}.md`);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, '');
    }

    const [server, client, ...others] = (await sidebar()).apiTree(pages);
    rmSync(pages, { recursive: true });

    expect(server).toEqual({
      text: 'nestjs-messaging',
      link: '/api/nestjs-messaging/',
      items: [
        { text: 'Classes', collapsed: true, items: [link('classes', 'Channel'), link('classes', 'Message')] },
        { text: 'Functions', collapsed: true, items: [link('functions', 'defineChannel')] },
      ],
    });
    expect(client).toMatchObject({
      link: '/api/nestjs-messaging/client/',
      items: [{ text: 'Interfaces', items: [link('client/interfaces', 'Gap')] }],
    });
    expect(others).toMatchObject([
      { text: 'nestjs-messaging/microservices', items: [] },
      { text: 'nestjs-messaging/testing', items: [] },
    ]);
  });
});

describe('The options page', () => {
  it('lists each option of each public call with its type and its doc comment', () => {
    expect(() => run('site/options.mjs', '--check')).not.toThrow();
  }, 60_000);
});

describe('The report of the public API', () => {
  beforeAll(() => {
    run('.ci/prepare.mjs', '--build=lib');
  }, 60_000);

  it('matches the API', () => {
    expect(() => run('.ci/api-report.mjs', '--check')).not.toThrow();
  }, 60_000);
});
