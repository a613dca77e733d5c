/** How many bytes more are in use by what `make` returns. It must not be asynchronous. */
export function keptBytes(make: () => unknown): number {
  globalThis.gc!();
  const before = process.memoryUsage().heapUsed;
  const kept = make();
  globalThis.gc!();
  const bytes = process.memoryUsage().heapUsed - before;
  // Used after the measurement, so that it is not collected before.
  return kept === undefined ? NaN : bytes;
}
