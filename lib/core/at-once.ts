/**
 * Has so many things run at a time, in the order of asking, each begun in a turn of the event loop of its own: what would run without
 * waiting for anybody does not keep others from theirs.
 */
export class AtOnce {
  private running = 0;
  private readonly waiting = new Set<() => void>();

  constructor(private readonly most: number) {}

  /** Settles as what it runs. */
  async run<T>(begin: () => Promise<T>): Promise<T> {
    if (this.running < this.most) this.running++;
    else await new Promise<void>((resolve) => this.waiting.add(resolve));
    try {
      await new Promise((resolve) => setImmediate(resolve));
      return await begin();
    } finally {
      // The place is handed on, so that nobody who comes in between gets it.
      const [next] = this.waiting;
      if (next === undefined) this.running--;
      else {
        this.waiting.delete(next);
        next();
      }
    }
  }
}
