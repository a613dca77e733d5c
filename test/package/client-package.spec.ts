import { afterAll, beforeAll, describe, expect, it, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { PackedPair, REPOSITORY, run, tool } from '../support/packed-pair.js';

const PEERS = ['@nestjs', 'rxjs', 'reflect-metadata', 'ioredis', 'class-transformer', 'class-validator'];
const TYPES = ['@types/node', 'undici-types'];

let pair: PackedPair;
/** A project in which npm has installed both packages, with links to the rest. */
let project: string;

beforeAll(() => {
  pair = new PackedPair();
  project = pair.install('server', [pair.server, pair.client], [...PEERS, ...TYPES]);
}, 60_000);

afterAll(() => pair[Symbol.dispose]());

describe('npm', () => {
  it('installs only the client into the project of a page', () => {
    const page = pair.install('page', [pair.client]);

    expect(readdirSync(join(page, 'node_modules')).filter((name) => !name.startsWith('.'))).toEqual([
      'nestjs-messaging-client',
    ]);
    const load = `console.log(Object.keys(await import('nestjs-messaging-client')).join())`;
    expect(run(page, '--input-type=module', '-e', load)).toContain('MessagingClient,');
  });

  it('installs one copy of the client for a server whose shared code needs it too', () => {
    const copies = readdirSync(project, { recursive: true, encoding: 'utf8' }).filter((path) =>
      path.endsWith('nestjs-messaging-client'),
    );
    expect(copies).toEqual([join('node_modules', 'nestjs-messaging-client')]);
    expect(pair.server.manifest.dependencies).toEqual({ 'nestjs-messaging-client': pair.client.manifest.version });
  });
});

const SHARED = (load: (from: string) => string, exported: string) => `
const { defineChannel, defineMessage } = ${load('nestjs-messaging-client')};
class Note { text; sentAt = new Date(0); constructor(text) { this.text = text; } }
${exported} { Note, Notes: defineChannel('notes', defineMessage('note', Note), { clients: true }) };
`;
/** Posts to a channel of the shared code, and prints the messages of a client. */
const PROGRAM = (load: (from: string) => string, shared: string) => `
const main = async () => {
  ${load('reflect-metadata')};
  const { Module } = ${load('@nestjs/common')};
  const { NestFactory } = ${load('@nestjs/core')};
  const { MessagingModule, MessagingService, MessagingError } = ${load('nestjs-messaging')};
  const { MessagingClient, MessagingError: ErrorOfClient } = ${load('nestjs-messaging-client')};
  const { Note, Notes } = ${shared};

  class AppModule {}
  Module({ imports: [MessagingModule.forRoot({ gateway: true })] })(AppModule);
  const app = await NestFactory.create(AppModule, { logger: false, abortOnError: false });
  await app.listen(0, '127.0.0.1');
  const client = new MessagingClient({ url: (await app.getUrl()) + '/messages' });
  const note = await new Promise((resolve, reject) => {
    const post = () => app.get(MessagingService).postMessage(Notes, new Note('Hi'));
    client.subscribe(Notes, resolve).then(post).catch(reject);
  });
  console.log(note instanceof Note, note.sentAt instanceof Date, MessagingError === ErrorOfClient);
  process.exit(0);
};
main().catch((error) => { console.log(error); process.exit(1); });
`;

describe('A server and a page with shared code that imports from the client package alone', () => {
  test.each([
    ['ES modules', 'mjs', (from: string) => `await import('${from}')`, 'export default'],
    ['CommonJS', 'cjs', (from: string) => `require('${from}')`, 'module.exports ='],
  ])('%s: a client gets an instance of the class that the server posts', (_, ending, load, exported) => {
    writeFileSync(join(project, `shared.${ending}`), SHARED(load, exported));
    const shared = `${ending === 'mjs' ? '(' : ''}${load(`./shared.${ending}`)}${ending === 'mjs' ? ').default' : ''}`;
    writeFileSync(join(project, `main.${ending}`), PROGRAM(load, shared));

    expect(run(project, `main.${ending}`)).toBe('true true true\n');
  });

  it('notice two copies of the server that share one copy of the client', () => {
    const modules = join(project, 'node_modules');
    cpSync(join(modules, 'nestjs-messaging'), join(modules, 'nestjs-messaging-twin'), { recursive: true });
    writeFileSync(
      join(project, 'twins.mjs'),
      `
import 'reflect-metadata';
import * as one from 'nestjs-messaging';
import * as two from 'nestjs-messaging-twin';
import { MessagingClientProxy } from 'nestjs-messaging/microservices';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

const start = (...modules) => {
  class AppModule {}
  Module({ imports: modules.map((module) => module.forRoot()) })(AppModule);
  return NestFactory.createApplicationContext(AppModule, { logger: false, abortOnError: false });
};
const twin = (await start(two.MessagingModule)).get(two.MessagingService);
const own = (await start(one.MessagingModule)).get(one.MessagingService);
const trials = {
  modules: () => start(one.MessagingModule, two.MessagingModule),
  proxy: () => new MessagingClientProxy(twin),
  channel: () => own.postMessage(two.defineChannel('notes'), 1),
};
for (const [name, trial] of Object.entries(trials)) {
  try { await trial(); console.log(name, 'accepted'); } catch (error) { console.log(name, error.message); }
}
process.exit(0);
`,
    );
    const [modulesError, proxyError, channel] = run(project, 'twins.mjs').trim().split('\n');

    const both = /nestjs-messaging-twin\/dist.*\) and nestjs-messaging \(.*nestjs-messaging\/dist.*\) are two copies/;
    expect(modulesError).toMatch(both);
    expect(proxyError).toMatch(both);
    expect(channel).toBe('channel accepted');
  });
});

