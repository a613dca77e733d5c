import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { Redis as Client } from 'ioredis';
import { freePort } from '../../test/support/redis-server.js';
import { watch } from '../../test/support/watchdog.js';
import { pin } from './pinned-process.js';

/** A separate redis-server, on a free port, without persistence. */
export class Redis {
  // Connects on first use.
  private readonly client: Client;

  private constructor(
    private readonly child: ChildProcess,
    readonly url: string,
  ) {
    this.client = new Client(url, { lazyConnect: true });
  }

  /** @param core - for its process; left out, the system chooses */
  static async start(core?: 0 | 1): Promise<Redis> {
    const port = await freePort();
    const settings = [
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--dbfilename',
      `${port}.rdb`,
      '--dir',
      tmpdir(),
    ];
    const child = spawn('redis-server', settings, { stdio: ['ignore', 'pipe', 'inherit'] });
    for await (const line of createInterface(child.stdout)) if (line.includes('Ready to accept connections')) break;
    child.stdout.resume();
    if (core !== undefined) pin(child, core);
    watch(child);
    return new Redis(child, `redis://127.0.0.1:${port}`);
  }

  /** The CPU used since its start, in microseconds. */
  async cpu(): Promise<number> {
    return cpuOf(this.client);
  }

  async stop(): Promise<void> {
    this.client.disconnect();
    this.child.kill();
    await once(this.child, 'exit');
  }
}

/** The CPU that a Redis has used since its start, in microseconds. */
export async function cpuOf(client: Client): Promise<number> {
  const info = await client.info('cpu');
  const seconds = (key: string) => Number(new RegExp(`^${key}:(.+)`, 'm').exec(info)![1]);
  return (seconds('used_cpu_user') + seconds('used_cpu_sys')) * 1e6;
}
