import { Iteration, type IterateOptions } from '../protocol/iteration.js';

/** A function that runs when the loop has taken everything before it. */
class Turn {
  constructor(readonly run: () => void) {}
}

/** An iteration that reports gaps in their place among the messages. */
export class GapIteration<T> extends Iteration<T> {
  /** Marks the place of dropped messages. */
  readonly #dropped: Turn | undefined;
  #turns = 0;
  #wanted: (() => void) | undefined = undefined;

  /**
   * @param leave - called when no more messages are wanted
   * @param dropped - called when the loop reaches the place of dropped messages; once for a row of them. Must not throw
   */
  constructor(options: IterateOptions | undefined, channel: string, leave: () => void, dropped?: () => void) {
    super(options, channel, leave);
    this.#dropped = dropped && new Turn(dropped);
  }

  override async next(): Promise<IteratorResult<T, undefined>> {
    while (this.buffered[0] instanceof Turn) {
      const { run } = this.buffered.shift() as Turn;
      this.#turns--;
      run();
    }
    const next = super.next();
    if (this.isWaiting) this.#wanted?.();
    return next;
  }

  override async return(): Promise<IteratorResult<T, undefined>> {
    this.#turns = 0;
    return super.return();
  }

  /** Resolves when the loop has taken all messages and waits for one. */
  async wanted(): Promise<void> {
    if (!this.isWaiting) await new Promise<void>((resolve) => (this.#wanted = resolve));
  }

  /**
   * Runs a function when the loop has taken all earlier messages: at once if it is waiting for one.
   *
   * @param run - must not throw
   */
  takeTurn(run: () => void): void {
    if (this.isWaiting) return run();
    this.buffered.push(new Turn(run));
    this.#turns++;
  }

  /** Whether none waits, and so many may. */
  canTake(count: number): boolean {
    return this.isWaiting && count <= this.maxBuffered;
  }

  protected override count(): number {
    return this.buffered.length - this.#turns;
  }

  protected override dropOldest(): void {
    const { buffered } = this;
    const dropped = this.#dropped;
    const oldest = buffered.findIndex((item) => !(item instanceof Turn));
    const isTold = dropped === undefined || buffered.slice(0, oldest).includes(dropped);
    if (isTold) {
      buffered.splice(oldest, 1);
    } else {
      buffered[oldest] = dropped;
      this.#turns++;
    }
  }
}
