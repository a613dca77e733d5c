import { Redis } from 'ioredis';
import { RedisNames } from '../../lib/transport/redis-names.js';
import type { Fault } from './fault-schedule.js';
import { Kept } from './fault-channels.js';
import { RedisProbe } from './redis-probe.js';
import type { FaultBroker } from './fault-world.js';
import { RedisCluster } from './redis-cluster.js';
import { RedisSentinel } from './redis-sentinel.js';

/** Longer than a failover takes. */
const PAUSE_MS = 20_000;

/**
 * A master with a replica and a Sentinel. A fault is a planned failover: the master takes no more writes, and when the replica has
 * all of them, it takes over. Without its replica the master takes none either, so that nothing comes to it afterwards.
 */
export class SentinelBroker implements FaultBroker {
  private constructor(private readonly sentinel: RedisSentinel) {}

  static async start(): Promise<SentinelBroker> {
    return new SentinelBroker(await RedisSentinel.start(['--min-replicas-to-write', '1']));
  }

  get redis() {
    return { sentinels: [{ host: '127.0.0.1', port: this.sentinel.port }], name: 'main' };
  }

  async inflict({ kind }: Fault): Promise<void> {
    if (kind === 'redis-crash') return this.sentinel.crash();
    const master = new Redis(this.sentinel.servers[0].url);
    try {
      await master.call('CLIENT', 'PAUSE', PAUSE_MS, 'WRITE');
      const isBehind = async (): Promise<boolean> => {
        const info = await master.info('replication');
        return !info.includes(`offset=${/master_repl_offset:(\d+)/.exec(info)![1]},`);
      };
      while (await isBehind());
      await this.sentinel.failover();
    } finally {
      master.disconnect();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.sentinel[Symbol.asyncDispose]();
  }
}

/** A failed master is given up after so long, in milliseconds. */
const NODE_TIMEOUT_MS = 1_500;

/**
 * Three masters. A fault moves all slots of the channels that a run posts to, to another member each; or kills the master of a channel,
 * whose replica takes over then.
 */
export class ClusterBroker implements FaultBroker {
  private constructor(
    private readonly cluster: RedisCluster,
    private readonly isSharded: boolean,
  ) {}

  static async start(isSharded = false): Promise<ClusterBroker> {
    return new ClusterBroker(await RedisCluster.start(3), isSharded);
  }

  /** Each master has a replica. */
  static async startWithReplicas(isSharded = false): Promise<ClusterBroker> {
    const args = ['--cluster-node-timeout', String(NODE_TIMEOUT_MS), '--repl-diskless-sync-delay', '0'];
    const broker = new ClusterBroker(await RedisCluster.start(3, false, args), isSharded);
    for (const member of [0, 1, 2]) await broker.cluster.addReplica(member);
    return broker;
  }

  get redis() {
    return { members: this.cluster.nodes, isSharded: this.isSharded };
  }

  async inflict({ kind }: Fault): Promise<void> {
    if (kind === 'redis-crash') return this.crash();
    // One key or channel of each slot, with its member.
    const inSlots = new Map<number, readonly [key: string, from: number]>();
    for (const [from, { url }] of this.cluster.servers.entries()) {
      using probe = new RedisProbe(url);
      const { redis } = probe;
      const keys = (await redis.keys('*')).filter((key) => key.includes('faults-'));
      if (this.isSharded) keys.push(...((await redis.call('PUBSUB', 'SHARDCHANNELS', '*c|faults/*')) as string[]));
      for (const key of keys) inSlots.set(await redis.cluster('KEYSLOT', key), [key, from]);
    }
    for (const [key, from] of inSlots.values()) {
      await this.cluster.moveSlot(key, from, (from + 1) % this.cluster.servers.length);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.cluster[Symbol.asyncDispose]();
  }

  /** Kills the master of a channel that all read. */
  private async crash(): Promise<void> {
    const { stream } = new RedisNames('messaging:', undefined, this.isSharded).history(Kept.name);
    const owner = this.cluster.servers[await this.cluster.ownerOf(stream)]!;
    await owner.kill();
    using probe = new RedisProbe(this.cluster.servers.find((server) => server !== owner)!.url);
    const { redis } = probe;
    const slot = await redis.cluster('KEYSLOT', stream);
    // Not whether it has failed and works again: on a busy machine nobody may see the first of these.
    const isTakenOver = async (): Promise<boolean> => {
      const [, , master] = (await redis.cluster('SLOTS')).find(([first, last]) => first <= slot && slot <= last) ?? [];
      if (master === undefined || master[1] === owner.port) return false;
      return (await redis.cluster('INFO')).includes('cluster_state:ok');
    };
    while (!(await isTakenOver())) await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