describe('The types, without skipLibCheck,', () => {
  interface Case {
    readonly files: readonly string[];
    readonly options: Record<string, unknown>;
  }

  const PAGE = { lib: ['es2020', 'dom'], types: [] };
  const PAGE_WITH_NODE = { lib: ['es2022', 'dom'], types: ['node'] };
  const NODE = { lib: ['es2022'], types: ['node'], experimentalDecorators: true };
  const BUNDLER = { target: 'es2022', module: 'esnext', moduleResolution: 'bundler' };
  const NODE16 = { target: 'es2022', module: 'node16', moduleResolution: 'node16' };
  const NODE10 = { target: 'es2022', module: 'commonjs', moduleResolution: 'node10' };

  const CASES: Case[] = [
    { files: ['page.ts'], options: { ...PAGE, ...BUNDLER } },
    { files: ['page.ts'], options: { ...PAGE, ...NODE10 } },
    { files: ['page.mts', 'page.cts'], options: { ...PAGE_WITH_NODE, ...NODE16 } },
    // It imports page.ts.
    { files: ['server.ts'], options: { ...NODE, ...BUNDLER } },
    { files: ['server.ts'], options: { ...NODE, ...NODE10 } },
  ];
  beforeAll(() => {
    const [, shared] = /```ts\n(\/\/ In a file that server and page share[^]*?)```/.exec(
      pair.client.text('README.md'),
    )!;
    const page = `${shared}
import { MessagingClient, shareAcrossTabs } from 'nestjs-messaging-client';
export * from 'nestjs-messaging-client';

export async function main(): Promise<void> {
  const headers = async () => ({ authorization: 'Bearer token' });
  const client = new MessagingClient({ url: '/messages', headers, link: shareAcrossTabs({ name: 'Ada' }), fetch });
  using subscription = await client.subscribe(RoomMessages.for({ roomId: 42 }), ({ author }, { params }) =>
    console.log(author.length, params.roomId.length),
  );
  for await (const { text } of client.createStream(RoomMessages)) console.log(text.length);
  await subscription.unsubscribe();
}
`;
    for (const ending of ['ts', 'mts', 'cts']) writeFileSync(join(project, `page.${ending}`), page);
    writeFileSync(
      join(project, 'server.ts'),
      `
import type { MessagingService } from 'nestjs-messaging';
import type { MessagingClient } from 'nestjs-messaging/client';
import { ChatMessage, RoomMessages } from './page';
export * as messaging from 'nestjs-messaging';
export * as client from 'nestjs-messaging/client';
export * as microservices from 'nestjs-messaging/microservices';
export * as testing from 'nestjs-messaging/testing';

export async function post(messages: MessagingService, client: MessagingClient): Promise<void> {
  await messages.postMessage(RoomMessages.for({ roomId: 42 }), new ChatMessage('Ada', 'Hi'));
  for await (const { text } of messages.iterate(RoomMessages)) console.log(text.length);
  await client.subscribe(RoomMessages, ({ author }) => console.log(author.length));
}
`,
    );
  });

  it.each([
    ['5.4', 'typescript-5.4'],
    ['5.9', 'typescript-5'],
    ['6', 'typescript'],
  ])('hold in TypeScript %s', async (version, compiler) => {
    const cases = CASES.map(({ files, options }) => ({
      files,
      options:
        version === '6' && options['moduleResolution'] === 'node10'
          ? { ...options, ignoreDeprecations: '6.0' }
          : options,
    }));
    const program = join(REPOSITORY, 'test/support/check-types.mjs');
    const { stdout } = await promisify(execFile)(process.execPath, [program, tool(compiler), JSON.stringify(cases)], {
      cwd: project,
    });

    expect(JSON.parse(stdout)).toEqual(cases.map(() => []));
  });

  it('hold in TypeScript 7, which has no API for programs yet', () => {
    const cases = CASES.filter(({ options }) => options['moduleResolution'] !== 'node10');
    for (const [index, { files, options }] of cases.entries()) {
      const strict = { noEmit: true, strict: true, skipLibCheck: false };
      const tsconfig = { compilerOptions: { ...strict, ...options }, files };
      writeFileSync(join(project, `tsconfig-${index}.json`), JSON.stringify(tsconfig));

      expect(complaints(() => run(project, tool('typescript-7/bin/tsc'), '-p', `tsconfig-${index}.json`))).toEqual([]);
    }
  });
});

