import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { watch } from './watchdog.js';

/** Options of a {@link RedisServer}. */
export interface RedisServerOptions {
  readonly password?: string;
  /** Additional arguments of redis-server. */
  readonly args?: readonly string[];
  /** The directory of its data. It persists each write before its answer, so data survives a restart until a test wipes it. */
  readonly dir?: string;
}

/** The program: another version of Redis, or Valkey, if `npm run matrix` sets it. */
const PROGRAM = process.env['REDIS_SERVER'] ?? 'redis-server';

/** A real redis-server on a free port, by default without persistence. A test may stop, kill, pause and restart it. */
export class RedisServer implements AsyncDisposable {
  private child: ChildProcess | undefined = undefined;

  private constructor(
    readonly port: number,
    private readonly options: RedisServerOptions,
  ) {}

  static async start(options: RedisServerOptions = {}): Promise<RedisServer> {
    for (let attempt = 1; ; attempt++) {
      const server = new RedisServer(await freePort(), options);
      try {
        await server.restart();
        return server;
      } catch (error) {
        // Another process may have taken the port since the check.
        if (attempt === 5) throw error;
      }
    }
  }

  /** A Sentinel, which keeps its state in its configuration file. */
  static async startSentinel(port: number, file: string): Promise<RedisServer> {
    const server = new RedisServer(port, { args: [file, '--sentinel'] });
    await server.run(server.options.args!, 'Sentinel ID is');
    return server;
  }

  get url(): string {
    const { password } = this.options;
    return `redis://${password === undefined ? '' : `:${password}@`}127.0.0.1:${this.port}`;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Starts again on the same port, empty without a `dir`; resolves once it accepts connections. */
  async restart(): Promise<void> {
    await this.stop();
    const { password, args = [], dir } = this.options;
    const fixed = [
      '--port',
      String(this.port),
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--appendonly',
      dir === undefined ? 'no' : 'yes',
      '--appendfsync',
      'always',
      '--dir',
      dir ?? tmpdir(),
      // A replica would write its data to disk, and the next server in that directory would read it.
      '--repl-diskless-load',
      'swapdb',
      '--dbfilename',
      `redis-${randomUUID()}.rdb`,
    ];
    await this.run([...fixed, ...(password === undefined ? [] : ['--requirepass', password]), ...args]);
  }

  private async run(all: readonly string[], sign = 'Ready to accept connections'): Promise<void> {
    const child = spawn(PROGRAM, all, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.child = child;
    watch(child);
    const lines: string[] = [];
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', () => reject(new Error(`${PROGRAM} ended: ${lines.slice(-5).join('\n')}`)));
      createInterface(child.stdout).on('line', (line) => {
        lines.push(line);
        if (line.includes(sign)) resolve();
      });
    });
  }

  /** Ends it in order, if it runs. */
  stop(): Promise<void> {
    return this.end('SIGTERM');
  }

  /** Kills it, as a crash does. */
  kill(): Promise<void> {
    return this.end('SIGKILL');
  }

  /** Removes its data on disk, while it does not run. */
  async wipe(): Promise<void> {
    await rm(join(this.options.dir!, 'appendonlydir'), { recursive: true, force: true });
  }

  /** Makes it hang: connections stay, and nothing is answered. */
  pause(): void {
    this.child?.kill('SIGSTOP');
  }

  resume(): void {
    this.child?.kill('SIGCONT');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }

  private async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const { child } = this;
    this.child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    child.kill('SIGCONT');
    await ended;
  }
}

/** A port of 127.0.0.1 that no process listens on now. */
export async function freePort(): Promise<number> {
  for (;;) {
    // Below the range of outgoing connections, so that none of them takes the port while the server is stopped.
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}
