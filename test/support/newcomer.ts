import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Browser } from 'playwright-core';

// The first steps of a new user after `nest add`, in a project outside of this repository.

/** Changes the main file from Express to Fastify, as the documentation of Nest does. */
export function useFastify(project: string): void {
  const main = join(project, 'src/main.ts');
  const text = readFileSync(main, 'utf8')
    .replace('create(AppModule)', 'create<NestFastifyApplication>(AppModule, new FastifyAdapter())')
    .replace(/^/, "import { FastifyAdapter, NestFastifyApplication } from '@nestjs/platform-fastify';\n");
  writeFileSync(main, text);
}

// Prints the port of an application's server.
const TELL_PORT = `import { Server } from 'node:net';
const listen = Server.prototype.listen;
Server.prototype.listen = function (...args) {
  this.once('listening', () => console.log('PORT', this.address().port));
  return listen.apply(this, args);
};`;

/** A built application in a separate process. */
export class RunningApplication implements Disposable {
  private constructor(
    private readonly child: ChildProcess,
    readonly address: string,
  ) {}

  /** Starts `dist/main.js` on a free port. Resolves once it listens. */
  static async start(project: string, env: Record<string, string> = {}): Promise<RunningApplication> {
    const tellPort = `data:text/javascript,${encodeURIComponent(TELL_PORT)}`;
    const child = spawn(process.execPath, ['--import', tellPort, 'dist/main.js'], {
      cwd: project,
      env: { ...process.env, ...env, PORT: '0' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const said: string[] = [];
    child.stderr.on('data', (data: Buffer) => said.push(data.toString()));
    for await (const line of createInterface({ input: child.stdout })) {
      said.push(line);
      const [, port] = /^PORT (\d+)$/.exec(line) ?? [];
      if (port !== undefined) {
        child.stdout.resume();
        return new RunningApplication(child, `http://localhost:${port}`);
      }
    }
    throw new Error(`The application ended:\n${said.join('\n')}`);
  }

  [Symbol.dispose](): void {
    this.child.kill('SIGKILL');
  }
}

/**
 * Posts a greeting in a window of the example at one address, and returns the text that a window at the other one shows.
 *
 * @param path - of the example
 */
export async function greetInBrowser(
  browser: Browser,
  from: string,
  to: string,
  greeting: string,
  path = '/greetings',
): Promise<string> {
  const context = await browser.newContext();
  const [reader, writer] = [await context.newPage(), await context.newPage()];
  await reader.addInitScript(showReadiness);
  await reader.goto(to + path);
  await reader.waitForSelector('[data-ready]');
  await writer.goto(from + path);
  await writer.fill('input', greeting);
  await writer.click('button');
  const text = await reader.textContent('li');
  await context.close();
  return text ?? '';
}

/** Runs in the page: marks it once its stream has begun. */
function showReadiness(): void {
  const Native = EventSource;
  globalThis.EventSource = class extends Native {
    constructor(url: string | URL) {
      super(url);
      this.addEventListener('messaging:ready', () => document.body.setAttribute('data-ready', ''));
    }
  };
}
