/** A post that is not settled yet. */
interface Unsettled {
  /** The time after which nobody waits any more. */
  readonly deadline: number;
  /** Absent once it is settled. */
  readonly resolve: unknown;
}

/** Unsettled posts, in the order of posting, which is also the order of their deadlines. */
export class UnsettledPosts<T extends Unsettled> {
  // From `first` on. Some may be settled, but not the first one.
  private items: T[] = [];
  private first = 0;

  add(item: T): void {
    this.items.push(item);
  }

  /** The oldest unsettled post. */
  get oldest(): T | undefined {
    return this.items[this.first];
  }

  *[Symbol.iterator](): Generator<T> {
    for (let index = this.first; index < this.items.length; index++) yield this.items[index]!;
  }

  /** Removes settled posts from the front. Call it when a post was settled. */
  tidy(): void {
    while (this.first < this.items.length && this.items[this.first]!.resolve === undefined) this.first++;
    // Half of the array at a time, so that each post moves only a few times.
    if (this.first * 2 < this.items.length) return;
    // A post alone, as most are if few are made, keeps the array.
    if (this.items.length === 1) this.items.pop();
    else this.items = this.items.slice(this.first);
    this.first = 0;
  }
}
