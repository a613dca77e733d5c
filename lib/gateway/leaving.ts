import { inTime } from '../core/in-time.js';
import type { Returned } from './recovery-wire.js';

/** Clients must be back this long before the node leaves: the servers that they come to may be busy. */
const SLACK_MS = 3_000;
/** The node leaves once nobody has asked it for so long: a client that is back may need several answers. */
const QUIET_MS = 250;

/**
 * Until when the clients that a leaving node has sent away must be back, in milliseconds from then.
 *
 * @param leaveMs - how long the node stays
 */
export function backWithin(leaveMs: number): number {
  return Math.max(leaveMs - SLACK_MS, leaveMs / 2);
}

/** The time in which a node that shuts down still answers the others, about the clients that it has had. */
export class Leaving {
  private readonly away: Map<string, string>;
  private readonly leavesAt: number;
  private askedAt = -Infinity;
  private over: Promise<void> | undefined = undefined;
  private wake: () => void = () => {};

  /**
   * @param connections - those of its clients, and whose they are, as other nodes name them when the clients are back there
   * @param leaveMs - how long this node stays at most, from now
   * @param hasOthers - whether another node has said that it is there, to which they can go
   */
  constructor(
    connections: Iterable<Returned>,
    leaveMs: number,
    private readonly hasOthers: Promise<boolean>,
  ) {
    this.away = new Map(connections);
    this.leavesAt = performance.now() + leaveMs;
  }

  /**
   * To be called when another node asks what clients have missed.
   *
   * @param returned - connections whose clients are there now
   */
  noteQuestion(returned: readonly Returned[]): void {
    this.askedAt = performance.now();
    for (const [connection, owner] of returned) {
      if (this.away.get(connection) === owner) this.away.delete(connection);
    }
    if (this.away.size === 0) this.wake();
  }

  /** Resolves when all are back and have been told what they have missed, or the time is over; at once if there is no other node. */
  whenOver(): Promise<void> {
    return (this.over ??= this.waitUntilOver());
  }

  private async waitUntilOver(): Promise<void> {
    // One that is too busy to say so may have asked something all the same.
    if (!(await this.hasOthers) && this.askedAt === -Infinity) return;
    for (let restMs = this.restMs; restMs > 0; restMs = this.restMs) {
      const woken = new Promise<void>((resolve) => (this.wake = resolve));
      await inTime(woken, restMs, () => undefined);
    }
  }

  private get restMs(): number {
    const lastBackAt = this.away.size > 0 ? Infinity : this.askedAt + QUIET_MS;
    return Math.min(this.leavesAt, lastBackAt) - performance.now();
  }
}
