import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { bundleProgram, PROGRAM_ROOT } from './bundled-program.js';
import type { ClientServerOptions } from './client-servers.js';
import type { StreamServerOptions } from './stream-server.js';

const PROGRAM = `
  import { ClientServer } from './client-servers.ts';
  process.on('disconnect', () => process.exit());
  const server = await ClientServer.start(JSON.parse(process.env.SERVER_OPTIONS));
  console.log(server.url);`;

const STREAM_PROGRAM = `
  import { startStreamServer } from './stream-server.ts';
  process.on('disconnect', () => process.exit());
  const { app, url } = await startStreamServer(JSON.parse(process.env.SERVER_OPTIONS));
  app.enableShutdownHooks();
  console.log(url);`;

const bundles = new Map<string, Promise<string>>();

function bundleOf(program: string): Promise<string> {
  let bundle = bundles.get(program);
  if (bundle === undefined) bundles.set(program, (bundle = bundleProgram(program)));
  return bundle;
}

/** A server in a process of its own. It ends with this one. */
export class ServerProcess implements AsyncDisposable {
  private constructor(
    private readonly child: ChildProcess,
    readonly url: string,
  ) {}

  static start(options: ClientServerOptions): Promise<ServerProcess> {
    return ServerProcess.run(PROGRAM, { shutdownHooks: true, ...options });
  }

  /** See {@link startStreamServer}. */
  static startStreams(options: StreamServerOptions): Promise<ServerProcess> {
    return ServerProcess.run(STREAM_PROGRAM, options);
  }

  private static async run(program: string, options: object): Promise<ServerProcess> {
    const code = await bundleOf(program);
    const child = spawn(process.execPath, ['--input-type=module'], {
      cwd: PROGRAM_ROOT,
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

  /** Kills it, as a crash does. */
  kill(): Promise<void> {
    return this.end('SIGKILL');
  }

  /** Shuts it down in order. */
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
