// The order of the pages in the sidebar of the site. Each page of docs/ has one place here.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Groups of `[title, page]`; pages are paths from the root of the repository, without their ending. */
export const GROUPS = [
  {
    title: 'Begin',
    pages: [
      ['Get started', 'docs/get-started'],
      ['Concepts', 'docs/concepts'],
      ['In one page', 'README'],
      ['Sign-ins and access', 'docs/access'],
      ['Options', 'docs/options'],
    ],
  },
  {
    title: 'Guides',
    pages: [
      ['To the browser', 'docs/to-the-browser'],
      ['Frameworks', 'docs/frameworks'],
      ['Event streams', 'docs/event-streams'],
      ['Redis', 'docs/redis'],
      ['Microservices', 'docs/microservices'],
      ['Delivery', 'docs/delivery'],
      ['Channels with history', 'docs/history'],
      ['Changing a message class', 'docs/evolution'],
      ['Security', 'SECURITY'],
      ['Testing', 'docs/testing'],
    ],
  },
  {
    title: 'In production',
    pages: [
      ['Checklist', 'docs/checklist'],
      ['Deployment', 'docs/deployment'],
      ['Operations', 'docs/operations'],
      ['Scaling', 'docs/scaling'],
      ['Performance', 'docs/performance'],
    ],
  },
  {
    title: 'Migrating',
    pages: [
      ['From event-emitter and @Sse', 'docs/migrating-from-event-emitter'],
      ['From Socket.IO', 'docs/migrating-from-socket-io'],
      ['From Redis pub/sub', 'docs/migrating-from-redis-pub-sub'],
    ],
  },
  {
    title: 'Reference',
    pages: [
      ['Errors', 'docs/errors'],
      ['Glossary', 'docs/glossary'],
      ['Protocol', 'docs/protocol'],
      ['How values are encoded', 'docs/codec'],
      ['API: server', 'api/nestjs-messaging/index'],
      ['API: client', 'api/nestjs-messaging/client/index'],
      ['API: microservices', 'api/nestjs-messaging/microservices/index'],
      ['API: testing', 'api/nestjs-messaging/testing/index'],
    ],
  },
  {
    title: 'Contributing',
    pages: [
      ['Development', 'docs/development'],
      ['Architecture', 'docs/architecture'],
      ['Decisions', 'docs/decisions/README'],
      ['A codec of our own', 'docs/decisions/own-codec'],
      ['Positions belong to channels', 'docs/decisions/positions-per-channel'],
      ['History is opt-in', 'docs/decisions/history-opt-in'],
      ['An @Sse() of our own', 'docs/decisions/own-sse'],
      ['Sharded publish', 'docs/decisions/sharded-publish'],
      ['A pair of packages', 'docs/decisions/pair-of-packages'],
      ['Dependencies', 'docs/dependencies'],
      ['Changelog', 'CHANGELOG'],
    ],
  },
];

/** The kinds of pages that TypeDoc writes, each into a folder of its own, as the sidebar calls them. */
const KINDS = [
  ['classes', 'Classes'],
  ['functions', 'Functions'],
  ['interfaces', 'Interfaces'],
  ['type-aliases', 'Types'],
  ['variables', 'Constants'],
];

/**
 * The reference of the API as a tree: entry of the package, kind, name.
 *
 * @param pages - the folder of the pages, `api` within
 */
export function apiTree(pages) {
  const entries = [
    'nestjs-messaging',
    ...['client', 'microservices', 'testing'].map((part) => `nestjs-messaging/${part}`),
  ];
  return entries.map((entry) => ({
    text: entry,
    link: `/api/${entry}/`,
    items: KINDS.map(([folder, text]) => ({
      text,
      collapsed: true,
      items: linksOf(pages, `api/${entry}/${folder}`),
    })).filter(({ items }) => items.length > 0),
  }));
}

function linksOf(pages, folder) {
  const path = join(pages, folder);
  const names = existsSync(path) ? readdirSync(path).map((file) => file.replace(/\.md$/, '')) : [];
  return names.toSorted((one, other) => one.localeCompare(other)).map((text) => ({ text, link: `/${folder}/${text}` }));
}
