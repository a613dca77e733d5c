import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { bundleProgram, PROGRAM_ROOT } from './bundled-program.js';
import type { ClientServerOptions } from './client-servers.js';

const PROGRAM = `
  import { ClientServer } from './client-servers.ts';
  process.on('disconnect', () => process.exit());
  const server = await ClientServer.start(JSON.parse(process.env.SERVER_OPTIONS));
  console.log(server.url);`;

let bundle: Promise<string> | undefined;

/** A server in a process of its own. It ends with this one. */
export class ServerProcess implements AsyncDisposable {
  private constructor(
    private readonly child: ChildProcess,
    readonly url: string,
  ) {}

  static async start(options: ClientServerOptions): Promise<ServerProcess> {
    const code = await (bundle ??= bundleProgram(PROGRAM));
    const child = spawn(process.execPath, ['--input-type=module'], {
      cwd: PROGRAM_ROOT,
      env: { ...process.env, SERVER_OPTIONS: JSON.stringify({ shutdownHooks: true, ...options }) },
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
  kill(): Promise<void> {
    return this.end('SIGKILL');
  }

  /** Has it shut down in order. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill(signal);
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
