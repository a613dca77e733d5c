import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cluster, Redis } from 'ioredis';
import type { RedisTransportOptions } from '../../lib/transport/redis-options.js';
import { RedisProbe } from './redis-probe.js';
import { RedisServer, freePort } from './redis-server.js';
import { TcpProxy } from '../../lib/testing/tcp-proxy.js';

const SLOTS = 16_384;

/** How a server in another process reaches a Cluster. */
export interface ClusterPlace {
  readonly members: readonly { readonly host: string; readonly port: number }[];
  /** Whether each master carries its own channels. */
  readonly isSharded: boolean;
}

/** The option `redis` of a server. */
export function redisAt({ members, isSharded }: ClusterPlace): RedisTransportOptions {
  return { client: () => new Cluster([...members]), sharded: isSharded };
}

/** A real Redis Cluster of masters without replicas. */
export class RedisCluster implements AsyncDisposable {
  private readonly replicas: RedisServer[] = [];

  private constructor(
    readonly servers: readonly RedisServer[],
    private readonly files: string[],
    private readonly firstBus: string,
    /** How servers reach each other, if a test asked for that. */
    readonly buses: readonly TcpProxy[],
    private readonly more: readonly string[],
  ) {}

  /**
   * @param isProxied - whether the servers talk to each other through proxies
   * @param more - arguments of each server
   */
  static async start(size: number, isProxied = false, more: readonly string[] = []): Promise<RedisCluster> {
    const servers: RedisServer[] = [];
    const files: string[] = [];
    const announced: number[] = [];
    const proxies: TcpProxy[] = [];
    for (let index = 0; index < size; index++) {
      const file = join(tmpdir(), `nodes-${randomUUID()}.conf`);
      // Not the usual port + 10,000, which may be beyond the last port.
      const bus = await freePort();
      const args = [
        ...['--cluster-enabled', 'yes', '--cluster-config-file', file, '--cluster-port', String(bus)],
        ...more,
      ];
      if (isProxied) {
        const proxy = await TcpProxy.start(bus);
        proxies.push(proxy);
        args.push('--cluster-announce-bus-port', String(proxy.port));
      }
      announced.push(proxies[index]?.port ?? bus);
      files.push(file);
      servers.push(await RedisServer.start({ args }));
    }
    const cluster = new RedisCluster(servers, files, String(announced[0]), proxies, more);
    await cluster.join();
    return cluster;
  }

  get nodes(): { host: string; port: number }[] {
    return this.servers.map(({ port }) => ({ host: '127.0.0.1', port }));
  }

  /** Adds a replica to a member; resolves once the replica has all of its data. */
  async addReplica(member: number): Promise<RedisServer> {
    const [file, bus] = [join(tmpdir(), `nodes-${randomUUID()}.conf`), String(await freePort())];
    const args = ['--cluster-enabled', 'yes', '--cluster-config-file', file, '--cluster-port', bus, ...this.more];
    const replica = await RedisServer.start({ args });
    this.replicas.push(replica);
    this.files.push(file);
    using master = new RedisProbe(this.servers[member]!.url);
    using probe = new RedisProbe(replica.url);
    await probe.redis.call('CLUSTER', 'MEET', '127.0.0.1', String(this.servers[0]!.port), this.firstBus);
    const id = await master.redis.cluster('MYID');
    const isDone = async (): Promise<boolean> => (await master.redis.info('replication')).includes('state=online');
    // It learns of the master only after a while.
    while (!(await isOk(probe.redis.call('CLUSTER', 'REPLICATE', id))));
    while (!(await isDone()));
    // A member that has not heard of it yet would not believe its takeover.
    const replicaId = await probe.redis.cluster('MYID');
    for (const { url } of this.servers) {
      using each = new RedisProbe(url);
      const knows = async (): Promise<boolean> =>
        new RegExp(`${replicaId} \\S+ slave ${id}`).test(String(await each.redis.cluster('NODES')));
      while (!(await knows()));
    }
    return replica;
  }

  /** Resolves once the replica of a member has all of its current data. WAIT covers only the writes of its own connection. */
  async replicated(member: number): Promise<void> {
    using master = new RedisProbe(this.servers[member]!.url);
    const read = async (pattern: RegExp): Promise<number> =>
      Number(pattern.exec(await master.redis.info('replication'))?.[1]);
    const all = await read(/^master_repl_offset:(\d+)/m);
    while (!((await read(/^slave0:.*offset=(\d+)/m)) >= all));
  }

  /** Which member has the slot of a key. */
  async ownerOf(key: string): Promise<number> {
    const slot = await this.slotOf(key);
    return Math.floor(((slot + 1) * this.servers.length - 1) / SLOTS);
  }

  /**
   * Moves the slot of a key to another member, with all of its keys one by one, as redis-cli does.
   *
   * @param halfway - called when the first key has moved
   */
  async moveSlot(key: string, from: number, to: number, halfway: () => Promise<void> = async () => {}): Promise<void> {
    const slot = await this.slotOf(key);
    const probes = this.servers.map(({ url }) => new RedisProbe(url));
    try {
      const clients = probes.map(({ redis }) => redis);
      const [source, target] = [clients[from]!, clients[to]!];
      const [sourceId, targetId] = [await source.cluster('MYID'), await target.cluster('MYID')];
      // Connected before anything moves: a connection that is made between two of the commands would leave the members at odds for longer.
      await Promise.all(clients.map((client) => client.ping()));
      await target.cluster('SETSLOT', slot, 'IMPORTING', sourceId);
      await source.cluster('SETSLOT', slot, 'MIGRATING', targetId);
      for (let isFirst = true; ; isFirst = false) {
        const keys = await source.cluster('GETKEYSINSLOT', slot, 1);
        if (keys.length === 0) break;
        await source.call('MIGRATE', '127.0.0.1', this.servers[to]!.port, '', 0, 5_000, 'KEYS', ...keys);
        if (isFirst) await halfway();
      }
      // Each member once: with every such command, a member ends all subscriptions in the slot, even if it has the slot already.
      for (const client of new Set([target, source, ...clients])) {
        await client.cluster('SETSLOT', slot, 'NODE', targetId);
      }
    } finally {
      for (const probe of probes) probe[Symbol.dispose]();
    }
  }

  private async slotOf(key: string): Promise<number> {
    using probe = new RedisProbe(this.servers[0]!.url);
    return await probe.redis.cluster('KEYSLOT', key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.servers, ...this.replicas].map((server) => server.kill()));
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
      // Members with one epoch settle that among themselves later, and may disagree for ever about a slot that moves then.
      await client.cluster('SET-CONFIG-EPOCH', index + 1);
    }
    for (const client of clients.slice(1)) {
      await client.call('CLUSTER', 'MEET', '127.0.0.1', String(this.servers[0]!.port), this.firstBus);
    }
    for (const client of clients) client.disconnect();
    await this.isWhole();
  }

  /** Resolves when all members know each other, and all slots have one. */
  async isWhole(): Promise<void> {
    for (const { url } of this.servers) {
      using probe = new RedisProbe(url);
      const { redis } = probe;
      const isWhole = async (): Promise<boolean> => {
        if (!(await redis.cluster('INFO')).includes('cluster_state:ok')) return false;
        const known = ((await redis.cluster('NODES')) as string).trim().split('\n');
        const count = this.servers.length + this.replicas.length;
        return known.length === count && !known.some((line) => /handshake|disconnected|noaddr/.test(line));
      };
      while (!(await isWhole()));
    }
  }
}

async function isOk(answer: Promise<unknown>): Promise<boolean> {
  return answer.then(
    () => true,
    () => false,
  );
}
