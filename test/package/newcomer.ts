import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { exec } from 'node:child_process';
import { cpSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Browser } from 'playwright-core';
import { launchChromium } from '../support/chromium.js';
import { greetInBrowser, RunningApplication, useFastify } from '../support/newcomer.js';
import { PackedPair } from '../support/packed-pair.js';
import { PackedRegistry } from '../support/packed-registry.js';

// `npm run newcomer`: the library from an empty folder, by the commands that somebody new types, with whatever npm has today for
// each version of Nest. It takes minutes and needs the registry, so `npm test` has test/package/nest-add.spec.ts instead.

let pair: PackedPair;
let browser: Browser;
let registry: PackedRegistry;
beforeAll(async () => {
  pair = new PackedPair();
  registry = await PackedRegistry.start([pair.client, pair.server]);
  browser = await launchChromium();
}, 120_000);
afterAll(async () => {
  await browser?.close();
  registry?.[Symbol.dispose]();
  pair?.[Symbol.dispose]();
});

/** Runs a command. Fails the test if the command fails. */
async function type(cwd: string, command: string, env: Record<string, string> = {}): Promise<void> {
  const quiet = { npm_config_audit: 'false', npm_config_fund: 'false', npm_config_yes: 'true' };
  try {
    await promisify(exec)(command, { cwd, env: { ...process.env, ...quiet, ...env } });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${command}\n${stdout}${stderr}`, { cause: error });
  }
}

describe.each(['11', '12'])('An application of Nest %s', (nest) => {
  let project: string;
  beforeAll(async () => {
    await type(pair.folder, `npx @nestjs/cli@${nest} new nest-${nest} --package-manager npm --skip-git`);
    project = join(pair.folder, `nest-${nest}`);
    cpSync(join(project, 'src'), join(pair.folder, `sources-${nest}`), { recursive: true });
  }, 600_000);

  it.each(['Express', 'Fastify'])(
    'on %s brings a message to a browser, and passes its tests',
    async (platform) => {
      rmSync(join(project, 'src'), { recursive: true });
      cpSync(join(pair.folder, `sources-${nest}`), join(project, 'src'), { recursive: true });
      if (platform === 'Fastify') {
        await type(project, `npm install @nestjs/platform-fastify@${nest}`);
        useFastify(project);
      }
      await type(project, 'npx nest add nestjs-messaging', { npm_config_registry: registry.url });
      const { dependencies } = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')) as {
        dependencies: Record<string, string>;
      };
      expect(dependencies).toHaveProperty('nestjs-messaging');
      await type(project, 'npm run build');
      using application = await RunningApplication.start(project);
      const { address } = application;
      expect(await greetInBrowser(browser, address, address, 'Hello')).toBe('Hello');
      await type(project, 'npm test && npm run test:e2e');
    },
    600_000,
  );
});
