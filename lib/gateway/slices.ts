import { setImmediate as nextTurn } from 'node:timers/promises';

/** How long one piece of work may keep the process busy until others have their turn. */
const SLICE_MS = 5;

/** Shares the time of the process with others: whoever works looks from time to time whether its slice is over. */
export class Slices {
  private end = performance.now() + SLICE_MS;
  private begun: Promise<void> | undefined = undefined;

  get isOver(): boolean {
    return performance.now() >= this.end;
  }

  /** Resolves in a later turn of the loop, when the next one begins. */
  next(): Promise<void> {
    this.begun ??= nextTurn().then(() => {
      this.begun = undefined;
      this.end = performance.now() + SLICE_MS;
    });
    return this.begun;
  }
}
