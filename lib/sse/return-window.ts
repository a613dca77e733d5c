/** Not earlier: a browser's EventSource repeats this wait after each failed attempt, until a server sends another time. */
const SOONEST_MS = 500;
/** The receiving servers then need less than one core for it, even behind a proxy: up to 2.4 ms for each client. */
const MS_FOR_EACH_CLIENT = 3;
const SHORTEST_MS = 500;
/** The latest return of a client by default. */
const LATEST_MS = 30_000;

/** When clients that are sent away together come back. */
export interface ReturnWindow {
  /** The earliest return, in milliseconds from now. */
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * The window in which clients that are sent away together come back. It grows by 3 s for each thousand clients, so that the receiving
 * servers are not overloaded.
 *
 * @param latestMs - the time by which they must be back, even if more of them then come within a second
 */
export function returnWindow(clients: number, latestMs = LATEST_MS): ReturnWindow {
  const fromMs = Math.min(SOONEST_MS, latestMs / 2);
  return { fromMs, toMs: Math.min(latestMs, fromMs + Math.max(SHORTEST_MS, clients * MS_FOR_EACH_CLIENT)) };
}

/** A random time within the window, for one client. */
export function pickReturn({ fromMs, toMs }: ReturnWindow): number {
  return fromMs + Math.random() * (toMs - fromMs);
}

/** Chooses return times for clients that are sent away one by one: the more within a second, the later. */
export class Returns {
  private since = -Infinity;
  private count = 0;

  /** The return time of the next client, in milliseconds from now. */
  next(): number {
    const now = performance.now();
    if (now - this.since >= 1_000) {
      this.since = now;
      this.count = 0;
    }
    return pickReturn(returnWindow(++this.count));
  }
}
