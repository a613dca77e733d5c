import { isolate } from './isolate.js';

/**
 * Functions of the application that are told of each value. All of them hear of one value before any hears of the next,
 * also where one of them brings the next about: so the last that each is told is the latest.
 */
export class Listeners<T> {
  readonly #listeners = new Set<(value: T) => unknown>();
  readonly #report: (error: unknown) => void;
  /** The calls that are due. */
  #due: (() => unknown)[] | undefined;

  /** @param report - takes what a listener throws */
  constructor(report: (error: unknown) => void) {
    this.#report = report;
  }

  /** @returns ends that; it is not called again, not even for a value that others are being told of */
  add(listener: (value: T) => unknown): () => void {
    // One of its own: the same function may be added twice.
    const own = (value: T): unknown => listener(value);
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  /** Ends it for all of them. */
  clear(): void {
    this.#listeners.clear();
  }

  tell(value: T): void {
    const calls = [...this.#listeners].map((listener) => () => this.#listeners.has(listener) && listener(value));
    if (this.#due) return void this.#due.push(...calls);
    this.#due = calls;
    // Those that are added meanwhile come by, too.
    for (const call of calls) isolate(call, this.#report);
    this.#due = undefined;
  }
}
