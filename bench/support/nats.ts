import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { freePort } from '../../test/support/redis-server.js';
import { watch } from '../../test/support/watchdog.js';
import { whenOpen } from './when-open.js';

/** A separate nats-server, on a free port. */
export class Nats {
  private constructor(
    private readonly child: ChildProcess,
    readonly url: string,
  ) {}

  /** Whether it is installed; part of Debian's and Ubuntu's package nats-server. */
  static get isInstalled(): boolean {
    try {
      execFileSync('nats-server', ['--version'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  }

  static async start(): Promise<Nats> {
    const port = await freePort();
    const child = spawn('nats-server', ['--addr', '127.0.0.1', '--port', String(port)], { stdio: 'ignore' });
    watch(child);
    await whenOpen(port);
    return new Nats(child, `nats://127.0.0.1:${port}`);
  }

  async stop(): Promise<void> {
    this.child.kill();
    await once(this.child, 'exit');
  }
}
