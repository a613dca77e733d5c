/** Has so many things run at a time, the others in the order of asking. */
export class AtOnce {
  private running = 0;
  private readonly waiting = new Set<() => void>();

  constructor(private readonly most: number) {}

  /** Settles as what it runs. */
  async run<T>(begin: () => Promise<T>): Promise<T> {
    if (this.running < this.most) this.running++;
    // The place is handed on, so that nobody who comes in between gets it.
    else await new Promise<void>((resolve) => this.waiting.add(resolve));
    try {
      return await begin();
    } finally {
      const [next] = this.waiting;
      if (next === undefined) this.running--;
      else {
        this.waiting.delete(next);
        next();
      }
    }
  }
}
