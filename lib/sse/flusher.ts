import { Batch } from './batch.js';
import type { Frame } from './frame.js';

/** An object that has something to write. */
export interface Flushable {
  flush(): void;
}

/** Connections that are sent the same frames. */
export interface Group {
  /** Sends the frames of a batch to each of them. */
  deliver(batch: Batch): void;
}

/**
 * The share of time that may go into writing. After a slow flush, the next one begins at the earliest the same time later, so that more
 * frames go out with each write under load.
 */
const REST_SHARE = 1;

/** The longest wait of a frame for the next flush. */
export const MAX_DELAY_MS = 20;

/**
 * Writes the output of all connections together: a write costs ten microseconds whatever its length, so frames that arrive close together
 * go out as one. It flushes at the end of the turn of the event loop if recent writes were cheap, later if they were expensive, and at
 * the latest {@link MAX_DELAY_MS} after the last flush.
 */
export class Flusher {
  /** The empty batch that connections start from. It is replaced after each flush, so that no batch keeps earlier frames alive. */
  start = Batch.empty();
  private dirty: Flushable[] = [];
  /** Frames that groups have not received yet, in order. */
  private undelivered: { readonly group: Group; batch: Batch }[] = [];
  private isScheduled = false;
  private restUntil = 0;

  /** Flushes a connection soon. */
  add(connection: Flushable): void {
    this.dirty.push(connection);
    this.schedule();
  }

  /** Gives a frame to a group with the next flush, or at the next {@link settle}. */
  addFrame(group: Group, frame: Frame): void {
    const last = this.undelivered.at(-1);
    if (last?.group === group) last.batch = last.batch.add(frame);
    else this.undelivered.push({ group, batch: this.start.add(frame) });
    this.schedule();
  }

  /** Gives groups their frames now, because their members, or a connection's output, are about to change. */
  settle(): void {
    while (this.undelivered.length > 0) {
      const { undelivered } = this;
      this.undelivered = [];
      for (const { group, batch } of undelivered) group.deliver(batch);
    }
  }

  private schedule(): void {
    if (this.isScheduled) return;
    this.isScheduled = true;
    const waitMs = this.restUntil - performance.now();
    // A timer takes at least a millisecond.
    if (waitMs < 1) setImmediate(this.flush);
    else setTimeout(this.flush, waitMs);
  }

  private readonly flush = (): void => {
    const begun = performance.now();
    this.settle();
    const { dirty } = this;
    this.dirty = [];
    this.isScheduled = false;
    this.start = Batch.empty();
    for (const connection of dirty) connection.flush();
    const ended = performance.now();
    this.restUntil = ended + Math.min(MAX_DELAY_MS, (ended - begun) * REST_SHARE);
  };
}
