/** How long an end is remembered, in milliseconds, and how many are. */
const KEEP_MS = 60_000;
const MAX_ENDS = 10_000;

/** When the application ended something. */
interface End {
  /** How many had been ended on this node before. */
  readonly order: number;
  readonly at: number;
}

/** How old a decision is. */
export interface DecisionAge {
  /** How long ago it has begun at most, in milliseconds. */
  readonly tookMs: number;
  /** If it has begun after this node had answered: how many ends there had been by then. */
  readonly after?: number | undefined;
}

/**
 * The subscriptions that the application has ended a short while ago, or that were not there yet: an authorizer that was asked
 * before may not have known. If it is not sure that it was asked later, the channel is decided about once more.
 */
export class RecentEnds {
  /** How many there have been since the start. */
  order = 0;
  private readonly ends = new Map<string, End>();
  /** The latest end that is no longer remembered: none of the forgotten ones came later, and all remembered ones did. */
  private forgotten: End = { order: 0, at: -Infinity };

  /** @param target - whose subscription to a channel ends: the id of a connection */
  note(target: string, channel: string): void {
    const key = keyOf(target, channel);
    // Moves it to the end.
    this.ends.delete(key);
    this.ends.set(key, { order: ++this.order, at: performance.now() });
    this.tidy();
  }

  /** Whether the subscription of a connection has ended, which had not begun. */
  has(connection: string, channel: string): boolean {
    return this.order > 0 && this.ends.has(keyOf(connection, channel));
  }

  /** Whether a decision that a connection may have a channel may be older than the end of that. */
  overrule(connection: string, channel: string, { tookMs, after }: DecisionAge): boolean {
    if (this.order === 0) return false;
    this.tidy();
    const end = this.ends.get(keyOf(connection, channel)) ?? this.forgotten;
    if (after !== undefined) return end.order > after;
    return end.at >= performance.now() - tookMs;
  }

  private tidy(): void {
    const since = performance.now() - KEEP_MS;
    for (const [key, end] of this.ends) {
      if (end.at >= since && this.ends.size <= MAX_ENDS) return;
      this.ends.delete(key);
      this.forgotten = end;
    }
  }
}

function keyOf(connection: string, channel: string): string {
  return `${connection} ${channel}`;
}
