import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { build, type BuildOptions } from 'esbuild';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

// A server that a bundler has made one file of, started beside its node_modules: the rules that decorators of its classes
// have written must be found, or it must not start.

const root = fileURLToPath(new URL('../..', import.meta.url));
const SECRET = 'hunter2';

const SERVER = `
import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Exclude } from 'class-transformer';
import { IsInt } from 'class-validator';
import { defineChannel, Messages, MessagingModule, MessagingService, Serializable, Sse } from 'nestjs-messaging';

@Serializable({ name: 'user' })
class User {
  @IsInt() id;
  @Exclude() password = '${SECRET}';
  constructor(id) { this.id = id; }
}
const Users = defineChannel('users', User);

@Controller()
class Streams {
  @Sse('users')
  users(@Messages() messages) { return messages.createStream(Users); }
}

class AppModule {}
Module({ imports: [MessagingModule.forRoot()], controllers: [Streams] })(AppModule);

const app = await NestFactory.create(AppModule, { logger: false, abortOnError: false }).then(
  async (made) => { await made.listen(0, '127.0.0.1'); return made; },
).catch((error) => { console.log('REFUSED ' + error.message); process.exit(0); });
const messaging = app.get(MessagingService);
const response = await fetch((await app.getUrl()) + '/users');
if (response.status !== 200) console.log('STATUS', response.status, await response.text());
const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
await reader.read();
let problem = 'accepted';
try { messaging.postMessage(Users, new User('one')); } catch (error) { problem = error.message; }
messaging.postMessage(Users, new User(1));
console.log('STREAM ' + (await reader.read()).value.replaceAll('\\n', ' ') + ' INVALID ' + problem);
process.exit(0);
`;

// Packages that Nest looks for and applications may lack.
const NOT_THERE = [
  '@nestjs/websockets',
  '@nestjs/websockets/*',
  '@nestjs/microservices',
  '@nestjs/microservices/*',
  '@nestjs/platform-socket.io',
  '@fastify/*',
  '@nestjs/platform-fastify',
  'ioredis',
];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nestjs-messaging-bundle-'));
  execFileSync(process.execPath, ['.ci/prepare.mjs', '--build=lib'], { cwd: root, stdio: 'pipe' });
  const modules = join(folder, 'node_modules');
  mkdirSync(modules);
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (!name.startsWith('.')) symlinkSync(join(root, 'node_modules', name), join(modules, name), 'junction');
  }
  // A real copy, located in this node_modules.
  cpSync(join(root, 'dist', 'lib'), join(modules, 'nestjs-messaging', 'dist', 'lib'), { recursive: true });
  cpSync(join(root, 'package.json'), join(modules, 'nestjs-messaging', 'package.json'));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  writeFileSync(join(folder, 'server.ts'), SERVER);
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Bundles the server and starts it; returns its output. */
async function run(name: string, options: BuildOptions): Promise<string> {
  const outfile = join(folder, `${name}.mjs`);
  await build({
    entryPoints: [join(folder, 'server.ts')],
    absWorkingDir: folder,
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile,
    preserveSymlinks: true,
    logLevel: 'silent',
    banner: {
      js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
    },
    tsconfigRaw: { compilerOptions: { experimentalDecorators: true, useDefineForClassFields: true } },
    ...options,
  });
  const { stdout, stderr } = spawnSync(process.execPath, [outfile], { cwd: folder, encoding: 'utf8', timeout: 30_000 });
  return stdout || stderr.slice(-2_000);
}

/** The warnings that a program logged first. */
const warnings = (said: string) => JSON.parse(said.slice(0, said.lastIndexOf(']') + 1)) as string[];

const KEPT = /^STREAM event: user data: \{"id":1\}\s+INVALID .*id must be an integer number/;

describe('A server in one file', () => {
  test.each<[string, BuildOptions]>([
    ['all-in', { external: NOT_THERE }],
    ['all-in-minified', { external: NOT_THERE, minify: true, keepNames: true }],
    ['all-in-by-module-field', { external: NOT_THERE, mainFields: ['module', 'main'] }],
    ['nothing-in', { packages: 'external' }],
  ])('%s: obeys the rules of its classes', async (name, options) => {
    const said = await run(name, options);
    expect(said).not.toContain(SECRET);
    expect(said).toMatch(KEPT);
  });

  test.each<[string, BuildOptions]>([
    ['messaging-out', { external: [...NOT_THERE, 'nestjs-messaging', '@nestjs/*', 'reflect-metadata', 'rxjs'] }],
    [
      'messaging-out-minified',
      { external: [...NOT_THERE, 'nestjs-messaging', '@nestjs/*', 'rxjs'], minify: true, keepNames: true },
    ],
  ])(
    '%s: with a copy of class-transformer that the library cannot see does not start, and reports the reason',
    async (name, options) => {
      const said = await run(name, options);
      expect(said).not.toContain(SECRET);
      expect(said).toMatch(/^REFUSED .*contains its own copy of class-transformer.*--packages=external/);
    },
  );

  test('with class-validator bundled and the library external keeps the rules of its classes', async () => {
    const external = [...NOT_THERE, 'nestjs-messaging', '@nestjs/*', 'rxjs', 'class-transformer'];
    expect(await run('validator-in', { external })).toMatch(KEPT);
  });
});

