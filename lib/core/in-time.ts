/** How {@link inTime} waits. */
interface Patience {
  /** Whether the process may end meanwhile. */
  readonly unref?: boolean;
}

/**
 * Waits for something, but no longer than a time.
 *
 * @param ms - the time, in milliseconds
 * @param late - called if the time is over first: gives the result instead, or throws
 * @throws (rejects) with the error of the awaited promise if it rejects in time, or with the error that `late` throws
 */
export async function inTime<T, Late>(
  awaited: PromiseLike<T> | T,
  ms: number,
  late: () => Late,
  { unref = false }: Patience = {},
): Promise<T | Late> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
    if (unref) timer.unref();
  });
  try {
    return await Promise.race([awaited, over.then(late)]);
  } finally {
    clearTimeout(timer);
  }
}
