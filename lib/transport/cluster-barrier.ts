import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Deferred } from '../core/deferred.js';
import { inTime } from '../core/in-time.js';

/** Sends a mark to one member of a Cluster. */
export type MarkRoute = (key: string, mark: string) => Promise<unknown>;

/** How long to wait for a member that does not answer or forward. */
const PATIENCE_MS = 1_500;
/** After this time ioredis has removed a member whose connection has ended. */
const RETRY_MS = 50;

/**
 * Waits until everything has arrived that the members of a Cluster accepted before. Each member forwards its posts in order, but posts
 * of another member may overtake them. So a mark goes through every member, including replicas, since one may have been a master a
 * moment ago. A member without a connection counts as gone.
 */
export class ClusterBarrier {
  private readonly awaited = new Map<string, Deferred<boolean>>();
  private losses = 0;

  /** @param key - the Redis channel of this node's own subscription at that moment */
  constructor(private readonly key: () => string) {}

  /**
   * Never rejects.
   *
   * @param routes - to all members known at that moment
   * @returns `false` if a member has not forwarded its mark in time
   */
  async pass(routes: () => readonly MarkRoute[]): Promise<boolean> {
    const { losses } = this;
    const until = performance.now() + PATIENCE_MS;
    for (;;) {
      const members = routes();
      const passed = await Promise.all(members.map((member) => this.passThrough(member, until - performance.now())));
      if (losses !== this.losses) return false;
      if (members.length > 0 && passed.every(Boolean)) return true;
      if (performance.now() + RETRY_MS >= until) return false;
      await delay(RETRY_MS);
    }
  }

  /** A mark has arrived. */
  heard(mark: string): void {
    this.awaited.get(mark)?.resolve(true);
  }

  /** The subscription is lost, so marks under way will not arrive. */
  abandon(): void {
    this.losses++;
    for (const { resolve } of this.awaited.values()) resolve(false);
  }

  private async passThrough(send: MarkRoute, ms: number): Promise<boolean> {
    const mark = randomUUID();
    const heard = new Deferred<boolean>();
    this.awaited.set(mark, heard);
    send(this.key(), mark).catch(() => heard.resolve(false));
    try {
      return await inTime(heard.promise, ms, () => false);
    } finally {
      this.awaited.delete(mark);
    }
  }
}