describe('Message classes whose names a bundler has changed', () => {
  const CLASSES = `
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessageSource, MessagingModule, Serializable } from 'nestjs-messaging';

@Serializable() class UserUpdate { constructor(readonly id = 1) {} }
@Serializable() class Vector2 { static readonly zero = new Vector2(); constructor(readonly id = 1) {} }
@MessageSource({ key: 'id' }) class Rooms { id = 1; }
@Serializable({ name: 'm' }) class Short { id = 1; }
@Serializable({ name: 'Ab' }) class Ab { id = 1; }
class Bare { static readonly empty = new Bare(); id = 1; }
class Tx { id = 1; }

class AppModule {}
Module({ imports: [MessagingModule.forRoot({ types: [Bare, Tx] })] })(AppModule);
const warnings: string[] = [];
const none = () => {};
const logger = { log: none, error: none, warn: (text: string) => warnings.push(text) };
const app = await NestFactory.createApplicationContext(AppModule, { logger, abortOnError: false });
console.log(JSON.stringify(warnings), [UserUpdate, Vector2, Rooms, Short, Ab, Bare, Tx].length);
process.exit(0);
`;

  const compiled = (name: string): string => {
    const compilerOptions = {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      experimentalDecorators: true,
    };
    const file = join(folder, `${name}.js`);
    writeFileSync(file, ts.transpileModule(CLASSES, { compilerOptions }).outputText);
    return file;
  };
  const bundled = async (name: string, options: BuildOptions) =>
    warnings(await run(name, { entryPoints: [compiled(name)], packages: 'external', ...options }));
  const TOLD =
    /^A bundler or minifier changed the names of message classes: (.*?)\. .*@Serializable\(\{ name: 'user-update' \}\)/;

  test('are reported when the application starts if a bundler gave them a number', async () => {
    const [warning, ...others] = await bundled('renamed', {});
    expect(TOLD.exec(warning!)?.[1]).toBe('"UserUpdate2", "Vector22", "Rooms2"');
    expect(others).toEqual([]);
  });

  test('are reported when the application starts if a minifier shortened them', async () => {
    const [warning, ...others] = await bundled('renamed-minified', { minify: true });
    expect(TOLD.exec(warning!)?.[1]).toMatch(/^("\w{1,2}"(, )?){5}$/);
    expect(others).toEqual([]);
  });

  test('are not reported if the bundler kept their names, or without a bundler', async () => {
    expect(await bundled('kept', { keepNames: true })).toEqual([]);
    expect(await bundled('kept-minified', { keepNames: true, minify: true })).toEqual([]);
    const said = spawnSync(process.execPath, [compiled('unbundled')], { cwd: folder, encoding: 'utf8' });
    expect(warnings(said.stdout)).toEqual([]);
  });
});

describe('Two copies of this package in one process', () => {
  const TRIALS = `
import 'reflect-metadata';
import * as one from 'nestjs-messaging';
import * as two from 'nestjs-messaging-twin';
import * as client from 'nestjs-messaging/client';
import { MessagingClientProxy } from 'nestjs-messaging/microservices';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

const options = { logger: false, abortOnError: false };
class AppModule {}
Module({ imports: [one.MessagingModule.forRoot()] })(AppModule);
class BothModule {}
Module({ imports: [one.MessagingModule.forRoot(), two.MessagingModule.forRoot()] })(BothModule);
class TwinModule {}
Module({ imports: [two.MessagingModule.forRoot()] })(TwinModule);

const app = await NestFactory.createApplicationContext(AppModule, options);
const messaging = app.get(one.MessagingService);
const twin = (await NestFactory.createApplicationContext(TwinModule, options)).get(two.MessagingService);
const channel = two.defineChannel('twin');
const template = two.defineChannel('twin/:id');
messaging.addListener('twin', () => {});
const page = new client.MessagingClient({ url: 'http://127.0.0.1:1/messages', onError: () => {} });
class Note extends one.Message {}

const trials = {
  post: () => messaging.postMessage(channel, 1),
  postTemplate: () => messaging.postMessage(template, 1),
  listen: () => messaging.addListener(channel, () => {}),
  stream: () => messaging.createStream(template),
  source: () => messaging.sendMessage(two.sourceRef('A', 1), new Note()),
  inside: () => messaging.postMessage('x', { ref: two.sourceRef('A', 1) }, { scope: 'auto' }),
  client: () => page.createStream(channel),
  proxy: () => new MessagingClientProxy(twin),
  emit: () => new MessagingClientProxy(messaging).emit(channel, 1),
  modules: () => NestFactory.createApplicationContext(BothModule, options),
};
for (const [name, trial] of Object.entries(trials)) {
  try { await trial(); console.log(name, 'accepted'); } catch (error) { console.log(name, error.code, error.message); }
}
process.exit(0);
`;

  test('is named in each error that it causes, with the places of both copies', () => {
    const modules = join(folder, 'node_modules');
    cpSync(join(modules, 'nestjs-messaging'), join(modules, 'nestjs-messaging-twin'), { recursive: true });
    writeFileSync(join(folder, 'twins.mjs'), TRIALS);
    const { stdout, stderr } = spawnSync(process.execPath, [join(folder, 'twins.mjs')], {
      cwd: folder,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    const lines = stdout.trim().split('\n');
    // Nothing leaves the process, so nothing is encoded there.
    expect(lines.filter((line) => line.endsWith('accepted'))).toEqual(['inside accepted']);
    const told = lines.filter((line) => !line.endsWith('accepted'));
    expect(told).toHaveLength(9);
    for (const line of told) {
      expect(line).toMatch(
        /^\w+ CONFIGURATION \w+ \(.*nestjs-messaging-twin\/.*\) and nestjs-messaging \(.*nestjs-messaging\/dist.*\) are two copies/,
      );
    }
  });
});
