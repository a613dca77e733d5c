import { Redis as RedisClient } from 'ioredis';
import type { Channels, NodeCalls, Posts } from './growth-node.js';
import { PinnedProcess } from './pinned-process.js';
import { Redis } from './redis.js';

/** Microseconds of CPU. */
interface Used {
  readonly poster: number;
  readonly redis: number;
  /** In the order in which they joined. */
  readonly nodes: readonly number[];
}

/** The cost of an action. */
export interface Spent extends Used {
  /** Elapsed milliseconds. */
  readonly ms: number;
}

/** A node that posts, and nodes that may listen, in separate processes, on one Redis. */
export class Cluster {
  private readonly nodes: PinnedProcess<NodeCalls>[] = [];

  private constructor(
    private readonly redis: Redis,
    private readonly client: RedisClient,
    private readonly poster: PinnedProcess<NodeCalls>,
  ) {}

  static async start(): Promise<Cluster> {
    const redis = await Redis.start();
    return new Cluster(redis, new RedisClient(redis.url), await startNode(0, redis.url));
  }

  get size(): number {
    return this.nodes.length;
  }

  async join(): Promise<PinnedProcess<NodeCalls>> {
    const node = await startNode(this.size % 2 === 0 ? 1 : 0, this.redis.url);
    this.nodes.push(node);
    return node;
  }

  /** Posts, and waits until this many nodes, the first ones to join, have received everything. */
  pass(posts: Posts, listening: number): Promise<Spent> {
    return this.spent(() =>
      Promise.all([
        this.poster.call('post', posts),
        ...this.nodes.slice(0, listening).map((node) => node.call('receive', posts.count)),
      ]),
    );
  }

  /** Measures an action. */
  async spent(action: () => Promise<unknown>): Promise<Spent> {
    const before = await this.used();
    const start = performance.now();
    await action();
    const ms = performance.now() - start;
    const after = await this.used();
    return {
      ms,
      poster: after.poster - before.poster,
      redis: after.redis - before.redis,
      nodes: after.nodes.map((used, index) => used - before.nodes[index]!),
    };
  }

  /** Redis' memory, in bytes. */
  async redisMemory(): Promise<number> {
    return Number(/^used_memory:(.+)$/m.exec(await this.client.info('memory'))![1]);
  }

  async stop(): Promise<void> {
    for (const node of [this.poster, ...this.nodes]) await node.stop();
    this.client.disconnect();
    await this.redis.stop();
  }

  private async used(): Promise<Used> {
    return {
      poster: await this.poster.call('used'),
      redis: await this.redis.cpu(),
      nodes: await Promise.all(this.nodes.map((node) => node.call('used'))),
    };
  }
}

/** This many channels of a kind. */
export function channels(kind: string, count: number): Channels {
  return { kind, from: 0, to: count };
}

/** @param url - of the Redis; without one the node is alone */
export function startNode(core: 0 | 1, url?: string): Promise<PinnedProcess<NodeCalls>> {
  return PinnedProcess.start<NodeCalls>('growth-node.js', core, url === undefined ? [] : [url]);
}
