import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { bundleProgram, PROGRAM_ROOT } from './bundled-program.js';
import { fetchByHttp2 } from './http2-fetch.js';
import { requests, type Address } from './revocation-world.js';
import { watch } from './watchdog.js';

const PROGRAM = `
  import { requests, startServer } from './revocation-world.ts';
  requests.tell = (name, message) => process.send({ name, message });
  const port = Number(process.env.REDIS_PORT);
  const servers = [await startServer(port), await startServer(port, { adapter: 'Fastify' }), await startServer(port, { http2: {} })];
  process.send({ urls: servers.map(({ url }) => url) });`;

/** Servers on Express, on Fastify and over HTTP/2, in a process that can be stopped. */
export class RevocationProcess implements AsyncDisposable {
  private constructor(
    private readonly child: ChildProcess,
    readonly addresses: readonly Address[],
  ) {}

  static async start(redisPort: number): Promise<RevocationProcess> {
    const code = await bundleProgram(PROGRAM);
    const child = spawn(process.execPath, ['--input-type=module'], {
      cwd: PROGRAM_ROOT,
      env: { ...process.env, REDIS_PORT: String(redisPort) },
      stdio: ['pipe', 'inherit', 'inherit', 'ipc'],
    });
    watch(child);
    child.stdin!.end(code);
    const failed = once(child, 'exit').then(([status]) =>
      Promise.reject(new Error(`The servers ended with ${status}`)),
    );
    const [{ urls }] = (await Promise.race([once(child, 'message'), failed])) as [{ urls: [string, string, string] }];
    failed.catch(() => {});
    child.on('message', ({ name, message }: { name: string; message: string }) => requests.tell(name, message));
    const [express, fastify, overHttp2] = urls;
    return new RevocationProcess(child, [
      { url: express, fetch },
      { url: fastify, fetch },
      { url: overHttp2, fetch: fetchByHttp2 },
    ]);
  }

  pause(): void {
    this.child.kill('SIGSTOP');
  }

  resume(): void {
    this.child.kill('SIGCONT');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }
}
