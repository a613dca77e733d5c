import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Deferred } from '../core/deferred.js';
import { inTime } from '../core/in-time.js';

/** Takes a mark to one member of a Cluster. */
export type MarkRoute = (key: string, mark: string) => Promise<unknown>;

/** How long it waits for a member that does not answer or does not pass on. */
const PATIENCE_MS = 1_500;
/** Then ioredis no longer knows a member whose connection has ended. */
const RETRY_MS = 50;

/**
 * Waits until all has come that the members of a Cluster had taken before. Each of them passes on in order what it takes; what
 * another one takes may overtake it. So a mark goes through every member, replicas too, since one may have been a master a
 * moment ago. A member that cannot be connected to counts as gone.
 */
export class ClusterBarrier {
  private readonly awaited = new Map<string, Deferred<boolean>>();
  private losses = 0;

  /** @param key - what this node's subscription is registered for just now, and nobody else's */
  constructor(private readonly key: () => string) {}

  /**
   * Never rejects.
   *
   * @param routes - to all members, as they are known just now
   * @returns `false` if a member has not passed its mark on in time
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

  /** A mark has come. */
  heard(mark: string): void {
    this.awaited.get(mark)?.resolve(true);
  }

  /** The subscription is lost: no mark comes that is on its way. */
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
