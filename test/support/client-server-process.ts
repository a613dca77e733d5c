import { transform } from '@swc/core';
import { build } from 'esbuild';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { ClientServerOptions } from './client-servers.js';

const root = resolve(import.meta.dirname, '../..');

let bundle: Promise<string> | undefined;

/** A server and the library, from the sources, for a Node that knows no TypeScript. */
function bundled(): Promise<string> {
  return (bundle ??= build({
    stdin: {
      contents: `
        import { ClientServer } from './client-servers.ts';
        process.on('disconnect', () => process.exit());
        const server = await ClientServer.start(JSON.parse(process.env.SERVER_OPTIONS));
        console.log(server.url);`,
      resolveDir: import.meta.dirname,
    },
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    alias: {
      'nestjs-messaging': resolve(root, 'lib/index.ts'),
      'nestjs-messaging/client': resolve(root, 'lib/client/index.ts'),
    },
    plugins: [
      {
        name: 'types of constructor parameters, which Nest injects by',
        setup: (building) =>
          building.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
            const { code } = await transform(await readFile(path, 'utf8'), {
              filename: path,
              jsc: {
                target: 'es2022',
                parser: { syntax: 'typescript', decorators: true },
                transform: { legacyDecorator: true, decoratorMetadata: true },
                keepClassNames: true,
              },
            });
            return { contents: code, loader: 'js' };
          }),
      },
    ],
    write: false,
  }).then(({ outputFiles }) => outputFiles[0]!.text));
}

/** A server in a process of its own. It ends with this one. */
export class ServerProcess implements AsyncDisposable {
  private constructor(
    private readonly child: ChildProcess,
    readonly url: string,
  ) {}

  static async start(options: ClientServerOptions): Promise<ServerProcess> {
    const code = await bundled();
    const child = spawn(process.execPath, ['--input-type=module'], {
      cwd: root,
      env: { ...process.env, SERVER_OPTIONS: JSON.stringify(options) },
      stdio: ['pipe', 'pipe', 'inherit', 'ipc'],
    });
    child.stdin!.end(code);
    const [url] = (await Promise.race([
      once(createInterface(child.stdout!), 'line'),
      once(child, 'exit').then(([status]) => Promise.reject(new Error(`The server ended with ${status}`))),
    ])) as [string];
    return new ServerProcess(child, url);
  }

  /** Ends it without a word, as a crash does. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }

  /** Makes it hang: connections stay, and nothing is answered. */
  pause(): void {
    this.child.kill('SIGSTOP');
  }

  resume(): void {
    this.child.kill('SIGCONT');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}
