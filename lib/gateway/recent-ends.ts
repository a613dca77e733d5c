/** How long an end is remembered, in milliseconds. */
const KEEP_MS = 60_000;
const MAX_ENDS = 10_000;

/** When the application ended something. */
interface End {
  /** How many ends there were on this node before it. */
  readonly order: number;
  readonly at: number;
}

/** The age of a decision. */
export interface DecisionAge {
  /** The longest time since it began, in milliseconds. */
  readonly tookMs: number;
  /** If it began after an answer of this node: how many ends there had been by then. */
  readonly after?: number | undefined;
}

/**
 * Subscriptions that the application has ended recently, or before they began: an earlier call of an authorizer may not have known. If it
 * is unclear which came first, the channel is decided again.
 */
export class RecentEnds {
  /** How many ends there have been since the start. */
  order = 0;
  private readonly ends = new Map<string, End>();
  /** The latest end that is no longer remembered: all forgotten ends are older, all remembered ones are newer. */
  private forgotten: End = { order: 0, at: -Infinity };

  /** @param target - the connection whose subscription ends */
  note(target: string, channel: string): void {
    const key = keyOf(target, channel);
    // Moves it to the end.
    this.ends.delete(key);
    this.ends.set(key, { order: ++this.order, at: performance.now() });
    this.tidy();
  }

  /** Whether the subscription of a connection was ended before it began. */
  has(connection: string, channel: string): boolean {
    return this.order > 0 && this.ends.has(keyOf(connection, channel));
  }

  /** Whether a decision in favour of a connection may be older than the end of its subscription. */
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
