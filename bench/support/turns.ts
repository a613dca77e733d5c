let isWatching = false;
let longestMs = 0;
let last = 0;

/** Measures the turns of this process' event loop, from now on. */
export function watch(): void {
  isWatching = true;
  longestMs = 0;
  last = performance.now();
  setImmediate(watchTurn);
}

/** Stops measuring. @returns how long the longest turn since {@link watch} took */
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