/** A compiler's errors in our declarations and their uses; errors in declarations of other packages do not count. */
function complaints(compile: () => string): string[] {
  try {
    compile();
    return [];
  } catch (error) {
    const lines = String(error).split('\n');
    return lines.filter((line) => /error TS\d+/.test(line) && !/^\S*node_modules\/(?!nestjs-messaging)/.test(line));
  }
}

describe('A release', () => {
  it('publishes the client, then the server, and skips versions that are in the registry already', async () => {
    const published: string[] = [];
    const bodies: { name: string; repository: unknown }[] = [];
    const registry = createServer((request, response) => {
      const name = request.url!.slice(1);
      const answer = (status: number, body: object) => response.writeHead(status).end(JSON.stringify(body));
      if (request.method !== 'PUT') {
        const { version } = pair.client.manifest;
        const found = { name, 'dist-tags': { latest: version }, versions: { [version]: { name, version } } };
        if (published.includes(name)) answer(200, found);
        else answer(404, { error: 'not_found' });
        return;
      }
      void json(request).then((body) => {
        const { versions } = body as { versions: Record<string, { repository: unknown }> };
        bodies.push({ name, repository: versions[pair.client.manifest.version]!.repository });
        published.push(name);
        answer(201, {});
      });
    });
    await once(registry.listen(0, '127.0.0.1'), 'listening');
    const { port } = registry.address() as AddressInfo;
    const config = join(pair.folder, 'npmrc');
    writeFileSync(config, `registry=http://127.0.0.1:${port}/\n//127.0.0.1:${port}/:_authToken=x\nprovenance=false\n`);
    const env = {
      ...process.env,
      npm_config_userconfig: config,
      npm_config_registry: `http://127.0.0.1:${port}/`,
      GITHUB_SERVER_URL: 'https://host.example',
      GITHUB_REPOSITORY: 'owner/name',
    };
    const publish = () =>
      promisify(execFile)(process.execPath, ['.ci/publish.mjs', join(pair.folder, 'packages')], {
        cwd: REPOSITORY,
        env,
      });

    published.push('nestjs-messaging-client');
    expect((await publish()).stdout).toContain('is published already');
    expect(bodies.map(({ name }) => name)).toEqual(['nestjs-messaging']);
    published.length = bodies.length = 0;
    await publish();

    expect(published).toEqual(['nestjs-messaging-client', 'nestjs-messaging']);
    const repository = { type: 'git', url: 'git+https://host.example/owner/name.git' };
    expect(bodies.map((body) => body.repository)).toEqual([repository, repository]);
    registry.close();
  }, 60_000);
});
