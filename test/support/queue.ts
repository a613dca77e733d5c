/** Waits for items, in order, so that a test misses none and never has to sleep. */
export class Queue<T> {
  private readonly items: T[] = [];
  private readonly waiting: ((item: T) => void)[] = [];

  readonly push = (item: T): void => {
    const next = this.waiting.shift();
    if (next) next(item);
    else this.items.push(item);
  };

  /** The next item; waits for it. */
  next(): Promise<T> {
    if (this.items.length > 0) return Promise.resolve(this.items.shift()!);
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** The next so many items. */
  async take(count: number): Promise<T[]> {
    const taken: T[] = [];
    while (taken.length < count) taken.push(await this.next());
    return taken;
  }

  /** The next item that matches; drops those before it. */
  async until(fits: (item: T) => boolean): Promise<T> {
    for (;;) {
      const item = await this.next();
      if (fits(item)) return item;
    }
  }

  /** The items before the next match, which is dropped. */
  async takeUntil(fits: (item: T) => boolean): Promise<T[]> {
    const taken: T[] = [];
    for (;;) {
      const item = await this.next();
      if (fits(item)) return taken;
      taken.push(item);
    }
  }

  /** All items that nobody has taken yet. */
  get pending(): readonly T[] {
    return this.items;
  }
}
