const SAMPLE_MS = 10;

/** @returns nanoseconds of CPU for each call of a function, called with 0, 1, 2 and so on */
export function nsOfCall(call: (index: number) => void, callsAtOnce: number): number {
  const before = process.cpuUsage();
  const end = performance.now() + SAMPLE_MS;
  let calls = 0;
  do {
    for (let left = callsAtOnce; left > 0; left--) call(calls++);
  } while (performance.now() < end);
  const { user, system } = process.cpuUsage(before);
  return ((user + system) * 1_000) / calls;
}
