import type { HistoryBatch, PendingPost } from './redis-history-batch.js';

/** The posts to one channel. */
export interface Lane {
  readonly channel: string;
  waiting: PendingPost[];
  /** The bytes of the waiting posts. */
  waitingBytes: number;
  /** The batches under way, in order. Redis appends each only if it has appended the one before, so posts keep their order. */
  batches: HistoryBatch[];
  /** Whether the waiting posts are sent at the end of this turn. */
  isDue: boolean;
}

/** A channel without posts. */
export function newLane(channel: string): Lane {
  return { channel, waiting: [], waitingBytes: 0, batches: [], isDue: false };
}

/** Drops the batches that nobody waits for any more, unless they are under way. */
export function dropSettled(lane: Lane): void {
  lane.batches = lane.batches.filter((batch) => {
    if (batch.isOut || !batch.isSettled) return true;
    batch.stopRetry();
    return false;
  });
}
