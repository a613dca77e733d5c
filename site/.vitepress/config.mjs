import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitepress';
import { anchorOf } from '../anchor.mjs';
import { apiTree, GROUPS } from '../sidebar.mjs';

const fromRoot = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

// A dead link between pages fails the build; that is VitePress' default.
export default defineConfig({
  title: 'nestjs-messaging',
  description:
    'Typed messages for NestJS: in the process, across servers over Redis, and to browsers over server-sent events',
  srcDir: fromRoot('dist/pages'),
  outDir: fromRoot('dist/site'),
  cacheDir: fromRoot('dist/.vitepress'),
  // No icon, and no request for one.
  head: [['link', { rel: 'icon', href: 'data:,' }]],
  // The index of the search, which is loaded when somebody searches.
  vite: { build: { chunkSizeWarningLimit: 5_000 } },
  markdown: { anchor: { slugify: anchorOf } },
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      { text: 'Get started', link: '/docs/get-started' },
      { text: 'Guides', link: '/docs/to-the-browser' },
      { text: 'API', link: '/api/nestjs-messaging/' },
    ],
    sidebar: {
      '/api/': apiTree(fromRoot('dist/pages')),
      '/': GROUPS.map(({ title, pages }) => ({
        text: title,
        items: pages.map(([text, page]) => ({ text, link: `/${page}` })),
      })),
    },
  },
});
