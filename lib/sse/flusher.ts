import { Batch } from './batch.js';
import type { Frame } from './frame.js';

/** What has something to write. */
export interface Flushable {
  flush(): void;
}

/** Connections that are sent the same frames. */
export interface Group {
  /** Has each of them send these. */
  deliver(batch: Batch): void;
}

/**
 * How much of the time may go into writing: after a flush that took a while, the next one begins no sooner than that
 * while later, so that more goes out with each write the more there is to write.
 */
const REST_SHARE = 1;

/** The longest that a frame waits for the next flush to begin. */
export const MAX_DELAY_MS = 20;

/**
 * Writes what connections have to send, for all of them together: a write costs ten microseconds whatever its length, so
 * frames that come close together go in one. At the end of the turn of the event loop where writing has cost little of
 * late, later the more it has cost, and at the latest {@link MAX_DELAY_MS} after the last flush.
 */
export class Flusher {
  /** What connections begin their batches with; another one after each flush, so that none keeps the frames of another. */
  start = Batch.empty();
  private dirty: Flushable[] = [];
  /** What groups have not been handed yet, in order. */
  private undelivered: { readonly group: Group; batch: Batch }[] = [];
  private isScheduled = false;
  private restUntil = 0;

  /** Flushes it soon. */
  add(connection: Flushable): void {
    this.dirty.push(connection);
    this.schedule();
  }

  /** Hands a frame to a group with the next flush, or when it is to be settled what each connection is sent. */
  addFrame(group: Group, frame: Frame): void {
    const last = this.undelivered.at(-1);
    if (last?.group === group) last.batch = last.batch.add(frame);
    else this.undelivered.push({ group, batch: this.start.add(frame) });
    this.schedule();
  }

  /** Hands groups their frames now, since something is about to change: who is in a group, or what a connection is sent. */
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
    // A timer takes a millisecond at least.
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
