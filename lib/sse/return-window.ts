/** No sooner: a browser's EventSource waits only as long after each further failure, until a server tells it otherwise. */
const SOONEST_MS = 500;
/** So that the servers that take them in need less than a core for it, also behind a proxy: up to 2.4 ms for each. */
const MS_FOR_EACH_CLIENT = 3;
const SHORTEST_MS = 500;
/** The latest that a client comes back, unless the caller knows better. */
const LATEST_MS = 30_000;

/** When clients that are sent away together come back. */
export interface ReturnWindow {
  /** From when on they come, in milliseconds from now. */
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * The window in which clients that are sent away together come back: it grows by 3 s for each thousand of them, so that
 * the servers that take them in are not overrun.
 *
 * @param latestMs - until when they have to be back, even if that is more of them in a second
 */
export function returnWindow(clients: number, latestMs = LATEST_MS): ReturnWindow {
  const fromMs = Math.min(SOONEST_MS, latestMs / 2);
  return { fromMs, toMs: Math.min(latestMs, fromMs + Math.max(SHORTEST_MS, clients * MS_FOR_EACH_CLIENT)) };
}

/** A time of its own for one of them: at random, evenly over the window. */
export function pickReturn({ fromMs, toMs }: ReturnWindow): number {
  return fromMs + Math.random() * (toMs - fromMs);
}

/** Has clients come back that are sent away one by one: the more of them within a second, the later. */
export class Returns {
  private since = -Infinity;
  private count = 0;

  /** When the next of them comes back, in milliseconds from now. */
  next(): number {
    const now = performance.now();
    if (now - this.since >= 1_000) {
      this.since = now;
      this.count = 0;
    }
    return pickReturn(returnWindow(++this.count));
  }
}
