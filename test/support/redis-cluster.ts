import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { RedisServer, freePort } from './redis-server.js';
import { TcpProxy } from './tcp-proxy.js';

const SLOTS = 16_384;

/** A real Redis Cluster of masters without replicas. */
export class RedisCluster implements AsyncDisposable {
  private constructor(
    readonly servers: readonly RedisServer[],
    private readonly files: readonly string[],
    private readonly firstBus: string,
    /** What each server hears from the others by, if that was asked for. */
    readonly buses: readonly TcpProxy[],
  ) {}

  /** @param isProxied - whether the servers talk to each other through proxies */
  static async start(size: number, isProxied = false): Promise<RedisCluster> {
    const servers: RedisServer[] = [];
    const files: string[] = [];
    const announced: number[] = [];
    const proxies: TcpProxy[] = [];
    for (let index = 0; index < size; index++) {
      const file = join(tmpdir(), `nodes-${randomUUID()}.conf`);
      // Not the usual port + 10,000, which may be beyond the last port.
      const bus = await freePort();
      const args = ['--cluster-enabled', 'yes', '--cluster-config-file', file, '--cluster-port', String(bus)];
      if (isProxied) {
        const proxy = await TcpProxy.start(bus);
        proxies.push(proxy);
        args.push('--cluster-announce-bus-port', String(proxy.port));
      }
      announced.push(proxies[index]?.port ?? bus);
      files.push(file);
      servers.push(await RedisServer.start({ args }));
    }
    const cluster = new RedisCluster(servers, files, String(announced[0]), proxies);
    await cluster.join();
    return cluster;
  }

  get nodes(): { host: string; port: number }[] {
    return this.servers.map(({ port }) => ({ host: '127.0.0.1', port }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.servers.map((server) => server.kill()));
    for (const proxy of this.buses) await proxy[Symbol.asyncDispose]();
    await Promise.all(this.files.map((file) => rm(file, { force: true })));
  }

  private async join(): Promise<void> {
    const clients = this.servers.map(({ url }) => new Redis(url));
    const size = clients.length;
    for (const [index, client] of clients.entries()) {
      const first = Math.floor((index * SLOTS) / size);
      const last = Math.floor(((index + 1) * SLOTS) / size) - 1;
      await client.cluster('ADDSLOTSRANGE', first, last);
    }
    for (const client of clients.slice(1)) {
      await client.call('CLUSTER', 'MEET', '127.0.0.1', String(this.servers[0]!.port), this.firstBus);
    }
    for (const client of clients) {
      const isWhole = async (): Promise<boolean> => {
        if (!(await client.cluster('INFO')).includes('cluster_state:ok')) return false;
        const known = ((await client.cluster('NODES')) as string).trim().split('\n');
        return known.length === size && !known.some((line) => /handshake|disconnected|noaddr/.test(line));
      };
      while (!(await isWhole()));
      client.disconnect();
    }
  }
}
