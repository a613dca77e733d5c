import { inTime } from '../core/in-time.js';
import type { Returned } from './recovery-wire.js';

/** Clients must be back this long before the node leaves: their new servers may be busy. */
const SLACK_MS = 3_000;
/** The node leaves this long after its last answer: it must reach the broker, and a returning client may have another question. */
const QUIET_MS = 250;
/** The same after an answer that says that there is more: the other node, which may be busy, asks for that as well. */
const MORE_MS = 2_000;

/** Call it when a question is answered. @param isWhole - whether nothing is left to ask for */
export type Answered = (isWhole: boolean) => void;

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
  /** How many questions are being answered. */
  private answering = 0;
  private quietUntil = -Infinity;
  private over: Promise<void> | undefined = undefined;
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
  ) {
    this.away = new Map(connections);
    this.leavesAt = performance.now() + leaveMs;
  }

  /**
   * Call it when another node asks about missed messages.
   *
   * @param returned - connections whose clients have returned there
   */
  noteQuestion(returned: readonly Returned[]): Answered {
    this.isAsked = true;
    this.answering++;
    for (const [connection, owner] of returned) {
      if (this.away.get(connection) === owner) this.away.delete(connection);
    }
    return (isWhole) => {
      this.answering--;
      this.quietUntil = Math.max(this.quietUntil, performance.now() + (isWhole ? QUIET_MS : MORE_MS));
      if (!this.isNeeded) this.wake();
    };
  }

  /** Resolves when all clients are back and served, or the time is over; at once if there is no other node. */
  whenOver(): Promise<void> {
    return (this.over ??= this.waitUntilOver());
  }

  private async waitUntilOver(): Promise<void> {
    // A busy node may have asked a question without answering the call.
    if (!(await this.hasOthers) && !this.isAsked) return;
    for (let restMs = this.restMs; restMs > 0; restMs = this.restMs) {
      const woken = new Promise<void>((resolve) => (this.wake = resolve));
      await inTime(woken, restMs, () => undefined);
    }
  }

  private get restMs(): number {
    return Math.min(this.leavesAt, this.isNeeded ? Infinity : this.quietUntil) - performance.now();
  }

  private get isNeeded(): boolean {
    return this.away.size > 0 || this.answering > 0;
  }
}
