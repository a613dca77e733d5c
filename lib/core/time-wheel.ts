import { AsyncResource } from 'node:async_hooks';
import { isolate } from './isolate.js';
import type { Reporter } from './reporter.js';

/** Something that waits for a time of day. */
export interface Timed {
  /** The time has come. Called once for each requested time. */
  timeIsUp(): void;
}

/** How late a call may be, in milliseconds. Whole seconds, as used in tokens, are on time. */
const BUCKET_MS = 250;
/** How many milliseconds of a turn of the event loop go to due calls. */
const BUDGET_MS = 8;

/**
 * Wakes many objects at times of day, with one timer that runs while any of them waits. It follows changes of the clock, as issuers of
 * sign-ins do. Never early; up to 250 ms late, or more if thousands are due at once and share several turns.
 */
export class TimeWheel {
  private readonly buckets = new Map<number, Set<Timed>>();
  /** The first bucket that has not been checked. */
  private from = Infinity;
  private timer: unknown = undefined;
  // A call must not run in the context of the request that happened to wait first (AsyncLocalStorage).
  private readonly look = AsyncResource.bind(() => this.wakeDue());

  /** @param reporter - receives errors of the called objects */
  constructor(private readonly reporter: Reporter) {}

  /** @param at - in milliseconds since 1970; a past time counts as well */
  add(at: number, timed: Timed): void {
    const bucket = bucketOf(at);
    const waiting = this.buckets.get(bucket);
    if (waiting === undefined) this.buckets.set(bucket, new Set([timed]));
    else waiting.add(timed);
    this.from = Math.min(this.from, bucket);
    this.schedule();
  }

  /** @param at - as it was added */
  remove(at: number, timed: Timed): void {
    const bucket = bucketOf(at);
    const waiting = this.buckets.get(bucket);
    if (waiting?.delete(timed) && waiting.size === 0) this.buckets.delete(bucket);
  }

  private schedule(): void {
    if (this.timer !== undefined || this.buckets.size === 0) return;
    this.timer = setTimeout(this.look, BUCKET_MS - (Date.now() % BUCKET_MS)).unref();
  }

  private wakeDue(): void {
    const turnEnd = performance.now() + BUDGET_MS;
    const due = Math.floor(Date.now() / BUCKET_MS);
    const buckets = this.bucketsUntil(due);
    this.from = due + 1;
    for (const bucket of buckets) {
      const waiting = this.buckets.get(bucket);
      if (waiting === undefined) continue;
      for (const timed of waiting) {
        if (performance.now() >= turnEnd) {
          this.from = Math.min(this.from, bucket);
          this.timer = setImmediate(this.look);
          return;
        }
        waiting.delete(timed);
        isolate(this.reporter, 'What was to be done at a time', () => timed.timeIsUp());
      }
      this.buckets.delete(bucket);
    }
    this.timer = undefined;
    this.schedule();
  }

  private bucketsUntil(due: number): Iterable<number> {
    const count = due - this.from + 1;
    // The process, or the machine, may have been suspended.
    if (count > this.buckets.size) return [...this.buckets.keys()].filter((bucket) => bucket <= due);
    return Array.from({ length: Math.max(0, count) }, (_, index) => this.from + index);
  }
}

function bucketOf(at: number): number {
  return Math.ceil(at / BUCKET_MS);
}
