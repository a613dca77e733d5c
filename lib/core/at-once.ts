/** Runs a limited number of tasks at a time. The others wait in the order of asking. */
export class AtOnce {
  private running = 0;
  private readonly waiting = new Set<() => void>();

  constructor(private readonly most: number) {}

  /** Settles like the task. */
  async run<T>(begin: () => Promise<T>): Promise<T> {
    if (this.running < this.most) this.running++;
    // The place passes straight to the next in line, so that no newcomer takes it.
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
