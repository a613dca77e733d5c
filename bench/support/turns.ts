let isWatching = false;
let longestMs = 0;
let last = 0;

/** Measures the turns of the event loop of this process, from now on. */
export function watch(): void {
  isWatching = true;
  longestMs = 0;
  last = performance.now();
  setImmediate(watchTurn);
}

/** Watches no longer. @returns how long the longest turn since {@link watch} took */
export function longestTurnMs(): number {
  isWatching = false;
  return longestMs;
}

function watchTurn(): void {
  const now = performance.now();
  longestMs = Math.max(longestMs, now - last);
  last = now;
  if (isWatching) setImmediate(watchTurn);
}
