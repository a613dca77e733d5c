/** What was posted and is not settled yet. */
interface Unsettled {
  /** When nobody waits for it any longer. */
  readonly deadline: number;
  /** Absent once it is settled. */
  readonly resolve: unknown;
}

/** Posts in the order in which they were made, which is that of their deadlines, as long as they are not settled. */
export class UnsettledPosts<T extends Unsettled> {
  // From `first` on; some of them may be settled, but not the first.
  private items: T[] = [];
  private first = 0;

  add(item: T): void {
    this.items.push(item);
  }

  /** The one that was made first. */
  get oldest(): T | undefined {
    return this.items[this.first];
  }

  *[Symbol.iterator](): Generator<T> {
    for (let index = this.first; index < this.items.length; index++) yield this.items[index]!;
  }

  /** Forgets what is settled at the head. To be called when something was settled. */
  tidy(): void {
    while (this.first < this.items.length && this.items[this.first]!.resolve === undefined) this.first++;
    // Half of it at a time, so that each is moved only a few times.
    if (this.first * 2 < this.items.length) return;
    this.items = this.items.slice(this.first);
    this.first = 0;
  }
}
