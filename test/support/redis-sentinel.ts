import { randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { RedisProbe } from './redis-probe.js';
import { RedisServer, freePort } from './redis-server.js';

/** A master called `main`, a replica of it, and a real Sentinel that watches both. */
export class RedisSentinel implements AsyncDisposable {
  private constructor(
    readonly port: number,
    /** The first is the initial master. */
    readonly servers: readonly [RedisServer, RedisServer],
    private readonly sentinel: RedisServer,
    private readonly file: string,
  ) {}

  /** @param args - additional arguments of the first master */
  static async start(args: readonly string[] = []): Promise<RedisSentinel> {
    const master = await RedisServer.start({ args: ['--repl-diskless-sync-delay', '0', ...args] });
    const replica = await RedisServer.start({ args: ['--replicaof', '127.0.0.1', String(master.port)] });
    // Before the first look of the Sentinel at the master, because its second look comes 10 s later.
    using looker = new RedisProbe(master.url);
    while (!(await looker.redis.info('replication')).includes('state=online'));
    const file = join(tmpdir(), `sentinel-${randomUUID()}.conf`);
    const port = await freePort();
    const lines = [
      `port ${port}`,
      'bind 127.0.0.1',
      `sentinel monitor main 127.0.0.1 ${master.port} 1`,
      'sentinel down-after-milliseconds main 1000',
      'sentinel failover-timeout main 5000',
    ];
    await writeFile(file, lines.join('\n'));
    const sentinel = await RedisServer.startSentinel(port, file);
    const created = new RedisSentinel(port, [master, replica], sentinel, file);
    return created;
  }

  /**
   * Makes the replica the master, as an operator does; resolves once the Sentinel names the new master. The former
   * one keeps its role for another 8 s.
   */
  async failover(): Promise<void> {
    const sentinel = new Redis({ host: '127.0.0.1', port: this.port });
    try {
      // At first, the Sentinel has not seen the replica yet.
      while (!(await isTaken(sentinel.call('SENTINEL', 'FAILOVER', 'main'))));
      const master = (): Promise<unknown> => sentinel.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'main');
      while (!String(await master()).includes(String(this.servers[1].port)));
    } finally {
      sentinel.disconnect();
    }
  }

  /** Kills the master; resolves when the Sentinel names the replica. */
  async crash(): Promise<void> {
    await this.servers[0].kill();
    using probe = new RedisProbe(`redis://127.0.0.1:${this.port}`);
    const master = (): Promise<unknown> => probe.redis.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'main');
    while (!String(await master()).includes(String(this.servers[1].port)))
      await new Promise((resolve) => setTimeout(resolve, 20));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.sentinel, ...this.servers].map((server) => server.kill()));
    await rm(this.file, { force: true });
  }
}

async function isTaken(answer: Promise<unknown>): Promise<boolean> {
  try {
    await answer;
    return true;
  } catch (error) {
    if ((error as Error).message.includes('NOGOODSLAVE')) return false;
    throw error;
  }
}
