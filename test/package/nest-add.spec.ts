import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { cpSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { launchChromium } from '../support/chromium.js';
import { greetInBrowser, RunningApplication, useFastify } from '../support/newcomer.js';
import { PackedPair, REPOSITORY, run, tool } from '../support/packed-pair.js';
import { RedisServer } from '../support/redis-server.js';

// From an empty folder to a message in a browser: `nest new`, the packed library, `nest add`, build, start. No code by hand.
// `npm run newcomer` does the same with everything installed, with the CLI of each version of Nest.

const nest11 = join(REPOSITORY, 'fixtures/nest-11');
const GREETING = 'Hello <b>you</b>';
// A line of a main file. It has the same effect as helmet's defaults.
const POLICY = `app.use((_request: unknown, response: { setHeader(name: string, value: string): void }, next: () => void) => {
  response.setHeader('content-security-policy', "default-src 'self'; script-src 'self'; script-src-attr 'none'");
  next();
});`;

let pair: PackedPair;
let browser: Browser;

beforeAll(async () => {
  pair = new PackedPair();
  browser = await launchChromium();
}, 120_000);

afterAll(async () => {
  await browser?.close();
  pair?.[Symbol.dispose]();
});

/** A project like that of `nest new`, with the packages of another folder and the packed library. */
function createProject(name: string, type: 'cjs' | 'esm', packages: string): string {
  const schematics = tool('@angular-devkit/schematics-cli/bin/schematics.js');
  run(pair.folder, schematics, '@nestjs/schematics:application', `--name=${name}`, `--type=${type}`, '--language=ts');
  const project = join(pair.folder, name);
  mkdirSync(join(project, 'node_modules'));
  for (const installed of readdirSync(packages)) {
    if (installed.startsWith('.')) continue;
    symlinkSync(join(packages, installed), join(project, 'node_modules', installed), 'junction');
  }
  for (const packed of [pair.client, pair.server]) packed.copyTo(project);
  return project;
}

function nestAdd(project: string, ...options: string[]): string {
  return run(project, tool('@nestjs/cli/bin/nest.js'), 'add', 'nestjs-messaging', '--skip-install', ...options);
}

/** Compiles a project with its own compiler, more strictly than `nest new` does. */
function compile(project: string): void {
  const main = join(project, 'src/main.ts');
  writeFileSync(main, readFileSync(main, 'utf8').replace('process.env.PORT', "process.env['PORT']"));
  const strict = ['--strict', '--noUncheckedIndexedAccess', '--exactOptionalPropertyTypes', '--noUnusedLocals'];
  const stricter = ['--noImplicitOverride', '--noPropertyAccessFromIndexSignature', '--noUnusedParameters'];
  const types = ['--types', 'node', '--incremental', 'false'];
  const compiler = join(project, 'node_modules/typescript/bin/tsc');
  run(project, compiler, '-p', 'tsconfig.build.json', ...types, ...strict, ...stricter);
}

/** The source texts of a project, by path. */
function sourcesOf(project: string): Record<string, string> {
  const entries = readdirSync(join(project, 'src'), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  return Object.fromEntries(files.map((file) => [file, readFileSync(file, 'utf8')]));
}

describe('nest add nestjs-messaging', () => {
  it('brings a message to a browser in a CommonJS project of Nest 11 on Express, with a global prefix, a trailing slash and a policy against inline scripts', async () => {
    const project = createProject('nest-11', 'cjs', join(nest11, 'node_modules'));
    cpSync(join(nest11, 'tsconfig.json'), join(project, 'tsconfig.json'));
    expect(nestAdd(project)).toContain('open /greetings');
    const main = join(project, 'src/main.ts');
    writeFileSync(
      main,
      readFileSync(main, 'utf8').replace(/(?=await app\.listen)/, `app.setGlobalPrefix('api');${POLICY}`),
    );
    compile(project);
    using application = await RunningApplication.start(project);
    const address = `${application.address}/api`;
    expect(await greetInBrowser(browser, address, address, GREETING)).toBe(GREETING);
    expect(await greetInBrowser(browser, address, address, GREETING, '/greetings/')).toBe(GREETING);
  }, 120_000);

  it('brings a message from one server to a browser at another in an ESM project of Nest 12 on Fastify, and changes nothing the second time', async () => {
    const project = createProject('nest-12', 'esm', tool(''));
    useFastify(project);
    nestAdd(project);
    compile(project);
    await using redis = await RedisServer.start();
    const env = { REDIS_URL: redis.url };
    using one = await RunningApplication.start(project, env);
    using other = await RunningApplication.start(project, env);
    expect(await greetInBrowser(browser, one.address, other.address, GREETING)).toBe(GREETING);

    const before = sourcesOf(project);
    expect(nestAdd(project)).toMatch(/already set up in src\/app\.module\.ts\. Nothing was changed\./);
    expect(sourcesOf(project)).toEqual(before);
    expect(() => nestAdd(project, '--modul=src/root.ts')).toThrow('Unknown option "modul"');
  }, 120_000);
});
