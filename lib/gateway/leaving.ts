import type { Hub } from '../core/hub.js';
import { inTime } from '../core/in-time.js';
import type { NodeRequests } from '../core/node-requests.js';
import { whenSettled } from './caught-up.js';
import type { OwedAnswers } from './owed-answers.js';
import type { Returned } from './recovery-wire.js';

/** Clients must be back this long before the node leaves: their new servers may be busy. */
const SLACK_MS = 3_000;
/** How long the broker may take to pass on that the node has left. */
const TELL_MS = 1_000;
/** The same if the node's time is over: a broker that answers needs no more. */
const TELL_LATE_MS = 250;

/**
 * The time by which the clients of a leaving node must be back elsewhere, in milliseconds from when they were sent away.
 *
 * @param leaveMs - how long the node stays
 */
export function backWithin(leaveMs: number): number {
  return Math.max(leaveMs - SLACK_MS, leaveMs / 2);
}

/** The phase in which a node that shuts down still answers other nodes about its former clients. */
export class Leaving {
  private readonly away: Map<string, string>;
  private readonly leavesAt: number;
  private isAsked = false;
  private over: Promise<boolean> | undefined = undefined;
  private wake: () => void = () => {};

  /**
   * @param connections - the connections of the clients that need it (`ClientConnection.needsNode`) with their owners, as other nodes
   *   name them when the clients return there
   * @param leaveMs - how long this node waits at most, from now
   * @param hasOthers - whether another node has answered, to which clients can go
   */
  constructor(
    connections: Iterable<Returned>,
    leaveMs: number,
    private readonly hasOthers: Promise<boolean>,
    private readonly owed: OwedAnswers,
  ) {
    owed.onIdle = () => this.wake();
    this.away = new Map(connections);
    this.leavesAt = performance.now() + leaveMs;
  }

  /**
   * Call it when another node asks about missed messages.
   *
   * @param returned - connections whose clients have returned there
   */
  noteQuestion(returned: readonly Returned[]): void {
    this.isAsked = true;
    for (const [connection, owner] of returned) {
      if (this.away.get(connection) === owner) this.away.delete(connection);
    }
    if (this.away.size === 0) this.wake();
  }

  /**
   * Resolves when all clients are back and served, or the time is over; at once if there is no other node.
   *
   * @returns whether there may be another node
   */
  whenOver(): Promise<boolean> {
    return (this.over ??= this.waitUntilOver());
  }

  private async waitUntilOver(): Promise<boolean> {
    // A broker that does not answer may need longer than this node stays.
    const hasOthers = await inTime(this.hasOthers, Math.max(0, this.leavesAt - performance.now()), () => false);
    // A busy node may have asked a question without answering the call.
    if (!hasOthers && !this.isAsked) return false;
    for (let restMs = this.restMs; restMs > 0; restMs = this.restMs) {
      const woken = new Promise<void>((resolve) => (this.wake = resolve));
      await inTime(woken, restMs, () => undefined);
    }
    return true;
  }

  private get restMs(): number {
    const neededUntil = this.away.size > 0 ? Infinity : this.owed.until;
    return Math.min(this.leavesAt, neededUntil) - performance.now();
  }
}

/**
 * Tells the other nodes that this one has left, if the broker takes it in time; otherwise they wait for it for a while. Never rejects.
 *
 * @param restMs - for how long this node may still stay; if that is over, the broker gets a moment all the same
 */
export async function tellLeft(hub: Hub, nodes: NodeRequests, restMs: number): Promise<void> {
  const tell = async (): Promise<void> => {
    // From then on, nobody waits for posts that clients have read here.
    await whenSettled(hub);
    await nodes.leave();
  };
  const told = tell().catch(() => {});
  await inTime(told, Math.min(Math.max(restMs, TELL_LATE_MS), TELL_MS), () => undefined);
}
