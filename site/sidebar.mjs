// The order of the pages in the sidebar of the site. Each page of docs/ has one place here.
import { existsSync } from 'node:fs';

/** Groups of `[title, page]`; pages are paths from the root of the repository, without their ending. */
const ALL = [
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
      ['Front-end frameworks', 'docs/frameworks'],
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
      ['Dependencies', 'docs/dependencies'],
      ['Changelog', 'CHANGELOG'],
    ],
  },
];

/** Without those that are still being written. */
export const GROUPS = ALL.map(({ title, pages }) => ({
  title,
  pages: pages.filter(([, page]) => page.startsWith('api/') || existsSync(new URL(`../${page}.md`, import.meta.url))),
})).filter(({ pages }) => pages.length > 0);
