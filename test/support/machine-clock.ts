/** Milliseconds of the machine's monotonic clock, equal in all of its processes. */
export function machineClock(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + nanoseconds / 1e6;
}
