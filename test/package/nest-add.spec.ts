import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'playwright-core';
import { launchChromium } from '../support/chromium.js';

// From an empty folder to a message in a browser: `nest new`, the packed library, `nest add`, build, start. Nobody writes a line.
// `npm run newcomer` does the same with everything installed, with the CLI of each version of Nest.

const root = fileURLToPath(new URL('../..', import.meta.url));
const tools = join(root, 'node_modules');

let folder: string;
let browser: Browser;
const started: ChildProcess[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nestjs-messaging-nest-add-'));
  run(root, '.ci/prepare.mjs', '--build=lib', '--commonjs');
  execFileSync('npm', ['pack', '--ignore-scripts', '--loglevel=error', '--pack-destination', folder], {
    cwd: root,
    stdio: 'pipe',
  });
  const tarball = readdirSync(folder).find((file) => file.endsWith('.tgz'))!;
  execFileSync('tar', ['-xzf', join(folder, tarball), '-C', folder]);
  // Prints the port that the server of an application got.
  writeFileSync(
    join(folder, 'port.mjs'),
    `import { Server } from 'node:net';
     const listen = Server.prototype.listen;
     Server.prototype.listen = function (...args) {
       this.once('listening', () => console.log('PORT', this.address().port));
       return listen.apply(this, args);
     };`,
  );
  browser = await launchChromium();
}, 60_000);

afterAll(async () => {
  await browser?.close();
  for (const child of started) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** Runs a script or a tool in Node and gives what it prints; its failure is the test's. */
function run(cwd: string, ...args: string[]): string {
  try {
    return execFileSync(process.execPath, args, { cwd, encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`node ${args.join(' ')} failed:\n${stdout}${stderr}`, { cause: error });
  }
}

/** A project as `nest new` makes it, with the packages of another folder and the packed library. */
function createProject(name: string, type: 'cjs' | 'esm', packages: string): string {
  const schematics = join(tools, '@angular-devkit/schematics-cli/bin/schematics.js');
  run(folder, schematics, '@nestjs/schematics:application', `--name=${name}`, `--type=${type}`, '--language=ts');
  const project = join(folder, name);
  mkdirSync(join(project, 'node_modules'));
  for (const installed of readdirSync(packages)) {
    if (installed.startsWith('.')) continue;
    symlinkSync(join(packages, installed), join(project, 'node_modules', installed), 'junction');
  }
  cpSync(join(folder, 'package'), join(project, 'node_modules/nestjs-messaging'), { recursive: true });
  return project;
}

function nestAdd(project: string, ...options: string[]): string {
  return run(project, join(tools, '@nestjs/cli/bin/nest.js'), 'add', 'nestjs-messaging', '--skip-install', ...options);
}

/** Compiles a project with its own compiler, more strictly than `nest new` asks for. */
function compile(project: string): void {
  const strict = ['--strict', '--noUncheckedIndexedAccess', '--exactOptionalPropertyTypes', '--noUnusedLocals'];
  const stricter = ['--noImplicitOverride', '--noPropertyAccessFromIndexSignature', 'false', '--noUnusedParameters'];
  const types = ['--types', 'node', '--incremental', 'false'];
  const compiler = join(project, 'node_modules/typescript/bin/tsc');
  run(project, compiler, '-p', 'tsconfig.build.json', ...types, ...strict, ...stricter);
}

/** Starts a built project, and gives its address once it listens. */
async function start(project: string): Promise<string> {
  const child = spawn(process.execPath, ['--import', join(folder, 'port.mjs'), 'dist/main.js'], {
    cwd: project,
    env: { ...process.env, PORT: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  started.push(child);
  const said: string[] = [];
  child.stderr.on('data', (data: Buffer) => said.push(data.toString()));
  for await (const line of createInterface({ input: child.stdout })) {
    said.push(line);
    const [, port] = /^PORT (\d+)$/.exec(line) ?? [];
    if (port !== undefined) return `http://localhost:${port}`;
  }
  throw new Error(`The application ended:\n${said.join('\n')}`);
}

/** Posts in one window, and gives what another one shows. */
async function greetInBrowser(address: string): Promise<string> {
  const context = await browser.newContext();
  const [reader, writer] = [await context.newPage(), await context.newPage()];
  // The stream has begun once the gateway has said so.
  await reader.addInitScript(() => {
    const Native = EventSource;
    globalThis.EventSource = class extends Native {
      constructor(url: string | URL) {
        super(url);
        this.addEventListener('messaging:ready', () => document.body.setAttribute('data-ready', ''));
      }
    };
  });
  await reader.goto(`${address}/greetings`);
  await reader.waitForSelector('[data-ready]');
  await writer.goto(`${address}/greetings`);
  await writer.fill('input', 'Hello <b>you</b>');
  await writer.click('button');
  const text = await reader.textContent('li');
  await context.close();
  return text ?? '';
}

describe('nest add nestjs-messaging', () => {
  it('brings a message to a browser in a CommonJS project of Nest 11 on Express', async () => {
    const project = createProject('nest-11', 'cjs', join(root, 'fixtures/nest-11/node_modules'));
    cpSync(join(root, 'fixtures/nest-11/tsconfig.json'), join(project, 'tsconfig.json'));
    expect(nestAdd(project)).toContain('open /greetings');
    compile(project);
    expect(await greetInBrowser(await start(project))).toBe('Hello <b>you</b>');
  }, 60_000);

  it('brings a message to a browser in an ESM project of Nest 12 on Fastify, and changes nothing the second time', async () => {
    const project = createProject('nest-12', 'esm', tools);
    const main = join(project, 'src/main.ts');
    const express = readFileSync(main, 'utf8');
    const fastify = express
      .replace('create(AppModule)', 'create<NestFastifyApplication>(AppModule, new FastifyAdapter())')
      .replace(/^/, "import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';\n");
    writeFileSync(main, fastify);
    nestAdd(project);
    compile(project);
    expect(await greetInBrowser(await start(project))).toBe('Hello <b>you</b>');

    const sources = () => readdirSync(join(project, 'src'), { recursive: true, encoding: 'utf8' }).toSorted();
    const before = [sources(), readFileSync(main, 'utf8')];
    expect(nestAdd(project)).toMatch(/already set up in src\/app\.module\.ts\. Nothing was changed\./);
    expect([sources(), readFileSync(main, 'utf8')]).toEqual(before);
    expect(() => nestAdd(project, '--modul=src/root.ts')).toThrow('Unknown option "modul"');
  }, 60_000);
});
