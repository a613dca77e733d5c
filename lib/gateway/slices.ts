import { setImmediate as nextTurn } from 'node:timers/promises';

/** How long one piece of work may run before others get a turn. */
const SLICE_MS = 5;

/** Shares the process with other work: a worker checks from time to time whether its slice is over. */
export class Slices {
  private end = performance.now() + SLICE_MS;
  private begun: Promise<void> | undefined = undefined;

  get isOver(): boolean {
    return performance.now() >= this.end;
  }

  /** Resolves in a later turn of the event loop, when the next slice begins. */
  next(): Promise<void> {
    this.begun ??= nextTurn().then(() => {
      this.begun = undefined;
      this.end = performance.now() + SLICE_MS;
    });
    return this.begun;
  }
}
