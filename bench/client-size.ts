// The client's size in a page: bundled by esbuild (minified, ES modules, for browsers) and compressed (gzip -9), beside
// its alternatives. The alternatives are installed from the registry into a temporary folder, which is removed with
// the bench.
import { build } from 'esbuild';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { report, type Goal } from './support/table.js';

interface Client {
  readonly name: string;
  /** The packages to install, with their versions. */
  readonly packages?: Readonly<Record<string, string>>;
  /** The imports of a page that receives messages. */
  readonly code: string;
  readonly goal?: Goal;
}

const OURS = fileURLToPath(import.meta.resolve('nestjs-messaging/client'));
const GOAL_KB = 12;

const CLIENTS: readonly Client[] = [
  // The size that the goal names, in the table beside the others.
  { name: 'goal', code: '' },
  { name: 'MessagingClient', code: `export { MessagingClient } from '${OURS}'`, goal: { base: 'goal', ratio: 1 } },
  {
    name: 'MessagingClient, defineChannel, defineMessage',
    code: `export { MessagingClient, defineChannel, defineMessage } from '${OURS}'`,
  },
  {
    name: 'MessagingClient, shareAcrossTabs',
    code: `export { MessagingClient, shareAcrossTabs } from '${OURS}'`,
  },
  {
    name: 'socket.io-client',
    packages: { 'socket.io-client': '4.8.4' },
    code: `export { io } from 'socket.io-client'`,
  },
  { name: 'centrifuge', packages: { centrifuge: '5.8.0' }, code: `export { Centrifuge } from 'centrifuge'` },
  {
    name: '@microsoft/signalr',
    packages: { '@microsoft/signalr': '10.0.11' },
    code: `export { HubConnectionBuilder } from '@microsoft/signalr'`,
  },
  { name: 'pusher-js', packages: { 'pusher-js': '8.6.0' }, code: `export { default } from 'pusher-js'` },
  { name: 'phoenix', packages: { phoenix: '1.8.16' }, code: `export { Socket } from 'phoenix'` },
  {
    name: '@trpc/client',
    packages: { '@trpc/client': '11.25.2', '@trpc/server': '11.25.2' },
    code: `export { createTRPCClient, httpBatchLink, httpSubscriptionLink, splitLink } from '@trpc/client'`,
  },
];

export async function run(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'client-size-'));
  try {
    const dependencies = Object.assign({}, ...CLIENTS.map(({ packages }) => packages)) as Record<string, string>;
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module', dependencies }));
    // npm on Windows is a script and needs a shell.
    const shell = process.platform === 'win32';
    execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', '--force'], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'inherit'],
      shell,
    });
    const rows = [];
    for (const { name, packages, code, goal } of CLIENTS) {
      const samples = [code === '' ? GOAL_KB : (await sizeOf(code, folder)) / 1_000];
      rows.push({ name, note: packages && Object.values(packages)[0], samples, ...(goal && { goal }) });
    }
    await report({ title: 'a client in a page', unit: 'kB', rows });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function sizeOf(contents: string, resolveDir: string): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    write: false,
    logLevel: 'error',
  });
  return gzipSync(outputFiles[0]!.contents, { level: 9 }).length;
}
